//! The trace that all take: a recording, replayed to so many series.
//!
//! A recording has some hundred series of some minutes. Each is taken several times, as if more hosts had told the same,
//! each of which is at another place of the recording; at its end it goes on at its beginning. Values stay
//! as they are: to scale them would make figures that no program tells.

use std::ops::Range;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::recording::{Reading, Source};

/// Of all series at most so many are constant.
const MOST_CONSTANT: f64 = 0.3;
/// Seconds of the recording between one host's place and the next one's: no divisor of usual lengths.
const APART: usize = 197;
/// Series that are asked for together.
pub const GROUP: usize = 100;

/// Series with a value in each second.
pub struct Trace {
    sources: Vec<Source>,
    /// Which source each is of, and which copy of it.
    series: Vec<(usize, usize)>,
    /// When it begins, in seconds since the Unix epoch.
    pub start: u64,
    /// How long it is.
    pub seconds: usize,
}

/// What it is made of, for the results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Of the shortest of the recorded series.
    pub recorded_seconds: usize,
    pub recorded_series: usize,
    pub series: usize,
    pub seconds: usize,
    pub samples: usize,
    pub constant_series: usize,
    pub constant_share: f64,
    /// Counts, the constant ones among them.
    pub count_series: usize,
}

impl Trace {
    /// So many series, at most [`MOST_CONSTANT`] of them constant, of these sources.
    ///
    /// # Errors
    /// Without sources that change.
    pub fn new(sources: Vec<Source>, series: usize, start: u64, seconds: usize) -> Result<Self> {
        let all = 0..sources.len();
        let is_constant = |index: &usize| sources.get(*index).is_some_and(Source::is_constant);
        let (constant, changing): (Vec<usize>, Vec<usize>) = all.partition(is_constant);
        ensure!(!changing.is_empty(), "nothing in the recording changes");
        let share = constant.len() as f64 / sources.len() as f64;
        let still = (series as f64 * share.min(MOST_CONSTANT)) as usize;
        let copies = |of: &[usize], number: usize| -> Vec<(usize, usize)> {
            let places = (0..number).filter_map(|n| Some((*of.get(n % of.len())?, n / of.len())));
            places.collect()
        };
        let series = [copies(&changing, series - still), copies(&constant, still)];
        Ok(Self {
            series: series.concat(),
            sources,
            start,
            seconds,
        })
    }

    /// The series: who tells it, and what it is of.
    pub fn names(&self) -> impl Iterator<Item = (String, &str)> {
        let known = self.series.iter();
        known.filter_map(|(source, copy)| {
            let source = self.sources.get(*source)?;
            Some((format!("{}-{copy}", source.host), source.name.as_str()))
        })
    }

    /// The value of each series in a second of the trace.
    pub fn readings(&self, second: usize) -> impl Iterator<Item = Reading> {
        let known = self.series.iter();
        known.filter_map(move |(source, copy)| {
            Some(self.sources.get(*source)?.at(second + copy * APART))
        })
    }

    /// The values of a series in these seconds of the trace, if it is a gauge.
    #[must_use]
    pub fn gauge(&self, series: usize, seconds: Range<usize>) -> Option<Vec<f64>> {
        let (source, copy) = self.series.get(series)?;
        let source = self.sources.get(*source)?;
        let values = seconds.map(|second| match source.at(second + copy * APART) {
            Reading::Gauge(figure) => Some(figure),
            Reading::Count(_) => None,
        });
        values.collect()
    }

    /// How many values there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.series.len() * self.seconds
    }

    /// Of what it is made.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let number = |is_meant: fn(&Source) -> bool| {
            let sources = self
                .series
                .iter()
                .filter_map(|(at, _)| self.sources.get(*at));
            sources.filter(|source| is_meant(source)).count()
        };
        let constant_series = number(Source::is_constant);
        Figures {
            recorded_seconds: self.sources.iter().map(Source::seconds).min().unwrap_or(0),
            recorded_series: self.sources.len(),
            series: self.series.len(),
            seconds: self.seconds,
            samples: self.samples(),
            constant_series,
            constant_share: constant_series as f64 / self.series.len() as f64,
            count_series: number(Source::is_count),
        }
    }
}

/// Which hundred a series belongs to: every tenth of a thousand, so that each has some of all kinds.
#[must_use]
pub fn group_of(series: usize, all: usize) -> usize {
    series % (all / GROUP).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::recording;

    fn trace() -> Trace {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/monitor.xz");
        Trace::new(recording::read(&path).unwrap(), 1_000, 7_200, 7_200).unwrap()
    }

    #[test]
    fn at_most_three_in_ten_of_the_series_never_change() {
        let trace = trace();
        let readings: Vec<Vec<Reading>> = (0..trace.seconds)
            .step_by(7)
            .map(|second| trace.readings(second).collect())
            .collect();
        let still = (0..1_000).filter(|series| {
            let first = readings[0][*series];
            readings.iter().all(|second| second[*series] == first)
        });
        let (still, told) = (still.count(), trace.figures());
        assert_eq!(told.series, 1_000);
        assert!(told.constant_share <= MOST_CONSTANT, "{told:?}");
        // Of what changes seldom, every seventh second may show nothing.
        assert!(still < told.constant_series + 50, "{still} of {told:?}");
    }

    #[test]
    fn no_two_series_have_one_name() {
        let trace = trace();
        let names: BTreeSet<_> = trace.names().collect();
        assert_eq!(names.len(), 1_000);
    }

    #[test]
    fn a_balancers_latencies_and_the_machines_figures_are_in_it() {
        let trace = trace();
        let names: Vec<_> = trace.names().map(|(_, name)| name.to_owned()).collect();
        for part in [
            "_bucket.",
            "derive-requests",
            "evenkeel_backend",
            "cpu-0/",
            "memory/",
            "interface-",
        ] {
            assert!(names.iter().any(|name| name.contains(part)), "{part}");
        }
    }

    #[test]
    fn every_hundred_has_a_hundred() {
        for group in 0..10 {
            let members = (0..1_000).filter(|series| group_of(*series, 1_000) == group);
            assert_eq!(members.count(), GROUP);
        }
    }
}
