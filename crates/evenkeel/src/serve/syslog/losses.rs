//! Lines that are lost on their way to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::monitor::Tally;

/// What is lost: counted in the metrics, and kept until the server is told of it. Its copies are one.
#[derive(Clone)]
pub(super) struct Losses {
    untold: Arc<AtomicU64>,
    tally: Tally,
}

impl Losses {
    pub(super) fn counted_in(tally: Tally) -> Self {
        Self {
            untold: Arc::default(),
            tally,
        }
    }

    /// Counts lines that are lost now.
    pub(super) fn note(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.tally.note_syslog_dropped(lines);
    }

    /// Takes what the server is to be told of, which is nobody else's to tell then.
    pub(super) fn take(&self) -> u64 {
        self.untold.swap(0, Ordering::Relaxed)
    }

    /// Takes back what the server was not told of after all.
    pub(super) fn take_back(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
    }

    /// Whether there is anything to tell.
    pub(super) fn are_untold(&self) -> bool {
        self.untold.load(Ordering::Relaxed) > 0
    }
}
