//! The clock by which leases expire: the machine's, or one that a test moves by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was read there.
static BOOT: OnceLock<String> = OnceLock::new();

/// Where a store takes the time from. See the lease module for why it is this clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, within the boot that the kernel names.
    #[default]
    Machine,
    /// Time that stands still until it is advanced: for simulation and tests.
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn now_ms(&self) -> i64 {
        match self {
            Self::Machine => {
                let now = clock_gettime(ClockId::Monotonic);
                now.tv_sec
                    .saturating_mul(1000)
                    .saturating_add(now.tv_nsec / 1_000_000)
            }
            Self::Manual(clock) => clock.now_ms.load(Ordering::SeqCst),
        }
    }

    /// The span of time in which `now_ms` only grows; deadlines of another span mean nothing. It stays the same for
    /// as long as this process lives, and is read once: whoever has no descriptors left needs a lease to say so.
    ///
    /// # Errors
    /// The kernel's boot id cannot be read (no `/proc`).
    pub(crate) fn boot(&self) -> std::io::Result<String> {
        match self {
            Self::Machine => match BOOT.get() {
                Some(known) => Ok(known.clone()),
                None => {
                    let read = std::fs::read_to_string(BOOT_ID)?.trim().to_owned();
                    Ok(BOOT.get_or_init(|| read).clone())
                }
            },
            Self::Manual(_) => Ok("manual".to_owned()),
        }
    }
}

/// A clock that only [`ManualClock::advance`] moves. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now_ms: Arc<AtomicI64>,
}

impl ManualClock {
    /// Moves the time forward, in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}
