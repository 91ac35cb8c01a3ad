//! The newest slots of a series, in which samples may still come in any order.
//!
//! ```text
//!   settled ──▶ levels │ watermark          now          ahead │ refused
//!   ───────────────────┼─────────────────────┼─────────────────┼────────▶ slots
//!      refused: late   │   taken, in any order                 │
//! ```
//!
//! The watermark follows the log's clock and not what samples say, so no sample makes another one late.

use std::collections::VecDeque;

use crate::{Bucket, Cell, Histogram, Reading, Refusal};

/// What a slot has so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Draft {
    Gauge(Bucket),
    Count(u64),
    Latencies(Histogram),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Open {
    pub(crate) slot: i64,
    /// The time of its newest sample.
    pub(crate) newest_ms: i64,
    pub(crate) draft: Draft,
}

/// The slots that are open, and where the counter stood when the last one was settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Window {
    pub(crate) open: VecDeque<Open>,
    /// The newest sample's time and slot.
    pub(crate) newest: Option<(i64, i64)>,
    pub(crate) count: Option<u64>,
}

/// Which slots are open: from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Window {
    /// Takes a reading of a time.
    pub(crate) fn add(
        &mut self,
        time_ms: i64,
        reading: Reading,
        step_ms: i64,
        bounds: Bounds,
    ) -> Result<(), Refusal> {
        let slot = self.slot_of(time_ms, step_ms);
        if slot < bounds.first {
            return Err(Refusal::Late);
        }
        if slot > bounds.last {
            return Err(Refusal::Ahead);
        }
        let after = self.open.iter().rev().take_while(|open| open.slot > slot);
        let at = self.open.len() - after.count();
        let same = at
            .checked_sub(1)
            .and_then(|before| self.open.get_mut(before));
        match same.filter(|open| open.slot == slot) {
            Some(open) if open.newest_ms >= time_ms => return Err(Refusal::Duplicate),
            Some(open) => open.merge(time_ms, reading),
            None => self.open.insert(at, Open::new(slot, time_ms, reading)),
        }
        if self.newest.is_none_or(|(newest, _)| newest < time_ms) {
            self.newest = Some((time_ms, slot));
        }
        Ok(())
    }

    /// The slot of a time: the one in which it lies, unless it is so many whole steps from the sample before, give
    /// or take a quarter, that it is meant for the slot next to it. So a series that is read once in a step has one
    /// sample in each slot, also when it is read where two slots meet, and no time is told more than half a step outside of its slot.
    fn slot_of(&self, time_ms: i64, step_ms: i64) -> i64 {
        let own = time_ms.div_euclid(step_ms);
        let Some((newest_ms, slot)) = self.newest else {
            return own;
        };
        let Some(passed) = time_ms.checked_sub(newest_ms) else {
            return own;
        };
        let steps = passed.saturating_add(step_ms / 2).div_euclid(step_ms);
        let strays = passed.abs_diff(steps.saturating_mul(step_ms));
        let meant = slot.saturating_add(steps);
        let off = time_ms.abs_diff(meant.saturating_mul(step_ms).saturating_add(step_ms / 2));
        let is_regular = strays.saturating_mul(4) <= step_ms as u64;
        if is_regular && off <= step_ms as u64 {
            meant
        } else {
            own
        }
    }

    /// The cells of the slots before `first`, which are open no more, oldest first.
    pub(crate) fn settle(&mut self, first: i64) -> Option<(i64, Option<Cell>)> {
        if self.open.front()?.slot >= first {
            return None;
        }
        let open = self.open.pop_front()?;
        Some((open.slot, cell(open.draft, &mut self.count)))
    }

    /// The cells of the open slots as they are now, oldest first.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (i64, Cell)> {
        let mut count = self.count;
        self.open.iter().filter_map(move |open| {
            let cell = cell(open.draft.clone(), &mut count)?;
            Some((open.slot, cell))
        })
    }
}

/// What a draft comes to. A counter's is its rise: of the first reading nothing is known, and one that is less than
/// the one before began anew at 0.
fn cell(draft: Draft, count: &mut Option<u64>) -> Option<Cell> {
    match draft {
        Draft::Gauge(bucket) => Some(Cell::Figures(bucket)),
        Draft::Latencies(histogram) => Some(Cell::Latencies(histogram)),
        Draft::Count(reading) => {
            let before = count.replace(reading)?;
            let rise = reading.checked_sub(before).unwrap_or(reading);
            Some(Cell::Figures(Bucket::of(rise as f64)))
        }
    }
}

impl Open {
    fn new(slot: i64, newest_ms: i64, reading: Reading) -> Self {
        let draft = match reading {
            Reading::Gauge(figure) => Draft::Gauge(Bucket::of(figure)),
            Reading::Count(count) => Draft::Count(count),
            Reading::Latencies(histogram) => Draft::Latencies(histogram),
        };
        Self {
            slot,
            newest_ms,
            draft,
        }
    }

    fn merge(&mut self, time_ms: i64, reading: Reading) {
        self.newest_ms = time_ms;
        match (&mut self.draft, reading) {
            (Draft::Gauge(bucket), Reading::Gauge(figure)) => bucket.merge(&Bucket::of(figure)),
            (Draft::Count(count), Reading::Count(reading)) => *count = reading,
            (Draft::Latencies(mine), Reading::Latencies(theirs)) => mine.merge(&theirs),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        first: 0,
        last: 1_000,
    };

    fn slots(times_ms: &[i64]) -> Vec<i64> {
        let mut window = Window::default();
        for time in times_ms {
            let _ = window.add(*time, Reading::Gauge(1.0), 1_000, BOUNDS);
        }
        window.open.iter().map(|open| open.slot).collect()
    }

    #[test]
    fn one_sample_in_a_step_is_one_in_a_slot_wherever_it_falls() {
        for (what, times, expected) in [
            ("plain", vec![100, 1_100, 2_100], vec![0, 1, 2]),
            (
                "where slots meet",
                vec![999, 2_001, 2_999, 4_000, 4_999],
                vec![0, 1, 2, 3, 4],
            ),
            (
                "in another order",
                vec![3_001, 999, 2_002, 4_999],
                vec![1, 2, 3, 5],
            ),
            ("twice in a step", vec![0, 500, 1_000, 1_500], vec![0, 1]),
            ("after a gap", vec![100, 5_100], vec![0, 5]),
        ] {
            assert_eq!(slots(&times), expected, "{what}");
        }
        let drifting: Vec<i64> = (0..500).map(|n| n * 1_010).collect();
        assert!(slots(&drifting).len() >= 495, "few are put together");
    }

    #[test]
    fn what_is_told_again_late_or_from_the_future_is_refused() {
        let mut window = Window::default();
        let bounds = Bounds {
            first: 10,
            last: 20,
        };
        for (time, expected) in [
            (15_000, Ok(())),
            (15_000, Err(Refusal::Duplicate)),
            (8_999, Err(Refusal::Late)),
            (21_000, Err(Refusal::Ahead)),
            (i64::MAX, Err(Refusal::Ahead)),
            (i64::MIN, Err(Refusal::Late)),
            (12_000, Ok(())),
            (12_000, Err(Refusal::Duplicate)),
        ] {
            assert_eq!(
                window.add(time, Reading::Gauge(0.0), 1_000, bounds),
                expected,
                "{time}"
            );
        }
    }

    #[test]
    fn a_counter_tells_its_rises_also_over_a_reset() {
        let mut window = Window::default();
        for (second, count) in [(3, 25), (1, 10), (2, 15), (4, 5), (6, 7)] {
            window
                .add(second * 1_000, Reading::Count(count), 1_000, BOUNDS)
                .unwrap();
        }
        let rises: Vec<_> = window
            .cells()
            .map(|(slot, cell)| match cell {
                Cell::Figures(bucket) => (slot, bucket.sum),
                Cell::Latencies(_) => unreachable!("it is a counter"),
            })
            .collect();
        assert_eq!(rises, [(2, 5.0), (3, 10.0), (4, 5.0), (6, 2.0)]);
    }
}
