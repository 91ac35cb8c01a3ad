//! A sorted map of which a copy costs nothing, and in which two versions share what they have in common.
//!
//! A decision begins with a copy of all that stands and changes little of it. So the map is a list of sorted
//! pieces, each shared by all versions that have it unchanged: a change copies one piece and the list. With
//! pieces of [`MOST_IN_A_PIECE`] entries, that is cheap up to some hundred thousand of them, which is why this is
//! no tree.
//!
//! What two versions differ in is found without looking into pieces that they share ([`PersistentMap::changes`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A piece that would grow beyond this is cut in two.
const MOST_IN_A_PIECE: usize = 128;
/// Two neighbours that have no more than this together become one.
const FEWEST_IN_TWO: usize = MOST_IN_A_PIECE / 2;
/// What a piece of a map that is made at once has: with room for more.
const USUAL_IN_A_PIECE: usize = MOST_IN_A_PIECE / 4 * 3;

type Piece<K, V> = Vec<(K, V)>;

/// A map in the order of its keys.
pub struct PersistentMap<K, V> {
    /// None is empty, and each one's keys come before those of the next.
    pieces: Arc<Vec<Arc<Piece<K, V>>>>,
    len: usize,
}

/// One key at which two versions differ, with what each of them has there.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// What the earlier version has.
    pub before: Option<&'a V>,
    /// What the later version has.
    pub after: Option<&'a V>,
}

impl<K, V> PersistentMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, ascending.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            piece: [].iter(),
            pieces: self.pieces.iter(),
        }
    }

    /// All keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> PersistentMap<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let piece = self.pieces.get(self.piece_of(key))?;
        let at = piece.binary_search_by(|(known, _)| known.borrow().cmp(key));
        Some(&piece.get(at.ok()?)?.1)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries whose keys are not before `least`, ascending.
    pub fn iter_from<'a>(
        &'a self,
        least: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let first = self.piece_of(least);
        let pieces = self.pieces.iter().skip(first);
        let piece = self.pieces.get(first);
        let before = piece.map_or(0, |piece| piece.partition_point(|(key, _)| key < least));
        let entries = pieces.flat_map(|piece| piece.iter()).skip(before);
        entries.map(|(key, value)| (key, value))
    }

    /// Where two versions differ, in the order of the keys. `same` says whether two values are: a closure, since
    /// whoever shares values knows a faster way than to compare them.
    pub fn changes<'a>(
        &'a self,
        later: &'a Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<Change<'a, K, V>> {
        if Arc::ptr_eq(&self.pieces, &later.pieces) {
            return Vec::new();
        }
        let (mut one, mut other) = (Cursor::new(&self.pieces), Cursor::new(&later.pieces));
        let mut found = Vec::new();
        loop {
            if one.skip_what_is_shared(&mut other) {
                continue;
            }
            let (before, after) = (one.entry(), other.entry());
            let order = match (before, after) {
                (None, None) => return found,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let before = before.filter(|_| order.is_le());
            let after = after.filter(|_| order.is_ge());
            before.is_some().then(|| one.step());
            after.is_some().then(|| other.step());
            let is_same = matches!((before, after), (Some((_, a)), Some((_, b))) if same(a, b));
            if let Some((key, _)) = before.or(after).filter(|_| !is_same) {
                let (before, after) = (before.map(|(_, v)| v), after.map(|(_, v)| v));
                found.push(Change { key, before, after });
            }
        }
    }

    /// The piece in which a key is, or belongs.
    fn piece_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: std::borrow::Borrow<Q>,
    {
        let begins_before = |piece: &Arc<Piece<K, V>>| {
            let first = piece.first();
            first.is_some_and(|(first, _)| first.borrow() <= key)
        };
        let after = self.pieces.partition_point(begins_before);
        after.saturating_sub(1)
    }
}

impl<K: Ord + Clone, V: Clone> PersistentMap<K, V> {
    /// Sets the value of a key, and returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let n = self.piece_of(&key);
        let pieces = Arc::make_mut(&mut self.pieces);
        let Some(piece) = pieces.get_mut(n) else {
            pieces.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let piece = Arc::make_mut(piece);
        match piece.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => {
                let entry = piece.get_mut(at)?;
                Some(std::mem::replace(&mut entry.1, value))
            }
            Err(at) => {
                piece.insert(at, (key, value));
                self.len += 1;
                if piece.len() > MOST_IN_A_PIECE {
                    let second = piece.split_off(MOST_IN_A_PIECE / 2);
                    pieces.insert(n + 1, Arc::new(second));
                }
                None
            }
        }
    }

    /// Takes a key out, and returns the value that it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let n = self.piece_of(key);
        let at = self.pieces.get(n)?;
        let at = at.binary_search_by(|(known, _)| known.borrow().cmp(key));
        let at = at.ok()?;
        let pieces = Arc::make_mut(&mut self.pieces);
        let piece = Arc::make_mut(pieces.get_mut(n)?);
        let (_, value) = piece.remove(at);
        self.len -= 1;
        if piece.is_empty() {
            pieces.remove(n);
        } else {
            join_small(pieces, n);
            join_small(pieces, n.saturating_sub(1));
        }
        Some(value)
    }

    /// The value of a key, to be changed. Copies the key's piece where another version has it, too.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let n = self.piece_of(key);
        let at = self.pieces.get(n)?;
        let at = at
            .binary_search_by(|(known, _)| known.borrow().cmp(key))
            .ok()?;
        let piece = Arc::make_mut(&mut self.pieces).get_mut(n)?;
        Some(&mut Arc::make_mut(piece).get_mut(at)?.1)
    }

    /// Keeps the entries of which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        let gone = self.iter().filter(|(key, value)| !keep(key, value));
        let gone: Vec<K> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }
}

/// Joins a piece and the next where both are small.
fn join_small<K: Clone, V: Clone>(pieces: &mut Vec<Arc<Piece<K, V>>>, n: usize) {
    let sizes = pieces.get(n).map(|one| one.len());
    let sizes = sizes.zip(pieces.get(n + 1).map(|next| next.len()));
    if sizes.is_some_and(|(one, next)| one + next <= FEWEST_IN_TWO) {
        let next = pieces.remove(n + 1);
        if let Some(piece) = pieces.get_mut(n) {
            Arc::make_mut(piece).extend(next.iter().cloned());
        }
    }
}

/// A place in a list of pieces.
struct Cursor<'a, K, V> {
    pieces: &'a [Arc<Piece<K, V>>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(pieces: &'a [Arc<Piece<K, V>>]) -> Self {
        Self { pieces, at: 0 }
    }

    fn entry(&self) -> Option<(&'a K, &'a V)> {
        let (key, value) = self.pieces.first()?.get(self.at)?;
        Some((key, value))
    }

    fn step(&mut self) {
        self.at += 1;
        if self
            .pieces
            .first()
            .is_none_or(|piece| self.at >= piece.len())
        {
            self.next_piece();
        }
    }

    fn next_piece(&mut self) {
        self.pieces = self.pieces.get(1..).unwrap_or_default();
        self.at = 0;
    }

    /// Steps over a piece that both have, where both are at its beginning.
    fn skip_what_is_shared(&mut self, other: &mut Self) -> bool {
        let pieces = self.pieces.first().zip(other.pieces.first());
        let is_shared = self.at == 0
            && other.at == 0
            && pieces.is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        if is_shared {
            self.next_piece();
            other.next_piece();
        }
        is_shared
    }
}

/// The entries of a [`PersistentMap`], ascending.
pub struct Iter<'a, K, V> {
    piece: std::slice::Iter<'a, (K, V)>,
    pieces: std::slice::Iter<'a, Arc<Piece<K, V>>>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.piece.as_slice().is_empty() {
            self.piece = self.pieces.next()?.iter();
        }
        self.piece.next().map(|(key, value)| (key, value))
    }
}

impl<'a, K, V> IntoIterator for &'a PersistentMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for PersistentMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let sorted: BTreeMap<K, V> = entries.into_iter().collect();
        let len = sorted.len();
        let mut sorted = sorted.into_iter();
        let next = || Some(Vec::from_iter(sorted.by_ref().take(USUAL_IN_A_PIECE)));
        let pieces = std::iter::from_fn(next).take_while(|piece| !piece.is_empty());
        let pieces = Arc::new(pieces.map(Arc::new).collect());
        Self { pieces, len }
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for PersistentMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K, V> Clone for PersistentMap<K, V> {
    fn clone(&self) -> Self {
        let (pieces, len) = (Arc::clone(&self.pieces), self.len);
        Self { pieces, len }
    }
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        let (pieces, len) = (Arc::default(), 0);
        Self { pieces, len }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for PersistentMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pieces, &other.pieces)
            || self.len == other.len && self.changes(other, PartialEq::eq).is_empty()
    }
}

impl<K: Ord, V: Eq> Eq for PersistentMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for PersistentMap<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self).finish()
    }
}

impl<K: Serialize, V: Serialize> Serialize for PersistentMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for PersistentMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests;
