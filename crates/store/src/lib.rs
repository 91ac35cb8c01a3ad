//! Intent and layout, kept with revisions.
//!
//! A [`Store`] maps keys (UTF-8, ordered by code point, `/` between the parts by convention) to values
//! (bytes, JSON by convention). Its shape is that of etcd's v3 API, so that etcd can take its place when there
//! is more than one machine:
//!
//! - every [`Transaction`] that changes something raises the store's [`Revision`] by one, and each [`Entry`]
//!   names the revisions that created it and last wrote it;
//! - a transaction is applied wholly, or not at all when one of its conditions does not hold: compare-and-swap
//!   is the only concurrency control, nothing is ever locked by a caller;
//! - [`Store::range`] reads a prefix as one consistent snapshot;
//! - [`Store::watch`] tells *that* something under a prefix changed; the watcher reads again to learn *what*;
//! - a [lease](Store::grant_lease) makes keys vanish when nobody keeps it alive.
//!
//! Two engines stand behind the one type: SQLite in a file that several processes may share
//! ([`Store::open`]), and a map in memory ([`Store::in_memory`]) for tests and simulation. They hold the same
//! promises, which one test-suite and a model-based property test check on both.
//!
//! What it deliberately does not do: keep old values (a reader gets the present only), decide anything about
//! its contents, or hide a lost, truncated or foreign file behind an empty store.

mod backend;
mod clock;
mod entry;
mod error;
pub mod intent;
pub mod journal;
mod json;
pub mod layout;
mod lease;
mod memory;
mod sqlite;
pub mod status;
mod store;
mod transaction;
mod watch;

pub use clock::{Clock, ManualClock};
pub use entry::{Entry, Revision};
pub use error::StoreError;
pub use lease::LeaseId;
pub use sqlite::{BUSY_TIMEOUT, Durability};
pub use store::Store;
pub use transaction::{MAX_KEY_BYTES, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Outcome, Transaction};
pub use watch::{POLL_INTERVAL, Watch};
