//! Source hash: the same backend for the same client's address.
//!
//! Source: highest random weight, or rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates", 1998), with the weights of Schindelhauer and Schomaker ("Weighted distributed hash
//! tables", 2005): of each backend and the key a uniform number u in (0, 1] is made, and the backend with the
//! least -ln(u)/weight is picked. Each backend's share of the keys is exactly that of its weight, and when
//! one goes, nobody moves but its own clients, each to the backend that comes second for it; when it
//! comes back, so do they. That is more than [`Maglev`](crate::Maglev) promises, and costs O(n).
//!
//! Deviations: the backends of the last [`REMEMBERED`] keys or so are remembered, so a client that is known
//! costs one look; and since -ln(1 - x) is never less than x + x²/2, the logarithm is only taken where that
//! does not settle it already.
//!
//! Slow start is not applied: a share that grows would move clients to and fro.

use crate::hash::mix;

/// Places for keys whose backend is remembered; a power of two.
const REMEMBERED: usize = 1024;
/// No position.
const NOBODY: u32 = u32::MAX;

/// A fixed list of candidates.
#[derive(Clone, Debug)]
pub struct SourceHash {
    candidates: Vec<Candidate>,
    /// Each key in the one place that its last bits name.
    remembered: Vec<(u64, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    position: u32,
    identity: u64,
    /// One divided by the weight.
    patience: f64,
}

impl SourceHash {
    /// `identities` and `weights` of the candidates, in the same order; one of weight 0 is never picked.
    #[must_use]
    pub fn new(identities: &[u64], weights: &[u32]) -> Self {
        let candidates = (0u32..)
            .zip(identities.iter().zip(weights))
            .filter(|(_, (_, weight))| **weight > 0)
            .map(|(position, (&identity, &weight))| Candidate {
                position,
                identity,
                patience: f64::from(weight).recip(),
            })
            .collect();
        Self {
            candidates,
            remembered: vec![(0, NOBODY); REMEMBERED],
        }
    }

    /// Picks the key's candidate among those for which `allowed` holds; returns its position, or nothing when
    /// there is no such candidate.
    pub fn pick(&mut self, key: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let index = key as usize % REMEMBERED;
        let first = match self.remembered.get(index) {
            Some(&(known, position)) if known == key && position != NOBODY => position as usize,
            _ => self.remember(index, key)?,
        };
        if allowed(first) {
            Some(first)
        } else {
            self.best(key, allowed)
        }
    }

    fn remember(&mut self, index: usize, key: u64) -> Option<usize> {
        let position = self.best(key, |_| true)?;
        if let Some(entry) = self.remembered.get_mut(index) {
            *entry = (key, u32::try_from(position).unwrap_or(NOBODY));
        }
        Some(position)
    }

    fn best(&self, key: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut least = f64::INFINITY;
        for candidate in &self.candidates {
            let uniform = uniform(mix(key ^ candidate.identity));
            let missing = 1.0 - uniform;
            let at_least = missing * (1.0 + missing / 2.0);
            if at_least * candidate.patience >= least || !allowed(candidate.position as usize) {
                continue;
            }
            let wait = -uniform.ln() * candidate.patience;
            if wait < least || best.is_none() {
                (best, least) = (Some(candidate.position as usize), wait);
            }
        }
        best
    }
}

/// A number in (0, 1].
fn uniform(hash: u64) -> f64 {
    ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hash_address, identity_of};
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn identities(count: usize) -> Vec<u64> {
        (0..count as u32)
            .map(|host| {
                identity_of(SocketAddrV4::new(
                    Ipv4Addr::from_bits(0x0a00_0001 + host),
                    80,
                ))
            })
            .collect()
    }

    fn clients(count: u32) -> impl Iterator<Item = u64> {
        (0..count).map(|host| hash_address(Ipv4Addr::from_bits(0xc0a8_0000 + host)))
    }

    #[test]
    fn nobody_is_picked_from_an_empty_list_or_from_weights_of_zero() {
        assert_eq!(SourceHash::new(&[], &[]).pick(1, |_| true), None);
        assert_eq!(SourceHash::new(&[5], &[0]).pick(1, |_| true), None);
        assert_eq!(SourceHash::new(&[5], &[1]).pick(1, |_| false), None);
    }

    #[test]
    fn when_a_backend_goes_only_its_own_clients_move_and_they_spread_by_weight() {
        let (identities, weights) = (identities(5), [10, 20, 30, 40, 100]);
        let mut all = SourceHash::new(&identities, &weights);
        let mut rest = SourceHash::new(&identities, &[10, 20, 30, 40, 0]);
        let mut moved = [0.0; 5];
        for client in clients(50_000) {
            let (before, after) = (all.pick(client, |_| true), rest.pick(client, |_| true));
            if before == Some(4) {
                moved[after.unwrap()] += 1.0;
            } else {
                assert_eq!(before, after);
            }
            // Left out of one pick or gone for good, the next is the same.
            assert_eq!(all.pick(client, |position| position != 4), after);
        }
        let total: f64 = moved.iter().sum();
        for (moved, weight) in moved.iter().zip([10.0, 20.0, 30.0, 40.0]) {
            assert!((moved / total - weight / 100.0).abs() < 0.02);
        }
    }

    #[test]
    fn the_order_of_the_list_means_nothing() {
        let mut identities = identities(7);
        let mut one = SourceHash::new(&identities, &[1; 7]);
        let before: Vec<_> = clients(500)
            .map(|client| identities[one.pick(client, |_| true).unwrap()])
            .collect();
        identities.reverse();
        let mut other = SourceHash::new(&identities, &[1; 7]);
        let after: Vec<_> = clients(500)
            .map(|client| identities[other.pick(client, |_| true).unwrap()])
            .collect();
        assert_eq!(before, after);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn each_backends_share_of_the_clients_is_within_two_percent_of_its_weight(
            weights in proptest::collection::vec(0u32..=256, 1..12),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut picker = SourceHash::new(&identities(weights.len()), &weights);
            let (count, mut taken) = (40_000, vec![0u32; weights.len()]);
            for client in clients(count) {
                taken[picker.pick(client, |_| true).unwrap()] += 1;
            }
            for (&taken, &weight) in taken.iter().zip(&weights) {
                let (share, due) = (f64::from(taken) / f64::from(count), f64::from(weight) / f64::from(total));
                prop_assert!((share - due).abs() < 0.02, "{share} for {due}");
                prop_assert!(weight > 0 || taken == 0);
            }
        }
    }
}
