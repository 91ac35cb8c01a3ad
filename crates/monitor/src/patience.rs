//! How long one VM's answer is waited for.
//!
//! A question is too late when it takes four times as long as the slowest answer of the last minute: a VM that
//! is slow, because its machine has little to give, is waited for, and one that was quick is found silent
//! quickly. The wait is rounded up to a power of two times the shortest, so that its name in words changes
//! seldom. (TCP's retransmission timer, RFC 6298, forgets a slow answer after a few quick ones; a machine that
//! is starved by turns is slow again.)

use std::time::{Duration, Instant};

use model::RecentMaximum;

/// For how long a slow answer is remembered.
const MEMORY: Duration = Duration::from_secs(60);
/// How much longer than the slowest answer of late one may take.
const MARGIN: u32 = 4;
/// The longest wait, in shortest ones.
const MOST: u32 = 8;

/// What is known of one VM's answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    shortest: Duration,
    slowest: RecentMaximum,
}

impl Patience {
    /// Nothing is known yet, and `shortest` is waited.
    pub(crate) fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            slowest: RecentMaximum::over(MEMORY),
        }
    }

    /// Takes note of how long an answer took.
    pub(crate) fn learn(&mut self, took: Duration, now: Instant) {
        self.slowest.note(took, now);
    }

    /// How long to wait for an answer at `now`.
    pub(crate) fn deadline(&self, now: Instant) -> Duration {
        let wanted = self.slowest.longest(now).saturating_mul(MARGIN);
        let mut times = 1;
        while times < MOST && self.shortest.saturating_mul(times) < wanted {
            times *= 2;
        }
        self.shortest.saturating_mul(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_was_slow_is_waited_for_longer_within_bounds_and_for_a_while() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        for (took_ms, deadline_ms) in [
            (1, 150),
            (37, 150),
            (38, 300),
            (75, 300),
            (100, 600),
            (299, 1_200),
            (5_000, 1_200),
        ] {
            let mut patience = Patience::new(ms(150));
            assert_eq!(patience.deadline(start), ms(150));
            patience.learn(ms(took_ms), start);
            patience.learn(ms(1), start + ms(20_000));
            let seen = patience.deadline(start + ms(29_000));
            assert_eq!(seen, ms(deadline_ms), "{took_ms}");
            assert_eq!(patience.deadline(start + ms(90_000)), ms(150));
        }
    }
}
