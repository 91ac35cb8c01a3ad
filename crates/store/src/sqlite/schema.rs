//! The tables, and how the store's types are kept in them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql};

use crate::{LeaseId, Revision};

/// In the file's header: this is a store of ours ("EvKl").
pub(super) const APPLICATION_ID: i64 = 0x4576_4b6c;

/// In the file's header: the version of the tables. A change of the tables raises it, and brings the step that
/// leads older files there.
pub(super) const VERSION: i64 = 1;

/// How many revisions the table `change` goes back. A watcher's poller that falls further behind wakes all
/// watches instead of those concerned.
pub(super) const KEPT_REVISIONS: u64 = 1000;

/// - `entry`: what the store holds.
/// - `lease`: deadlines in milliseconds of the monotonic clock of one boot; AUTOINCREMENT, so that no id is
///   given twice.
/// - `change`: which keys the latest revisions changed, for pollers. Each revision has at least one row, so that
///   its greatest is the store's revision.
const TABLES: &str = "
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        ttl_ms INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL,
        boot TEXT NOT NULL
    ) STRICT;
    CREATE INDEX lease_expires ON lease (expires_ms);
    CREATE TABLE entry (
        key TEXT NOT NULL PRIMARY KEY,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER REFERENCES lease (id)
    ) STRICT;
    CREATE INDEX entry_lease ON entry (lease) WHERE lease IS NOT NULL;
    CREATE TABLE change (
        revision INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (revision, key)
    ) STRICT, WITHOUT ROWID;
";

/// Makes the tables in an empty file and puts it in write-ahead-log mode, which the file remembers.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))?;
    connection.pragma_update(None, "journal_mode", "WAL")
}

/// The half-open range of keys that begin with the prefix, as the two bounds of `key >= ? AND key < ?`.
///
/// SQLite compares text by its UTF-8 bytes, which is the order of code points. So the least text above all of
/// the range is the prefix with its last character raised by one; a last character that has no next is taken
/// off first. When nothing is left, the bound is a blob, which SQLite sorts above all text.
pub(super) fn prefix_bounds(prefix: &str) -> (&str, Value) {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The range skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return (prefix, Value::Text(characters.into_iter().collect()));
        }
    }
    (prefix, Value::Blob(Vec::new()))
}

impl ToSql for Revision {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // A revision past SQLite's integers cannot have been made here: compare it as one that never will be.
        Ok(i64::try_from(self.get()).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Revision {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number)
            .map(Self::new)
            .map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl ToSql for LeaseId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.get().into())
    }
}

impl FromSql for LeaseId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_at_the_next_text_above_its_prefix() {
        let text = |text: &str| Value::Text(text.to_owned());
        let table = [
            ("a/", text("a0")),
            ("ab", text("ac")),
            ("é", text("ê")),
            ("a\u{d7ff}", text("a\u{e000}")),
            ("a\u{10ffff}", text("b")),
            ("\u{10ffff}", Value::Blob(vec![])),
            ("", Value::Blob(vec![])),
        ];
        for (prefix, end) in table {
            assert_eq!(prefix_bounds(prefix), (prefix, end), "prefix {prefix:?}");
        }
    }
}
