//! Maglev hashing: a key's backend is looked up in a table that is made once for each configuration.
//!
//! Source: Eisenbud et al., "Maglev: A fast and reliable software network load balancer" (NSDI 2016), section
//! 3.4. The table's size M is prime. Each backend has a permutation of the slots, of an offset and a skip
//! that its identity gives; the backends in turn take the next slot of their permutation that is still
//! free, until none is. So each gets its share of the slots, and when one goes, most others keep theirs.
//!
//! Deviations:
//! - Weights, which the paper mentions and leaves open: in each round of turns a backend has as many as its
//!   weight is of the largest, by a running sum, so it is never more than one turn off.
//! - A backend that may not take traffic for a while (down, full, tried before) stays in the table, and its
//!   keys are hashed again until they fall on another's slot. So none but its own keys move, they come back with it,
//!   and a verdict of the health checks costs no new table; the paper's disruption is that of backends
//!   being added, removed or weighed anew.
//! - Backends take their turns in the order of their identities, not of the configuration, so that
//!   writing them in another order moves nothing.
//!
//! Slow start is not applied: a share that grows would move keys to and fro.

use crate::hash::mix;

/// The table's size, as in the paper: a share is off by one slot, and more than 100 slots for each of up to
/// [`FEW`] backends bound that to one percent of an even share.
const SLOTS: usize = 65_537;
/// The size for more backends, also from the paper.
const MANY_SLOTS: usize = 655_373;
/// Up to so many backends the smaller table will do.
const FEW: usize = SLOTS / 100;
/// How often a key is hashed to find an owner that may take it, before all candidates are looked at.
const PROBES: usize = 256;

/// Two tables: backups have one of their own, for when they alone may take traffic.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    regular: MaglevTable,
    backup: MaglevTable,
}

impl Maglev {
    /// Each backend's identity, weight, and whether it is a backup.
    #[must_use]
    pub fn new(backends: &[(u64, u16, bool)]) -> Self {
        let table = |backups| {
            let entries: Vec<_> = (0u16..)
                .zip(backends)
                .filter(|(_, (_, weight, backup))| *weight > 0 && *backup == backups)
                .map(|(position, &(identity, weight, _))| (position, identity, weight))
                .collect();
            MaglevTable::new(entries)
        };
        Self {
            regular: table(false),
            backup: table(true),
        }
    }

    /// The table of the backups, or of all others.
    #[must_use]
    pub fn table(&self, backups: bool) -> &MaglevTable {
        if backups { &self.backup } else { &self.regular }
    }
}

/// A table of slots, each with its owner's position in the configuration.
#[derive(Clone, Debug, Default)]
pub struct MaglevTable {
    slots: Vec<u16>,
    owners: Vec<u16>,
}

/// A backend while the table is filled.
struct Filler {
    position: u16,
    weight: u32,
    /// Turns that it has had, in parts of the largest weight.
    credit: u32,
    next: usize,
    skip: usize,
}

impl MaglevTable {
    /// Each backend's position, identity and weight, which is not 0.
    fn new(mut backends: Vec<(u16, u64, u16)>) -> Self {
        if backends.is_empty() {
            return Self::default();
        }
        backends.sort_by_key(|&(_, identity, _)| identity);
        let size = if backends.len() <= FEW {
            SLOTS
        } else {
            MANY_SLOTS
        };
        let mut fillers: Vec<_> = backends
            .iter()
            .map(|&(position, identity, weight)| Filler {
                position,
                weight: u32::from(weight),
                credit: 0,
                next: (mix(identity) % size as u64) as usize,
                skip: (mix(!identity) % (size as u64 - 1)) as usize + 1,
            })
            .collect();
        Self {
            slots: fill(&mut fillers, size),
            owners: backends.iter().map(|&(position, _, _)| position).collect(),
        }
    }

    /// Looks the key's backend up among those for which `allowed` holds; returns its position in the
    /// configuration, or nothing when there is no such backend.
    #[must_use]
    pub fn pick(&self, key: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut hash = key;
        for _ in 0..PROBES {
            let slot = (u128::from(hash) * self.slots.len() as u128) >> 64;
            let owner = usize::from(*self.slots.get(slot as usize)?);
            if allowed(owner) {
                return Some(owner);
            }
            hash = mix(hash);
        }
        self.pick_among_all(key, allowed)
    }

    /// Where few are allowed: the first of them after one that the key names.
    fn pick_among_all(&self, key: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let start = mix(key) as usize % self.owners.len().max(1);
        let (before, after) = self.owners.split_at_checked(start)?;
        after
            .iter()
            .chain(before)
            .map(|&position| usize::from(position))
            .find(|&position| allowed(position))
    }
}

/// Has the backends take their turns until no slot is free. The expected cost is `size` times its logarithm.
fn fill(fillers: &mut [Filler], size: usize) -> Vec<u16> {
    const FREE: u16 = u16::MAX;
    let mut slots = vec![FREE; size];
    let heaviest = fillers
        .iter()
        .map(|filler| filler.weight)
        .max()
        .unwrap_or(1);
    let mut free = size;
    loop {
        for filler in &mut *fillers {
            filler.credit += filler.weight;
            if filler.credit < heaviest {
                continue;
            }
            filler.credit -= heaviest;
            // A permutation visits each slot, and one is free.
            while let Some(slot) = slots.get_mut(filler.next) {
                filler.next = (filler.next + filler.skip) % size;
                if *slot == FREE {
                    *slot = filler.position;
                    free -= 1;
                    break;
                }
            }
            if free == 0 {
                return slots;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, identity_of};
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn identity(host: u32) -> u64 {
        identity_of(SocketAddrV4::new(
            Ipv4Addr::from_bits(0x0a00_0001 + host),
            80,
        ))
    }

    fn table(weights: &[u16]) -> MaglevTable {
        let backends: Vec<_> = (0..)
            .zip(weights)
            .map(|(host, &weight)| (identity(host), weight, false))
            .collect();
        Maglev::new(&backends).regular
    }

    /// The share of the slots whose owner differs although neither is `gone`.
    fn needlessly_moved(
        before: &MaglevTable,
        after: &MaglevTable,
        gone: impl Fn(u16) -> bool,
    ) -> f64 {
        let moved = before
            .slots
            .iter()
            .zip(&after.slots)
            .filter(|(before, after)| before != after && !gone(**before))
            .count();
        moved as f64 / before.slots.len() as f64
    }

    #[test]
    fn the_sizes_are_prime() {
        for size in [SLOTS, MANY_SLOTS] {
            assert!((2..1_000).all(|divisor| size % divisor > 0), "{size}");
        }
    }

    #[test]
    fn each_backends_share_of_the_slots_is_its_weight_to_within_two_slots() {
        let mut random = Random::new(3);
        for count in [1, 2, 3, 10, 100, 655, 656, 1_000] {
            let weights: Vec<_> = (0..count)
                .map(|_| (random.next_u64() % 257) as u16)
                .collect();
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            let table = table(&weights);
            let mut taken = vec![0.0; count];
            for &owner in &table.slots {
                taken[usize::from(owner)] += 1.0;
            }
            for (taken, &weight) in taken.iter().zip(&weights) {
                let due = table.slots.len() as f64 * f64::from(weight) / total;
                assert!((taken - due).abs() <= 2.0, "{taken} for {due} of {count}");
            }
        }
    }

    #[test]
    fn when_a_backend_is_removed_less_than_one_percent_of_the_others_keys_move() {
        for count in [3, 10, 100, 1_000] {
            let mut weights = vec![1; count];
            let before = table(&weights);
            weights[count / 2] = 0;
            let gone = |owner| usize::from(owner) == count / 2;
            let moved = needlessly_moved(&before, &table(&weights), gone);
            assert!(moved < 0.01, "{moved} of {count}");
        }
    }

    #[test]
    fn weighing_one_anew_moves_hardly_more_keys_than_it_must() {
        let before = table(&[10, 10, 10, 10, 10]);
        let after = table(&[10, 10, 12, 10, 10]);
        let must = 12.0 / 52.0 - 10.0 / 50.0;
        let moved = needlessly_moved(&before, &after, |_| false);
        assert!((must - 0.001..must + 0.01).contains(&moved), "{moved}");
    }

    #[test]
    fn whoever_may_not_take_its_keys_keeps_them_for_later_and_no_other_key_moves() {
        let (table, mut random) = (table(&[1, 2, 3, 4, 5]), Random::new(1));
        let mut spread = [0.0; 5];
        for _ in 0..50_000 {
            let key = random.next_u64();
            let owner = table.pick(key, |_| true).unwrap();
            let instead = table.pick(key, |position| position != 4).unwrap();
            if owner == 4 {
                spread[instead] += 1.0;
            } else {
                assert_eq!(owner, instead);
            }
        }
        let total: f64 = spread.iter().sum();
        for (taken, weight) in spread.iter().zip([1.0, 2.0, 3.0, 4.0]) {
            assert!((taken / total - weight / 10.0).abs() < 0.02, "{spread:?}");
        }
    }

    #[test]
    fn one_that_is_allowed_is_found_among_many_that_are_not() {
        let table = table(&[1; 1_000]);
        for key in 0..100 {
            assert_eq!(table.pick(mix(key), |position| position == 7), Some(7));
            assert_eq!(table.pick(mix(key), |_| false), None);
        }
        assert_eq!(MaglevTable::default().pick(1, |_| true), None);
    }

    #[test]
    fn the_order_of_the_configuration_means_nothing() {
        let forwards: Vec<_> = (0..20).map(|host| (identity(host), 3, false)).collect();
        let backwards: Vec<_> = forwards.iter().rev().copied().collect();
        let (one, other) = (Maglev::new(&forwards), Maglev::new(&backwards));
        for key in (0..1_000).map(mix) {
            let first = one.regular.pick(key, |_| true).unwrap();
            let second = other.regular.pick(key, |_| true).unwrap();
            assert_eq!(first, 19 - second);
        }
    }

    #[test]
    fn backups_have_a_table_of_their_own() {
        let both = Maglev::new(&[(identity(0), 1, false), (identity(1), 1, true)]);
        assert_eq!(both.table(false).pick(5, |_| true), Some(0));
        assert_eq!(both.table(true).pick(5, |_| true), Some(1));
    }
}
