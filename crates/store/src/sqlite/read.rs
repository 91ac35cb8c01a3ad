//! Reading one snapshot.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::schema::prefix_bounds;
use crate::{Entry, Revision};

/// A moment's state of the store: a read transaction, in which commits made meanwhile are not seen.
pub(super) struct Snapshot<'a> {
    transaction: Transaction<'a>,
    now_ms: i64,
}

impl<'a> Snapshot<'a> {
    pub(super) fn begin(transaction: Transaction<'a>, now_ms: i64) -> Self {
        Self {
            transaction,
            now_ms,
        }
    }

    /// Whether a lease has expired that nobody has ended yet.
    pub(super) fn has_lease_due(&self) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM lease WHERE expires_ms <= ?1)")?
            .query_row([self.now_ms], |row| row.get(0))
    }

    pub(super) fn revision(&self) -> rusqlite::Result<Revision> {
        newest_revision(&self.transaction)
    }

    pub(super) fn get(&self, key: &str) -> rusqlite::Result<Option<Entry>> {
        self.transaction
            .prepare_cached(
                "SELECT key, value, created, modified FROM entry WHERE key = ?1
                 AND (lease IS NULL OR lease IN (SELECT id FROM lease WHERE expires_ms > ?2))",
            )?
            .query_row(params![key, self.now_ms], entry)
            .optional()
    }

    pub(super) fn range(&self, prefix: &str) -> rusqlite::Result<Vec<Entry>> {
        let (from, to) = prefix_bounds(prefix);
        self.transaction
            .prepare_cached(
                "SELECT key, value, created, modified FROM entry WHERE key >= ?1 AND key < ?2
                 AND (lease IS NULL OR lease IN (SELECT id FROM lease WHERE expires_ms > ?3)) ORDER BY key",
            )?
            .query_map(params![from, to, self.now_ms], entry)?
            .collect()
    }
}

/// The store's revision: that of the latest change.
pub(super) fn newest_revision(transaction: &Transaction) -> rusqlite::Result<Revision> {
    let newest: Option<Revision> = transaction
        .prepare_cached("SELECT max(revision) FROM change")?
        .query_row([], |row| row.get(0))?;
    Ok(newest.unwrap_or(Revision::ZERO))
}

fn entry(row: &Row) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        value: row.get(1)?,
        created: row.get(2)?,
        modified: row.get(3)?,
    })
}
