//! The machine's clock, where it is this balancer's to set: in a VM, which has nobody else to keep its time.
//!
//! The host learns what the clock shows and says the time if it is off, as after the machine stood still. It is
//! then set at once: figures and logs need the right time, and nothing in a balancer measures by this clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{CLOCK_INTERVAL_MS, CLOCK_TOLERANCE_MS, GuestMessage};
use rustix::time::{ClockId, Timespec, clock_settime};

/// When the clock was last spoken of.
#[derive(Debug)]
pub struct Clock {
    due_at: Instant,
}

impl Clock {
    /// It is spoken of for the first time after an interval: the machine was told the time when it began.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            due_at: now + Duration::from_millis(CLOCK_INTERVAL_MS),
        }
    }

    /// When it is to be spoken of next.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        self.due_at
    }

    /// What the host is to be told, when that is due.
    pub fn tell(&mut self, now: Instant) -> Option<GuestMessage> {
        if now < self.due_at {
            return None;
        }
        self.due_at = now + Duration::from_millis(CLOCK_INTERVAL_MS);
        Some(GuestMessage::Clock {
            unix_time_ms: shown_ms(),
        })
    }

    /// Sets the clock if it is off, and says so for the log.
    pub fn take(&self, unix_time_ms: u64) -> Option<String> {
        let off_ms = shown_ms().abs_diff(unix_time_ms);
        if off_ms <= CLOCK_TOLERANCE_MS {
            return None;
        }
        let time = Timespec {
            tv_sec: i64::try_from(unix_time_ms / 1_000).ok()?,
            tv_nsec: i64::try_from(unix_time_ms % 1_000 * 1_000_000).ok()?,
        };
        Some(match clock_settime(ClockId::Realtime, time) {
            Ok(()) => format!("the clock was off by {off_ms} ms and was set"),
            Err(error) => format!("the clock is off by {off_ms} ms and cannot be set: {error}"),
        })
    }
}

fn shown_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_spoken_of_once_in_an_interval_and_one_that_is_right_is_left_alone() {
        let start = Instant::now();
        let interval = Duration::from_millis(CLOCK_INTERVAL_MS);
        let mut clock = Clock::new(start);
        assert_eq!(clock.tell(start), None);
        let told = clock.tell(start + interval);
        let Some(GuestMessage::Clock { unix_time_ms }) = told else {
            panic!("{told:?}");
        };
        assert_eq!(clock.tell(start + interval), None);
        assert_eq!(clock.due_at(), start + 2 * interval);
        assert_eq!(clock.take(unix_time_ms), None);
    }
}
