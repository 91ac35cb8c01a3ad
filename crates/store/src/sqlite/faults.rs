//! From SQLite's result codes to the reactions that a caller can have.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use super::BUSY_TIMEOUT;
use crate::{LeaseId, StoreError};

/// What stops a transaction, before it is known to which file it happened.
pub(super) enum Fault {
    Engine(rusqlite::Error),
    LeaseNotFound(LeaseId),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Engine(error) => engine_error(error, path),
            Self::LeaseNotFound(lease) => StoreError::LeaseNotFound { lease },
        }
    }
}

/// What an error of the engine means at this file.
pub(crate) fn engine_error(error: rusqlite::Error, path: &Path) -> StoreError {
    let path = path.to_owned();
    let code = error
        .sqlite_error()
        .map(|failure| (failure.code, failure.extended_code));
    match code {
        Some((_, ffi::SQLITE_READONLY_DBMOVED)) => StoreError::Replaced { path },
        Some(
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)
            | (_, ffi::SQLITE_IOERR_SHORT_READ),
        ) => StoreError::Corrupt {
            path,
            detail: error.to_string(),
        },
        // The log's index is grown by writing to it; SQLite does not tell a full disk from other causes there.
        Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)) => {
            StoreError::DiskFull { path }
        }
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => StoreError::Busy {
            path,
            waited: BUSY_TIMEOUT,
        },
        Some((ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _)) => {
            StoreError::PermissionDenied {
                path,
                cause: error.into(),
            }
        }
        Some((ErrorCode::CannotOpen, _)) => StoreError::Unreachable {
            path,
            cause: error.into(),
        },
        _ => StoreError::Engine {
            path,
            cause: error.into(),
        },
    }
}
