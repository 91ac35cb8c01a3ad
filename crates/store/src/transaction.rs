//! Transactions: conditions, and the writes that are made when all of them hold.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::{LeaseId, Revision, StoreError};

/// The most conditions and writes together in one transaction. etcd's default is 128 (`--max-txn-ops`): raise it
/// there when it takes this store's place.
pub const MAX_OPERATIONS: usize = 65_536;
/// The most bytes of keys and values together in one transaction. etcd's default is 1.5 MiB
/// (`--max-request-bytes`). After a restart of the machine the whole layout changes at once: some 40,000 instances with
/// ten backends each, or 1,500 with a thousand.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024 * 1024;
/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All conditions held and all writes were made. The revision is the one that they made, or, when they
    /// changed nothing (no writes, or deletes of absent keys), the store's present one.
    Applied(Revision),
    /// A condition did not hold, and nothing was written.
    Conflict {
        /// The key of the first condition, in the order in which they were given, that did not hold.
        key: String,
    },
}

/// Conditions and writes, applied together or not at all.
///
/// A key may be compared as often as wished, but written only once: a `put` of a key that the same transaction
/// puts again or deletes, also by a prefix, makes it [invalid](StoreError::Invalid), as in etcd. The writes
/// therefore have no order.
#[derive(Clone, Debug, Default)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction {
    pub(crate) conditions: Vec<(String, Condition)>,
    pub(crate) writes: Vec<Write>,
}

impl Transaction {
    /// A transaction without conditions and writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies only if the key is absent.
    pub fn when_absent(self, key: impl Into<String>) -> Self {
        self.when(key, Condition::Absent)
    }

    /// Applies only if the key is present, whatever its value.
    pub fn when_present(self, key: impl Into<String>) -> Self {
        self.when(key, Condition::Present)
    }

    /// Applies only if the key was last written by `revision`, the `modified` of the [`crate::Entry`] that the
    /// decision was made on. [`Revision::ZERO`] means absent, as in etcd.
    pub fn when_modified(self, key: impl Into<String>, revision: Revision) -> Self {
        self.when(key, Condition::Modified(revision))
    }

    /// Writes the value, whether or not the key is present. A lease that the key hung on is let go.
    pub fn put(self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.write(Write::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        })
    }

    /// Writes the value and hangs the key on the lease: it vanishes when the lease does.
    pub fn put_leased(
        self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        lease: LeaseId,
    ) -> Self {
        self.write(Write::Put {
            key: key.into(),
            value: value.into(),
            lease: Some(lease),
        })
    }

    /// Deletes the key, if present.
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.write(Write::Delete { key: key.into() })
    }

    /// Deletes all keys that begin with the prefix; the empty prefix means all keys.
    pub fn delete_range(self, prefix: impl Into<String>) -> Self {
        self.write(Write::DeleteRange {
            prefix: prefix.into(),
        })
    }

    /// Whether there is nothing to write: committing would only compare.
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// What it writes, in words: the beginnings of its keys, without what names one object among many.
    pub(crate) fn written(&self) -> String {
        let kinds = self.writes.iter().map(|write| {
            let parts = write.name().split('/');
            let kind = parts.take_while(|part| !part.contains(|c: char| c.is_ascii_digit()));
            Vec::from_iter(kind.take(2)).join("/")
        });
        Vec::from_iter(BTreeSet::from_iter(kinds)).join(" ")
    }

    fn when(mut self, key: impl Into<String>, condition: Condition) -> Self {
        self.conditions.push((key.into(), condition));
        self
    }

    fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Checks the rules that hold for any transaction, whatever the store contains.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        let mut bytes = 0_usize;
        for (key, _) in &self.conditions {
            check_key(key)?;
            bytes = bytes.saturating_add(key.len());
        }
        for write in &self.writes {
            write.check_name()?;
            bytes = bytes.saturating_add(write.size());
        }
        let first = self.conditions.first().map(|(key, _)| key.as_str());
        let first = first
            .or_else(|| self.writes.first().map(Write::name))
            .unwrap_or_default();
        if self.conditions.len().saturating_add(self.writes.len()) > MAX_OPERATIONS {
            return Err(invalid(
                first,
                "it has more than MAX_OPERATIONS (65536) conditions and writes: split it",
            ));
        }
        if bytes > MAX_TRANSACTION_BYTES {
            return Err(invalid(
                first,
                "its keys and values have more than MAX_TRANSACTION_BYTES (128 MiB): split it",
            ));
        }
        self.check_written_once()
    }

    fn check_written_once(&self) -> Result<(), StoreError> {
        let mut puts = BTreeSet::new();
        for write in &self.writes {
            if let Write::Put { key, .. } = write
                && !puts.insert(key.as_str())
            {
                return Err(invalid(key, "it puts the key twice"));
            }
        }
        for write in &self.writes {
            let deleted = match write {
                Write::Put { .. } => None,
                Write::Delete { key } => puts.get(key.as_str()).copied(),
                Write::DeleteRange { prefix } => puts
                    .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
                    .next()
                    .copied()
                    .filter(|key| key.starts_with(prefix.as_str())),
            };
            if let Some(key) = deleted {
                return Err(invalid(key, "it both puts and deletes the key"));
            }
        }
        Ok(())
    }
}

/// What must hold of a key, in terms of the revision that last wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Absent,
    Present,
    Modified(Revision),
}

impl Condition {
    /// Whether it holds for a key last written at `modified`, or absent.
    pub(crate) fn holds(self, modified: Option<Revision>) -> bool {
        match self {
            Self::Absent => modified.is_none(),
            Self::Present => modified.is_some(),
            Self::Modified(revision) => modified.unwrap_or(Revision::ZERO) == revision,
        }
    }
}

/// One change to the store.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put {
        key: String,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    },
    Delete {
        key: String,
    },
    DeleteRange {
        prefix: String,
    },
}

impl Write {
    fn name(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
            Self::DeleteRange { prefix } => prefix,
        }
    }

    fn size(&self) -> usize {
        let value = if let Self::Put { value, .. } = self {
            value.len()
        } else {
            0
        };
        self.name().len().saturating_add(value)
    }

    fn check_name(&self) -> Result<(), StoreError> {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => check_key(key),
            Self::DeleteRange { prefix } => check_prefix(prefix),
        }
    }
}

/// A key is 1 to [`MAX_KEY_BYTES`] bytes and has no NUL, which tools for SQLite cannot show.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(invalid(key, "a key is not empty"));
    }
    check_prefix(key)
}

/// A prefix may be empty, for all keys; else it is bounded as a key is.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.len() > MAX_KEY_BYTES {
        return Err(invalid(
            prefix,
            "a key has at most MAX_KEY_BYTES (1024) bytes",
        ));
    }
    if prefix.contains('\0') {
        return Err(invalid(prefix, "a key has no NUL"));
    }
    Ok(())
}

fn invalid(key: &str, reason: &'static str) -> StoreError {
    StoreError::Invalid {
        key: key.chars().take(MAX_KEY_BYTES).collect(),
        reason,
    }
}
