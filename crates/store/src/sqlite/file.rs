//! The store's file: made whole or not at all, checked before use, and watched for being replaced.
//!
//! The file is never opened but by SQLite: closing any other descriptor of it would drop the locks that SQLite
//! holds in this process (POSIX record locks belong to the process), and with them its promises.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD, RenameFlags, accessat, renameat_with};

use super::faults::Fault;
use super::{BUSY_TIMEOUT, Durability, schema};
use crate::StoreError;

/// The log beside the file is cut back to this size when it was folded into the file.
const LOG_SIZE_LIMIT_BYTES: i64 = 16 * 1024 * 1024;

/// The least size of a store. SQLite itself takes a shorter file for a new, empty one.
const SQLITE_HEADER_BYTES: u64 = 100;

/// A file that this process uses as a store.
pub(super) struct File {
    path: PathBuf,
    /// Device and inode, by which a file put in its place is told apart.
    identity: (u64, u64),
}

impl File {
    /// Makes the file if neither it nor its log exist, and narrows its mode to the owner.
    pub(super) fn ensure(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| io_error(path, error))?;
        // The log is looked for first: whoever makes the file at this moment makes its log later.
        let has_log = fs::metadata(beside(&path, "-wal")).is_ok_and(|log| log.len() > 0);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_log => {
                let detail = "the file is missing, but its -wal file is there".to_owned();
                return Err(StoreError::Corrupt { path, detail });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(&path)?;
                fs::metadata(&path).map_err(|error| io_error(&path, error))?
            }
            other => other.map_err(|error| io_error(&path, error))?,
        };
        if !metadata.is_file() {
            return Err(StoreError::Foreign {
                path,
                detail: "it is not a regular file".to_owned(),
            });
        }
        if metadata.len() < SQLITE_HEADER_BYTES {
            let detail = format!("it has {} bytes, fewer than any store", metadata.len());
            return Err(StoreError::Corrupt { path, detail });
        }
        accessat(
            CWD,
            &path,
            Access::READ_OK | Access::WRITE_OK,
            AtFlags::EACCESS,
        )
        .map_err(|error| io_error(&path, error.into()))?;
        if metadata.mode() & 0o077 != 0 {
            let narrowed = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, narrowed).map_err(|error| io_error(&path, error))?;
        }
        Ok(Self {
            identity: (metadata.dev(), metadata.ino()),
            path,
        })
    }

    /// A new connection to the file, which is never made by this.
    pub(super) fn connect(&self, durability: Durability) -> Result<Connection, StoreError> {
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Volatile => "NORMAL",
        };
        self.try_connect(synchronous)
            .map_err(|error| self.error(error.into()))
    }

    fn try_connect(&self, synchronous: &str) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "journal_size_limit", LOG_SIZE_LIMIT_BYTES)?;
        Ok(connection)
    }

    /// Sees that the file is a store, of a version that we know, and whole.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, found) = pragma("application_id")
            .and_then(|application| Ok((application, pragma("user_version")?)))
            .map_err(|error| self.error(error.into()))?;
        let (path, supported) = (self.path.clone(), schema::VERSION);
        if application != schema::APPLICATION_ID || found < 1 {
            let detail =
                format!("an SQLite file with application id {application} and version {found}");
            return Err(StoreError::Foreign { path, detail });
        }
        if found > supported {
            return Err(StoreError::NewerSchema {
                path,
                found,
                supported,
            });
        }
        let verdict = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
            .map_err(|error| self.error(error.into()))?;
        if verdict == "ok" {
            Ok(())
        } else {
            Err(StoreError::Corrupt {
                path,
                detail: verdict,
            })
        }
    }

    /// Sees that the file is still where it was opened, so that nothing is committed to a file that nobody will
    /// find again.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error(&self.path, error))
            }
            _ => Err(StoreError::Replaced {
                path: self.path.clone(),
            }),
        }
    }

    /// What the file is called, for people.
    pub(super) fn name(&self) -> Cow<'_, str> {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy()
    }

    pub(super) fn error(&self, fault: Fault) -> StoreError {
        fault.at(&self.path)
    }

    pub(super) fn engine_error(&self, cause: io::Error) -> StoreError {
        StoreError::Engine {
            path: self.path.clone(),
            cause: cause.into(),
        }
    }
}

/// Makes a new store under another name and moves it to its place when it is whole and on the disk, unless
/// another process was faster. So a file in its place is never half-made, whatever happens in between.
fn create(path: &Path) -> Result<(), StoreError> {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let draft = beside(path, &format!(".new-{}-{attempt}", std::process::id()));
    let made = write_draft(&draft)
        .map_err(|fault| fault.at(path))
        .and_then(
            |()| match renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(io_error(path, error.into())),
            },
        );
    // Gone already when it was moved; otherwise ours to remove, and harmless if that fails.
    let _ = fs::remove_file(&draft);
    made?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(path, error))
}

/// What stops the making of a draft.
enum DraftFault {
    Io(io::Error),
    Engine(rusqlite::Error),
}

impl DraftFault {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Io(error) => io_error(path, error),
            Self::Engine(error) => Fault::from(error).at(path),
        }
    }
}

fn write_draft(draft: &Path) -> Result<(), DraftFault> {
    let new = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft);
    drop(new.map_err(DraftFault::Io)?);
    let connection = Connection::open_with_flags(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(DraftFault::Engine)?;
    schema::create(&connection).map_err(DraftFault::Engine)?;
    connection
        .close()
        .map_err(|(_, error)| DraftFault::Engine(error))?;
    fs::File::open(draft)
        .and_then(|file| file.sync_all())
        .map_err(DraftFault::Io)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::PermissionDenied {
                path,
                cause: error.into(),
            }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::Unreachable {
            path,
            cause: error.into(),
        },
        _ => StoreError::Engine {
            path,
            cause: error.into(),
        },
    }
}
