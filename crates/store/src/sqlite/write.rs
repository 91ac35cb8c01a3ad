//! Changing the store within one write transaction.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::faults::Fault;
use super::read::newest_revision;
use super::schema::{KEPT_REVISIONS, prefix_bounds};
use crate::lease::ttl_ms;
use crate::transaction::Write;
use crate::{LeaseId, Revision};

/// A write transaction, the revision that it has reached, and what it changed on the way.
pub(super) struct WriteTransaction<'a> {
    transaction: Transaction<'a>,
    now_ms: i64,
    revision: Revision,
    changes: Vec<(Revision, String)>,
}

impl<'a> WriteTransaction<'a> {
    pub(super) fn begin(transaction: Transaction<'a>, now_ms: i64) -> rusqlite::Result<Self> {
        let revision = newest_revision(&transaction)?;
        Ok(Self {
            transaction,
            now_ms,
            revision,
            changes: Vec::new(),
        })
    }

    /// Makes all of it durable, and returns which keys were changed by which revision.
    pub(super) fn commit(self) -> rusqlite::Result<Vec<(Revision, String)>> {
        self.transaction.commit()?;
        Ok(self.changes)
    }

    /// The revision that last wrote the key; `None` when it is absent.
    pub(super) fn modified(&self, key: &str) -> rusqlite::Result<Option<Revision>> {
        self.transaction
            .prepare_cached("SELECT modified FROM entry WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    }

    /// Makes the writes at the next revision, and returns it, or the present one when they changed nothing.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Result<Revision, Fault> {
        let mut changed = Vec::new();
        for write in writes {
            match write {
                Write::Put { key, value, lease } => {
                    self.put(key, value, *lease)?;
                    changed.push(key.clone());
                }
                Write::Delete { key } => {
                    let deleted = self
                        .transaction
                        .prepare_cached("DELETE FROM entry WHERE key = ?1")?
                        .execute([key])?;
                    changed.extend((deleted > 0).then(|| key.clone()));
                }
                Write::DeleteRange { prefix } => changed.extend(self.delete_range(prefix)?),
            }
        }
        self.raise_revision(changed)?;
        Ok(self.revision)
    }

    fn put(&self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<(), Fault> {
        if let Some(lease) = lease {
            let alive = self
                .transaction
                .prepare_cached("SELECT 1 FROM lease WHERE id = ?1")?
                .exists([lease])?;
            if !alive {
                return Err(Fault::LeaseNotFound(lease));
            }
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO entry (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE
                 SET value = excluded.value, modified = excluded.modified, lease = excluded.lease",
            )?
            .execute(params![key, value, self.revision.next(), lease])?;
        Ok(())
    }

    fn delete_range(&self, prefix: &str) -> rusqlite::Result<Vec<String>> {
        let (from, to) = prefix_bounds(prefix);
        self.transaction
            .prepare_cached("DELETE FROM entry WHERE key >= ?1 AND key < ?2 RETURNING key")?
            .query_map(params![from, to], |row| row.get(0))?
            .collect()
    }

    /// Takes the next revision for the changed keys, if there are any, and forgets which keys the oldest changed.
    fn raise_revision(&mut self, changed: Vec<String>) -> rusqlite::Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        self.revision = self.revision.next();
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO change (revision, key) VALUES (?1, ?2)")?;
        for key in changed {
            insert.execute(params![self.revision, key])?;
            self.changes.push((self.revision, key));
        }
        let forgotten = Revision::new(self.revision.get().saturating_sub(KEPT_REVISIONS));
        self.transaction
            .prepare_cached("DELETE FROM change WHERE revision <= ?1")?
            .execute([forgotten])?;
        Ok(())
    }

    pub(super) fn grant_lease(&self, ttl: Duration, boot: &str) -> rusqlite::Result<LeaseId> {
        let ttl_ms = ttl_ms(ttl);
        self.transaction
            .prepare_cached("INSERT INTO lease (ttl_ms, expires_ms, boot) VALUES (?1, ?2, ?3)")?
            .execute(params![ttl_ms, self.now_ms.saturating_add(ttl_ms), boot])?;
        Ok(LeaseId(self.transaction.last_insert_rowid()))
    }

    pub(super) fn keep_alive(&self, lease: LeaseId) -> Result<(), Fault> {
        // A sum past SQLite's integers would become a float, which the column refuses: hence the min.
        let renewed = self
            .transaction
            .prepare_cached(
                "UPDATE lease SET expires_ms = ?2 + min(ttl_ms, ?3 - ?2) WHERE id = ?1",
            )?
            .execute(params![lease, self.now_ms, i64::MAX])?;
        if renewed == 0 {
            Err(Fault::LeaseNotFound(lease))
        } else {
            Ok(())
        }
    }

    /// Gives the leases of other boots, whose deadlines mean nothing any more, their whole time to live.
    pub(super) fn adopt_leases(&self, boot: &str) -> rusqlite::Result<()> {
        self.transaction.execute(
            "UPDATE lease SET boot = ?1, expires_ms = ?2 + min(ttl_ms, ?3 - ?2) WHERE boot <> ?1",
            params![boot, self.now_ms, i64::MAX],
        )?;
        Ok(())
    }

    /// Ends the leases that are due, in the order of their deadlines, each with a revision of its own.
    pub(super) fn expire_leases(&mut self) -> rusqlite::Result<()> {
        let due: Vec<LeaseId> = self
            .transaction
            .prepare_cached("SELECT id FROM lease WHERE expires_ms <= ?1 ORDER BY expires_ms, id")?
            .query_map([self.now_ms], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        due.into_iter().try_for_each(|lease| self.end_lease(lease))
    }

    pub(super) fn end_lease(&mut self, lease: LeaseId) -> rusqlite::Result<()> {
        let hung: Vec<String> = self
            .transaction
            .prepare_cached("DELETE FROM entry WHERE lease = ?1 RETURNING key")?
            .query_map([lease], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        self.transaction
            .prepare_cached("DELETE FROM lease WHERE id = ?1")?
            .execute([lease])?;
        self.raise_revision(hung)
    }
}
