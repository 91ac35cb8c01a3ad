//! One figure of one VM over the last seconds, from which its load is told.
//!
//! It is kept here and not asked of the monitor log: the load decides how many VMs there are, and is told also while
//! the log cannot be opened, is full, or writes a segment.

use std::collections::VecDeque;
use std::time::Duration;

use collectd::{Time, Value};

use super::clock::Last;

/// Samples that are kept, of which a mean is taken.
const MOST_SAMPLES: usize = 3;
/// Samples that are further apart than this have no mean together.
const MEAN_SPAN: Duration = Duration::from_secs(5);

/// The newest samples of one figure, oldest first: gauges as they came, counts as their rise in a second.
#[derive(Debug, Default)]
pub(super) struct Series {
    samples: VecDeque<(Time, f64)>,
    last: Option<(Last, Value)>,
    /// When the newest sample came, by the monotonic clock.
    heard: Duration,
}

/// What a figure has been of late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recent {
    /// Of the newest samples.
    pub(super) mean: f64,
    /// The newest sample alone.
    pub(super) newest: f64,
    /// When that came, by the monotonic clock.
    pub(super) heard: Duration,
}

impl Series {
    /// What came last.
    pub(super) fn last(&self) -> Option<Last> {
        self.last.map(|(last, _)| last)
    }

    /// Adds a sample that came at `heard`, by the monotonic clock. Of a count, the first one says nothing yet, and neither does one that is less than the one
    /// before: it began anew.
    pub(super) fn add(&mut self, last: Last, value: Value, heard: Duration) {
        let before = self.last.replace((last, value));
        let figure = match (value, before) {
            (Value::Gauge(figure), _) => Some(figure),
            (_, Some((before, old))) => rate(last.time, value, before.time, old),
            (_, None) => None,
        };
        // A clock that was set back makes what came before later than what is now.
        if before.is_some_and(|(before, _)| before.time >= last.time) {
            self.samples.clear();
        }
        let Some(figure) = figure.filter(|figure| figure.is_finite()) else {
            return;
        };
        if self.samples.len() == MOST_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((last.time, figure));
        self.heard = heard;
    }

    /// What it has been of late, unless the newest sample is from before `oldest`.
    pub(super) fn recent(&self, oldest: Time) -> Option<Recent> {
        let (time, newest) = self.samples.back().copied()?;
        if time < oldest {
            return None;
        }
        let last = time.to_duration();
        let near = |(time, _): &&(Time, f64)| last.saturating_sub(time.to_duration()) < MEAN_SPAN;
        let taken = self.samples.iter().rev();
        let figures: Vec<f64> = taken.take_while(near).map(|(_, figure)| *figure).collect();
        let count = u32::try_from(figures.len())
            .ok()
            .filter(|count| *count > 0)?;
        Some(Recent {
            mean: figures.iter().sum::<f64>() / f64::from(count),
            newest,
            heard: self.heard,
        })
    }
}

/// The rise in a second between two readings; none where a count began anew.
pub(crate) fn rate(time: Time, value: Value, before: Time, old: Value) -> Option<f64> {
    let seconds = time
        .to_duration()
        .checked_sub(before.to_duration())?
        .as_secs_f64();
    let risen = match (value, old) {
        (Value::Derive(new), Value::Derive(old)) => new.checked_sub(old)? as f64,
        (Value::Counter(new), Value::Counter(old)) => new.checked_sub(old)? as f64,
        (Value::Absolute(count), Value::Absolute(_)) => count as f64,
        _ => return None,
    };
    (seconds > 0.0 && risen >= 0.0).then_some(risen / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(readings: &[(u64, Value)]) -> Series {
        let mut series = Series::default();
        for (time, value) in readings {
            let last = Last {
                time: Time::from_secs(*time),
                times_set: 0,
            };
            series.add(last, *value, Duration::from_secs(*time));
        }
        series
    }

    fn figures(series: &Series) -> Vec<f64> {
        series.samples.iter().map(|(_, figure)| *figure).collect()
    }

    #[test]
    fn counts_become_rates_and_one_that_begins_anew_is_no_rise() {
        use Value::{Absolute, Counter, Derive, Gauge};
        for (readings, expected) in [
            (
                vec![(1, Derive(5)), (2, Derive(15)), (4, Derive(25))],
                vec![10.0, 5.0],
            ),
            (
                vec![(1, Derive(500)), (2, Derive(3)), (3, Derive(10))],
                vec![7.0],
            ),
            (vec![(1, Derive(i64::MIN)), (2, Derive(i64::MAX))], vec![]),
            (
                vec![(1, Counter(1)), (2, Counter(4)), (3, Counter(0))],
                vec![3.0],
            ),
            (vec![(1, Absolute(9)), (3, Absolute(8))], vec![4.0]),
            (vec![(1, Gauge(2.5)), (2, Gauge(f64::NAN))], vec![2.5]),
            (
                vec![(1, Gauge(2.5)), (2, Derive(7)), (3, Derive(8))],
                vec![2.5, 1.0],
            ),
        ] {
            assert_eq!(figures(&series(&readings)), expected, "{readings:?}");
        }
    }

    #[test]
    fn the_mean_is_of_the_newest_that_are_near_to_each_other() {
        let gauges = |readings: &[(u64, f64)]| {
            let readings: Vec<_> = readings
                .iter()
                .map(|(t, v)| (*t, Value::Gauge(*v)))
                .collect();
            series(&readings)
        };
        let mean = |series: &Series, oldest| {
            let recent = series.recent(Time::from_secs(oldest));
            recent.map(|recent| recent.mean)
        };
        let full = gauges(&[(1, 100.0), (2, 1.0), (3, 2.0), (4, 6.0)]);
        assert_eq!(mean(&full, 4), Some(3.0));
        assert_eq!(mean(&full, 5), None, "too old");
        let broken = gauges(&[(1, 100.0), (60, 1.0), (61, 2.0)]);
        assert_eq!(mean(&broken, 60), Some(1.5));
        assert_eq!(mean(&Series::default(), 0), None);
    }

    #[test]
    fn so_many_samples_are_kept_and_no_more() {
        let readings: Vec<_> = (0..1_000).map(|t| (t, Value::Gauge(t as f64))).collect();
        assert_eq!(series(&readings).samples.len(), MOST_SAMPLES);
    }
}
