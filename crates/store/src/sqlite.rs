//! The store in a file: SQLite in write-ahead-log mode, shared by any number of threads and processes.
//!
//! One connection writes, behind a mutex; [`READERS`] read, each a snapshot of its own; one looks for other
//! processes' commits. Writers of several processes take turns by SQLite's own lock, for at most
//! [`BUSY_TIMEOUT`].
//!
//! The log mode makes a commit one append to the log. A process that dies at any moment leaves a log whose
//! last, unfinished commit is ignored by whoever opens the file next.

mod faults;
mod file;
mod poll;
mod read;
mod schema;
mod write;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::STEP;
use rusqlite::{Connection, TransactionBehavior};
use tracing::trace;

pub(crate) use self::faults::engine_error;

use self::faults::Fault;
use self::file::File;
use self::poll::Poll;
use self::read::Snapshot;
use self::write::WriteTransaction;
use crate::backend::Backend;
use crate::watch::Hub;
use crate::{Clock, Entry, LeaseId, Outcome, Revision, StoreError, Transaction};

/// How long a call waits for other processes' commits before it gives up with [`StoreError::Busy`].
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that read; a read waits when all are in use, for microseconds.
const READERS: usize = 4;

/// What a commit to a file survives. Both survive the death of the process at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Each commit is on the disk (fsync) before the call returns: it survives loss of power. For intent and
    /// layout.
    Full,
    /// No commit waits for the disk: loss of power may undo the last ones, but leaves the file sound (SQLite's
    /// `synchronous=NORMAL`, which syncs only when the log is folded into the file). For status that is made
    /// again.
    Volatile,
}

pub(crate) struct Sqlite {
    file: File,
    clock: Clock,
    writer: Mutex<Connection>,
    readers: [Mutex<Connection>; READERS],
    poll: Mutex<Poll>,
    hub: Hub,
}

impl Sqlite {
    pub(crate) fn open(
        path: &std::path::Path,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let file = File::ensure(path)?;
        let writer = file.connect(durability)?;
        file.check(&writer)?;
        let boot = clock.boot().map_err(|cause| file.engine_error(cause))?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(Mutex::new(file.connect(durability)?));
        }
        let Ok(readers) = readers.try_into() else {
            unreachable!("exactly READERS were pushed")
        };
        let poll =
            Poll::new(file.connect(durability)?).map_err(|error| file.error(error.into()))?;
        let (writer, poll) = (Mutex::new(writer), Mutex::new(poll));
        let store = Self {
            file,
            clock,
            writer,
            readers,
            poll,
            hub: Hub::default(),
        };
        store
            .adopt_leases(&boot)
            .map_err(|error| store.file.error(error.into()))?;
        Ok(store)
    }

    /// Renews the leases of earlier boots. Not by [`Self::write`], which would first end those of them whose
    /// deadlines happen to be small numbers.
    fn adopt_leases(&self, boot: &str) -> rusqlite::Result<()> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let write = WriteTransaction::begin(transaction, self.clock.now_ms())?;
        write.adopt_leases(boot)?;
        write.commit()?;
        Ok(())
    }

    /// Runs `visit` in a write transaction in which the leases that are due were ended, commits, and announces
    /// what was changed. An error of `visit` rolls all of it back.
    ///
    /// Says so before and after ([`STEP`]): `what` names what is written.
    fn write<T>(
        &self,
        what: &dyn Fn() -> String,
        visit: impl FnOnce(&mut WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.file.check_in_place()?;
        trace!(target: STEP, "before {}: {}", self.file.name(), what());
        let written = self.write_unannounced(visit);
        trace!(target: STEP, "after {}: {}", self.file.name(), what());
        let (result, changes) = written.map_err(|fault| self.file.error(fault))?;
        for (revision, key) in changes {
            self.hub.announce(revision, &key);
        }
        Ok(result)
    }

    fn write_unannounced<T>(
        &self,
        visit: impl FnOnce(&mut WriteTransaction) -> Result<T, Fault>,
    ) -> Result<(T, Vec<(Revision, String)>), Fault> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // The time is taken with the write lock held: waiting for it must not let a lease live longer.
        let mut write = WriteTransaction::begin(transaction, self.clock.now_ms())?;
        write.expire_leases()?;
        let result = visit(&mut write)?;
        Ok((result, write.commit()?))
    }

    /// Runs `visit` on a snapshot. Leases that are due are ended first; where that fails (a full disk), the
    /// snapshot hides their keys all the same.
    fn read<T>(&self, visit: impl Fn(&Snapshot) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.file.check_in_place()?;
        let attempt = |if_due: bool| {
            let mut reader = self.reader();
            let snapshot = Snapshot::begin(reader.transaction()?, self.clock.now_ms());
            if if_due && snapshot.has_lease_due()? {
                Ok(None)
            } else {
                visit(&snapshot).map(Some)
            }
        };
        let first = attempt(true).map_err(|error| self.file.error(error.into()))?;
        if let Some(result) = first {
            return Ok(result);
        }
        if let Err(error) = self.expire_leases() {
            tracing::debug!(%error, "leases that are due are hidden, but could not be deleted");
        }
        let second = attempt(false).map_err(|error| self.file.error(error.into()))?;
        Ok(second.expect("without looking for leases that are due, an attempt reads"))
    }

    /// A free reading connection, or the turn on the first one.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let [first, rest @ ..] = &self.readers;
        rest.iter()
            .find_map(|reader| reader.try_lock().ok())
            .unwrap_or_else(|| lock(first))
    }
}

impl Backend for Sqlite {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(|snapshot| snapshot.get(key))
    }

    fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), StoreError> {
        self.read(|snapshot| Ok((snapshot.revision()?, snapshot.range(prefix)?)))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        self.write(&|| transaction.written(), |write| {
            for (key, condition) in &transaction.conditions {
                if !condition.holds(write.modified(key)?) {
                    return Ok(Outcome::Conflict { key: key.clone() });
                }
            }
            write.apply(&transaction.writes).map(Outcome::Applied)
        })
    }

    fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let boot = self
            .clock
            .boot()
            .map_err(|cause| self.file.engine_error(cause))?;
        self.write(&|| "a lease granted".to_owned(), |write| {
            Ok(write.grant_lease(ttl, &boot)?)
        })
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.write(&|| "a lease kept alive".to_owned(), |write| {
            write.keep_alive(lease)
        })
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.write(&|| "a lease revoked".to_owned(), |write| {
            Ok(write.end_lease(lease)?)
        })
    }

    fn expire_leases(&self) -> Result<(), StoreError> {
        self.write(&|| "leases that are due".to_owned(), |_| Ok(()))
    }

    fn poll(&self) -> Result<(), StoreError> {
        self.file.check_in_place()?;
        let lease_due = lock(&self.poll)
            .announce_changes(&self.hub, self.clock.now_ms())
            .map_err(|error| self.file.error(error.into()))?;
        if lease_due {
            self.expire_leases()
        } else {
            Ok(())
        }
    }

    fn hub(&self) -> &Hub {
        &self.hub
    }
}

/// A panic within a transaction has rolled it back, so a poisoned connection is as good as a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
