//! Leases: a time to live that keys can hang on.
//!
//! ```text
//!              keep_alive (again the whole ttl)
//!                ┌────┐
//!                ▼    │
//!  grant ────▶ alive ─┴─ now ≥ expires ──▶ expired: its keys are deleted, one revision for the lease
//!                │                              ▲
//!                └───────────── revoke ─────────┘
//! ```
//!
//! Time is the machine's monotonic clock, which all its processes share, together with the boot's id:
//!
//! - not the wall clock: one step of it (NTP, an operator) would end every lease at once, or none for hours;
//! - not `CLOCK_BOOTTIME`: it runs on while the machine sleeps, so that on waking every lease would have ended
//!   before its holder had a chance to renew; `CLOCK_MONOTONIC` stops for holder and lease alike;
//! - both begin again at a reboot, so a deadline is stored with the boot that it was made in. The first process
//!   that opens the store in a new boot gives each older lease its whole time to live again, as etcd does when
//!   its leader changes: a lease may live longer than its ttl, never shorter.
//!
//! An expired lease's keys are never read nor held true by a condition, even before anybody has deleted them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names a lease of one store; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub(crate) i64);

impl LeaseId {
    /// The lease's number, for logs and for carrying it to another process.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The ttl in whole milliseconds, at least one, so that a lease is never born expired.
pub(crate) fn ttl_ms(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1)
}
