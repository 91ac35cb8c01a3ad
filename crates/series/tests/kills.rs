//! A process that takes samples is killed a hundred times, and what was flushed is there each time.
//!
//! The process is this test's own program. Its time is virtual and passes as fast as it can, so that it is killed
//! in all that it does: appending, writing segments and checkpoints, removing what is old, opening.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use series::{
    Across, Histogram, Kind, Level, MonitorLog, Options, Query, Reading, SeriesId, Statistic,
};

const START: i64 = 1_800_000_000;
const KILLS: u64 = 100;
const SERIES: i64 = 12;
const KEEP: i64 = 600;

const DIRECTORY: &str = "EVENKEEL_SERIES_DIRECTORY";
const FROM: &str = "EVENKEEL_SERIES_FROM";

fn options() -> Options {
    let level = |step, segment, keep| Level {
        step,
        segment,
        keep,
    };
    Options {
        levels: vec![level(1, 60, KEEP as u32), level(10, 200, 2_000)],
        ..Options::default()
    }
}

fn at(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// What a gauge shows, how much a counter rises, or how long something takes, as a function of series and time.
fn figure(series: i64, second: i64) -> u64 {
    let mixed = (series * 1_000_003 + second)
        .unsigned_abs()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 50
}

fn kind(series: i64) -> Kind {
    [Kind::Gauge, Kind::Counter, Kind::Latencies][series as usize % 3]
}

fn ids(log: &mut MonitorLog) -> Vec<SeriesId> {
    (0..SERIES)
        .map(|series| {
            log.register(7, &format!("s{series}"), kind(series))
                .unwrap()
        })
        .collect()
}

/// Takes samples from a second on, and says of each when it was flushed.
fn take_samples(directory: &Path, from: i64) {
    let mut log = MonitorLog::open(directory, &options(), at(from)).unwrap();
    let ids = ids(&mut log);
    // A counter stands where all its rises have brought it.
    let risen = |series: i64| {
        (START..from)
            .map(|second| figure(series, second))
            .sum::<u64>()
    };
    let mut counts: Vec<u64> = (0..SERIES).map(risen).collect();
    let mut out = std::io::stdout().lock();
    for second in from.. {
        for (series, id) in (0..).zip(&ids) {
            let figure = figure(series, second);
            counts[series as usize] += figure;
            let reading = match kind(series) {
                Kind::Gauge => Reading::Gauge(figure as f64),
                Kind::Counter => Reading::Count(counts[series as usize]),
                Kind::Latencies => {
                    let mut histogram = Histogram::new();
                    histogram.record(figure);
                    Reading::Latencies(histogram)
                }
            };
            log.add(*id, at(second), reading).unwrap();
        }
        log.advance(at(second)).unwrap();
        writeln!(out, "flushed {second}").unwrap();
        out.flush().unwrap();
    }
}

/// Does nothing unless it is the process that is to be killed.
#[test]
fn the_process_that_is_killed() {
    let (Ok(directory), Ok(from)) = (std::env::var(DIRECTORY), std::env::var(FROM)) else {
        return;
    };
    take_samples(Path::new(&directory), from.parse().unwrap());
}

/// Kills its process when it goes.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the process run for a while, kills it, and returns the last second that it said was flushed.
fn run_and_kill(directory: &Path, from: i64, lifetime: u64) -> Option<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut victim = Victim(child);
    if lifetime.is_multiple_of(5) {
        // Any moment will do, and the first ones are spent opening the log.
        std::thread::sleep(Duration::from_micros(lifetime * 173));
        victim.0.kill().unwrap();
    }
    let mut last = None;
    let mut said = 0;
    for line in lines {
        // The last line may be torn as well.
        let Ok(line) = line else { break };
        let second = line
            .strip_prefix("flushed ")
            .filter(|second| second.len() == 10);
        last = second.and_then(|second| second.parse().ok()).or(last);
        said += u64::from(second.is_some());
        if said == lifetime {
            // It goes on writing until the signal comes: what is read below was flushed as well.
            victim.0.kill().unwrap();
        }
    }
    last
}

fn ask(log: &MonitorLog, id: SeriesId, from: i64, to: i64, step: u32) -> Vec<Option<f64>> {
    let query = Query {
        series: &[id],
        from,
        to,
        step: Some(step),
        statistic: Statistic::Sum,
        across: Across::Each,
    };
    let answer = log.query(&query).unwrap();
    assert_eq!(answer.from, from);
    answer.rows[0].values.clone()
}

/// Checks every value of both levels; returns the last second of which something is known.
fn check(directory: &Path, flushed: i64) -> i64 {
    let mut log = MonitorLog::open(directory, &options(), at(flushed)).unwrap();
    assert_eq!(log.figures().damaged, 0);
    let mut newest = Vec::new();
    for (series, id) in (0..).zip(ids(&mut log)) {
        // Of a counter's first reading nothing is known.
        let first = START + i64::from(kind(series) == Kind::Counter);
        let from = (flushed - KEEP).max(first);
        let found = ask(&log, id, from, flushed + 3, 1);
        let mut last = flushed;
        for (second, value) in (from..).zip(found) {
            if value.is_some() || second <= flushed {
                assert_eq!(
                    value,
                    Some(figure(series, second) as f64),
                    "series {series} at {second}"
                );
                last = last.max(second);
            }
        }
        newest.push(last);
        let from = ((flushed - 2_000).max(START + 10) + 9) / 10 * 10;
        let to = (flushed / 10 * 10).max(from + 10);
        if to > flushed {
            continue;
        }
        let found = ask(&log, id, from, to, 10);
        for (start, value) in (from..to).step_by(10).zip(found) {
            let sum: u64 = (start..start + 10)
                .map(|second| figure(series, second))
                .sum();
            assert_eq!(
                value,
                Some(sum as f64),
                "series {series} in the ten seconds from {start}"
            );
        }
    }
    assert_eq!(
        newest.iter().min(),
        newest.iter().max(),
        "a batch is there whole or not at all"
    );
    newest.into_iter().max().unwrap()
}

#[test]
fn nothing_that_was_flushed_is_lost_or_altered_by_a_hundred_kills() {
    let directory = tempfile::tempdir().unwrap();
    let mut next = START;
    for round in 0..KILLS {
        // From none to 127 virtual seconds: two segments are written in that time, and more checkpoints.
        let lifetime = 1 + figure(round as i64, 17) % 127;
        let flushed = run_and_kill(directory.path(), next, lifetime).unwrap_or(next - 1);
        if flushed >= START {
            next = check(directory.path(), flushed) + 1;
        }
    }
    assert!(
        next > START + KEEP,
        "{} virtual seconds were too few",
        next - START
    );
}
