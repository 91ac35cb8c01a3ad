//! How much is read for a question.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::question::QueryError;

/// Chunks that are read for one question: what one series has in one segment, or in memory. They take from ten seconds, of
/// latencies, to a second.
pub const MOST_CHUNKS: u64 = 50_000;

/// What may still be read for one question, which may be several queries.
#[derive(Debug)]
pub struct Reads {
    left: Cell<u64>,
    is_unwanted: Arc<AtomicBool>,
}

impl Reads {
    /// [`MOST_CHUNKS`], as long as whoever asked does not say that he needs no answer any more.
    #[must_use]
    pub fn new(is_unwanted: Arc<AtomicBool>) -> Self {
        Self {
            left: Cell::new(MOST_CHUNKS),
            is_unwanted,
        }
    }

    pub(crate) fn unbounded() -> Self {
        Self {
            left: Cell::new(u64::MAX),
            is_unwanted: Arc::default(),
        }
    }

    /// How many chunks may still be read.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.get()
    }

    /// One chunk is about to be read.
    pub(crate) fn take(&self) -> Result<(), QueryError> {
        if self.is_unwanted.load(Ordering::Relaxed) {
            return Err(QueryError::Unwanted);
        }
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or(QueryError::TooMuchToRead)?);
        Ok(())
    }
}
