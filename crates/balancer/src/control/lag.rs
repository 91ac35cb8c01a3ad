//! How late the control thread's timers are.
//!
//! A thread whose timers are late was not run: its machine, or the host below, had too little for it. What it
//! did not do meanwhile speaks against nobody.

use std::time::Duration;

/// The longest lateness of a span of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    longest: Duration,
}

impl Lag {
    /// Takes note of a timer that woke so late.
    pub fn note(&mut self, late: Duration) {
        self.longest = self.longest.max(late);
    }

    /// The longest so far, in milliseconds.
    #[must_use]
    pub fn longest_ms(self) -> u64 {
        u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX)
    }
}
