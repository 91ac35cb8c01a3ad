//! Clocks that jump, owners that ask for too much, figures of the worst kind, and another process.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::path::Path;
use std::time::Duration;

use series::{
    Across, Disk, Kind, Level, LogError, MonitorLog, Operation, Options, Query, Reading, Refusal,
    SeriesId, Statistic,
};

const START: i64 = 1_800_000_000;
const YEAR: i64 = 31_536_000;

fn at(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

fn options() -> Options {
    let level = |step, segment, keep| Level {
        step,
        segment,
        keep,
    };
    let levels = vec![level(1, 60, 600), level(10, 300, 3_000)];
    Options {
        levels,
        most_series: 6,
        most_series_per_owner: 4,
        ..Options::default()
    }
}

fn open(directory: &Path, now: i64) -> MonitorLog {
    MonitorLog::open(directory, &options(), at(now)).unwrap()
}

fn run(log: &mut MonitorLog, id: SeriesId, seconds: std::ops::Range<i64>) {
    for second in seconds {
        log.advance(at(second)).unwrap();
        log.add(id, at(second), Reading::Gauge((second % 1_000) as f64))
            .unwrap();
    }
}

fn values(log: &MonitorLog, id: SeriesId, from: i64, to: i64) -> Vec<Option<f64>> {
    let query = Query {
        series: &[id],
        from,
        to,
        step: Some(1),
        statistic: Statistic::Sum,
        across: Across::Each,
    };
    log.query(&query).unwrap().rows.remove(0).values
}

fn expected(from: i64, to: i64) -> Vec<Option<f64>> {
    (from..to)
        .map(|second| Some((second % 1_000) as f64))
        .collect()
}

#[test]
fn a_clock_that_jumps_a_year_ahead_and_back_removes_nothing_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 300);
    run(&mut log, id, START + YEAR..START + YEAR + 30);
    run(&mut log, id, START + 330..START + 400);
    assert_eq!(
        values(&log, id, START, START + 300),
        expected(START, START + 300)
    );
    assert_eq!(
        values(&log, id, START + 330, START + 400),
        expected(START + 330, START + 400)
    );
    drop(log);
    let log = open(directory.path(), START + 400);
    assert_eq!(
        values(&log, id, START, START + 300),
        expected(START, START + 300)
    );
    assert_eq!(
        values(&log, id, START + 330, START + 400),
        expected(START + 330, START + 400)
    );
}

#[test]
fn where_the_same_time_passes_again_what_comes_later_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 200);
    for second in START + 100..START + 150 {
        log.advance(at(second)).unwrap();
        log.add(id, at(second), Reading::Gauge(-1.0)).unwrap();
    }
    let found = values(&log, id, START, START + 200);
    assert_eq!(found[..100], expected(START, START + 100));
    assert_eq!(found[100..150], vec![Some(-1.0); 50]);
    assert_eq!(found[150..], expected(START + 150, START + 200));
}

#[test]
fn a_clock_that_is_set_back_while_segments_are_written_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 190);
    let job = (START + 190..START + 210).find_map(|second| {
        log.pass(at(second)).unwrap();
        log.add(id, at(second), Reading::Gauge((second % 1_000) as f64))
            .unwrap();
        log.job()
    });
    let job = job.expect("a segment is due");
    for second in START + 100..START + 150 {
        log.pass(at(second)).unwrap();
        log.add(id, at(second), Reading::Gauge(-1.0)).unwrap();
        assert!(log.job().is_none(), "one at a time");
    }
    log.pass(at(START + 149)).unwrap();
    let check = |log: &MonitorLog| {
        let found = values(log, id, START, START + 190);
        assert_eq!(found[..100], expected(START, START + 100));
        assert_eq!(found[100..150], vec![Some(-1.0); 50]);
        assert_eq!(found[150..], expected(START + 150, START + 190));
    };
    check(&log);
    drop(log.finish(job.run()).unwrap());
    check(&log);
    // Killed before the rest is written, and not.
    drop(log);
    let mut log = open(directory.path(), START + 149);
    check(&log);
    log.advance(at(START + 149)).unwrap();
    check(&log);
    assert_eq!(log.figures().dropped, 0);
}

/// Runs until a segment is due, which is not written, and on; returns when it was due.
fn run_over_a_seal(log: &mut MonitorLog, id: SeriesId) -> i64 {
    let mut due = None;
    for second in START..START + 130 {
        log.pass(at(second)).unwrap();
        log.add(id, at(second), Reading::Gauge((second % 1_000) as f64))
            .unwrap();
        due = due.or_else(|| log.job().map(|_| second));
    }
    log.pass(at(START + 130)).unwrap();
    due.unwrap()
}

/// Cuts the first write-ahead log after so many of its bytes.
fn cut_first_log(directory: &Path, length: u64) {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(directory.join("wal-0"));
    file.unwrap().set_len(length).unwrap();
}

#[test]
fn where_a_write_ahead_log_lost_its_end_the_next_one_tells_the_right_times() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    let due = run_over_a_seal(&mut log, id);
    drop(log);
    // As a machine that loses power may leave it.
    let length = directory.path().join("wal-0").metadata().unwrap().len();
    assert!(directory.path().join("wal-1").exists() && length > 200);
    cut_first_log(directory.path(), length / 2);
    let log = open(directory.path(), START + 130);
    let found = values(&log, id, START, START + 130);
    for (second, value) in (START..).zip(&found) {
        let right = Some((second % 1_000) as f64);
        assert!(
            *value == right || value.is_none() && second < due,
            "{second}: {value:?}"
        );
    }
    assert!(found.contains(&None), "something was lost");
}

#[test]
fn a_sample_from_the_far_future_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 20);
    for ahead in [6, 3_600, YEAR * 100] {
        assert_eq!(
            log.add(id, at(START + 20 + ahead), Reading::Gauge(0.0)),
            Err(Refusal::Ahead)
        );
    }
    assert_eq!(
        log.add(id, Duration::MAX, Reading::Gauge(0.0)),
        Err(Refusal::Ahead)
    );
    run(&mut log, id, START + 20..START + 40);
    assert_eq!(
        values(&log, id, START, START + 40),
        expected(START, START + 40)
    );
    assert_eq!(log.figures().refused.get("ahead"), Some(&4));
}

#[test]
fn owners_have_so_many_series_and_what_is_refused_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    for n in 0..4 {
        log.register(1, &format!("s{n}"), Kind::Gauge).unwrap();
    }
    assert_eq!(
        log.register(1, "s4", Kind::Gauge),
        Err(Refusal::TooManyOfOwner)
    );
    assert!(
        log.register(1, "s3", Kind::Gauge).is_ok(),
        "it is there already"
    );
    assert_eq!(
        log.register(1, "s3", Kind::Counter),
        Err(Refusal::WrongKind)
    );
    let theirs = log.register(2, "s0", Kind::Gauge).unwrap();
    log.register(2, "s1", Kind::Gauge).unwrap();
    assert_eq!(
        log.register(2, "s2", Kind::Gauge),
        Err(Refusal::TooManySeries)
    );
    assert_eq!(log.register(3, "", Kind::Gauge), Err(Refusal::BadName));
    assert_eq!(
        log.add(theirs, at(START), Reading::Gauge(f64::NAN)),
        Err(Refusal::NotFinite)
    );
    assert_eq!(
        log.add(theirs, at(START), Reading::Count(1)),
        Err(Refusal::WrongKind)
    );
    let refused = log.figures().refused;
    let counted: Vec<_> = refused
        .iter()
        .map(|(reason, times)| (*reason, *times))
        .collect();
    let expected = [
        ("bad_name", 1),
        ("not_finite", 1),
        ("too_many_of_owner", 1),
        ("too_many_series", 1),
        ("wrong_kind", 2),
    ];
    assert_eq!(counted, expected);
}

#[test]
fn a_series_that_is_idle_leaves_its_place_and_its_past_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.levels[1].keep = 9_000;
    let mut log = MonitorLog::open(directory.path(), &options, at(START)).unwrap();
    let ids: Vec<_> = (0..4)
        .map(|n| log.register(1, &format!("s{n}"), Kind::Gauge).unwrap())
        .collect();
    let mut now = START;
    while now < START + 3_900 {
        // All but the first go on.
        for id in &ids[usize::from(now >= START + 60)..] {
            log.add(*id, at(now), Reading::Gauge(1.0)).unwrap();
        }
        now += 10;
        log.advance(at(now)).unwrap();
    }
    log.register(1, "s4", Kind::Gauge)
        .expect("a place was left");
    let past = Query {
        series: &ids[..1],
        from: START,
        to: START + 60,
        step: Some(10),
        statistic: Statistic::Count,
        across: Across::Each,
    };
    assert_eq!(log.query(&past).unwrap().rows[0].values, vec![Some(1.0); 6]);
    assert_eq!(
        log.add(ids[0], at(now), Reading::Gauge(1.0)),
        Err(Refusal::TooManyOfOwner)
    );
}

/// Lets an owner make four series and leave them for an hour and more.
fn make_and_leave(log: &mut MonitorLog, owner: u64, round: i64, now: &mut i64) {
    for n in 0..4 {
        let name = format!("{round}/{n}/cpu");
        let id = log.register(owner, &name, Kind::Gauge).unwrap();
        log.add(id, at(*now), Reading::Gauge(1.0)).unwrap();
    }
    for _ in 0..8 {
        *now += 600;
        log.advance(at(*now)).unwrap();
    }
}

#[test]
fn who_makes_many_series_loses_his_own_past_and_nobody_elses_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.levels[1].keep = 270_000;
    let mut log = MonitorLog::open(directory.path(), &options, at(START)).unwrap();
    let mut now = START;
    make_and_leave(&mut log, 1, 0, &mut now);
    let theirs = now;
    for round in 0..10 {
        make_and_leave(&mut log, 2, round, &mut now);
    }
    let check = |log: &MonitorLog| {
        let past = |owner| log.snapshot_of(owner, [""]).unwrap();
        assert_eq!(past(1).series().count(), 4, "an owner that made no more");
        assert_eq!(past(1).forgotten_since(START), 0);
        // Four for each of the four that he may have.
        let kept = past(2).series().count();
        assert_eq!((kept, past(2).forgotten_since(theirs)), (16, 24));
        assert_eq!(
            past(2).forgotten_since(now - 4_800),
            0,
            "all is there of then"
        );
    };
    check(&log);
    drop(log);
    check(&MonitorLog::open(directory.path(), &options, at(now)).unwrap());
}

/// A generator whose figures no form makes smaller.
fn worst(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from_bits((x ^ (x >> 31)) & 0xbfff_ffff_ffff_ffff)
}

#[test]
fn the_worst_figures_take_no_more_of_the_disk_than_is_promised() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let ids: Vec<_> = (0..4)
        .map(|n| log.register(1, &format!("s{n}"), Kind::Gauge).unwrap())
        .collect();
    let mut most = 0;
    for second in START..START + 8_000 {
        log.advance(at(second)).unwrap();
        for (n, id) in (0..).zip(&ids) {
            // Two readings in a slot, so that its lowest, highest and sum all differ.
            for half in 0..2 {
                let figure = worst((second as u64 * 4 + n) * 2 + half);
                let time = at(second) + Duration::from_millis(half * 500);
                log.add(*id, time, Reading::Gauge(figure)).unwrap();
            }
        }
        most = most.max(log.figures().segment_bytes);
    }
    // A cell takes 26 bytes, and there is one segment more than is kept.
    let bound = 4 * (660 + 330) * 26 + 23 * (4 * 30 + 40);
    assert!(
        most <= bound && most > bound * 3 / 4,
        "{most} bytes, and {bound} are promised"
    );
    let files = std::fs::read_dir(directory.path()).unwrap().count();
    assert!(files <= 12 + 12 + 5, "{files} files");
}

#[test]
fn a_log_has_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), START);
    let second = MonitorLog::open(directory.path(), &options(), at(START));
    assert!(matches!(second, Err(LogError::InUse(_))));
    drop(log);
    open(directory.path(), START);
}

#[test]
fn a_damaged_file_is_put_aside_and_told_and_the_rest_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 500);
    let before = values(&log, id, START, START + 500);
    assert_eq!(before, expected(START, START + 500));
    drop(log);
    // The newest checkpoint, and the end of a segment.
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("checkpoint-"))
        .collect();
    names.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let newest = names.pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let log = open(directory.path(), START + 500);
    assert_eq!(
        values(&log, id, START, START + 490),
        expected(START, START + 490),
        "from the checkpoint before"
    );
    assert_eq!(log.figures().damaged, 1);
    drop(log);
    let segment = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("/1s-"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.len() - 30;
    bytes[end] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let log = open(directory.path(), START + 500);
    let found = values(&log, id, START, START + 490);
    assert_eq!(log.figures().damaged, 1);
    let right = found.iter().zip(expected(START, START + 490));
    let missing = right.filter(|(found, expected)| found.is_none() || *found == expected);
    assert_eq!(missing.count(), 490, "what is told is right");
    assert_eq!(
        found.iter().filter(|value| value.is_none()).count(),
        60,
        "one segment is gone"
    );
}

#[test]
fn what_is_behind_damage_in_a_write_ahead_log_is_counted_and_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 9);
    log.advance(at(START + 9)).unwrap();
    drop(log);
    let path = directory.path().join("wal-0");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let log = open(directory.path(), START + 9);
    let found = values(&log, id, START, START + 9);
    let there = found.iter().take_while(|value| value.is_some()).count();
    assert_eq!(found[..there], expected(START, START + there as i64));
    // One batch cannot be read, and has a sample.
    let figures = log.figures();
    assert_eq!((figures.lost, figures.damaged), (8 - there as u64, 1));
    assert!(there > 0 && figures.lost > 0);
    assert!(directory.path().join("wal-0.damaged").exists());
    drop(log);
    let figures = open(directory.path(), START + 9).figures();
    assert_eq!((figures.lost, figures.damaged), (0, 0), "it is told once");
}

#[test]
fn a_segment_that_the_disk_cannot_read_keeps_no_other_from_being_told() {
    const EIO: i32 = 5;
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path(), START);
    let id = log.register(1, "cpu", Kind::Gauge).unwrap();
    run(&mut log, id, START..START + 300);
    drop(log);
    let open_on = |error: i32| {
        let is_there = |path: &Path| path.to_string_lossy().contains("/1s-3.");
        let disk = Disk::watched(move |operation, path| match operation {
            Operation::Read if is_there(path) => Err(std::io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        });
        MonitorLog::open_on(disk, directory.path(), &options(), at(START + 300))
    };
    // Want of descriptors passes, and costs nothing.
    assert!(matches!(open_on(24), Err(LogError::File { .. })));
    let log = open_on(EIO).unwrap();
    let found = values(&log, id, START, START + 300);
    let missing = found.iter().filter(|value| value.is_none()).count();
    assert_eq!((missing, log.figures().damaged), (60, 1));
}
