//! How many retries there may be: a share of the requests of the last ten seconds.
//!
//! Without it each failure is answered by up to as many retries as one request may have, just when the
//! backends can bear them least. (Beyer and others: "Site Reliability Engineering", 2016, chapter 21,
//! "Handling Overload".) Deviation: requests are told in portions, at the latest when a retry is asked for,
//! so that counting them costs the hot path nothing.

use crate::sliding_window::{SlidingWindow, Tally};

/// Milliseconds that are looked back on.
const WINDOW_MS: u64 = 10_000;
/// Retries that are always allowed within the window.
const ALWAYS: u64 = 10;

/// Requests and retries of the last ten seconds.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    window: SlidingWindow,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            window: SlidingWindow::new(WINDOW_MS),
        }
    }
}

impl RetryBudget {
    /// So many requests have come since this was last told.
    pub fn tell_requests(&mut self, requests: u64, now: u64) {
        let tally = Tally {
            all: requests,
            marked: 0,
        };
        self.window.add(now, tally);
    }

    /// Takes one retry at `now` milliseconds, if there may be one more: at most `percent` of the requests
    /// of the last ten seconds, and ten in any case.
    pub fn take(&mut self, percent: u16, now: u64) -> bool {
        let Tally { all, marked } = self.window.sums(now, 0);
        let most = (all.saturating_mul(u64::from(percent)) / 100).max(ALWAYS);
        if marked >= most {
            return false;
        }
        self.window.add(now, Tally { all: 0, marked: 1 });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn granted(requests: u64, percent: u16, asked: u64) -> u64 {
        let mut budget = RetryBudget::default();
        budget.tell_requests(requests, 0);
        (0..asked).filter(|_| budget.take(percent, 5)).count() as u64
    }

    #[test]
    fn retries_are_a_share_of_the_requests_and_ten_in_any_case() {
        for (requests, percent, due) in
            [(0, 20, 10), (40, 20, 10), (1_000, 20, 200), (1_000, 0, 10)]
        {
            assert_eq!(granted(requests, percent, 2_000), due);
        }
    }

    #[test]
    fn a_spent_budget_fills_up_again() {
        let mut budget = RetryBudget::default();
        assert!((0..10).all(|_| budget.take(20, 0)));
        assert!(!budget.take(20, 5_000));
        assert!(budget.take(20, 10_000));
    }

    proptest! {
        #[test]
        fn no_ten_seconds_see_more_than_the_share(
            steps in proptest::collection::vec((0u64..2_000, 0u64..50), 1..100),
        ) {
            let mut budget = RetryBudget::default();
            let (mut now, mut taken) = (0, Vec::new());
            let mut told = Vec::new();
            for (wait, requests) in steps {
                now += wait;
                budget.tell_requests(requests, now);
                told.push((now, requests));
                while budget.take(20, now) {
                    taken.push(now);
                }
                let retries = taken.iter().filter(|&&at| at + 9_000 > now).count() as u64;
                let requests: u64 =
                    told.iter().filter(|(at, _)| at + 20_000 > now).map(|(_, count)| count).sum();
                prop_assert!(retries <= (requests / 5).max(10));
            }
        }
    }
}
