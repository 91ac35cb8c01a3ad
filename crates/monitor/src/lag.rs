//! How late this process's own timers are.
//!
//! Whoever judges others by their silence must know for how long it could not listen itself: its machine was
//! starved, its threads were busy, or the process was stopped as a whole. So a task sleeps a short while again
//! and again, and what it wakes late is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::RecentMaximum;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long the task sleeps.
const NAP: Duration = Duration::from_millis(50);
/// For how long it is remembered that timers were late.
const MEMORY: Duration = Duration::from_secs(10);

/// Measures for as long as it lives, by the monotonic clock.
#[derive(Debug)]
pub struct LagMeter {
    naps: Arc<Mutex<Naps>>,
    task: JoinHandle<()>,
}

impl LagMeter {
    /// Begins to measure. Must be called within the tokio runtime whose timers count.
    #[must_use]
    pub fn start() -> Self {
        let naps = Arc::new(Mutex::new(Naps::begin(Instant::now())));
        let seen = Arc::clone(&naps);
        let task = tokio::spawn(async move {
            loop {
                sleep(NAP).await;
                lock(&seen).wake(Instant::now());
            }
        });
        Self { naps, task }
    }

    /// The longest that a timer was late of late, the one that is late at this moment included.
    #[must_use]
    pub fn longest(&self) -> Duration {
        lock(&self.naps).longest(Instant::now())
    }

    /// By how much timers were late in all, so that a difference of two readings is what was lost in between.
    #[must_use]
    pub fn lost(&self) -> Duration {
        lock(&self.naps).lost(Instant::now())
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A row of naps, of which one is always being taken.
#[derive(Debug)]
struct Naps {
    /// When the present one is to end.
    due: Instant,
    lost: Duration,
    recent: RecentMaximum,
}

impl Naps {
    fn begin(now: Instant) -> Self {
        Self {
            due: now + NAP,
            lost: Duration::ZERO,
            recent: RecentMaximum::over(MEMORY),
        }
    }

    fn wake(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.due);
        self.lost = self.lost.saturating_add(late);
        self.recent.note(late, now);
        self.due = now + NAP;
    }

    fn longest(&self, now: Instant) -> Duration {
        let late = now.saturating_duration_since(self.due);
        self.recent.longest(now).max(late)
    }

    fn lost(&self, now: Instant) -> Duration {
        let late = now.saturating_duration_since(self.due);
        self.lost.saturating_add(late)
    }
}

fn lock(naps: &Mutex<Naps>) -> MutexGuard<'_, Naps> {
    // Whole between any two statements, so a panic elsewhere leaves nothing half-done.
    naps.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_nap_lasts_too_long_is_lost_from_the_moment_on_at_which_it_is_late() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut naps = Naps::begin(start);
        naps.wake(start + ms(50));
        assert_eq!(naps.lost(start + ms(60)), ms(0));
        // The next one is due at 100.
        assert_eq!(naps.lost(start + ms(400)), ms(300));
        assert_eq!(naps.longest(start + ms(400)), ms(300));
        naps.wake(start + ms(500));
        naps.wake(start + ms(560));
        assert_eq!(naps.lost(start + ms(560)), ms(410));
        assert_eq!(naps.longest(start + ms(560)), ms(400));
        naps.wake(start + ms(20_000));
        naps.wake(start + ms(20_050));
        naps.wake(start + ms(31_000));
        assert_eq!(naps.longest(start + ms(31_000)), ms(10_900));
    }

    #[tokio::test]
    async fn a_runtime_that_is_kept_from_its_work_is_late() {
        let lag = LagMeter::start();
        tokio::task::yield_now().await;
        let before = lag.lost();
        std::thread::sleep(Duration::from_millis(300));
        assert!(lag.lost() >= before + Duration::from_millis(200));
        assert!(lag.longest() >= Duration::from_millis(200));
    }
}
