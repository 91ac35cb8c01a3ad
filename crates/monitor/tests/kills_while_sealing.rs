//! A process that keeps ten thousand series is killed while it writes segments to a disk that takes seconds for each
//! file, and what it had for longer than a flush is there each time.
//!
//! The process is this test's own program: a [`Keeper`] on a disk that waits before it says that it has a file, with
//! segments of a few seconds, by the real clock. It says when it has handed over what, and when it waits for the disk.
//! `EVENKEEL_KILLS` says how often the processes of these tests are killed in all; this one's share is small.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{InstanceId, ProjectId, VmId};
use monitor::{Keeper, Origin, Sample, Taken};
use series::{
    Across, Disk, FLUSH_INTERVAL, Level, MonitorLog, Operation, Options, Query, Reading, SeriesId,
    Statistic,
};

const DIRECTORY: &str = "EVENKEEL_KILLS_WHILE_SEALING_DIRECTORY";
const SYNC_MS: &str = "EVENKEEL_KILLS_WHILE_SEALING_SYNC_MS";
const KILLS: &str = "EVENKEEL_KILLS";
/// One kill here for so many in all: each takes seconds.
const SHARE: u64 = 10;
const FEW_KILLS: u64 = 3;

const ORIGIN: Origin = Origin {
    project: ProjectId(3),
    instance: InstanceId(7),
    vm: VmId(12),
};
/// Parts of a second, in each of which as many series are told.
const PARTS: u64 = 25;
const SERIES: u64 = 10_000;
const STEP: Duration = Duration::from_millis(1_000 / PARTS);
/// How long the disk takes for a file: of each two processes one ends before the first is written.
const SYNCS_MS: [u64; 2] = [5_000, 100];
/// Seconds from when the disk is first waited for to the kill.
const WAITING: u64 = 3;
/// Between the process's looks at how late it is itself.
const LOOK: Duration = Duration::from_millis(20);
/// What a flush takes when the machine is not late.
const MARGIN: Duration = Duration::from_millis(500);

fn options() -> Options {
    let level = |step, segment, keep| Level {
        step,
        segment,
        keep,
    };
    Options {
        levels: vec![level(1, 5, 600), level(10, 60, 3_600)],
        most_series: 20_000,
        most_series_per_owner: 20_000,
        ..Options::default()
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn figure(series: u64, second: u64) -> f64 {
    ((series * 1_000_003 + second).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51) as f64
}

/// Says something; whoever says it to nobody ends.
fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

fn keep_figures(directory: &Path, sync: Duration) {
    let disk = Disk::watched(move |operation, _| {
        if operation == Operation::Sync {
            say("sync");
            sleep(sync);
        }
        Ok(())
    });
    let keeper = Keeper::start_on(disk, directory.to_owned(), options()).unwrap();
    std::thread::spawn(|| {
        loop {
            let before = Instant::now();
            sleep(LOOK);
            say(&format!("late {}", (before.elapsed() - LOOK).as_millis()));
        }
    });
    let mut next = Duration::from_secs(wall().as_secs() + 1);
    loop {
        sleep(next.saturating_sub(wall()));
        let (second, part) = (
            next.as_secs(),
            u64::from(next.subsec_millis()) * PARTS / 1_000,
        );
        let sample = |series| Sample {
            name: format!("s{series}"),
            time: next,
            reading: Reading::Gauge(figure(series, second)),
        };
        let taken = Taken {
            vm: ORIGIN.vm,
            samples: (part..SERIES).step_by(PARTS as usize).map(sample).collect(),
            lists: Vec::new(),
        };
        keeper.keep(ORIGIN, taken);
        assert_eq!(keeper.standing().unkept, 0);
        say(&format!("fed {second} {part} {}", wall().as_millis()));
        next += STEP;
    }
}

/// Does nothing unless it is the process that is to be killed.
#[test]
fn the_process_that_is_killed() {
    if let (Ok(directory), Ok(ms)) = (std::env::var(DIRECTORY), std::env::var(SYNC_MS)) {
        keep_figures(
            Path::new(&directory),
            Duration::from_millis(ms.parse().unwrap()),
        );
    }
}

/// Kills its process when it goes.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process said it had handed over, by second and part with when, and what was later than it should be.
#[derive(Default)]
struct Told {
    fed: BTreeMap<(u64, u64), Duration>,
    late: Duration,
    killed: Duration,
}

/// Lets the process run until it has waited for the disk for a while, kills it, and returns what it said.
fn run_and_kill(directory: &Path, sync_ms: u64) -> Told {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SYNC_MS, sync_ms.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut victim = Victim(child);
    let lines = BufReader::new(victim.0.stdout.take().unwrap()).lines();
    let (mut told, mut waits_since) = (Told::default(), None);
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[0] {
            "late" => told.late = told.late.max(Duration::from_millis(number(1))),
            "sync" => waits_since = waits_since.or(told.fed.keys().next_back().copied()),
            "fed" => {
                let at = (number(1), number(2));
                told.fed.insert(at, Duration::from_millis(number(3)));
                let is_due = |since: (u64, u64)| at >= (since.0 + WAITING, since.1);
                if told.killed.is_zero() && waits_since.is_some_and(is_due) {
                    told.killed = wall();
                    victim.0.kill().unwrap();
                }
            }
            _ => {}
        }
    }
    assert!(!told.killed.is_zero(), "it ended by itself");
    told
}

fn values(log: &MonitorLog, id: SeriesId, from: u64, to: u64) -> Vec<Option<f64>> {
    let query = Query {
        series: &[id],
        from: from as i64,
        to: to as i64,
        step: Some(1),
        statistic: Statistic::Sum,
        across: Across::Each,
    };
    let answer = log.query(&query).unwrap();
    assert_eq!((answer.from, answer.resolution), (from as i64, 1));
    answer.rows[0].values.clone()
}

/// Holds that all that was handed over long enough before the end is there, and nothing else than what was.
fn check(directory: &Path, told: &Told) {
    let log = MonitorLog::open(directory, &options(), wall()).unwrap();
    assert_eq!((log.figures().damaged, log.figures().dropped), (0, 0));
    let (first, last) = (
        *told.fed.keys().next().unwrap(),
        *told.fed.keys().next_back().unwrap(),
    );
    let found: BTreeMap<u64, Vec<Option<f64>>> = log
        .series(ORIGIN.project.0, "")
        .map(|(id, name, _)| {
            let series = name.rsplit_once("/s").unwrap().1.parse().unwrap();
            (series, values(&log, id, first.0, last.0 + 1))
        })
        .collect();
    let is_due = |at: Duration| at + FLUSH_INTERVAL + MARGIN + told.late * 2 < told.killed;
    let (mut due, mut missing) = (0, 0);
    for ((second, part), at) in &told.fed {
        for series in (*part..SERIES).step_by(PARTS as usize) {
            let values = found.get(&series);
            let value = values.and_then(|values| values[(second - first.0) as usize]);
            let right = figure(series, *second);
            assert!(
                value.is_none_or(|value| value == right),
                "{series} {value:?}"
            );
            due += usize::from(is_due(*at));
            missing += usize::from(is_due(*at) && value.is_none());
        }
    }
    let late = told.late;
    assert_eq!(missing, 0, "of {due} that were due, late by {late:?}");
}

#[test]
fn a_monitor_that_is_killed_while_it_seals_on_a_slow_disk_loses_what_came_since_its_last_flush() {
    let kills = std::env::var(KILLS).map_or(FEW_KILLS, |kills| {
        kills.parse::<u64>().unwrap().div_ceil(SHARE)
    });
    let directory = tempfile::tempdir().unwrap();
    for sync_ms in SYNCS_MS.into_iter().cycle().take(kills as usize) {
        let told = run_and_kill(directory.path(), sync_ms);
        check(directory.path(), &told);
    }
}
