//! What can go wrong, one variant for each reaction that a caller can have.

use std::path::PathBuf;
use std::time::Duration;

use crate::LeaseId;

/// The cause beneath an error, from the operating system or the engine.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what it was asked. A failed call has changed nothing.
///
/// A transaction whose condition does not hold is no error: see [`crate::Outcome::Conflict`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its directory may not be read and written by this user.
    #[error(
        "the store {path} may not be read and written by this user: run as its owner, or give the owner of the \
         file and its directory read and write permission ({cause})", path = path.display()
    )]
    PermissionDenied {
        /// The store's file.
        path: PathBuf,
        /// What the operating system or the engine said.
        #[source]
        cause: Cause,
    },
    /// The file cannot be reached or made: most often its directory is missing.
    #[error("the store {path} cannot be opened: see that its directory exists and is writable ({cause})", path = path.display())]
    Unreachable {
        /// The store's file.
        path: PathBuf,
        /// What the operating system or the engine said.
        #[source]
        cause: Cause,
    },
    /// The file is damaged. Nothing was changed in it.
    #[error(
        "the store {path} is damaged ({detail}): stop what uses it and put a backup in its place, or move it and \
         the files beside it whose names end in -wal and -shm away to begin with an empty store", path = path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is a sound SQLite file, or something else, that no store ever was.
    #[error("{path} is not a store ({detail}): name another file; this one was left as it is", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it was recognised by.
        detail: String,
    },
    /// The file was written by a newer release.
    #[error(
        "the store {path} has schema version {found}, this program knows versions up to {supported}: run the \
         release that wrote it, or a newer one", path = path.display()
    )]
    NewerSchema {
        /// The store's file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The newest version that this program knows.
        supported: i64,
    },
    /// The file was removed, moved or replaced while the store was open; a commit to it would be lost.
    #[error("the store {path} was removed or replaced while in use: put it back and restart", path = path.display())]
    Replaced {
        /// The store's file.
        path: PathBuf,
    },
    /// No space is left. All that was committed before is kept; the same call can be tried again.
    #[error("no space is left for the store {path}: free some on its file system; nothing committed is lost", path = path.display())]
    DiskFull {
        /// The store's file.
        path: PathBuf,
    },
    /// Another process kept the file locked for all the time that we wait.
    #[error("the store {path} stayed locked by another process for {waited:?}: try again", path = path.display())]
    Busy {
        /// The store's file.
        path: PathBuf,
        /// How long was waited: [`crate::BUSY_TIMEOUT`].
        waited: Duration,
    },
    /// The transaction, or a key that was asked for, is malformed: a mistake of the program that made it.
    #[error("the transaction on key {key:?} is not valid: {reason}")]
    Invalid {
        /// The first key at fault.
        key: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The lease has expired, was revoked, or never was: grant a new one and put its keys again.
    #[error("the lease {lease} has expired or was revoked: grant a new one and put its keys again")]
    LeaseNotFound {
        /// The lease that was named.
        lease: LeaseId,
    },
    /// A stored value is not the JSON of the type that was asked for.
    #[error("the value of key {key:?} is not what this program expects: {source}")]
    Decode {
        /// The key.
        key: String,
        /// Where the JSON and the type differ.
        source: serde_json::Error,
    },
    /// A value has no JSON form (a map whose keys are not strings).
    #[error("the new value of key {key:?} has no JSON form: {source}")]
    Encode {
        /// The key.
        key: String,
        /// What has no form.
        source: serde_json::Error,
    },
    /// The engine failed in a way that has no reaction of its own, such as an I/O error of the disk.
    #[error("the store {path} failed: {cause}", path = path.display())]
    Engine {
        /// The store's file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        cause: Cause,
    },
}
