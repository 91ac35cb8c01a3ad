use proptest::prelude::*;

use super::*;

/// Keys that are put, or taken out.
fn steps() -> impl Strategy<Value = Vec<(bool, u16)>> {
    let mostly_put = prop_oneof![4 => Just(true), 1 => Just(false)];
    let mostly_taken = prop_oneof![1 => Just(true), 6 => Just(false)];
    let grows = proptest::collection::vec((mostly_put, 0..600_u16), 0..900);
    let shrinks = proptest::collection::vec((mostly_taken, 0..600_u16), 0..900);
    (grows, shrinks).prop_map(|(grows, shrinks)| [grows, shrinks].concat())
}

fn take(
    map: &mut PersistentMap<u16, usize>,
    known: &mut BTreeMap<u16, usize>,
    n: usize,
    step: (bool, u16),
) {
    let (puts, key) = step;
    match puts {
        true => assert_eq!(map.insert(key, n), known.insert(key, n)),
        false => assert_eq!(map.remove(&key), known.remove(&key)),
    }
    assert_eq!(map.len(), known.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_the_map_that_it_stands_for(steps in steps(), looked_for in 0..600_u16) {
        let (mut map, mut known) = (PersistentMap::default(), BTreeMap::new());
        for (n, step) in steps.into_iter().enumerate() {
            take(&mut map, &mut known, n, step);
        }
        prop_assert!(map.iter().eq(known.iter()));
        prop_assert_eq!(map.get(&looked_for), known.get(&looked_for));
        prop_assert!(map.iter_from(&looked_for).eq(known.range(looked_for..)));
        prop_assert_eq!(&map, &known.into_iter().collect());
        let most = map.len() / (FEWEST_IN_TWO / 2) + 1;
        prop_assert!(map.pieces.len() <= most, "{} pieces for {}", map.pieces.len(), map.len());
    }

    #[test]
    fn two_versions_differ_in_what_was_changed_and_the_earlier_stays(
        first in steps(),
        later in proptest::collection::vec((any::<bool>(), 0..600_u16), 0..40),
    ) {
        let (mut map, mut known) = (PersistentMap::default(), BTreeMap::new());
        for (n, step) in first.into_iter().enumerate() {
            take(&mut map, &mut known, n, step);
        }
        let (before, known_before) = (map.clone(), known.clone());
        for (n, step) in later.into_iter().enumerate() {
            take(&mut map, &mut known, 10_000 + n, step);
        }
        prop_assert!(before.iter().eq(known_before.iter()));
        let keys: std::collections::BTreeSet<u16> =
            known.keys().chain(known_before.keys()).copied().collect();
        let differing: Vec<u16> = keys
            .into_iter()
            .filter(|key| known.get(key) != known_before.get(key))
            .collect();
        let changes = before.changes(&map, PartialEq::eq);
        prop_assert!(changes.iter().map(|c| *c.key).eq(differing));
        for Change { key, before, after } in changes {
            prop_assert_eq!((before, after), (known_before.get(key), known.get(key)));
        }
    }
}

#[test]
fn versions_share_what_they_have_in_common() {
    let before: PersistentMap<u16, u16> = (0..1_000).map(|n| (n, n)).collect();
    let mut after = before.clone();
    after.insert(500, 0);
    let shared = before.pieces.iter().filter(|piece| {
        let mut others = after.pieces.iter();
        others.any(|other| Arc::ptr_eq(piece, other))
    });
    assert_eq!(shared.count(), before.pieces.len() - 1);
}
