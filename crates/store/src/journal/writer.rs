//! The thread that writes, and keeps the journal within its bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Event, EventKind, Timestamp};
use rusqlite::{Transaction, params};

use super::file::{Open, identity, put_aside};
use super::{
    About, Batch, Entry, MOST_AGE, MOST_EVENTS, MOST_OF_ONE, MOST_SUBJECTS, Standing, Subject,
};
use crate::StoreError;
use crate::sqlite::engine_error;

/// Batches that are written in one transaction.
const MOST_AT_ONCE: usize = 256;
/// After an attempt that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Events after which it is seen to the bounds again.
const TRIM_AFTER: u64 = 500;
/// Events that go for their age at once: a clock that leaps ahead and back is seen before all are gone.
const MOST_AGED: u64 = 2_000;
/// Bytes of an event's words.
const MOST_WORDS: usize = 1_024;

/// Writes what comes, until nobody is left who hands anything over.
pub(super) fn write_on(path: &Path, receiver: &Receiver<Batch>, standing: &Standing) {
    let mut writer = Writer::default();
    let mut held = Vec::new();
    loop {
        if held.is_empty() {
            match receiver.recv() {
                Ok(batch) => held.push(batch),
                Err(_) => return,
            }
        }
        let mut is_last = false;
        while held.len() < MOST_AT_ONCE {
            match receiver.try_recv() {
                Ok(batch) => held.push(batch),
                Err(ended) => {
                    is_last = ended == TryRecvError::Disconnected;
                    break;
                }
            }
        }
        writer.learn(standing.unnamed(), &held);
        let lost = standing.lost.swap(0, Ordering::Relaxed);
        match writer.write(path, &held, lost) {
            Ok(()) => {
                standing.tell(None);
                for batch in held.drain(..) {
                    // Nobody may be waiting any more.
                    let _ = batch.written.map(|written| written.try_send(()));
                }
            }
            Err(_) if is_last => return,
            Err(error) => {
                standing.lost.fetch_add(lost, Ordering::Relaxed);
                standing.tell(Some(format!("events are not kept: {error}")));
                std::thread::sleep(PAUSE);
            }
        }
    }
}

#[derive(Default)]
struct Writer {
    open: Option<Open>,
    /// Instances of which something was written since it was last seen to the bounds.
    touched: BTreeSet<u64>,
    since_trim: u64,
    /// All names that were handed over, for a file that is begun anew; and those that are not written yet.
    subjects: BTreeMap<u64, Subject>,
    unwritten: BTreeSet<u64>,
    /// Where a damaged file was put, until that is told.
    aside: Option<String>,
}

impl Writer {
    fn write(&mut self, path: &Path, batches: &[Batch], lost: u64) -> Result<(), StoreError> {
        let used = identity(path);
        let written = self.try_write(path, batches, lost);
        if let Err(error) = &written {
            self.open = None;
            if matches!(error, StoreError::Corrupt { .. })
                && let Some(damaged) = used
                && let Ok(aside) = put_aside(path, damaged)
            {
                self.aside = aside.map(|aside| aside.display().to_string());
                return self.try_write(path, batches, lost);
            }
        }
        written
    }

    /// Takes note of names. There are as many of them as are kept.
    fn learn(&mut self, unnamed: Vec<Subject>, batches: &[Batch]) {
        let named = batches.iter().flat_map(|batch| &batch.subjects).cloned();
        for subject in unnamed.into_iter().chain(named) {
            let id = subject.instance.0;
            let known = self.subjects.insert(id, subject.clone());
            if known.as_ref() != Some(&subject) {
                self.unwritten.insert(id);
            }
        }
        while self.subjects.len() as u64 > MOST_SUBJECTS {
            self.subjects.pop_first();
        }
    }

    fn try_write(&mut self, path: &Path, batches: &[Batch], lost: u64) -> Result<(), StoreError> {
        let mut open = match self.open.take().filter(|open| open.is_in_place(path)) {
            Some(open) => open,
            None => {
                self.since_trim = TRIM_AFTER;
                self.unwritten.extend(self.subjects.keys());
                Open::new(path)?
            }
        };
        let failed = |error| engine_error(error, path);
        let transaction = open.connection.transaction().map_err(failed)?;
        self.put_all(&transaction, batches, lost).map_err(failed)?;
        if self.since_trim >= TRIM_AFTER {
            trim(&transaction, &self.touched).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        if self.since_trim >= TRIM_AFTER {
            self.since_trim = 0;
            self.touched.clear();
        }
        self.aside = None;
        self.unwritten.clear();
        self.open = Some(open);
        Ok(())
    }

    fn put_all(
        &mut self,
        transaction: &Transaction<'_>,
        batches: &[Batch],
        lost: u64,
    ) -> rusqlite::Result<()> {
        let damaged = self
            .aside
            .as_ref()
            .map(|aside| format!("the journal was damaged; what it held until now is in {aside}"));
        let missing = (lost > 0)
            .then(|| format!("{lost} events are missing here: they could not be written"));
        for text in damaged.into_iter().chain(missing) {
            let event = Event {
                at: now(),
                vm: None,
                kind: EventKind::Missing,
                text,
            };
            let about = About::default();
            put(transaction, &Entry { about, event })?;
        }
        let unwritten = self.unwritten.iter();
        for subject in unwritten.filter_map(|id| self.subjects.get(id)) {
            transaction
                    .prepare_cached("INSERT OR REPLACE INTO subject (instance, project, user, name) VALUES (?, ?, ?, ?)")?
                    .execute(params![
                        signed(subject.instance.0),
                        signed(subject.project.0),
                        subject.user,
                        subject.name
                    ])?;
        }
        for batch in batches {
            for entry in &batch.entries {
                put(transaction, entry)?;
                self.touched.extend(entry.about.instance.map(|id| id.0));
                self.since_trim += 1;
            }
        }
        Ok(())
    }
}

fn put(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let Entry { about, event } = entry;
    transaction
        .prepare_cached(
            "INSERT INTO event (at, user, project, instance, vm, kind, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            signed(event.at.0),
            about.user,
            about.project.map(|id| signed(id.0)),
            about.instance.map(|id| signed(id.0)),
            event.vm.map(|id| signed(id.0)),
            event.kind.word(),
            cut(&event.text)
        ])?;
    Ok(())
}

/// As much of an event's words as is kept.
fn cut(text: &str) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=MOST_WORDS.min(text.len())).rev().find(fits);
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

/// Removes what is too old, and the oldest of what is too much.
fn trim(transaction: &Transaction<'_>, touched: &BTreeSet<u64>) -> rusqlite::Result<()> {
    let oldest = now().0.saturating_sub(MOST_AGE.as_millis() as u64);
    transaction.execute(
        "DELETE FROM event WHERE number IN (SELECT number FROM event WHERE at < ? LIMIT ?)",
        [signed(oldest), signed(MOST_AGED)],
    )?;
    transaction.execute(
        "DELETE FROM event WHERE instance IS NULL AND number <= (SELECT number FROM event
             WHERE instance IS NULL ORDER BY number DESC LIMIT 1 OFFSET ?)",
        [signed(MOST_OF_ONE)],
    )?;
    transaction.execute(
        "DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?",
        [signed(MOST_EVENTS)],
    )?;
    transaction.execute(
        "DELETE FROM subject WHERE instance <= (SELECT max(instance) FROM subject) - ?",
        [signed(MOST_SUBJECTS)],
    )?;
    let mut of_one = transaction.prepare_cached(
        "DELETE FROM event WHERE instance = ?1 AND number <= (SELECT number FROM event
             WHERE instance = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?;
    for instance in touched {
        of_one.execute([signed(*instance), signed(MOST_OF_ONE)])?;
    }
    Ok(())
}

/// SQLite's whole numbers have a sign; ours stay far below what that leaves.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since_epoch.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}
