//! Looking for what other connections, in other processes above all, have committed.

use rusqlite::{Connection, params};

use crate::Revision;
use crate::watch::Hub;

/// What was seen so far. `PRAGMA data_version` counts the commits that other connections than this one made, so
/// this one only ever looks.
pub(super) struct Poll {
    connection: Connection,
    data_version: i64,
    seen: Revision,
    next_expiry_ms: Option<i64>,
}

impl Poll {
    pub(super) fn new(connection: Connection) -> rusqlite::Result<Self> {
        let data_version = data_version(&connection)?;
        let mut poll = Self {
            connection,
            data_version,
            seen: Revision::ZERO,
            next_expiry_ms: None,
        };
        poll.read_changes(|_, _| ())?;
        poll.next_expiry_ms = poll.read_next_expiry()?;
        Ok(poll)
    }

    /// Announces what was committed since the last look. Returns whether a lease is due.
    ///
    /// The commits of our own process are found as well, and announced again, which changes nothing.
    pub(super) fn announce_changes(&mut self, hub: &Hub, now_ms: i64) -> rusqlite::Result<bool> {
        let data_version = data_version(&self.connection)?;
        if data_version != self.data_version {
            let forgotten = self.read_changes(|revision, key| hub.announce(revision, key))?;
            if forgotten {
                hub.announce_all();
            }
            self.next_expiry_ms = self.read_next_expiry()?;
            // Last, so that a failure above makes the next look begin again.
            self.data_version = data_version;
        }
        Ok(self.next_expiry_ms.is_some_and(|expiry| expiry <= now_ms))
    }

    /// Visits each change since the last look. Returns whether some before them are forgotten already.
    fn read_changes(&mut self, mut visit: impl FnMut(Revision, &str)) -> rusqlite::Result<bool> {
        let (seen, mut first, mut newest) = (self.seen, None, self.seen);
        let mut query = self.connection.prepare_cached(
            "SELECT revision, key FROM change WHERE revision > ?1 ORDER BY revision",
        )?;
        let mut rows = query.query(params![seen])?;
        while let Some(row) = rows.next()? {
            newest = row.get(0)?;
            first.get_or_insert(newest);
            visit(newest, row.get_ref(1)?.as_str()?);
        }
        self.seen = newest;
        Ok(first.is_some_and(|first| first > seen.next()))
    }

    fn read_next_expiry(&self) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT min(expires_ms) FROM lease")?
            .query_row([], |row| row.get(0))
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}
