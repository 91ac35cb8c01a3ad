//! Keeping what the controller did and why, a bounded list for each instance, in the status store.

use std::collections::{BTreeMap, BTreeSet};

use model::{Event, InstanceId};
use planner::Told;
use store::status::{EVENTS_PREFIX, events_key};
use store::{Store, StoreError, Transaction};
use tracing::info;

/// Events that are kept of one instance; of more the oldest are forgotten.
const MOST_EVENTS: usize = 64;

/// The events that stand in the status store.
pub(super) struct History {
    status: Store,
    /// By the key that they are kept under.
    kept: BTreeMap<String, Vec<Event>>,
}

impl History {
    /// Takes up what an earlier controller kept.
    pub(super) fn open(status: Store) -> Result<Self, StoreError> {
        let (_, entries) = status.range_json::<Vec<Event>>(EVENTS_PREFIX)?;
        let kept = entries.into_iter().map(|entry| (entry.key, entry.value));
        Ok(Self {
            kept: kept.collect(),
            status,
        })
    }

    /// Adds what was told, and forgets what is not about one of these instances, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; what was told is then lost, since nothing may wait for it.
    pub(super) fn note(
        &mut self,
        told: Vec<Told>,
        instances: impl Iterator<Item = InstanceId>,
    ) -> Result<(), StoreError> {
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
        let mut known: BTreeSet<String> = instances.map(|id| events_key(Some(id))).collect();
        known.insert(events_key(None));
        let mut transaction = Transaction::new();
        for key in self.kept.keys().filter(|key| !known.contains(*key)) {
            transaction = transaction.delete(key);
        }
        self.kept.retain(|key, _| known.contains(key));
        for key in changed {
            if let Some(kept) = self.kept.get(&key) {
                transaction = transaction.put_json(key, kept)?;
            }
        }
        if !transaction.is_read_only() {
            self.status.commit(transaction)?;
        }
        Ok(())
    }
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
        let mut history = History::open(status.clone()).unwrap();
        history.note(told, [InstanceId(1)].into_iter()).unwrap();
        let newest: Vec<u64> = (36..100).collect();
        assert_eq!(stored(&status, one), newest);
        let mut history = History::open(status.clone()).unwrap();
        let told = vec![(one, event(100)), (None, event(7))];
        history.note(told, [InstanceId(1)].into_iter()).unwrap();
        assert_eq!(stored(&status, one).last(), Some(&100));
        assert_eq!(stored(&status, one).len(), MOST_EVENTS);
        history.note(Vec::new(), std::iter::empty()).unwrap();
        assert_eq!(stored(&status, one), [0; 0]);
        assert_eq!(stored(&status, None), [7]);
    }
}
