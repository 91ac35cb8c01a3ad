//! The journal's file: made where it is missing, put aside where it is damaged.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::sqlite::engine_error;
use crate::{BUSY_TIMEOUT, StoreError};

/// In the file's header: this is a journal of ours ("EvKj").
const APPLICATION_ID: i64 = 0x4576_4b6a;
/// The version of the tables.
const VERSION: i64 = 1;
/// The log beside the file is cut back to this size when it was folded into the file.
const LOG_SIZE_LIMIT_BYTES: i64 = 4 * 1024 * 1024;

/// - `event`: AUTOINCREMENT, so that no number is given twice, and who follows can go on.
/// - `subject`: what instances are called, also those that are gone.
const TABLES: &str = "
    CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        user TEXT,
        project INTEGER,
        instance INTEGER,
        vm INTEGER,
        kind TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_instance ON event (instance, number);
    CREATE INDEX event_at ON event (at);
    CREATE TABLE subject (
        instance INTEGER PRIMARY KEY,
        project INTEGER NOT NULL,
        user TEXT NOT NULL,
        name TEXT NOT NULL
    ) STRICT;
    CREATE INDEX subject_user ON subject (user, name);
";

/// A connection that writes, and which file it writes to.
pub(super) struct Open {
    pub(super) connection: Connection,
    identity: Identity,
}

/// Device and inode, by which a file put in another's place is told apart.
pub(super) type Identity = (u64, u64);

impl Open {
    /// Opens the file, and makes it where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect_to_write(path, flags)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
            .and_then(|()| {
                connection.pragma_update(None, "journal_size_limit", LOG_SIZE_LIMIT_BYTES)
            })
            .map_err(|error| engine_error(error, path))?;
        let identity = identity(path).ok_or_else(|| StoreError::Replaced {
            path: path.to_owned(),
        })?;
        Ok(Self {
            connection,
            identity,
        })
    }

    /// Whether the file is still where it was opened.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        identity(path) == Some(self.identity)
    }
}

pub(super) fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A connection for a question; none where there is no journal yet.
///
/// # Errors
/// [`StoreError`].
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| engine_error(error, path);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let header = header(&connection).map_err(failed)?;
    let has_tables = check(header, path)?;
    Ok(has_tables.then_some(connection))
}

/// What the file is, by its application, and the version of its tables.
fn header(connection: &Connection) -> rusqlite::Result<[i64; 2]> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok([pragma("application_id")?, pragma("user_version")?])
}

/// Whether a file has our tables; not yet when it is empty.
fn check([application, found]: [i64; 2], path: &Path) -> Result<bool, StoreError> {
    let path = path.to_owned();
    match (application, found) {
        (0, 0) => Ok(false),
        (APPLICATION_ID, VERSION) => Ok(true),
        (APPLICATION_ID, _) => Err(StoreError::NewerSchema {
            path,
            found,
            supported: VERSION,
        }),
        _ => {
            let detail =
                format!("an SQLite file with application id {application} and version {found}");
            Err(StoreError::Foreign { path, detail })
        }
    }
}

/// Connects, and makes the tables where there are none.
fn connect_to_write(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |error| engine_error(error, path);
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found = header(&transaction).map_err(failed)?;
    if !check(found, path)? {
        let header =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};");
        transaction
            .execute_batch(TABLES)
            .and_then(|()| transaction.execute_batch(&header))
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(connection)
}

/// Moves a damaged file and its log away, over what was put aside before, unless another process did already.
/// Returns where to.
///
/// # Errors
/// When it cannot be moved.
pub(super) fn put_aside(path: &Path, damaged: Identity) -> io::Result<Option<PathBuf>> {
    if identity(path) != Some(damaged) {
        return Ok(None);
    }
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = named(".damaged");
    fs::rename(path, &aside)?;
    match fs::rename(named("-wal"), named(".damaged-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // It is made from the log.
    match fs::remove_file(named("-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Some(aside)),
    }
}
