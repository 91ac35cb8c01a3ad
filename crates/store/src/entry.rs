//! What a store holds: entries, each with the revisions that made it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in a store's history: the number of transactions that had changed something by then.
///
/// Revisions of one store only ever grow, across restarts too, and mean nothing in another store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a store that was never written, and, as in etcd, the `modified` of an absent key.
    pub const ZERO: Self = Self(0);

    /// The revision with this number, for callers that carry revisions over a wire (an `ETag`, a JSON field).
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The revision's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision that the next change makes.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One key with its value, as bytes or, from the typed reads, as `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T = Vec<u8>> {
    /// The key, unique in the store.
    pub key: String,
    /// What was last put under the key.
    pub value: T,
    /// The revision that put the key when it was absent; a key deleted and put again is created anew.
    pub created: Revision,
    /// The revision that last put the key: what [`crate::Transaction::when_modified`] compares with.
    pub modified: Revision,
}
