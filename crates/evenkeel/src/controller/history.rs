//! Keeping what the controller did and why: the newest of each instance in the status store, where `info` finds it
//! at once, and all of it in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use model::{Event, InstanceId};
use planner::Told;
use store::journal::{self, About, Entry, Journal};
use store::status::{EVENTS_PREFIX, events_key};
use store::{Store, StoreError, Transaction};
use tracing::{info, warn};

/// Events that are kept of one instance; of more the oldest are forgotten.
const MOST_EVENTS: usize = 64;

/// How long the end of the controller waits for the journal.
const FAREWELL: Duration = Duration::from_secs(1);

/// The events that stand in the status store, and the journal.
pub(super) struct History {
    status: Store,
    journal: Journal,
    /// By the key that they are kept under.
    kept: BTreeMap<String, Vec<Event>>,
}

impl History {
    /// Takes up what an earlier controller kept. What it did not bring into the journal, since it was killed, is
    /// brought there now.
    pub(super) fn open(status: Store, path: PathBuf) -> Result<Self, StoreError> {
        let (_, entries) = status.range_json::<Vec<Event>>(EVENTS_PREFIX)?;
        let kept = entries.into_iter().map(|entry| (entry.key, entry.value));
        let kept: BTreeMap<String, Vec<Event>> = kept.collect();
        let missing = missing(&kept, &path);
        let journal = Journal::begin(path);
        journal.note(missing);
        Ok(Self {
            kept,
            journal,
            status,
        })
    }

    /// Adds what was told, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; what was told is then lost, since nothing may wait for it.
    pub(super) fn note(&mut self, told: Vec<Told>) -> Result<(), StoreError> {
        let entries = told.iter();
        let entries = entries.map(|(instance, event)| entry(*instance, event.clone()));
        self.journal.note(entries.collect());
        let mut changed = BTreeSet::new();
        for (instance, event) in told {
            log(instance, &event);
            let key = events_key(instance);
            let kept = self.kept.entry(key.clone()).or_default();
            kept.push(event);
            let surplus = kept.len().saturating_sub(MOST_EVENTS);
            kept.drain(..surplus);
            changed.insert(key);
        }
        let mut transaction = Transaction::new();
        for key in changed {
            if let Some(kept) = self.kept.get(&key) {
                transaction = transaction.put_json(key, kept)?;
            }
        }
        self.commit(transaction)
    }

    /// Forgets what is about none of these instances, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn forget_all_but(
        &mut self,
        instances: impl Iterator<Item = InstanceId>,
    ) -> Result<(), StoreError> {
        let mut known: BTreeSet<String> = instances.map(|id| events_key(Some(id))).collect();
        known.insert(events_key(None));
        let mut transaction = Transaction::new();
        for key in self.kept.keys().filter(|key| !known.contains(*key)) {
            transaction = transaction.delete(key);
        }
        self.kept.retain(|key, _| known.contains(key));
        self.commit(transaction)
    }

    /// Why the journal is not written, where it is not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.journal.trouble()
    }

    /// Sees what was noted into the journal, within a moment.
    pub(super) fn close(&self) {
        // What is not there by then is brought there by the next controller.
        let _ = self.journal.flush(FAREWELL);
    }

    fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        if !transaction.is_read_only() {
            self.status.commit(transaction)?;
        }
        Ok(())
    }
}

fn entry(instance: Option<InstanceId>, event: Event) -> Entry {
    let about = About {
        instance,
        ..About::default()
    };
    Entry { about, event }
}

/// What is newer than all that the journal has of its instance.
fn missing(kept: &BTreeMap<String, Vec<Event>>, path: &std::path::Path) -> Vec<Entry> {
    let reach = journal::reach(path).unwrap_or_else(|error| {
        warn!(%error, "the journal cannot be read");
        journal::Reach::default()
    });
    let mut missing = Vec::new();
    for (key, events) in kept {
        let id = key.trim_start_matches(EVENTS_PREFIX).parse().ok();
        let instance = id.map(InstanceId);
        // What is older than all of it may have been there, and gone.
        let known = reach.newest.get(&instance).copied().unwrap_or(reach.oldest);
        let later = events.iter().filter(|event| event.at > known);
        missing.extend(later.map(|event| entry(instance, event.clone())));
    }
    missing.sort_by_key(|entry| entry.event.at);
    missing
}

fn log(instance: Option<InstanceId>, event: &Event) {
    let kind = format!("{:?}", event.kind);
    match instance {
        Some(instance) => info!(%instance, kind, "{}", event.text),
        None => info!(kind, "{}", event.text),
    }
}

#[cfg(test)]
mod tests {
    use model::{EventKind, Timestamp};

    use super::*;

    fn event(at: u64) -> Event {
        Event {
            at: Timestamp(at),
            vm: None,
            kind: EventKind::Dns,
            text: at.to_string(),
        }
    }

    fn stored(status: &Store, id: Option<InstanceId>) -> Vec<u64> {
        let entry = status.get_json::<Vec<Event>>(&events_key(id)).unwrap();
        let events = entry.map_or_else(Vec::new, |entry| entry.value);
        events.iter().map(|event| event.at.0).collect()
    }

    #[test]
    fn the_newest_are_kept_beyond_a_restart_until_their_instance_is_gone() {
        let status = Store::in_memory();
        let one = Some(InstanceId(1));
        let told = (0..100).map(|at| (one, event(at))).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let mut history = History::open(status.clone(), path.clone()).unwrap();
        history.note(told).unwrap();
        let newest: Vec<u64> = (36..100).collect();
        assert_eq!(stored(&status, one), newest);
        let mut history = History::open(status.clone(), path).unwrap();
        let told = vec![(one, event(100)), (None, event(7))];
        history.note(told).unwrap();
        assert_eq!(stored(&status, one).last(), Some(&100));
        assert_eq!(stored(&status, one).len(), MOST_EVENTS);
        history.forget_all_but([InstanceId(1)].into_iter()).unwrap();
        assert_eq!(stored(&status, one).len(), MOST_EVENTS);
        history.forget_all_but(std::iter::empty()).unwrap();
        assert_eq!(stored(&status, one), [0; 0]);
        assert_eq!(stored(&status, None), [7]);
    }

    #[test]
    fn what_a_killed_controller_did_not_bring_into_the_journal_the_next_one_does() {
        let status = Store::in_memory();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let (one, base) = (Some(InstanceId(1)), recently());
        let at = |ms| (one, event(base + ms));
        let mut history = History::open(status.clone(), path.clone()).unwrap();
        history.note(vec![at(0), at(1)]).unwrap();
        assert!(history.journal.flush(Duration::from_secs(20)));
        // Its journal goes to a place where nobody finds it.
        let elsewhere = directory.path().join("elsewhere.db");
        let mut killed = History::open(status.clone(), elsewhere).unwrap();
        killed.note(vec![at(2), (None, event(base + 3))]).unwrap();
        let history = History::open(status, path.clone()).unwrap();
        assert!(history.journal.flush(Duration::from_secs(20)));
        let found = |of| {
            let question = journal::Question {
                of,
                from: None,
                to: None,
                kinds: Vec::new(),
                vm: None,
                after: None,
                limit: 10,
            };
            let found = journal::look_up(&path, &question).unwrap();
            let times = found.events.iter().map(|kept| kept.event.at.0 - base);
            times.collect::<Vec<_>>()
        };
        assert_eq!(found(journal::Of::Instance(InstanceId(1))), [0, 1, 2]);
        assert_eq!(found(journal::Of::User(String::new())), [3]);
    }

    fn recently() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.unwrap().as_millis()).unwrap() - 60_000
    }
}
