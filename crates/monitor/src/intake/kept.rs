//! What is kept by identity, of a sender that may tell of ever new ones: backends come and go, and so do what is
//! told of them. Who keeps it has a bound; what has long been silent makes room below it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clock::WINDOW;

/// What was silent for so long may be forgotten. By then all that was ever taken of it is of another time, whichever
/// end of the window it was at, so nothing that was forgotten can be sent again.
pub(crate) const SILENCE: Duration = WINDOW.saturating_mul(2);

/// Things by identity, each with when it was last heard of. All times are by one clock that is never set.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    known: BTreeMap<K, Entry<V>>,
    /// Before this nothing has been silent for long enough: so a look for room is not a walk over everything, however
    /// often somebody makes it necessary.
    none_before: Duration,
}

#[derive(Debug)]
struct Entry<V> {
    heard: Duration,
    value: V,
}

impl<K: Ord, V> Kept<K, V> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// What is kept of one.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key).map(|entry| &entry.value)
    }

    /// What is kept of one that is heard of now. One that is new begins with nothing; whether there is room for it, the
    /// caller has looked.
    pub(crate) fn hear(&mut self, key: K, now: Duration) -> &mut V
    where
        V: Default,
    {
        let entry = self.known.entry(key).or_insert_with(|| Entry {
            heard: now,
            value: V::default(),
        });
        entry.heard = now;
        &mut entry.value
    }

    /// Forgets what has been silent for [`SILENCE`], and says whether there was any.
    pub(crate) fn forget_silent(&mut self, now: Duration) -> bool {
        if now < self.none_before {
            return false;
        }
        let before = self.known.len();
        self.known
            .retain(|_, entry| now.saturating_sub(entry.heard) < SILENCE);
        let oldest = self.known.values().map(|entry| entry.heard).min();
        self.none_before = oldest.unwrap_or(now).saturating_add(SILENCE);
        self.known.len() < before
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            none_before: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against what a walk over everything would find, whatever comes when.
        #[test]
        fn what_was_silent_for_long_is_forgotten_and_nothing_else(
            steps in prop::collection::vec((0_u8..20, 0_u64..200, any::<bool>()), 1..100),
        ) {
            let (mut kept, mut expected) = (Kept::<u8, u64>::default(), BTreeMap::new());
            let mut now = Duration::ZERO;
            for (key, pause, looks_for_room) in steps {
                now += Duration::from_secs(pause);
                if looks_for_room {
                    let before = expected.len();
                    expected.retain(|_, (heard, _)| now - *heard < SILENCE);
                    prop_assert_eq!(kept.forget_silent(now), expected.len() < before);
                }
                *kept.hear(key, now) += 1;
                let (heard, times) = expected.entry(key).or_insert((now, 0_u64));
                (*heard, *times) = (now, *times + 1);
                prop_assert_eq!(kept.len(), expected.len());
                prop_assert_eq!(kept.get(&key), Some(&expected[&key].1));
            }
        }
    }
}
