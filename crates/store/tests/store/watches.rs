//! Watches within one process.

use std::time::Duration;

use store::{Durability, Store, StoreError, Transaction, Watch};
use tokio::time::timeout;

use crate::engines::{DEADLINE, fresh_path, on_the_machines_clock};

/// Whether the watch has something to tell right now.
pub async fn has_changed(watch: &mut Watch) -> bool {
    tokio::select! {
        biased;
        () = watch.changed() => true,
        () = std::future::ready(()) => false,
    }
}

fn put(store: &Store, key: &str) {
    store.commit(Transaction::new().put(key, "1")).unwrap();
}

#[tokio::test]
async fn a_commit_wakes_the_watches_over_its_keys_at_once_and_no_others() {
    for (name, store, _directory) in on_the_machines_clock() {
        put(&store, "a/before");
        let (mut all, mut under_a, mut under_b) =
            (store.watch(""), store.watch("a/"), store.watch("b/"));
        let mut exact = store.watch("a/1");
        put(&store, "a/1");
        let woken = (
            has_changed(&mut all).await,
            has_changed(&mut under_a).await,
            has_changed(&mut exact).await,
        );
        assert_eq!(woken, (true, true, true), "{name}");
        assert!(
            !has_changed(&mut under_b).await,
            "{name}: woken by a key beside its prefix"
        );
        store
            .commit(Transaction::new().put("b/1", "1").delete("a/before"))
            .unwrap();
        assert!(
            has_changed(&mut under_a).await,
            "{name}: a delete is a change"
        );
        assert!(has_changed(&mut under_b).await, "{name}");
        assert!(!has_changed(&mut exact).await, "{name}");
        store.commit(Transaction::new().delete_range("b/")).unwrap();
        assert!(
            has_changed(&mut under_b).await,
            "{name}: a delete of a range is a change"
        );
    }
}

#[tokio::test]
async fn what_changes_nothing_wakes_nobody() {
    for (name, store, _directory) in on_the_machines_clock() {
        let mut watch = store.watch("");
        store
            .commit(Transaction::new().when_present("a").put("a", "1"))
            .unwrap();
        store
            .commit(Transaction::new().delete("a").delete_range("b"))
            .unwrap();
        store.grant_lease(DEADLINE).unwrap();
        let several_polls = store::POLL_INTERVAL * 5;
        assert!(
            timeout(several_polls, watch.changed()).await.is_err(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn any_number_of_changes_wakes_a_slow_watcher_once() {
    for (name, store, _directory) in on_the_machines_clock() {
        let mut watch = store.watch("a/");
        (0..2000).for_each(|number| put(&store, &format!("a/{number}")));
        timeout(DEADLINE, watch.changed()).await.unwrap();
        assert_eq!(store.range("a/").unwrap().1.len(), 2000, "{name}");
        let several_polls = store::POLL_INTERVAL * 5;
        // The poller may have fallen behind what is kept, and then wakes everybody, once more at most.
        let _ = timeout(several_polls, watch.changed()).await;
        assert!(
            timeout(several_polls, watch.changed()).await.is_err(),
            "{name}: woken without a change"
        );
    }
}

#[tokio::test]
async fn a_change_made_while_nobody_awaits_is_not_lost_and_neither_is_one_amid_a_dropped_wait() {
    for (name, store, _directory) in on_the_machines_clock() {
        let mut watch = store.watch("a/");
        assert!(
            timeout(Duration::from_millis(1), watch.changed())
                .await
                .is_err(),
            "{name}"
        );
        put(&store, "a/1");
        timeout(DEADLINE, watch.changed()).await.expect(name);
        let other = store.clone();
        let writer = tokio::task::spawn_blocking(move || put(&other, "a/2"));
        timeout(DEADLINE, watch.changed()).await.expect(name);
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn the_end_of_a_lease_wakes_watchers_though_nobody_calls_the_store() {
    for (name, store, _directory) in on_the_machines_clock() {
        let lease = store.grant_lease(Duration::from_millis(50)).unwrap();
        store
            .commit(Transaction::new().put_leased("a/1", "1", lease))
            .unwrap();
        let mut watch = store.watch("a/");
        timeout(DEADLINE, watch.changed()).await.expect(name);
        assert!(
            store.range("a/").unwrap().1.is_empty(),
            "{name}: woken before, by what was there already"
        );
    }
}

#[tokio::test]
async fn a_watch_outlives_the_handle_it_came_from() {
    for (name, store, _directory) in on_the_machines_clock() {
        let lease = store.grant_lease(Duration::from_millis(50)).unwrap();
        store
            .commit(Transaction::new().put_leased("a/1", "1", lease))
            .unwrap();
        let mut watch = store.watch("a/");
        drop(store);
        timeout(DEADLINE, watch.changed()).await.expect(name);
    }
}

#[tokio::test]
async fn watchers_of_a_file_that_was_lost_are_woken_to_see_the_error() {
    let (_directory, path) = fresh_path();
    let store = Store::open(&path, Durability::Volatile).unwrap();
    let mut watch = store.watch("a/");
    std::fs::remove_file(&path).unwrap();
    timeout(DEADLINE, watch.changed())
        .await
        .expect("the watch wakes");
    assert!(matches!(
        store.range("a/"),
        Err(StoreError::Replaced { .. })
    ));
}
