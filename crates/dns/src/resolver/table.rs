//! Which names are to be looked up when, and what each last came to. Plain data: time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use model::ResolvedName;
use tokio::time::Instant;

use super::Resolution;

/// The wait after a name's first failed look-up. It doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failed look-up.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// A name that was taken to be looked up and of which nothing was heard is taken again after this.
/// More than any look-up lasts.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// The names that are watched.
///
/// ```text
///          set_names            take_due             record(Ok): due after its TTL
///   (new) ───────────▶ due now ──────────▶ in flight ──────────────────────────────▶ waiting ─┐
///                         ▲                          record(Err): due after the retry wait     │
///                         └──────────────────── its time has come ◀────────────────────────────┘
/// ```
#[derive(Debug, Default)]
pub(super) struct NameTable {
    names: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    /// The last good answer; `None` before the first look-up is over.
    addresses: Option<Vec<Ipv4Addr>>,
    error: Option<String>,
    /// Failed look-ups in a row.
    failures: u32,
}

impl NameTable {
    /// Watches exactly these names. New ones are due at once; those that stay keep answer and time.
    pub(super) fn set_names(&mut self, names: &BTreeSet<String>, now: Instant) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_insert(Entry {
                due: now,
                addresses: None,
                error: None,
                failures: 0,
            });
        }
    }

    /// Takes up to `limit` names whose time has come, the longest due first, to be looked up now.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<String> {
        let mut due: Vec<_> = self
            .names
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now)
            .collect();
        due.sort_by_key(|(_, entry)| entry.due);
        due.into_iter()
            .take(limit)
            .map(|(name, entry)| {
                entry.due = now + LOST_AFTER;
                name.clone()
            })
            .collect()
    }

    /// When the next name is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.names.values().map(|entry| entry.due).min()
    }

    /// Notes what a look-up came to. A failure leaves the last good answer as it is. A name that is
    /// no longer watched is passed over.
    pub(super) fn record(&mut self, name: &str, resolution: Resolution, now: Instant) {
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        match resolution {
            Ok(resolved) => {
                entry.due = now + resolved.valid_for;
                entry.addresses = Some(resolved.addresses);
                entry.error = None;
                entry.failures = 0;
            }
            Err(error) => {
                entry.due = now + retry_wait(entry.failures);
                entry.addresses.get_or_insert_default();
                entry.error = Some(error.to_string());
                entry.failures = entry.failures.saturating_add(1);
            }
        }
    }

    /// What is known of each name; of a name whose first look-up is not over, nothing.
    pub(super) fn snapshot(&self) -> BTreeMap<String, ResolvedName> {
        let known = |(name, entry): (&String, &Entry)| {
            let resolved = ResolvedName {
                addresses: entry.addresses.clone()?,
                error: entry.error.clone(),
            };
            Some((name.clone(), resolved))
        };
        self.names.iter().filter_map(known).collect()
    }
}

/// The wait after a look-up that failed, `failures` having failed before it in a row.
fn retry_wait(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures);
    FIRST_RETRY.saturating_mul(factor).min(MAX_RETRY)
}

#[cfg(test)]
mod tests {
    use super::super::{ResolveError, ResolvedAddresses};
    use super::*;

    fn answer(last_octet: u8, ttl_s: u64) -> Resolution {
        Ok(ResolvedAddresses {
            addresses: vec![Ipv4Addr::new(192, 0, 2, last_octet)],
            valid_for: Duration::from_secs(ttl_s),
        })
    }

    fn no_such_name() -> Resolution {
        Err(ResolveError::NoSuchName {
            name: "a".to_owned(),
        })
    }

    fn table_of(names: &[&str], now: Instant) -> NameTable {
        let mut table = NameTable::default();
        table.set_names(&names.iter().map(|name| (*name).to_owned()).collect(), now);
        table
    }

    #[test]
    fn a_name_is_due_at_once_and_then_as_its_ttl_says() {
        let start = Instant::now();
        let mut table = table_of(&["a"], start);
        assert_eq!(table.take_due(start, 9), ["a"]);
        assert!(table.take_due(start, 9).is_empty(), "taken twice");
        table.record("a", answer(1, 7), start);
        assert_eq!(table.next_due(), Some(start + Duration::from_secs(7)));
        assert!(table.take_due(start + Duration::from_secs(6), 9).is_empty());
        assert_eq!(table.take_due(start + Duration::from_secs(7), 9), ["a"]);
    }

    #[test]
    fn failures_keep_the_last_good_answer_and_are_retried_within_bounds() {
        let start = Instant::now();
        let mut table = table_of(&["a"], start);
        table.record("a", answer(1, 1), start);
        for wait_s in [1, 2, 4, 8, 16, 30, 30, 30] {
            table.record("a", no_such_name(), start);
            assert_eq!(table.next_due(), Some(start + Duration::from_secs(wait_s)));
            let known = &table.snapshot()["a"];
            assert_eq!(known.addresses, [Ipv4Addr::new(192, 0, 2, 1)]);
            assert!(known.error.as_ref().unwrap().contains("no such name"));
        }
        table.record("a", answer(2, 1), start);
        table.record("a", no_such_name(), start);
        assert_eq!(table.next_due(), Some(start + Duration::from_secs(1)));
        let addresses = &table.snapshot()["a"].addresses;
        assert_eq!(*addresses, [Ipv4Addr::new(192, 0, 2, 2)]);
    }

    #[test]
    fn the_longest_due_go_first_and_never_more_than_the_limit() {
        let start = Instant::now();
        let mut table = table_of(&["a", "b", "c"], start);
        table.record("a", answer(1, 3), start);
        table.record("b", answer(1, 2), start);
        table.record("c", answer(1, 1), start);
        let later = start + Duration::from_secs(9);
        assert_eq!(table.take_due(later, 2), ["c", "b"]);
        assert_eq!(table.take_due(later, 2), ["a"]);
    }

    #[test]
    fn a_name_of_which_nothing_was_heard_is_taken_again() {
        let start = Instant::now();
        let mut table = table_of(&["a"], start);
        assert_eq!(table.take_due(start, 1), ["a"]);
        assert_eq!(table.take_due(start + LOST_AFTER, 1), ["a"]);
    }

    #[test]
    fn a_name_is_not_known_before_its_first_look_up_is_over_nor_after_it_is_dropped() {
        let start = Instant::now();
        let mut table = table_of(&["a", "b"], start);
        assert!(table.snapshot().is_empty());
        table.record("a", no_such_name(), start);
        assert_eq!(table.snapshot().keys().collect::<Vec<_>>(), ["a"]);
        assert!(table.snapshot()["a"].addresses.is_empty());
        table.set_names(&BTreeSet::from(["b".to_owned()]), start);
        table.record("a", answer(1, 1), start);
        assert!(table.snapshot().is_empty());
    }
}
