//! Both engines against a reference that is too simple to be wrong: any history of calls must give the same
//! answers, errors and revisions on all three.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use store::{
    Clock, Durability, Entry, LeaseId, ManualClock, Outcome, Revision, Store, StoreError,
    Transaction,
};

use crate::engines::{DEADLINE, fresh_path};
use crate::watches::has_changed;

const KEYS: [&str; 8] = [
    "a",
    "a/",
    "a/b",
    "a/bc",
    "a0",
    "b",
    "é",
    "\u{10ffff}\u{10ffff}",
];
const PREFIXES: [&str; 7] = ["", "a", "a/", "a/b", "b", "\u{10ffff}", "z"];

#[derive(Clone, Debug)]
enum Condition {
    Absent(&'static str),
    Present(&'static str),
    Modified(&'static str, u64),
    /// At the revision that the key has at this moment.
    Unchanged(&'static str),
}

#[derive(Clone, Debug)]
enum Write {
    Put(&'static str, u8),
    /// The lease is the n-th that was granted.
    PutLeased(&'static str, u8, usize),
    Delete(&'static str),
    DeleteRange(&'static str),
}

#[derive(Clone, Debug)]
enum Call {
    Commit(Vec<Condition>, Vec<Write>),
    Get(&'static str),
    Range(&'static str),
    Grant(u64),
    KeepAlive(usize),
    Revoke(usize),
    Advance(u64),
    /// Closes the file and opens it again; nothing for the others.
    Reopen,
}

fn condition() -> impl Strategy<Value = Condition> {
    let key = || select(&KEYS[..]);
    prop_oneof![
        1 => key().prop_map(Condition::Absent),
        1 => key().prop_map(Condition::Present),
        1 => (key(), 0..12_u64).prop_map(|(key, revision)| Condition::Modified(key, revision)),
        3 => key().prop_map(Condition::Unchanged),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let key = || select(&KEYS[..]);
    prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Write::Put(key, value)),
        3 => (key(), any::<u8>(), 0..4_usize).prop_map(|(key, value, lease)| Write::PutLeased(key, value, lease)),
        2 => key().prop_map(Write::Delete),
        1 => select(&PREFIXES[..]).prop_map(Write::DeleteRange),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (vec(condition(), 0..3), vec(write(), 0..4)).prop_map(|(conditions, writes)| Call::Commit(conditions, writes)),
        2 => select(&KEYS[..]).prop_map(Call::Get),
        2 => select(&PREFIXES[..]).prop_map(Call::Range),
        2 => (0..6_u64).prop_map(Call::Grant),
        2 => (0..4_usize).prop_map(Call::KeepAlive),
        1 => (0..4_usize).prop_map(Call::Revoke),
        3 => (0..4_u64).prop_map(Call::Advance),
        1 => Just(Call::Reopen),
    ]
}

/// What a call answers, in a form that can be compared.
#[derive(Debug, PartialEq)]
enum Answer {
    Outcome(Outcome),
    Entry(Option<Entry>),
    Range(Revision, Vec<Entry>),
    Lease(LeaseId),
    Done,
    Invalid,
    LeaseNotFound(LeaseId),
}

impl<T: Into<Answer>> From<Result<T, StoreError>> for Answer {
    fn from(result: Result<T, StoreError>) -> Self {
        match result {
            Ok(answer) => answer.into(),
            Err(StoreError::Invalid { .. }) => Self::Invalid,
            Err(StoreError::LeaseNotFound { lease }) => Self::LeaseNotFound(lease),
            Err(error) => panic!("{error}"),
        }
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<Option<Entry>> for Answer {
    fn from(entry: Option<Entry>) -> Self {
        Self::Entry(entry)
    }
}

impl From<(Revision, Vec<Entry>)> for Answer {
    fn from((revision, entries): (Revision, Vec<Entry>)) -> Self {
        Self::Range(revision, entries)
    }
}

impl From<LeaseId> for Answer {
    fn from(lease: LeaseId) -> Self {
        Self::Lease(lease)
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// The reference: lists, walked from end to end.
#[derive(Default)]
struct Reference {
    now: u64,
    revision: u64,
    /// Entries, each with the lease that it hangs on.
    entries: Vec<(Entry, Option<LeaseId>)>,
    /// Leases alive: id, ttl, deadline.
    leases: Vec<(LeaseId, u64, u64)>,
}

impl Reference {
    fn find(&self, key: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .map(|(entry, _)| entry)
            .find(|entry| entry.key == key)
    }

    fn modified(&self, key: &str) -> u64 {
        self.find(key).map_or(0, |entry| entry.modified.get())
    }

    fn range(&self, prefix: &str) -> Vec<Entry> {
        let all = self.entries.iter().map(|(entry, _)| entry.clone());
        let mut entries: Vec<Entry> = all.filter(|entry| entry.key.starts_with(prefix)).collect();
        entries.sort_by(|one, other| one.key.as_bytes().cmp(other.key.as_bytes()));
        entries
    }

    /// Removes entries, and raises the revision if there were any.
    fn remove(&mut self, goes: impl Fn(&Entry, Option<LeaseId>) -> bool) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(entry, lease)| !goes(entry, *lease));
        self.entries.len() < before
    }

    fn end_lease(&mut self, ended: LeaseId) {
        self.leases.retain(|(id, _, _)| *id != ended);
        if self.remove(|_, lease| lease == Some(ended)) {
            self.revision += 1;
        }
    }

    fn expire(&mut self) {
        self.leases
            .sort_by_key(|(id, _, deadline)| (*deadline, *id));
        while let Some((id, _, deadline)) = self.leases.first().copied() {
            if deadline > self.now {
                break;
            }
            self.end_lease(id);
        }
    }

    fn is_alive(&self, lease: LeaseId) -> bool {
        self.leases.iter().any(|(id, _, _)| *id == lease)
    }

    fn holds(&self, condition: &Condition) -> Result<(), String> {
        let (key, holds) = match *condition {
            Condition::Absent(key) => (key, self.find(key).is_none()),
            Condition::Present(key) => (key, self.find(key).is_some()),
            Condition::Modified(key, revision) => (key, self.modified(key) == revision),
            Condition::Unchanged(key) => (key, true),
        };
        if holds { Ok(()) } else { Err(key.to_owned()) }
    }

    fn commit(
        &mut self,
        conditions: &[Condition],
        writes: &[Write],
        granted: &[LeaseId],
    ) -> Answer {
        let keys = |deleted: bool| {
            writes.iter().filter_map(move |write| match write {
                Write::Put(key, _) | Write::PutLeased(key, _, _) if !deleted => Some((*key, false)),
                Write::Delete(key) if deleted => Some((*key, false)),
                Write::DeleteRange(prefix) if deleted => Some((*prefix, true)),
                _ => None,
            })
        };
        for (key, _) in keys(false) {
            let puts = keys(false).filter(|(other, _)| *other == key).count();
            let deletes = keys(true).any(|(name, range)| {
                if range {
                    key.starts_with(name)
                } else {
                    key == name
                }
            });
            if puts > 1 || deletes {
                return Answer::Invalid;
            }
        }
        if let Some(key) = conditions
            .iter()
            .find_map(|condition| self.holds(condition).err())
        {
            return Answer::Outcome(Outcome::Conflict { key });
        }
        for write in writes {
            if let Write::PutLeased(_, _, lease) = write {
                let lease = nth(granted, *lease);
                if !self.is_alive(lease) {
                    return Answer::LeaseNotFound(lease);
                }
            }
        }
        let mut changed = false;
        for write in writes {
            changed |= match *write {
                Write::Put(key, value) => self.put(key, value, None),
                Write::PutLeased(key, value, lease) => {
                    self.put(key, value, Some(nth(granted, lease)))
                }
                Write::Delete(key) => self.remove(|entry, _| entry.key == key),
                Write::DeleteRange(prefix) => self.remove(|entry, _| entry.key.starts_with(prefix)),
            };
        }
        self.revision += u64::from(changed);
        Answer::Outcome(Outcome::Applied(Revision::new(self.revision)))
    }

    fn put(&mut self, key: &str, value: u8, lease: Option<LeaseId>) -> bool {
        let modified = Revision::new(self.revision + 1);
        let created = self.find(key).map_or(modified, |entry| entry.created);
        self.entries.retain(|(entry, _)| entry.key != key);
        self.entries.push((
            Entry {
                key: key.to_owned(),
                value: vec![value],
                created,
                modified,
            },
            lease,
        ));
        true
    }

    fn call(&mut self, call: &Call, granted: &[LeaseId]) -> Answer {
        self.expire();
        match call {
            Call::Commit(conditions, writes) => self.commit(conditions, writes, granted),
            Call::Get(key) => Answer::Entry(self.find(key).cloned()),
            Call::Range(prefix) => Answer::Range(Revision::new(self.revision), self.range(prefix)),
            // Which id a lease gets is no promise: it is taken from the engines.
            Call::Grant(_) | Call::Reopen => Answer::Done,
            Call::KeepAlive(lease) => {
                let (lease, now) = (nth(granted, *lease), self.now);
                let Some(held) = self.leases.iter_mut().find(|(id, _, _)| *id == lease) else {
                    return Answer::LeaseNotFound(lease);
                };
                held.2 = now + held.1;
                Answer::Done
            }
            Call::Revoke(lease) => {
                self.end_lease(nth(granted, *lease));
                Answer::Done
            }
            Call::Advance(millis) => {
                self.now += millis;
                self.expire();
                Answer::Done
            }
        }
    }
}

/// The n-th lease that was granted, or one that never was.
fn nth(granted: &[LeaseId], index: usize) -> LeaseId {
    granted
        .get(index)
        .copied()
        .unwrap_or_else(|| serde_json::from_str("999").unwrap())
}

fn transaction(
    conditions: &[Condition],
    writes: &[Write],
    granted: &[LeaseId],
    reference: &Reference,
) -> Transaction {
    let compared =
        conditions.iter().fold(
            Transaction::new(),
            |transaction, condition| match *condition {
                Condition::Absent(key) => transaction.when_absent(key),
                Condition::Present(key) => transaction.when_present(key),
                Condition::Modified(key, revision) => {
                    transaction.when_modified(key, Revision::new(revision))
                }
                Condition::Unchanged(key) => {
                    transaction.when_modified(key, Revision::new(reference.modified(key)))
                }
            },
        );
    writes
        .iter()
        .fold(compared, |transaction, write| match *write {
            Write::Put(key, value) => transaction.put(key, [value]),
            Write::PutLeased(key, value, lease) => {
                transaction.put_leased(key, [value], nth(granted, lease))
            }
            Write::Delete(key) => transaction.delete(key),
            Write::DeleteRange(prefix) => transaction.delete_range(prefix),
        })
}

fn call_engine(
    store: &Store,
    clock: &ManualClock,
    call: &Call,
    granted: &[LeaseId],
    reference: &Reference,
) -> Answer {
    match call {
        Call::Commit(conditions, writes) => store
            .commit(transaction(conditions, writes, granted, reference))
            .into(),
        Call::Get(key) => store.get(key).into(),
        Call::Range(prefix) => store.range(prefix).into(),
        Call::Grant(ttl) => store.grant_lease(Duration::from_millis(*ttl)).into(),
        Call::KeepAlive(lease) => store.keep_alive(nth(granted, *lease)).into(),
        Call::Revoke(lease) => store.revoke(nth(granted, *lease)).into(),
        Call::Advance(millis) => {
            clock.advance(Duration::from_millis(*millis));
            store.expire_leases().into()
        }
        Call::Reopen => Answer::Done,
    }
}

async fn agree(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let (_directory, path) = fresh_path();
    let clocks = [ManualClock::default(), ManualClock::default()];
    let open = || {
        Store::open_with_clock(
            &path,
            Durability::Volatile,
            Clock::Manual(clocks[1].clone()),
        )
        .unwrap()
    };
    let mut engines = [Store::in_memory_with_clock(clocks[0].clone()), open()];
    let mut watches = engines
        .each_ref()
        .map(|store| PREFIXES.map(|prefix| store.watch(prefix)));
    let (mut reference, mut granted) = (Reference::default(), Vec::new());
    for call in calls {
        if matches!(call, Call::Reopen) {
            engines[1] = open();
            watches[1] = PREFIXES.map(|prefix| engines[1].watch(prefix));
        }
        let before = PREFIXES.map(|prefix| reference.range(prefix));
        let revision = reference.revision;
        let answers: Vec<Answer> = engines
            .iter()
            .zip(&clocks)
            .map(|(store, clock)| {
                // The conditions are made for the state as it is once the leases that are due have ended.
                reference.expire();
                call_engine(store, clock, &call, &granted, &reference)
            })
            .collect();
        prop_assert_eq!(
            &answers[0],
            &answers[1],
            "memory and sqlite differ on {:?}",
            &call
        );
        let mut expected = reference.call(&call, &granted);
        if let (Call::Grant(ttl), Answer::Lease(lease)) = (&call, &answers[0]) {
            // Times are in milliseconds; a ttl of 0 is raised to the least there is.
            let ttl = (*ttl).max(1);
            granted.push(*lease);
            reference.leases.push((*lease, ttl, reference.now + ttl));
            expected = Answer::Lease(*lease);
        }
        prop_assert_eq!(
            &answers[0],
            &expected,
            "the engines and the reference differ on {:?}",
            &call
        );
        for store in &engines {
            prop_assert_eq!(
                store.range("").unwrap(),
                (Revision::new(reference.revision), reference.range(""))
            );
        }
        for (index, prefix) in PREFIXES.iter().enumerate() {
            let changed = reference.range(prefix) != before[index];
            if changed {
                // The file's poller may be the one that announces the end of a lease, in a moment.
                let announced = tokio::time::timeout(DEADLINE, watches[1][index].changed()).await;
                prop_assert!(
                    announced.is_ok(),
                    "sqlite does not announce {:?} under {:?}",
                    &call,
                    prefix
                );
            }
            let announced = has_changed(&mut watches[0][index]).await;
            prop_assert!(
                announced || !changed,
                "memory does not announce {:?} under {:?}",
                &call,
                prefix
            );
            prop_assert!(
                !announced || reference.revision > revision,
                "memory announces {:?} wrongly",
                &call
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_agree_with_the_reference_on_any_history(calls in vec(call(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(agree(calls))?;
    }
}
