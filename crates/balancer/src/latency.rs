//! How long answers take: a histogram for each thread, and quantiles over a window of time.
//!
//! Buckets are linear within a power of two, as in HdrHistogram (Gil Tene, 2012): below 32 µs each bucket is
//! one microsecond wide, above that a 16th of its power of two, so what is told is at most 1/16 too much.
//! What takes longer than 2^31 µs, about 36 minutes, counts as that long. A histogram is 448 numbers, so
//! noting a time is an addition to one of them, and merging is one pass.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Quantiles;

use crate::statistics::add;

/// Buckets of each power of two.
const STEPS: u64 = 16;
/// Bits of [`STEPS`].
const STEP_BITS: u32 = STEPS.ilog2();
/// Times from here on are in the last bucket.
const END_US: u64 = 1 << 31;
/// Buckets: the first 16 microseconds, then 16 for each power of two up to [`END_US`].
const BUCKETS: usize = 16 + 27 * 16;

/// The bucket of a time.
fn bucket_of(us: u64) -> usize {
    let us = us.min(END_US - 1);
    if us < STEPS {
        return us as usize;
    }
    let power = us.ilog2() - STEP_BITS;
    // Of the bits after the first, the highest four say which step it is.
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
pub struct Recorder(Box<[AtomicU64]>);

impl Default for Recorder {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Recorder {
    /// Notes a time, in microseconds. Only one thread may.
    pub fn note(&self, us: u64) {
        if let Some(bucket) = self.0.get(bucket_of(us)) {
            add(bucket, 1);
        }
    }
}

/// Times of all threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times(Box<[u64]>);

impl Default for Times {
    fn default() -> Self {
        Self(vec![0; BUCKETS].into_boxed_slice())
    }
}

impl Times {
    /// Adds what one thread has noted.
    pub fn add(&mut self, recorder: &Recorder) {
        for (sum, bucket) in self.0.iter_mut().zip(&recorder.0) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }

    /// What has come since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let buckets = self.0.iter().zip(&before.0);
        Self(
            buckets
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        )
    }

    /// The times that so many of them do not exceed; all 0 when there are none.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        let count: u64 = self.0.iter().sum();
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
        let bucket = self.0.iter().position(|count| {
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

    proptest! {
        #[test]
        fn a_quantile_is_never_too_small_and_at_most_a_sixteenth_too_large(
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
                prop_assert!(told >= truth && told <= truth + truth / 16, "{told} for {truth}");
            }
        }
    }
}
