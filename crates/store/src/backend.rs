//! What each engine does for the [`crate::Store`] in front of it.

use std::time::Duration;

use crate::watch::Hub;
use crate::{Entry, LeaseId, Outcome, Revision, StoreError, Transaction};

/// One engine. Keys and transactions that arrive here are valid already.
///
/// Each verb first ends the leases that are due, each with a revision of its own, in the order of their
/// deadlines: that makes the revisions of two engines with one clock equal, whoever swept when.
pub(crate) trait Backend: Send + Sync {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), StoreError>;
    fn commit(&self, transaction: &Transaction) -> Result<Outcome, StoreError>;
    fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;
    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends the leases that are due.
    fn expire_leases(&self) -> Result<(), StoreError>;

    /// Tells the hub what other processes changed, and ends the leases that are due. Called every
    /// [`crate::POLL_INTERVAL`] while anybody watches.
    fn poll(&self) -> Result<(), StoreError>;

    /// Where this engine announces changes.
    fn hub(&self) -> &Hub;
}
