//! The store as its users see it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::memory::Memory;
use crate::sqlite::{Durability, Sqlite};
use crate::transaction::{check_key, check_prefix};
use crate::watch::{Watch, start_poller};
use crate::{Clock, Entry, LeaseId, ManualClock, Outcome, Revision, StoreError, Transaction};

/// Keys and values with revisions, in a file or in memory. Clones are handles to one store.
///
/// All calls but [`Watch::changed`] are synchronous. Measured in a small virtual machine: a `get` takes 6 µs, a
/// `range` 1 µs for each entry, a commit of 1 KiB 50 µs in a [`Durability::Volatile`] store and 0.2 ms in a
/// [`Durability::Full`] one, which waits for the disk (ten or more milliseconds where that spins). So async code
/// calls them directly, with one exception: a commit may also wait for another process's, for up to
/// [`crate::BUSY_TIMEOUT`] in the worst case. Where that could hold up other tasks of the runtime, call it through
/// `tokio::task::spawn_blocking` with a clone of the store. There is no group commit: the writes are a few a
/// second, and each caller wants to know its own outcome.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Opens the store in the file, and makes it (mode 0600) if neither the file nor a remnant of it exists.
    /// Any number of processes may have it open, on one machine and a local file system.
    ///
    /// A wider mode of an existing file is narrowed to its owner. The whole file is checked once, about 1 ms for
    /// each 2 MB.
    ///
    /// # Errors
    /// [`StoreError::PermissionDenied`], [`StoreError::Unreachable`] (no such directory),
    /// [`StoreError::Corrupt`], [`StoreError::Foreign`], [`StoreError::NewerSchema`], [`StoreError::DiskFull`],
    /// [`StoreError::Busy`], [`StoreError::Engine`].
    pub fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        Self::open_with_clock(path, durability, Clock::Machine)
    }

    /// [Opens](Store::open) a store whose leases expire by the given clock; all processes that share the file
    /// must use the same.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with_clock(
        path: &Path,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Self {
            backend: Arc::new(Sqlite::open(path, durability, clock)?),
        };
        start_poller(&store.backend).map_err(|cause| StoreError::Engine {
            path: path.to_owned(),
            cause: cause.into(),
        })?;
        Ok(store)
    }

    /// A new, empty store in memory, gone with its last clone. Leases expire by the machine's clock; their end
    /// wakes watchers only if the system has a thread for it, else when the store is next used.
    pub fn in_memory() -> Self {
        let store = Self {
            backend: Arc::new(Memory::new(Clock::Machine)),
        };
        if let Err(error) = start_poller(&store.backend) {
            tracing::warn!(%error, "no thread to watch leases with");
        }
        store
    }

    /// A new, empty store in memory with time moved by hand: without any thread of its own, so that what
    /// happens in it is a function of the calls alone. Watchers see a lease's end at the first call after it,
    /// [`Store::expire_leases`] for one.
    pub fn in_memory_with_clock(clock: ManualClock) -> Self {
        Self {
            backend: Arc::new(Memory::new(Clock::Manual(clock))),
        }
    }

    /// Reads one key; `None` when it is absent.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for what cannot be a key; [`StoreError::Corrupt`], [`StoreError::Busy`],
    /// [`StoreError::Replaced`], [`StoreError::Engine`] from the file.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        self.backend.get(key)
    }

    /// Reads all keys that begin with the prefix, ascending, and the store's revision, as one snapshot: all that
    /// was committed up to that revision and nothing of what came later. The empty prefix means all keys.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), StoreError> {
        check_prefix(prefix)?;
        self.backend.range(prefix)
    }

    /// Applies the transaction, wholly or, when a condition does not hold, not at all. When it returns, watchers
    /// in this process are woken, and a [`Durability::Full`] store's commit is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]; [`StoreError::LeaseNotFound`] when all conditions hold but a lease to hang a key
    /// on has ended; [`StoreError::DiskFull`], [`StoreError::Busy`], [`StoreError::Replaced`],
    /// [`StoreError::Corrupt`], [`StoreError::Engine`] from the file. Nothing was changed then.
    pub fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        transaction.validate()?;
        self.backend.commit(&transaction)
    }

    /// Watches the keys that begin with the prefix, from now on. To miss nothing, make the watch first, then
    /// read, then wait, read, wait…
    pub fn watch(&self, prefix: &str) -> Watch {
        self.backend.hub().watch(prefix, Arc::clone(&self.backend))
    }

    /// Grants a lease that ends after `ttl` (whole milliseconds, at least one) unless it is
    /// [kept alive](Store::keep_alive).
    ///
    /// # Errors
    /// From the file, as [`Store::commit`].
    pub fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.backend.grant_lease(ttl)
    }

    /// Gives the lease its whole time to live again. A holder does so about every third of the ttl.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] when it has ended, and its keys with it; from the file, as
    /// [`Store::commit`].
    pub fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.backend.keep_alive(lease)
    }

    /// Ends the lease now and deletes its keys. Revoking a lease that has ended already is no error.
    ///
    /// # Errors
    /// From the file, as [`Store::commit`].
    pub fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.backend.revoke(lease)
    }

    /// Deletes the keys of leases that are due. Needed by nobody but a simulation that wants watchers woken at
    /// a moment of its choice: every other call does the same first.
    ///
    /// # Errors
    /// From the file, as [`Store::commit`].
    pub fn expire_leases(&self) -> Result<(), StoreError> {
        self.backend.expire_leases()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}
