//! Conditions, writes, revisions and reads.

use std::sync::Barrier;

use store::{
    Entry, MAX_KEY_BYTES, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Outcome, Revision, StoreError,
    Transaction,
};

use crate::engines::on_each_engine;

fn applied(revision: u64) -> Outcome {
    Outcome::Applied(Revision::new(revision))
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

#[test]
fn an_entry_names_the_revisions_that_created_and_last_wrote_it() {
    on_each_engine(|store, _| {
        assert_eq!(store.range("").unwrap(), (Revision::ZERO, vec![]));
        assert_eq!(
            store.commit(Transaction::new().put("a", "1")).unwrap(),
            applied(1)
        );
        assert_eq!(
            store
                .commit(Transaction::new().put("b", "1").put("c", "1"))
                .unwrap(),
            applied(2)
        );
        assert_eq!(
            store.commit(Transaction::new().put("a", "2")).unwrap(),
            applied(3)
        );
        let entry = |key: &str, value: &str, created, modified| Entry {
            key: key.to_owned(),
            value: value.into(),
            created: Revision::new(created),
            modified: Revision::new(modified),
        };
        let expected = vec![
            entry("a", "2", 1, 3),
            entry("b", "1", 2, 2),
            entry("c", "1", 2, 2),
        ];
        assert_eq!(store.range("").unwrap(), (Revision::new(3), expected));
        assert_eq!(store.get("a").unwrap(), Some(entry("a", "2", 1, 3)));
        assert_eq!(
            store.commit(Transaction::new().delete("a")).unwrap(),
            applied(4)
        );
        assert_eq!(store.get("a").unwrap(), None);
        assert_eq!(
            store.commit(Transaction::new().put("a", "3")).unwrap(),
            applied(5)
        );
        assert_eq!(
            store.get("a").unwrap(),
            Some(entry("a", "3", 5, 5)),
            "a key put after its delete is created anew"
        );
    });
}

#[test]
fn a_transaction_that_changes_nothing_keeps_the_revision() {
    on_each_engine(|store, _| {
        store.commit(Transaction::new().put("a", "1")).unwrap();
        let idle = [
            Transaction::new(),
            Transaction::new().when_present("a"),
            Transaction::new().delete("absent"),
            Transaction::new().delete_range("absent/"),
        ];
        for transaction in idle {
            assert_eq!(
                store.commit(transaction.clone()).unwrap(),
                applied(1),
                "{transaction:?}"
            );
        }
        assert_eq!(
            store.commit(Transaction::new().put("a", "1")).unwrap(),
            applied(2),
            "an equal value is a write"
        );
    });
}

#[test]
fn the_first_condition_that_does_not_hold_is_named_and_nothing_is_written() {
    on_each_engine(|store, _| {
        store.commit(Transaction::new().put("a", "1")).unwrap();
        let held = || {
            Transaction::new()
                .when_present("a")
                .when_absent("b")
                .when_modified("a", Revision::new(1))
        };
        let table = [
            (held().when_absent("a").when_present("b"), "a"),
            (held().when_present("b").when_absent("a"), "b"),
            (held().when_modified("a", Revision::new(2)), "a"),
            (held().when_modified("a", Revision::ZERO), "a"),
            (held().when_modified("b", Revision::new(1)), "b"),
            (held().when_modified("a", Revision::new(u64::MAX)), "a"),
        ];
        for (transaction, key) in table {
            let outcome = store
                .commit(transaction.clone().put("new", "1").delete("a"))
                .unwrap();
            assert_eq!(
                outcome,
                Outcome::Conflict {
                    key: key.to_owned()
                },
                "{transaction:?}"
            );
        }
        assert_eq!(keys(&store.range("").unwrap().1), ["a"]);
        let absent_at_zero = held().when_modified("b", Revision::ZERO);
        assert_eq!(
            store.commit(absent_at_zero.put("b", "1")).unwrap(),
            applied(2)
        );
    });
}

#[test]
fn a_range_is_exactly_the_keys_that_begin_with_the_prefix_in_ascending_order() {
    on_each_engine(|store, _| {
        let all = [
            "A",
            "a",
            "a!",
            "a/",
            "a/1",
            "a/10",
            "a/2",
            "a/é",
            "a/\u{10ffff}x",
            "a0",
            "ab",
            "b",
            "%",
            "_",
        ];
        let put = all.iter().fold(Transaction::new(), |transaction, key| {
            transaction.put(*key, *key)
        });
        store.commit(put).unwrap();
        for prefix in [
            "",
            "a",
            "a/",
            "a/1",
            "a/é",
            "a/\u{10ffff}",
            "\u{10ffff}",
            "b",
            "c",
            "%",
            "_",
        ] {
            let mut expected: Vec<&str> = all
                .iter()
                .copied()
                .filter(|key| key.starts_with(prefix))
                .collect();
            expected.sort_unstable();
            assert_eq!(
                keys(&store.range(prefix).unwrap().1),
                expected,
                "prefix {prefix:?}"
            );
        }
        store.commit(Transaction::new().delete_range("a/")).unwrap();
        assert_eq!(
            keys(&store.range("").unwrap().1),
            ["%", "A", "_", "a", "a!", "a0", "ab", "b"]
        );
        store.commit(Transaction::new().delete_range("")).unwrap();
        assert!(store.range("").unwrap().1.is_empty());
    });
}

#[test]
fn a_malformed_transaction_is_refused_and_nothing_is_written() {
    on_each_engine(|store, _| {
        let put = || Transaction::new().put("sound", "1");
        let many = (0..MAX_OPERATIONS).fold(put(), |transaction, number| {
            transaction.put(number.to_string(), "")
        });
        let table = [
            ("empty key", put().put("", "1")),
            ("empty key compared", put().when_absent("")),
            ("NUL", put().delete("a\0b")),
            ("long key", put().put("k".repeat(MAX_KEY_BYTES + 1), "1")),
            (
                "long prefix",
                put().delete_range("k".repeat(MAX_KEY_BYTES + 1)),
            ),
            ("put twice", put().put("sound", "2")),
            ("put and deleted", put().delete("sound")),
            ("put and deleted by prefix", put().delete_range("so")),
            ("put and deleted with all", put().delete_range("")),
            ("too many operations", many),
            (
                "too many bytes",
                put().put("big", vec![0; MAX_TRANSACTION_BYTES]),
            ),
        ];
        for (what, transaction) in table {
            let refused = store.commit(transaction);
            assert!(
                matches!(refused, Err(StoreError::Invalid { .. })),
                "{what}: {refused:?}"
            );
        }
        assert!(matches!(store.get(""), Err(StoreError::Invalid { .. })));
        assert!(matches!(store.range("\0"), Err(StoreError::Invalid { .. })));
        assert_eq!(store.range("").unwrap(), (Revision::ZERO, vec![]));
        let largest = Transaction::new().put("big", vec![7; MAX_TRANSACTION_BYTES - 3]);
        assert_eq!(
            store.commit(largest).unwrap(),
            applied(1),
            "the bound itself is allowed"
        );
        let longest = "k".repeat(MAX_KEY_BYTES);
        store
            .commit(Transaction::new().put(longest.as_str(), "1"))
            .unwrap();
        assert_eq!(store.get(&longest).unwrap().unwrap().value, b"1");
    });
}

#[test]
fn values_are_kept_byte_for_byte() {
    on_each_engine(|store, _| {
        for value in [
            vec![],
            (0..=255).collect::<Vec<u8>>(),
            b"\0\0".to_vec(),
            "é".into(),
            vec![0xff; 100_000],
        ] {
            store
                .commit(Transaction::new().put("key", value.clone()))
                .unwrap();
            assert_eq!(store.get("key").unwrap().unwrap().value, value);
        }
    });
}

#[test]
fn json_is_written_and_read_as_its_type_and_another_type_is_an_error_that_names_the_key() {
    on_each_engine(|store, _| {
        let put = Transaction::new()
            .put_json("list/a", &vec![1, 2])
            .unwrap()
            .put_json("list/b", &[3])
            .unwrap();
        store.commit(put).unwrap();
        let entry = store.get_json::<Vec<u8>>("list/a").unwrap().unwrap();
        assert_eq!(
            (entry.value, entry.modified),
            (vec![1, 2], Revision::new(1))
        );
        assert!(store.get_json::<Vec<u8>>("list/absent").unwrap().is_none());
        let (revision, entries) = store.range_json::<Vec<u8>>("list/").unwrap();
        let values: Vec<Vec<u8>> = entries.into_iter().map(|entry| entry.value).collect();
        assert_eq!(
            (revision, values),
            (Revision::new(1), vec![vec![1, 2], vec![3]])
        );
        let error = store.get_json::<String>("list/a").unwrap_err();
        assert!(
            matches!(&error, StoreError::Decode { key, .. } if key == "list/a"),
            "{error}"
        );
        assert!(matches!(
            store.range_json::<String>("list/"),
            Err(StoreError::Decode { .. })
        ));
    });
}

#[test]
fn threads_that_compare_and_swap_lose_no_update() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 50;
    on_each_engine(|store, _| {
        let barrier = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    (0..ROUNDS).for_each(|_| crate::processes::increment(store, "counter"));
                });
            }
        });
        let counter = store.get_json::<u64>("counter").unwrap().unwrap();
        assert_eq!(
            (counter.value, counter.modified),
            (THREADS * ROUNDS, Revision::new(THREADS * ROUNDS))
        );
    });
}

#[test]
fn a_range_read_amid_commits_is_one_snapshot() {
    const COMMITS: u64 = 200;
    on_each_engine(|store, _| {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=COMMITS {
                    let both = Transaction::new()
                        .put_json("p/a", &number)
                        .unwrap()
                        .put_json("p/z", &number)
                        .unwrap();
                    store.commit(both).unwrap();
                }
            });
            let mut newest = Revision::ZERO;
            while newest < Revision::new(COMMITS) {
                let finished = writer.is_finished();
                let (revision, entries) = store.range_json::<u64>("p/").unwrap();
                assert!(revision >= newest, "a later read saw an earlier revision");
                newest = revision;
                let expected = if revision == Revision::ZERO {
                    vec![]
                } else {
                    vec![revision.get(); 2]
                };
                assert_eq!(
                    entries.iter().map(|entry| entry.value).collect::<Vec<_>>(),
                    expected
                );
                assert!(
                    !finished || newest == Revision::new(COMMITS),
                    "a commit that returned is not seen"
                );
            }
        });
    });
}
