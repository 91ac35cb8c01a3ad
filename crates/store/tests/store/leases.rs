//! Keys that hang on leases.

use std::time::Duration;

use store::{Clock, Durability, ManualClock, Outcome, Revision, Store, StoreError, Transaction};

use crate::engines::{fresh_path, on_each_engine, wait_until};

const TTL: Duration = Duration::from_secs(10);
const ALMOST: Duration = Duration::from_millis(9_999);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn keys_vanish_when_their_lease_expires_and_not_before() {
    on_each_engine(|store, clock| {
        let lease = store.grant_lease(TTL).unwrap();
        let put = Transaction::new()
            .put_leased("a", "1", lease)
            .put_leased("b", "1", lease)
            .put("c", "1");
        store.commit(put).unwrap();
        clock.advance(ALMOST);
        assert_eq!(store.range("").unwrap().1.len(), 3);
        clock.advance(MOMENT);
        assert_eq!(store.get("a").unwrap(), None);
        let (revision, entries) = store.range("").unwrap();
        assert_eq!(
            (revision, entries.len()),
            (Revision::new(2), 1),
            "both keys go in one revision"
        );
        let outcome = store
            .commit(Transaction::new().when_absent("a").put("a", "2"))
            .unwrap();
        assert_eq!(outcome, Outcome::Applied(Revision::new(3)));
    });
}

#[test]
fn a_condition_never_holds_of_a_key_whose_lease_has_expired() {
    on_each_engine(|store, clock| {
        let lease = store.grant_lease(TTL).unwrap();
        store
            .commit(Transaction::new().put_leased("leader", "1", lease))
            .unwrap();
        clock.advance(TTL);
        let outcome = store
            .commit(
                Transaction::new()
                    .when_modified("leader", Revision::new(1))
                    .put("x", ""),
            )
            .unwrap();
        assert_eq!(
            outcome,
            Outcome::Conflict {
                key: "leader".to_owned()
            }
        );
    });
}

#[test]
fn a_lease_kept_alive_lives_its_whole_ttl_again_and_an_ended_one_cannot_be() {
    on_each_engine(|store, clock| {
        let lease = store.grant_lease(TTL).unwrap();
        store
            .commit(Transaction::new().put_leased("a", "1", lease))
            .unwrap();
        for _ in 0..3 {
            clock.advance(ALMOST);
            store.keep_alive(lease).unwrap();
        }
        clock.advance(ALMOST);
        assert!(store.get("a").unwrap().is_some());
        clock.advance(MOMENT);
        let ended = store.keep_alive(lease).unwrap_err();
        assert!(
            matches!(ended, StoreError::LeaseNotFound { lease: named } if named == lease),
            "{ended}"
        );
        assert!(store.get("a").unwrap().is_none());
        let refused = store.commit(Transaction::new().put("b", "1").put_leased("a", "1", lease));
        assert!(
            matches!(refused, Err(StoreError::LeaseNotFound { .. })),
            "{refused:?}"
        );
        assert!(
            store.get("b").unwrap().is_none(),
            "nothing of a refused transaction is written"
        );
        assert_ne!(
            store.grant_lease(TTL).unwrap(),
            lease,
            "a lease id is not given twice"
        );
    });
}

#[test]
fn a_revoked_lease_takes_its_keys_and_can_be_revoked_again() {
    on_each_engine(|store, _| {
        let lease = store.grant_lease(TTL).unwrap();
        store
            .commit(Transaction::new().put_leased("a", "1", lease))
            .unwrap();
        store.revoke(lease).unwrap();
        assert_eq!(store.range("").unwrap(), (Revision::new(2), vec![]));
        store.revoke(lease).unwrap();
        assert_eq!(store.range("").unwrap().0, Revision::new(2));
    });
}

#[test]
fn a_key_hangs_on_the_lease_of_its_last_put_only() {
    on_each_engine(|store, clock| {
        let (first, second) = (
            store.grant_lease(TTL).unwrap(),
            store.grant_lease(TTL * 2).unwrap(),
        );
        let put = Transaction::new()
            .put_leased("moved", "1", first)
            .put_leased("freed", "1", first);
        store.commit(put).unwrap();
        store
            .commit(
                Transaction::new()
                    .put_leased("moved", "2", second)
                    .put("freed", "2"),
            )
            .unwrap();
        clock.advance(TTL);
        assert_eq!(store.range("").unwrap().1.len(), 2);
        clock.advance(TTL);
        assert!(store.get("moved").unwrap().is_none());
        assert!(store.get("freed").unwrap().is_some());
    });
}

#[test]
fn the_longest_ttl_neither_overflows_nor_expires() {
    on_each_engine(|store, clock| {
        clock.advance(TTL);
        let lease = store.grant_lease(Duration::MAX).unwrap();
        store
            .commit(Transaction::new().put_leased("a", "1", lease))
            .unwrap();
        store.keep_alive(lease).unwrap();
        clock.advance(Duration::from_secs(u64::from(u32::MAX)));
        assert!(store.get("a").unwrap().is_some());
        let shortest = store.grant_lease(Duration::ZERO).unwrap();
        store
            .keep_alive(shortest)
            .expect("a lease is not born expired");
    });
}

#[test]
fn a_lease_expires_though_nobody_uses_the_store_that_made_it() {
    let (_directory, path) = fresh_path();
    let clock = ManualClock::default();
    let open =
        || Store::open_with_clock(&path, Durability::Full, Clock::Manual(clock.clone())).unwrap();
    let store = open();
    let lease = store.grant_lease(TTL).unwrap();
    store
        .commit(Transaction::new().put_leased("a", "1", lease))
        .unwrap();
    drop(store);
    clock.advance(ALMOST);
    assert!(open().get("a").unwrap().is_some());
    clock.advance(MOMENT);
    assert!(open().get("a").unwrap().is_none());
}

#[test]
fn a_lease_of_an_earlier_boot_lives_its_whole_ttl_again() {
    // The deadline of the earlier boot may lie before or after the present boot's time.
    for deadline_ms in [1_i64, 1_000_000_000_000] {
        let (_directory, path) = fresh_path();
        let clock = ManualClock::default();
        clock.advance(TTL);
        let open = || {
            Store::open_with_clock(&path, Durability::Full, Clock::Manual(clock.clone())).unwrap()
        };
        let store = open();
        let lease = store.grant_lease(TTL).unwrap();
        store
            .commit(Transaction::new().put_leased("a", "1", lease))
            .unwrap();
        drop(store);
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute(
            "UPDATE lease SET boot = 'an earlier one', expires_ms = ?1",
            [deadline_ms],
        )
        .unwrap();
        drop(raw);
        let store = open();
        clock.advance(ALMOST);
        assert!(
            store.get("a").unwrap().is_some(),
            "deadline {deadline_ms}: ended early"
        );
        clock.advance(MOMENT);
        assert!(
            store.get("a").unwrap().is_none(),
            "deadline {deadline_ms}: never ends"
        );
    }
}

#[test]
fn leases_expire_by_the_machines_clock() {
    for (name, store, _directory) in crate::engines::on_the_machines_clock() {
        let lease = store.grant_lease(Duration::from_millis(30)).unwrap();
        store
            .commit(Transaction::new().put_leased("a", "1", lease))
            .unwrap();
        wait_until(name, || store.get("a").unwrap().is_none());
    }
}
