//! A slab whose keys go stale: an event or a timer that arrives late names nobody, and never the one who
//! took the place.

/// Names an entry for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// Bits of a key's index; with the generation and a tag of two bits a key fits in 64.
const INDEX_BITS: u32 = 30;

impl Key {
    /// Packs the key with a tag of two bits.
    #[must_use]
    pub fn pack(self, tag: u8) -> u64 {
        (u64::from(self.generation) << 32)
            | (u64::from(tag & 3) << INDEX_BITS)
            | u64::from(self.index)
    }

    /// The key and the tag that were packed.
    #[must_use]
    pub fn unpack(packed: u64) -> (Self, u8) {
        let low = packed as u32;
        let key = Self {
            index: low & ((1 << INDEX_BITS) - 1),
            generation: (packed >> 32) as u32,
        };
        (key, (low >> INDEX_BITS) as u8)
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Entries and the places that entries left.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Puts an entry in; `make` is given its key.
    ///
    /// # Panics
    /// With more than 2^30 entries, far beyond any number of open files.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len())
                .ok()
                .filter(|index| index >> INDEX_BITS == 0)
                .expect("each entry holds a file, and there are fewer files than that");
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
            index
        });
        let slot = self
            .slots
            .get_mut(index as usize)
            .expect("free places and the new place are in the slab");
        let key = Key {
            index,
            generation: slot.generation,
        };
        slot.value = Some(make(key));
        key
    }

    /// The entry, while it lives.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    /// The entry, while it lives.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.value
            .as_mut()
            .filter(|_| slot.generation == key.generation)
    }

    /// Takes the entry out; its key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys of all entries, in the order of their places.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().zip(0u32..).filter_map(|(slot, index)| {
            slot.value.as_ref().map(|_| Key {
                index,
                generation: slot.generation,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_names_nobody() {
        let mut slots = Slots::default();
        let first = slots.insert_with(|_| "a");
        assert_eq!(slots.remove(first), Some("a"));
        let second = slots.insert_with(|_| "b");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"b"));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn a_packed_key_comes_back_with_its_tag() {
        let mut slots = Slots::default();
        for _ in 0..5 {
            let key = slots.insert_with(|_| ());
            slots.remove(key);
        }
        let key = slots.insert_with(|_| ());
        for tag in 0..4 {
            assert_eq!(Key::unpack(key.pack(tag)), (key, tag));
        }
    }
}
