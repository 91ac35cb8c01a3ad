//! Counts of the recent past, in buckets of a fixed width: old buckets go as new ones come, so that a count
//! costs nothing but an addition, and the sum is off by one bucket's worth at the most.

/// Buckets of one window.
const BUCKETS: u64 = 10;

/// What was counted: things, and those of them that matter (failed requests, retries).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub all: u64,
    /// Those that matter.
    pub marked: u64,
}

impl Tally {
    /// Both sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_add(other.all),
            marked: self.marked.saturating_add(other.marked),
        }
    }

    /// Whether more than `percent` of all are marked.
    #[must_use]
    pub fn exceeds(self, percent: u64) -> bool {
        self.marked.saturating_mul(100) > self.all.saturating_mul(percent)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u64,
    tally: Tally,
}

/// The counts of the last `window_ms` milliseconds. Time must not go back.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    width_ms: u64,
    buckets: [Bucket; BUCKETS as usize],
}

impl SlidingWindow {
    /// Nothing was counted yet. A window shorter than ten milliseconds counts as that.
    #[must_use]
    pub fn new(window_ms: u64) -> Self {
        Self {
            width_ms: (window_ms / BUCKETS).max(1),
            buckets: [Bucket::default(); BUCKETS as usize],
        }
    }

    /// Makes the window this long. What was counted is forgotten if it had another length.
    pub fn set_length(&mut self, window_ms: u64) {
        let fresh = Self::new(window_ms);
        if fresh.width_ms != self.width_ms {
            *self = fresh;
        }
    }

    /// Counts at `now` milliseconds.
    pub fn add(&mut self, now: u64, tally: Tally) {
        let number = now / self.width_ms;
        let index = usize::try_from(number % BUCKETS).unwrap_or(0);
        let Some(bucket) = self.buckets.get_mut(index) else {
            return;
        };
        if bucket.number != number {
            *bucket = Bucket {
                number,
                tally: Tally::default(),
            };
        }
        bucket.tally = bucket.tally.plus(tally);
    }

    /// The sums of what lies within the window at `now`, and not before the bucket of `since`.
    #[must_use]
    pub fn sums(&self, now: u64, since: u64) -> Tally {
        let newest = now / self.width_ms;
        let oldest = (since / self.width_ms).max((newest + 1).saturating_sub(BUCKETS));
        self.buckets
            .iter()
            .filter(|bucket| (oldest..=newest).contains(&bucket.number))
            .fold(Tally::default(), |sum, bucket| sum.plus(bucket.tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Tally = Tally { all: 1, marked: 0 };

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = SlidingWindow::new(1_000);
        window.add(0, ONE);
        assert_eq!(window.sums(999, 0), ONE);
        assert_eq!(window.sums(1_000, 0), Tally::default());
    }

    #[test]
    fn a_window_of_another_length_begins_anew() {
        let mut window = SlidingWindow::new(1_000);
        window.add(0, ONE);
        window.set_length(1_000);
        assert_eq!(window.sums(10, 0), ONE);
        window.set_length(2_000);
        assert_eq!(window.sums(10, 0), Tally::default());
    }

    proptest! {
        #[test]
        fn the_sum_is_off_by_one_bucket_at_the_most(
            waits in proptest::collection::vec(0u64..300, 1..200),
        ) {
            let mut window = SlidingWindow::new(1_000);
            let (mut now, mut times) = (0, Vec::new());
            for wait in waits {
                now += wait;
                times.push(now);
                window.add(now, ONE);
                let within = |ms| times.iter().filter(|&&at| at + ms > now).count() as u64;
                let sum = window.sums(now, 0).all;
                prop_assert!((within(900)..=within(1_000)).contains(&sum), "{sum}");
            }
        }
    }
}
