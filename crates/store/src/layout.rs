//! The layout, kept a key for each instance and network, so that a change writes only what changed.
//!
//! Every write also raises the guard key and holds to its revision: of two controllers that decide at
//! the same time, one learns that the layout is no longer the one it decided from.

use std::fmt::Display;
use std::sync::Arc;

use model::{DnsLayout, HostLayout, InstanceLayout, Layout, Ledger, NetworkLayout, PersistentMap};
use serde::Serialize;

use crate::json::decode;
use crate::{Outcome, Revision, Store, StoreError, Transaction};

/// Everything about the layout is kept under this prefix.
pub const LAYOUT_PREFIX: &str = "layout/";
/// What DNS is to say: the zone's generation here, and below it the addresses of each name. Watch it to learn of a
/// new generation.
pub const DNS_LAYOUT_KEY: &str = "layout/dns";

const GUARD_KEY: &str = "layout/guard";
const LEDGER_KEY: &str = "layout/ledger";
const HOST_KEY: &str = "layout/host";
/// In place of a start's mark: that of no start, and not that of a layout which knows none yet.
const NO_START: &str = "none";
const INSTANCE_PREFIX: &str = "layout/instance/";
const NETWORK_PREFIX: &str = "layout/network/";
const RECORD_PREFIX: &str = "layout/dns/";

/// The names that have a record of their own beside a zone that stands in one value. They say nothing: a program that
/// knew the later form left them to one that did not.
type NamesBeside = Arc<[String]>;

/// A layout and the state of the store that it was read from or written at.
#[derive(Clone, Debug, Default)]
pub struct StoredLayout {
    /// The layout.
    pub layout: Layout,
    guard: Option<Revision>,
    /// Of a zone that stands in one value, as an earlier form had it. Then all of it is written next.
    zone_in_one: Option<NamesBeside>,
}

impl StoredLayout {
    /// Whether no other controller has written a layout since. Asked after the world was observed, it tells
    /// that everything that is seen was made by decisions that this layout holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_current(&self, store: &Store) -> Result<bool, StoreError> {
        Ok(guard(store)? == self.guard)
    }
}

/// What came of writing a layout.
#[derive(Debug)]
pub enum Written {
    /// It stands.
    Stands(StoredLayout),
    /// Another controller wrote one meanwhile: read that and decide again.
    Overtaken,
}

/// Reads the layout; an empty one from a store that has none.
///
/// # Errors
/// [`StoreError`], also when a value is not of this program's form.
pub fn read_layout(store: &Store) -> Result<StoredLayout, StoreError> {
    // A layout that is written while it is read shows in the guard; the next reading is whole.
    loop {
        let before = guard(store)?;
        let (dns, zone_in_one) = read_zone(store)?;
        let layout = Layout {
            instances: read_map::<_, InstanceLayout>(store, INSTANCE_PREFIX)?,
            networks: read_map::<_, NetworkLayout>(store, NETWORK_PREFIX)?,
            dns,
            ledger: read_one::<Ledger>(store, LEDGER_KEY)?,
            host: read_one::<HostLayout>(store, HOST_KEY)?,
        };
        if guard(store)? == before {
            return Ok(StoredLayout {
                layout,
                guard: before,
                zone_in_one,
            });
        }
    }
}

/// Reads what DNS is to say.
///
/// # Errors
/// [`StoreError`].
pub fn read_dns_layout(store: &Store) -> Result<DnsLayout, StoreError> {
    Ok(read_zone(store)?.0)
}

/// Reads what is known of the machine as a whole.
///
/// # Errors
/// [`StoreError`].
pub fn read_host_layout(store: &Store) -> Result<HostLayout, StoreError> {
    read_one(store, HOST_KEY)
}

/// Has the next controller take its VMs for never started since the machine was, and make each again as it was. For
/// whoever takes them off the machine himself: found missing, so many at once would be held for a fault of the host.
///
/// # Errors
/// [`StoreError`]; then nothing is written.
pub fn forget_start(store: &Store) -> Result<(), StoreError> {
    let mut host = read_host_layout(store)?;
    if host.boot_id.is_empty() {
        // No controller has run yet.
        return Ok(());
    }
    host.boot_id = NO_START.into();
    let write = Transaction::new().put(GUARD_KEY, "");
    store.commit(write.put_json(HOST_KEY, &host)?)?;
    Ok(())
}

/// The zone as one snapshot, and where it stands in one value, the names that have a record beside it.
fn read_zone(store: &Store) -> Result<(DnsLayout, Option<NamesBeside>), StoreError> {
    let (_, entries) = store.range(DNS_LAYOUT_KEY)?;
    let mut head = DnsLayout::default();
    let mut records = Vec::new();
    for entry in entries {
        match entry.key.strip_prefix(RECORD_PREFIX).map(str::to_owned) {
            Some(name) => records.push((name, decode(entry)?.value)),
            None if entry.key == DNS_LAYOUT_KEY => head = decode(entry)?.value,
            None => {}
        }
    }
    if head.records.is_empty() {
        head.records = records.into_iter().collect();
        return Ok((head, None));
    }
    let beside = records.into_iter().map(|(name, _)| name);
    Ok((head, Some(beside.collect())))
}

/// Writes what differs between `current` and `next`, in one transaction.
///
/// # Errors
/// [`StoreError`]; then nothing is written.
pub fn write_layout(
    store: &Store,
    current: &StoredLayout,
    next: Layout,
) -> Result<Written, StoreError> {
    let known = &current.layout;
    let mut transaction = match current.guard {
        None => Transaction::new().when_absent(GUARD_KEY),
        Some(revision) => Transaction::new().when_modified(GUARD_KEY, revision),
    };
    transaction = transaction.put(GUARD_KEY, "");
    transaction = put_changes(
        transaction,
        INSTANCE_PREFIX,
        &known.instances,
        &next.instances,
    )?;
    transaction = put_changes(transaction, NETWORK_PREFIX, &known.networks, &next.networks)?;
    if next.dns.serial != known.dns.serial || next.dns.records != known.dns.records {
        transaction = put_zone(transaction, current, &next.dns)?;
    }
    if next.ledger != known.ledger {
        transaction = transaction.put_json(LEDGER_KEY, &next.ledger)?;
    }
    if next.host != known.host {
        transaction = transaction.put_json(HOST_KEY, &next.host)?;
    }
    Ok(match store.commit(transaction)? {
        Outcome::Applied(revision) => Written::Stands(StoredLayout {
            zone_in_one: match next.dns == known.dns {
                true => current.zone_in_one.clone(),
                false => None,
            },
            layout: next,
            guard: Some(revision),
        }),
        Outcome::Conflict { .. } => Written::Overtaken,
    })
}

/// The zone's generation, and the names of which it says something else than before.
fn put_zone(
    mut transaction: Transaction,
    current: &StoredLayout,
    next: &DnsLayout,
) -> Result<Transaction, StoreError> {
    let head = DnsLayout {
        serial: next.serial,
        ..DnsLayout::default()
    };
    transaction = transaction.put_json(DNS_LAYOUT_KEY, &head)?;
    let none = PersistentMap::default();
    let known = match &current.zone_in_one {
        Some(beside) => {
            for name in beside
                .iter()
                .filter(|name| !next.records.contains_key(*name))
            {
                transaction = transaction.delete(format!("{RECORD_PREFIX}{name}"));
            }
            &none
        }
        None => &current.layout.dns.records,
    };
    for change in known.changes(&next.records, PartialEq::eq) {
        let key = format!("{RECORD_PREFIX}{}", change.key);
        transaction = match change.after {
            Some(addresses) => transaction.put_json(key, addresses)?,
            None => transaction.delete(key),
        };
    }
    Ok(transaction)
}

fn put_changes<K: Ord + Display, V: PartialEq + Serialize>(
    mut transaction: Transaction,
    prefix: &str,
    known: &PersistentMap<K, Arc<V>>,
    next: &PersistentMap<K, Arc<V>>,
) -> Result<Transaction, StoreError> {
    for change in known.changes(next, |one, other| Arc::ptr_eq(one, other) || one == other) {
        let key = format!("{prefix}{}", change.key);
        transaction = match change.after {
            Some(value) => transaction.put_json(key, value.as_ref())?,
            None => transaction.delete(key),
        };
    }
    Ok(transaction)
}

fn guard(store: &Store) -> Result<Option<Revision>, StoreError> {
    Ok(store.get(GUARD_KEY)?.map(|entry| entry.modified))
}

fn read_one<T: serde::de::DeserializeOwned + Default>(
    store: &Store,
    key: &str,
) -> Result<T, StoreError> {
    Ok(store
        .get_json(key)?
        .map(|entry| entry.value)
        .unwrap_or_default())
}

fn read_map<K: Ord + std::str::FromStr, T: serde::de::DeserializeOwned>(
    store: &Store,
    prefix: &str,
) -> Result<PersistentMap<K, Arc<T>>, StoreError> {
    let (_, entries) = store.range_json::<T>(prefix)?;
    let parse = |key: &str| key.strip_prefix(prefix)?.parse().ok();
    // A key that names no id was not written by this program and says nothing about the layout.
    Ok(entries
        .into_iter()
        .filter_map(|entry| Some((parse(&entry.key)?, Arc::new(entry.value))))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{NetworkLayout, ProjectId, VmId};

    use super::*;

    fn with_networks(ids: &[u64]) -> Layout {
        let networks = ids
            .iter()
            .map(|id| (ProjectId(*id), Arc::new(NetworkLayout::default())))
            .collect();
        let ledger = Ledger {
            last_vm: VmId(ids.len() as u64),
            ..Ledger::default()
        };
        Layout {
            networks,
            ledger,
            ..Layout::default()
        }
    }

    fn write(store: &Store, current: &StoredLayout, next: Layout) -> StoredLayout {
        match write_layout(store, current, next).unwrap() {
            Written::Stands(stored) => stored,
            Written::Overtaken => panic!("overtaken"),
        }
    }

    #[test]
    fn a_layout_is_read_as_it_was_written_and_what_left_it_is_gone() {
        let store = Store::in_memory();
        let empty = read_layout(&store).unwrap();
        assert_eq!(empty.layout, Layout::default());
        let two = write(&store, &empty, with_networks(&[1, 2]));
        assert_eq!(read_layout(&store).unwrap().layout, two.layout);
        write(&store, &two, with_networks(&[2]));
        assert_eq!(read_layout(&store).unwrap().layout, with_networks(&[2]));
    }

    #[test]
    fn a_zone_is_written_by_name_and_one_of_the_earlier_form_is_taken_over_without_what_stood_beside_it()
     {
        let store = Store::in_memory();
        let zone = |serial, names: &[&str]| DnsLayout {
            serial,
            records: names
                .iter()
                .map(|name| ((*name).to_owned(), BTreeSet::from([[10, 200, 0, 2].into()])))
                .collect(),
        };
        let earlier = Transaction::new().put_json(DNS_LAYOUT_KEY, &zone(3, &["a.p", "b.p"]));
        // A later program had been here before, and left a name that has long gone.
        let left = earlier.unwrap().put_json("layout/dns/z.p", &["10.200.0.9"]);
        store.commit(left.unwrap()).unwrap();
        let mut stored = read_layout(&store).unwrap();
        for next in [
            zone(3, &["a.p", "b.p"]),
            zone(4, &["b.p"]),
            zone(5, &["b.p", "c.p"]),
        ] {
            let layout = Layout {
                dns: next.clone(),
                ..stored.layout.clone()
            };
            stored = write(&store, &stored, layout);
            assert_eq!(read_dns_layout(&store).unwrap(), next);
            assert_eq!(read_layout(&store).unwrap().layout.dns, next);
        }
        let (_, records) = store.range(RECORD_PREFIX).unwrap();
        let keys: Vec<_> = records.into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["layout/dns/b.p", "layout/dns/c.p"]);
    }

    #[test]
    fn of_two_controllers_that_decide_at_the_same_time_one_is_told() {
        let store = Store::in_memory();
        let (one, other) = (read_layout(&store).unwrap(), read_layout(&store).unwrap());
        let one = write(&store, &one, with_networks(&[1]));
        assert!(matches!(
            write_layout(&store, &other, with_networks(&[9])),
            Ok(Written::Overtaken)
        ));
        assert_eq!(read_layout(&store).unwrap().layout, with_networks(&[1]));
        assert!(one.is_current(&store).unwrap() && !other.is_current(&store).unwrap());
        write(&store, &one, with_networks(&[1, 2]));
        assert!(!one.is_current(&store).unwrap());
        assert!(matches!(
            write_layout(&store, &one, with_networks(&[9])),
            Ok(Written::Overtaken)
        ));
    }
}
