//! When a balancer that has ended is started again.

use std::time::Duration;

/// Wait before a second quick start; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest wait before a start.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A balancer that lived that long is started again at once.
const LONG_LIFE: Duration = Duration::from_secs(1);

/// How long to wait before the next start.
#[derive(Debug, Default)]
pub struct Backoff {
    quick_ends: u32,
}

impl Backoff {
    /// The wait after a balancer that lived for `life`: none the first time and after a long life.
    pub fn after(&mut self, life: Duration) -> Duration {
        if life >= LONG_LIFE {
            self.quick_ends = 0;
        }
        let factor = match self.quick_ends {
            0 => 0,
            more => 1u32.checked_shl(more - 1).unwrap_or(u32::MAX),
        };
        self.quick_ends = self.quick_ends.saturating_add(1).min(31);
        FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balancer_is_started_at_once_then_ever_later_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_millis(3);
        let mut after = |life| backoff.after(life).as_millis();
        assert_eq!(
            [(); 9].map(|()| after(quick)),
            [0, 10, 20, 40, 80, 160, 320, 640, 1000]
        );
        for _ in 0..100 {
            assert_eq!(after(quick), 1000);
        }
        assert_eq!(after(LONG_LIFE), 0, "a long life forgives");
        assert_eq!(after(quick), 10);
    }
}
