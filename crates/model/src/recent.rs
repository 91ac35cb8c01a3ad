//! The largest of what was seen of late.

use std::time::{Duration, Instant};

/// The maximum of what was noted within about a window: never less than the last half of it, never more
/// than all of it. It holds two figures, however much is noted.
#[derive(Clone, Copy, Debug)]
pub struct RecentMaximum {
    half: Duration,
    /// When the half began to which `current` belongs.
    began: Option<Instant>,
    current: Duration,
    before: Duration,
}

impl RecentMaximum {
    /// Nothing was noted within the window so far.
    #[must_use]
    pub const fn over(window: Duration) -> Self {
        Self {
            half: Duration::from_millis(window.as_millis() as u64 / 2),
            began: None,
            current: Duration::ZERO,
            before: Duration::ZERO,
        }
    }

    /// Takes note of what was seen at `now`.
    pub fn note(&mut self, value: Duration, now: Instant) {
        self.turn(now);
        self.current = self.current.max(value);
    }

    /// The largest at `now`; zero when nothing was noted within the window.
    #[must_use]
    pub fn longest(mut self, now: Instant) -> Duration {
        self.turn(now);
        self.current.max(self.before)
    }

    /// Forgets what is older than a half.
    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age < self.half {
            return;
        }
        self.before = match age < self.half.saturating_mul(2) {
            true => self.current,
            false => Duration::ZERO,
        };
        self.current = Duration::ZERO;
        self.began = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_known_for_half_a_window_at_least_and_forgotten_after_the_whole() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        for (noted, asked, known) in [
            (&[(0, 3)][..], 0, 3),
            (&[(0, 3)], 29, 3),
            (&[(0, 3)], 59, 3),
            (&[(0, 3)], 61, 0),
            (&[(0, 3), (10, 9), (20, 1)], 25, 9),
            (&[(0, 3), (10, 9), (40, 1)], 45, 9),
            (&[(0, 3), (10, 9), (40, 1)], 69, 9),
            (&[(0, 3), (10, 9), (40, 1)], 71, 1),
            (&[(0, 3), (10, 9), (40, 1)], 101, 0),
            (&[], 5, 0),
        ] {
            let mut recent = RecentMaximum::over(s(60));
            for (at, value) in noted {
                recent.note(s(*value), start + s(*at));
            }
            assert_eq!(
                recent.longest(start + s(asked)),
                s(known),
                "{noted:?} {asked}"
            );
        }
    }
}
