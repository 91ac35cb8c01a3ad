//! The log against a model that keeps every sample and works everything out anew.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::collections::BTreeMap;
use std::io::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use series::{
    Across, Disk, Histogram, Job, Kind, Level, MonitorLog, Options, Query, Reading, SeriesId,
    Statistic,
};

const START: i64 = 1_800_000_000;
const KINDS: [Kind; 3] = [Kind::Gauge, Kind::Counter, Kind::Latencies];
const STATISTICS: [Statistic; 6] = [
    Statistic::Sum,
    Statistic::Count,
    Statistic::Min,
    Statistic::Max,
    Statistic::Mean,
    Statistic::Quantile(0.9),
];

/// Operations on files of one seal, and some more.
const MOST_OPERATIONS: u64 = 48;

#[derive(Clone, Debug)]
enum Step {
    /// Each series has a sample so many seconds from now.
    Add {
        series: usize,
        offset: i64,
        value: u32,
    },
    Pass(i64),
    /// Something else writes what is due from now on,
    Begin,
    /// and has ended.
    End,
    /// The process ends at the operation on a file after so many.
    Crash(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..3, -13i64..8, 0u32..5_000)
            .prop_map(|(series, offset, value)| Step::Add { series, offset, value }),
        6 => (1i64..5).prop_map(Step::Pass),
        1 => (1i64..400).prop_map(Step::Pass),
        3 => Just(Step::Begin),
        3 => Just(Step::End),
        1 => (0u64..MOST_OPERATIONS).prop_map(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

fn options() -> Options {
    let level = |step, segment, keep| Level {
        step,
        segment,
        keep,
    };
    Options {
        levels: vec![level(1, 60, 240), level(10, 300, 1_500)],
        ..Options::default()
    }
}

fn at(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// Every sample that was taken, by series and second.
#[derive(Default)]
struct Model {
    samples: [BTreeMap<i64, u32>; 3],
    now: i64,
}

fn reading(kind: Kind, value: u32) -> Reading {
    match kind {
        Kind::Gauge => Reading::Gauge(f64::from(value)),
        Kind::Counter => Reading::Count(u64::from(value)),
        Kind::Latencies => Reading::Latencies(latencies(value)),
    }
}

fn latencies(value: u32) -> Histogram {
    let mut histogram = Histogram::new();
    (0..value % 7).for_each(|n| histogram.record(u64::from(value * (n + 1))));
    histogram
}

impl Model {
    /// What a series' samples are between two seconds: for a counter, its rises.
    fn figures(&self, series: usize, from: i64, to: i64) -> Vec<f64> {
        let samples = &self.samples[series];
        let within = |second: &i64| (from..to).contains(second);
        if KINDS[series] == Kind::Gauge {
            return samples
                .range(from..to)
                .map(|(_, value)| f64::from(*value))
                .collect();
        }
        let pairs = samples.iter().zip(samples.iter().skip(1));
        let rises = pairs.filter(|(_, (second, _))| within(second));
        rises
            .map(|((_, before), (_, after))| {
                f64::from(after.checked_sub(*before).unwrap_or(*after))
            })
            .collect()
    }

    fn value(&self, series: usize, from: i64, to: i64, statistic: Statistic) -> Option<f64> {
        if KINDS[series] == Kind::Latencies {
            return self.latencies(series, from, to, statistic);
        }
        let figures = self.figures(series, from, to);
        let sum: f64 = figures.iter().sum();
        let lowest = figures.iter().copied().reduce(f64::min)?;
        let highest = figures.iter().copied().reduce(f64::max)?;
        match statistic {
            Statistic::Sum => Some(sum),
            Statistic::Count => Some(figures.len() as f64),
            Statistic::Min => Some(lowest),
            Statistic::Max => Some(highest),
            Statistic::Mean => Some(sum / figures.len() as f64),
            _ => None,
        }
    }

    fn latencies(&self, series: usize, from: i64, to: i64, statistic: Statistic) -> Option<f64> {
        let mut all = Histogram::new();
        let mut samples = self.samples[series].range(from..to).peekable();
        samples.peek()?;
        samples.for_each(|(_, value)| all.merge(&latencies(*value)));
        let count = all.count() as f64;
        match statistic {
            Statistic::Sum => Some(all.sum() as f64),
            Statistic::Count => Some(count),
            Statistic::Min => all.quantile(0.0),
            Statistic::Max => all.quantile(1.0),
            Statistic::Mean => (count > 0.0).then(|| all.sum() as f64 / count),
            Statistic::Quantile(share) => all.quantile(share),
            Statistic::Rate => None,
        }
    }
}

struct Run {
    log: Option<MonitorLog>,
    ids: Vec<SeriesId>,
    model: Model,
    /// What was added since the last flush.
    waiting: Vec<(usize, i64)>,
    job: Option<Job>,
    /// Operations on files that succeed from now on.
    left: Arc<AtomicU64>,
}

impl Run {
    fn new() -> Self {
        Self {
            log: None,
            ids: Vec::new(),
            model: Model {
                now: START,
                ..Model::default()
            },
            waiting: Vec::new(),
            job: None,
            left: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    fn open(&mut self, directory: &Path) {
        (self.log, self.job) = (None, None);
        self.left.store(u64::MAX, Ordering::Relaxed);
        let left = Arc::clone(&self.left);
        let disk = Disk::watched(move |_, _| {
            let one_less = |left: u64| left.checked_sub(1);
            let done = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
            done.map(|_| ())
                .map_err(|_| Error::other("the process ended"))
        });
        let mut log = MonitorLog::open_on(disk, directory, &options(), at(self.model.now)).unwrap();
        self.ids = KINDS
            .iter()
            .map(|kind| log.register(1, &format!("{kind:?}"), *kind).unwrap())
            .collect();
        self.log = Some(log);
    }

    fn pass(&mut self, seconds: i64) {
        self.model.now += seconds;
        self.log.as_mut().unwrap().pass(at(self.model.now)).unwrap();
        self.waiting.clear();
    }

    fn begin(&mut self) {
        let log = self.log.as_mut().unwrap();
        self.job = self.job.take().or_else(|| log.job());
    }

    fn end(&mut self) {
        if let Some(job) = self.job.take() {
            self.check();
            let outcome = job.run();
            self.check();
            self.log.as_mut().unwrap().finish(outcome).unwrap();
            self.check();
        }
    }

    /// Lets a second pass and writes what is due, and ends the process at an operation on a file; returns whether it came
    /// to that one.
    fn crash(&mut self, directory: &Path, operations: u64) -> bool {
        self.left.store(operations, Ordering::Relaxed);
        let log = self.log.as_mut().unwrap();
        if log.pass(at(self.model.now)).is_err() && operations == 0 {
            // A torn batch is none.
            for (series, second) in &self.waiting {
                self.model.samples[*series].remove(second);
            }
        }
        self.waiting.clear();
        if let Some(job) = self.job.take().or_else(|| log.job()) {
            let _ = log.finish(job.run());
        }
        let is_over = self.left.swap(0, Ordering::Relaxed) == 0;
        self.open(directory);
        self.check();
        is_over
    }

    fn add(&mut self, series: usize, offset: i64, value: u32) {
        let second = self.model.now + offset;
        let known = &mut self.model.samples[series];
        let is_news = (-10..=5).contains(&offset) && !known.contains_key(&second);
        let time = at(second) + Duration::from_millis(100);
        let log = self.log.as_mut().unwrap();
        let taken = log.add(self.ids[series], time, reading(KINDS[series], value));
        assert_eq!(taken.is_ok(), is_news, "{offset} s off: {taken:?}");
        if is_news {
            known.insert(second, value);
            self.waiting.push((series, second));
        }
    }

    /// Every value of either level that can be asked for, in steps of several lengths.
    fn check(&self) {
        let (now, log) = (self.model.now, self.log.as_ref().unwrap());
        for (keep, step) in [(240, 1), (240, 3), (1_500, 10), (1_500, 50)] {
            for (series, id) in self.ids.iter().enumerate() {
                for statistic in STATISTICS {
                    let (from, to) = (now - keep, now + 6);
                    let query = Query {
                        series: &[*id],
                        from,
                        to,
                        step: Some(step),
                        statistic,
                        across: Across::Each,
                    };
                    let answer = log.query(&query).unwrap();
                    let step = i64::from(answer.step);
                    for (index, found) in (0..).zip(&answer.rows[0].values) {
                        let start = answer.from + index * step;
                        // What lies before the first slot that must be there may be gone in part.
                        if start >= from {
                            let expected = self.model.value(series, start, start + step, statistic);
                            assert_eq!(
                                *found, expected,
                                "{statistic:?} of {series} at {start} by {step}, now {now}"
                            );
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_answer_is_what_the_samples_say(steps in prop::collection::vec(step(), 1..250)) {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new();
        run.open(directory.path());
        for step in steps {
            match step {
                Step::Add { series, offset, value } => run.add(series, offset, value),
                Step::Pass(seconds) => run.pass(seconds),
                Step::Begin => run.begin(),
                Step::End => run.end(),
                Step::Crash(operations) => {
                    run.crash(directory.path(), operations);
                }
                Step::Reopen => {
                    run.pass(0);
                    run.open(directory.path());
                    run.check();
                }
            }
        }
        run.check();
    }
}

#[test]
fn a_process_that_ends_at_any_operation_on_a_file_leaves_all_that_was_flushed() {
    for operations in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new();
        run.open(directory.path());
        // Twice, for what is left over the first time is in the way the second.
        let mut is_over = true;
        for _ in 0..2 {
            for second in 0..310 {
                if second % 40 == 0 && second < 300 {
                    run.begin();
                    run.end();
                }
                (0..3).for_each(|series| run.add(series, 0, second * 7 % 1_000));
                run.pass(1);
            }
            is_over &= run.crash(directory.path(), operations);
        }
        if !is_over {
            assert!(operations > 20, "only {operations} operations");
            return;
        }
    }
}
