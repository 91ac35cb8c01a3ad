//! Latencies, counted in buckets that are the same everywhere, so that any two histograms merge.
//!
//! Each power of two has 32 buckets of equal width, as in HdrHistogram (Gil Tene): below 32 each number has a bucket
//! of its own, above it a bucket is at most 1/32 of its lowest value wide. So a percentile, told as its bucket's
//! middle, is off by at most 1/64 ([`RELATIVE_ERROR`]), over any span and any number of VMs.

use std::cmp::Ordering;

/// A percentile is off by at most this share of the true one.
pub const RELATIVE_ERROR: f64 = 1.0 / 64.0;

/// Buckets of one power of two, as bits.
const PART_BITS: u32 = 5;
/// Buckets there are: enough for every number of 64 bits.
const BUCKETS: u16 = ((64 - PART_BITS + 1) << PART_BITS) as u16;

/// How often each latency was seen, in whole units of the caller's: microseconds, say.
///
/// It holds the buckets that are not empty, 1,920 of them at the very most and some dozens in practice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Buckets with their counts, ascending; no count is 0.
    buckets: Vec<(u16, u64)>,
    sum: u64,
}

impl Histogram {
    /// Of no latencies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a latency.
    pub fn record(&mut self, latency: u64) {
        self.add(index_of(latency), 1);
        self.sum = self.sum.saturating_add(latency);
    }

    /// Counts all that another counted.
    pub fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let mut mine = self.buckets.iter().copied().peekable();
        let mut theirs = other.buckets.iter().copied().peekable();
        loop {
            let order = match (mine.peek(), theirs.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let next = match order {
                Ordering::Less => mine.next(),
                Ordering::Greater => theirs.next(),
                Ordering::Equal => mine
                    .next()
                    .zip(theirs.next())
                    .map(|((index, a), (_, b))| (index, a.saturating_add(b))),
            };
            merged.extend(next);
        }
        self.buckets = merged;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many latencies there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// All latencies added up, exactly.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The latency that a share of all do not exceed, from 0 to 1; of 0.99 the 99th percentile. It is off by at
    /// most [`RELATIVE_ERROR`]. `None` of no latencies.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64)
            .ceil()
            .max(1.0);
        let mut below = 0u64;
        let within = self.buckets.iter().find(|(_, count)| {
            below = below.saturating_add(*count);
            below as f64 >= rank
        });
        let (index, _) = within.or(self.buckets.last())?;
        Some(middle_of(*index))
    }

    /// How often there were latencies of about each length, ascending: the middle of each bucket that is not empty,
    /// which is off by at most [`RELATIVE_ERROR`], and its count.
    pub fn lengths(&self) -> impl Iterator<Item = (f64, u64)> {
        let buckets = self.buckets.iter();
        buckets.map(|(index, count)| (middle_of(*index), *count))
    }

    /// The buckets that are not empty with their counts, ascending.
    pub(crate) fn buckets(&self) -> &[(u16, u64)] {
        &self.buckets
    }

    /// Of such buckets, with all latencies added up; `None` if they do not ascend, are empty or are none of ours. The
    /// bucket of a latency is itself below 32; above that each power of two has 32 of equal width, counted on.
    #[must_use]
    pub fn from_buckets(buckets: Vec<(u16, u64)>, sum: u64) -> Option<Self> {
        let ascend = buckets.is_sorted_by(|(a, _), (b, _)| a < b);
        let ours = buckets
            .iter()
            .all(|(index, count)| *index < BUCKETS && *count > 0);
        (ascend && ours).then_some(Self { buckets, sum })
    }

    fn add(&mut self, index: u16, times: u64) {
        match self
            .buckets
            .binary_search_by_key(&index, |(index, _)| *index)
        {
            Ok(at) => {
                if let Some((_, count)) = self.buckets.get_mut(at) {
                    *count = count.saturating_add(times);
                }
            }
            Err(at) => self.buckets.insert(at, (index, times)),
        }
    }
}

fn index_of(latency: u64) -> u16 {
    let bits = u64::BITS - latency.leading_zeros();
    let shift = bits.saturating_sub(PART_BITS + 1);
    ((shift << PART_BITS) as u64 + (latency >> shift)) as u16
}

fn middle_of(index: u16) -> f64 {
    let index = u64::from(index);
    let shift = (index >> PART_BITS).saturating_sub(1);
    let lowest = (index - (shift << PART_BITS)) << shift;
    let width = 1u64 << shift;
    lowest as f64 + (width - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(latencies: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        latencies
            .iter()
            .for_each(|latency| histogram.record(*latency));
        histogram
    }

    fn latencies() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(
            (any::<u64>(), 0u32..64).prop_map(|(x, shift)| x >> shift),
            0..200,
        )
    }

    proptest! {
        #[test]
        fn merging_is_counting_all_in_any_order(a in latencies(), b in latencies(), c in latencies()) {
            let (a, b, c) = (of(&a), of(&b), of(&c));
            let merged = |parts: [&Histogram; 3]| {
                let mut all = Histogram::new();
                parts.iter().for_each(|part| all.merge(part));
                all
            };
            let mut right = b.clone();
            right.merge(&c);
            let mut nested = a.clone();
            nested.merge(&right);
            prop_assert_eq!(&merged([&a, &b, &c]), &nested);
            prop_assert_eq!(&merged([&c, &a, &b]), &nested);
            prop_assert_eq!(nested.count(), a.count() + b.count() + c.count());
        }

        #[test]
        fn a_percentile_is_right_within_the_error(mut latencies in latencies(), share in 0.0..=1.0f64) {
            let found = of(&latencies).quantile(share);
            latencies.sort_unstable();
            let rank = (share * latencies.len() as f64).ceil().max(1.0) as usize;
            let Some(expected) = latencies.get(rank - 1) else {
                prop_assert_eq!(found, None);
                return Ok(());
            };
            let expected = *expected as f64;
            prop_assert!((found.unwrap() - expected).abs() <= expected * RELATIVE_ERROR);
        }
    }

    #[test]
    fn every_number_has_a_bucket() {
        for (latency, index) in [
            (0, 0),
            (31, 31),
            (32, 32),
            (63, 63),
            (64, 64),
            (65, 64),
            (u64::MAX, BUCKETS - 1),
        ] {
            assert_eq!(index_of(latency), index, "{latency}");
        }
    }
}
