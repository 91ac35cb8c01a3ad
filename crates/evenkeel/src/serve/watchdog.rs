//! How a role shows that its loop goes round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fed by a role with every turn of its loop, and for the first time once it is at work. Clones are handles to
/// one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchdog(Arc<AtomicU64>);

impl Watchdog {
    /// The loop has come round.
    pub(crate) fn feed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was fed.
    pub(super) fn meals(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
