//! The log against a model that keeps every sample and works everything out anew.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use series::{
    Across, Histogram, Kind, Level, MonitorLog, Options, Query, Reading, SeriesId, Statistic,
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

#[derive(Clone, Debug)]
enum Step {
    /// Each series has a sample so many seconds from now.
    Add {
        series: usize,
        offset: i64,
        value: u32,
    },
    Pass(i64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..3, -13i64..8, 0u32..5_000)
            .prop_map(|(series, offset, value)| Step::Add { series, offset, value }),
        6 => (1i64..5).prop_map(Step::Pass),
        1 => (1i64..400).prop_map(Step::Pass),
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
}

impl Run {
    fn open(&mut self, directory: &Path) {
        self.log = None;
        let mut log = MonitorLog::open(directory, &options(), at(self.model.now)).unwrap();
        self.ids = KINDS
            .iter()
            .map(|kind| log.register(1, &format!("{kind:?}"), *kind).unwrap())
            .collect();
        self.log = Some(log);
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
        let model = Model { now: START, ..Model::default() };
        let mut run = Run { log: None, ids: Vec::new(), model };
        run.open(directory.path());
        for step in steps {
            match step {
                Step::Add { series, offset, value } => run.add(series, offset, value),
                Step::Pass(seconds) => {
                    run.model.now += seconds;
                    let now = run.model.now;
                    run.log.as_mut().unwrap().advance(at(now)).unwrap();
                }
                Step::Reopen => {
                    let now = run.model.now;
                    run.log.as_mut().unwrap().advance(at(now)).unwrap();
                    run.open(directory.path());
                    run.check();
                }
            }
        }
        run.check();
    }
}
