//! The store in memory: the same promises as the one in a file, but for outliving its process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::backend::Backend;
use crate::lease::ttl_ms;
use crate::transaction::Write;
use crate::watch::Hub;
use crate::{Clock, Entry, LeaseId, Outcome, Revision, StoreError, Transaction};

pub(crate) struct Memory {
    clock: Clock,
    contents: Mutex<Contents>,
    hub: Hub,
}

/// All that is stored. Ordered maps, so that every walk over them is the same in every run.
#[derive(Default)]
struct Contents {
    revision: Revision,
    records: BTreeMap<String, Record>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
}

struct Record {
    value: Vec<u8>,
    created: Revision,
    modified: Revision,
    lease: Option<LeaseId>,
}

struct Lease {
    ttl_ms: i64,
    expires_ms: i64,
}

/// Keys that were changed, with the revisions that did.
type Changes = Vec<(Revision, String)>;

impl Memory {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            contents: Mutex::default(),
            hub: Hub::default(),
        }
    }

    /// Runs `visit` on the contents after the leases that are due were ended, then announces all changes.
    fn with<T>(&self, visit: impl FnOnce(&mut Contents, i64, &mut Changes) -> T) -> T {
        let mut changes = Changes::new();
        let result = {
            // All changes to the contents are made by code that cannot panic half-way.
            let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
            let now_ms = self.clock.now_ms();
            contents.expire_leases(now_ms, &mut changes);
            visit(&mut contents, now_ms, &mut changes)
        };
        for (revision, key) in changes {
            self.hub.announce(revision, &key);
        }
        result
    }
}

impl Backend for Memory {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.with(|contents, _, _| contents.records.get_key_value(key).map(entry)))
    }

    fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), StoreError> {
        Ok(self.with(|contents, _, _| {
            (
                contents.revision,
                contents.under(prefix).map(entry).collect(),
            )
        }))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        self.with(|contents, _, changes| contents.commit(transaction, changes))
    }

    fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        Ok(self.with(|contents, now_ms, _| {
            contents.last_lease = contents.last_lease.saturating_add(1);
            let id = LeaseId(contents.last_lease);
            let ttl_ms = ttl_ms(ttl);
            contents.leases.insert(
                id,
                Lease {
                    ttl_ms,
                    expires_ms: now_ms.saturating_add(ttl_ms),
                },
            );
            id
        }))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.with(|contents, now_ms, _| {
            let held = contents
                .leases
                .get_mut(&lease)
                .ok_or(StoreError::LeaseNotFound { lease })?;
            held.expires_ms = now_ms.saturating_add(held.ttl_ms);
            Ok(())
        })
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.with(|contents, _, changes| contents.end_lease(lease, changes));
        Ok(())
    }

    fn expire_leases(&self) -> Result<(), StoreError> {
        self.with(|_, _, _| ());
        Ok(())
    }

    fn poll(&self) -> Result<(), StoreError> {
        self.expire_leases()
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }
}

impl Contents {
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Record)> {
        self.records
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn commit(
        &mut self,
        transaction: &Transaction,
        changes: &mut Changes,
    ) -> Result<Outcome, StoreError> {
        for (key, condition) in &transaction.conditions {
            if !condition.holds(self.records.get(key).map(|record| record.modified)) {
                return Ok(Outcome::Conflict { key: key.clone() });
            }
        }
        for write in &transaction.writes {
            if let Write::Put {
                lease: Some(lease), ..
            } = write
                && !self.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseNotFound { lease: *lease });
            }
        }
        let changed = transaction
            .writes
            .iter()
            .flat_map(|write| self.apply(write))
            .collect();
        self.raise_revision(changed, changes);
        Ok(Outcome::Applied(self.revision))
    }

    /// Makes one write at the next revision, and returns the keys that it changed.
    fn apply(&mut self, write: &Write) -> Vec<String> {
        let revision = self.revision.next();
        match write {
            Write::Put { key, value, lease } => {
                let created = self
                    .records
                    .get(key)
                    .map_or(revision, |record| record.created);
                let record = Record {
                    value: value.clone(),
                    created,
                    modified: revision,
                    lease: *lease,
                };
                self.records.insert(key.clone(), record);
                vec![key.clone()]
            }
            Write::Delete { key } => self
                .records
                .remove_entry(key)
                .into_iter()
                .map(|(key, _)| key)
                .collect(),
            Write::DeleteRange { prefix } => {
                let keys: Vec<String> = self.under(prefix).map(|(key, _)| key.clone()).collect();
                for key in &keys {
                    self.records.remove(key);
                }
                keys
            }
        }
    }

    /// Takes the next revision for the changed keys, if there are any.
    fn raise_revision(&mut self, changed: Vec<String>, changes: &mut Changes) {
        if !changed.is_empty() {
            self.revision = self.revision.next();
            changes.extend(changed.into_iter().map(|key| (self.revision, key)));
        }
    }

    fn expire_leases(&mut self, now_ms: i64, changes: &mut Changes) {
        let due = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_ms <= now_ms);
        let mut due: Vec<(i64, LeaseId)> = due.map(|(id, lease)| (lease.expires_ms, *id)).collect();
        due.sort_unstable();
        for (_, lease) in due {
            self.end_lease(lease, changes);
        }
    }

    fn end_lease(&mut self, lease: LeaseId, changes: &mut Changes) {
        if self.leases.remove(&lease).is_some() {
            let hung = self
                .records
                .iter()
                .filter(|(_, record)| record.lease == Some(lease));
            let hung: Vec<String> = hung.map(|(key, _)| key.clone()).collect();
            for key in &hung {
                self.records.remove(key);
            }
            self.raise_revision(hung, changes);
        }
    }
}

fn entry((key, record): (&String, &Record)) -> Entry {
    Entry {
        key: key.clone(),
        value: record.value.clone(),
        created: record.created,
        modified: record.modified,
    }
}
