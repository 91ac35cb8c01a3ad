//! How long answers take: a histogram for each thread, and quantiles over a window of time.
//!
//! Buckets are linear within a power of two, as in HdrHistogram (Gil Tene, 2012): below 64 µs each bucket is
//! one microsecond wide, above that a 32nd of its power of two, so what is told is at most 1/32 too much. They are
//! the monitor log's, so what was counted here is kept there as it is. What takes longer than 2^31 µs, about 36 minutes,
//! counts as that long. A histogram is 864 numbers and a sum, so noting a time is two additions, and merging is one
//! pass.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Quantiles;

use crate::statistics::add;

/// Buckets of each power of two.
const STEPS: u64 = 32;
/// Bits of [`STEPS`].
const STEP_BITS: u32 = STEPS.ilog2();
/// Times from here on are in the last bucket.
const END_US: u64 = 1 << 31;
/// Buckets: the first 32 microseconds, then 32 for each power of two up to [`END_US`].
const BUCKETS: usize = 32 + 26 * 32;

/// The bucket of a time.
fn bucket_of(us: u64) -> usize {
    let us = us.min(END_US - 1);
    if us < STEPS {
        return us as usize;
    }
    let power = us.ilog2() - STEP_BITS;
    // Of the bits after the first, the highest five say which step it is.
    let step = us >> power;
    (u64::from(power) * STEPS + step) as usize
}

/// The longest time of a bucket.
fn longest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    let step = bucket % STEPS + STEPS;
    ((step + 1) << power) - 1
}

/// Times that one thread notes and others read.
#[derive(Debug)]
pub struct Recorder {
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    /// Notes a time, in microseconds. Only one thread may.
    pub fn note(&self, us: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            add(bucket, 1);
            add(&self.sum_us, us);
        }
    }
}

/// Times of all threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    buckets: Box<[u64]>,
    sum_us: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            sum_us: 0,
        }
    }
}

impl Times {
    /// Adds what one thread has noted.
    pub fn add(&mut self, recorder: &Recorder) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&recorder.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        let sum_us = recorder.sum_us.load(Ordering::Relaxed);
        self.sum_us = self.sum_us.wrapping_add(sum_us);
    }

    /// What has come since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&before.buckets);
        Self {
            buckets: buckets
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
            sum_us: self.sum_us.wrapping_sub(before.sum_us),
        }
    }

    /// All times added up, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The buckets that are not empty, ascending, with how many times are in each.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        (0..)
            .zip(&self.buckets)
            .filter_map(|(index, count)| (*count > 0).then_some((index, *count)))
    }

    /// The times that so many of them do not exceed; all 0 when there are none.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        let count: u64 = self.buckets.iter().sum();
        let at = |per_mille: u64| self.rank((count * per_mille).div_ceil(1_000));
        Quantiles {
            count,
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: self.rank(count),
        }
    }

    /// The bound of the bucket in which the `rank`th shortest time is; 0 for the 0th.
    fn rank(&self, rank: u64) -> u64 {
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            rank > 0 && seen >= rank
        });
        bucket.map_or(0, longest_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for bucket in 0..BUCKETS {
            let longest = longest_of(bucket);
            assert_eq!(bucket_of(longest), bucket);
            let next = if longest + 1 < END_US {
                bucket + 1
            } else {
                bucket
            };
            assert_eq!(bucket_of(longest + 1), next, "after {longest}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn without_times_there_are_no_quantiles() {
        assert_eq!(Times::default().quantiles(), Quantiles::default());
    }

    #[test]
    fn what_came_before_the_window_is_not_told() {
        let recorder = Recorder::default();
        recorder.note(1_000_000);
        let mut before = Times::default();
        before.add(&recorder);
        recorder.note(5);
        let mut after = Times::default();
        after.add(&recorder);
        let told = after.since(&before).quantiles();
        assert_eq!((told.count, told.p50_us, told.max_us), (1, 5, 5));
    }

    #[test]
    fn what_is_counted_is_what_the_monitor_log_would_count() {
        let (recorder, mut expected) = (Recorder::default(), series::Histogram::new());
        for us in [
            0,
            1,
            31,
            32,
            33,
            63,
            64,
            65,
            127,
            128,
            1_000,
            65_535,
            5_000_000,
            END_US - 1,
        ] {
            recorder.note(us);
            expected.record(us);
        }
        let mut times = Times::default();
        times.add(&recorder);
        let told = series::Histogram::from_buckets(times.buckets().collect(), times.sum_us());
        assert_eq!(told, Some(expected));
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_too_small_and_at_most_a_32nd_too_large(
            mut times in proptest::collection::vec(0u64..10_000_000, 1..500),
        ) {
            let recorder = Recorder::default();
            for &us in &times {
                recorder.note(us);
            }
            let mut sum = Times::default();
            sum.add(&recorder);
            let told = sum.quantiles();
            times.sort_unstable();
            let true_at = |per_mille: usize| times[(times.len() * per_mille).div_ceil(1_000) - 1];
            prop_assert_eq!(told.count, times.len() as u64);
            for (told, per_mille) in [
                (told.p50_us, 500),
                (told.p90_us, 900),
                (told.p99_us, 990),
                (told.p999_us, 999),
                (told.max_us, 1_000),
            ] {
                let truth = true_at(per_mille);
                prop_assert!(told >= truth && told <= truth + truth / 32, "{told} for {truth}");
            }
        }
    }
}
