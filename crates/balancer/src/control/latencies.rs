//! Latencies of the last while, merged from all threads.

use std::time::{Duration, Instant};

use model::Latency;

use crate::latency::Times;
use crate::shared::{Shared, ThreadDesk};

/// The shortest time over which quantiles are told, once there has been so much; the longest is twice that.
const WINDOW: Duration = Duration::from_secs(10);

/// The totals of all threads at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Until answers began.
    pub(super) first_byte: Times,
    /// Until they were whole.
    pub(super) whole: Times,
}

/// What the quantiles of a window are told from: totals at its beginning, and at the next one's.
#[derive(Debug)]
pub struct Latencies {
    base: Totals,
    next: Totals,
    turns_at: Instant,
}

impl Latencies {
    /// Nothing has been answered yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            base: Totals::default(),
            next: Totals::default(),
            turns_at: now + WINDOW,
        }
    }

    /// Begins the next window when it is time to.
    pub fn turn(&mut self, shared: &Shared, now: Instant) {
        if now >= self.turns_at {
            self.turns_at = now + WINDOW;
            self.base = std::mem::replace(&mut self.next, Totals::of(&shared.threads));
        }
    }

    /// The quantiles of what was answered in the window.
    #[must_use]
    pub fn tell(&self, shared: &Shared) -> Latency {
        let totals = Totals::of(&shared.threads);
        Latency {
            first_byte: totals.first_byte.since(&self.base.first_byte).quantiles(),
            whole: totals.whole.since(&self.base.whole).quantiles(),
        }
    }
}

impl Totals {
    /// As they are now.
    pub(super) fn of(threads: &[ThreadDesk]) -> Self {
        let mut totals = Self::default();
        for desk in threads {
            totals.first_byte.add(&desk.latency.first_byte);
            totals.whole.add(&desk.latency.whole);
        }
        totals
    }
}
