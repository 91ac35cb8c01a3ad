//! A disk that is full, and then is not: a small tmpfs in a mount namespace of the test's own.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use series::{
    Across, Kind, Level, LogError, MonitorLog, Options, Query, Reading, SeriesId, Statistic,
};

const START: i64 = 1_800_000_000;
const DIRECTORY: &str = "EVENKEEL_SERIES_SMALL_DISK";

fn at(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

fn options() -> Options {
    let level = |step, segment, keep| Level {
        step,
        segment,
        keep,
    };
    Options {
        levels: vec![level(1, 60, 3_600), level(10, 300, 36_000)],
        ..Options::default()
    }
}

/// Lets time pass with a sample of each series in each second; returns what the log said each time.
fn run(
    log: &mut MonitorLog,
    ids: &[SeriesId],
    seconds: std::ops::Range<i64>,
) -> Vec<Result<(), LogError>> {
    seconds
        .map(|second| {
            let said = log.advance(at(second));
            for id in ids {
                log.add(*id, at(second), Reading::Gauge(second as f64))
                    .unwrap();
            }
            said
        })
        .collect()
}

fn check(log: &MonitorLog, ids: &[SeriesId], from: i64, to: i64) {
    let expected: Vec<_> = (from..to).map(|second| Some(second as f64)).collect();
    for id in ids {
        let query = Query {
            series: &[*id],
            from,
            to,
            step: Some(1),
            statistic: Statistic::Sum,
            across: Across::Each,
        };
        let found = log.query(&query).unwrap().rows.remove(0).values;
        assert_eq!(found, expected);
    }
}

/// Does nothing unless it is in a mount namespace with a small disk.
#[test]
fn the_process_with_the_small_disk() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let ballast = directory.join("ballast");
    let fill = || {
        assert!(
            std::fs::write(&ballast, vec![1; 4 << 20]).is_err(),
            "the disk is small"
        )
    };
    let free = || std::fs::remove_file(&ballast).unwrap();
    let open = |now| MonitorLog::open(&directory.join("log"), &options(), at(now)).unwrap();
    let is_full = |said: &Result<(), LogError>| matches!(said, Err(LogError::Full(_)));

    let mut log = open(START);
    let ids: Vec<SeriesId> = (0..30)
        .map(|n| log.register(1, &format!("cpu-{n}"), Kind::Gauge).unwrap())
        .collect();
    assert!(
        run(&mut log, &ids, START..START + 75)
            .iter()
            .all(Result::is_ok)
    );

    // Full while nothing but the write-ahead log is written, and free again before anything else is.
    fill();
    let said = run(&mut log, &ids, START + 75..START + 120);
    assert!(said.iter().any(is_full), "{said:?}");
    check(&log, &ids, START, START + 120);
    free();
    assert!(
        run(&mut log, &ids, START + 120..START + 125)
            .iter()
            .all(Result::is_ok)
    );
    drop(log);
    let mut log = open(START + 125);
    check(&log, &ids, START, START + 125);

    // Full when segments are due.
    fill();
    let said = run(&mut log, &ids, START + 125..START + 210);
    assert!(said.iter().any(is_full), "{said:?}");
    check(&log, &ids, START, START + 210);
    free();
    let said = run(&mut log, &ids, START + 210..START + 400);
    assert!(
        said.iter().all(Result::is_ok),
        "it heals by itself: {said:?}"
    );
    drop(log);
    let log = open(START + 400);
    check(&log, &ids, START, START + 400);
    assert_eq!(log.figures().dropped, 0);
    drop(log);

    // Full when it is opened.
    fill();
    let mut log = open(START + 400);
    check(&log, &ids, START, START + 400);
    run(&mut log, &ids, START + 400..START + 470);
    check(&log, &ids, START, START + 470);
    free();
    run(&mut log, &ids, START + 470..START + 480);
    drop(log);
    check(&open(START + 480), &ids, START, START + 480);
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_when_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    // What is mounted in the new namespace is seen nowhere else, and goes with its process.
    let script = "mount -t tmpfs -o size=256k none \"$1\" && exec \"$2\" --exact the_process_with_the_small_disk";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
