//! Smooth weighted round robin.
//!
//! The promise: between two picks of one candidate, each other one is picked as often as the ratio of their
//! weights says, rounded down or up. So over one cycle (as many picks as the sum of weights) each is picked
//! exactly as often as its weight says, and the picks of a heavy one are spread out instead of coming in
//! a burst.
//!
//! Source: stride scheduling (Waldspurger and Weihl, 1995). A cycle is a circle; a candidate of weight w has w
//! turns on it, evenly spaced, and turns are taken in the order in which they lie on the circle. Where each
//! begins is spread by multiples of the golden ratio, so that many light ones do not come all at once.
//! nginx's smooth weighted round robin (1.3.1, 2012) keeps a like promise at a cost of O(n) for each pick.
//! Here a pick costs O(log n), by a heap of everybody's next turn, and a cycle that is short is written down
//! once, so that a pick is one look.
//!
//! Deviations:
//! - The sequence starts with a seeded turn of the cycle, all equally likely. So many threads and balancers
//!   that started together do not all begin with the same backend, and one that begins anew over and over
//!   (weights that grow) is fair all the same.
//! - Candidates can be left out of a pick (those that a request has already tried). Whoever is left out at
//!   its turn has had it: it earns nothing for later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Random;

/// Bits of a point on the circle.
const CIRCLE_BITS: u32 = 48;
/// The golden ratio's fraction of the circle.
const GOLDEN: u64 = 0x9e37_79b9_7f4a;
/// The longest cycle that is written down.
const WRITTEN_TURNS: u64 = 4096;
/// Candidates that are looked at by their turns before all are looked at in a row.
const LOOKS: usize = 16;

/// The turns of a fixed list of candidates.
#[derive(Clone, Debug)]
pub struct SmoothRoundRobin {
    sequence: Sequence,
}

#[derive(Clone, Debug)]
enum Sequence {
    /// The candidates of one cycle in their order, and who is next.
    Written {
        cycle: Vec<u32>,
        next: usize,
    },
    Computed(Circle),
}

impl SmoothRoundRobin {
    /// `weights` are the candidates' shares in relation to each other, each at most 2^15; one of weight
    /// 0 is never picked. Equal seeds give equal sequences.
    #[must_use]
    pub fn new(weights: &[u32], seed: u64) -> Self {
        Self::starting_with(weights, Random::new(seed).next_u64())
    }

    /// Starts with this turn, counted over all candidates' turns one after the other.
    fn starting_with(weights: &[u32], turn: u64) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
        let weights: Vec<_> = weights
            .iter()
            .map(|weight| u64::from(weight.checked_div(divisor).unwrap_or(0)))
            .collect();
        let total: u64 = weights.iter().sum();
        let mut circle = Circle::starting_with(&weights, turn % total.max(1));
        let sequence = if total <= WRITTEN_TURNS {
            Sequence::Written {
                cycle: (0..total).filter_map(|_| circle.take_next()).collect(),
                next: 0,
            }
        } else {
            Sequence::Computed(circle)
        };
        Self { sequence }
    }

    /// Picks among the candidates for which `allowed` holds; returns the position in the list of
    /// weights, or nothing when there is no such candidate.
    pub fn pick(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        match &mut self.sequence {
            Sequence::Written { cycle, next } => {
                for _ in 0..cycle.len() {
                    let position = *cycle.get(*next)? as usize;
                    *next = if *next + 1 < cycle.len() {
                        *next + 1
                    } else {
                        0
                    };
                    if allowed(position) {
                        return Some(position);
                    }
                }
                None
            }
            Sequence::Computed(circle) => circle.pick(allowed),
        }
    }
}

/// The circle, and how far round it everybody is.
#[derive(Clone, Debug)]
struct Circle {
    candidates: Vec<Candidate>,
    /// Everybody's next turn, and whose it is; the first on top.
    turns: BinaryHeap<Reverse<(Turn, u32)>>,
    /// The last turn that was taken.
    last: Turn,
}

/// How many whole circles in, and where on the circle.
type Turn = (u64, u64);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// At most 2^15, so that products with points fit.
    weight: u64,
    /// Where its first turn lies, in parts of the way from one turn to the next.
    offset: u64,
    /// Whole circles, and turns after them, that it has had.
    circles: u64,
    taken: u64,
}

impl Candidate {
    fn next(&self) -> Turn {
        (self.circles, self.point(self.taken))
    }

    fn point(&self, taken: u64) -> u64 {
        ((taken << CIRCLE_BITS) + self.offset) / self.weight.max(1)
    }

    fn advance(&mut self) {
        self.taken += 1;
        if self.taken >= self.weight {
            (self.circles, self.taken) = (self.circles + 1, 0);
        }
    }

    /// Goes on with its first turn at or after this one; only after it when the two are not to coincide.
    fn go_on_at(&mut self, turn: Turn, may_coincide: bool) {
        let (circles, point) = turn;
        let full = (point * self.weight).saturating_sub(self.offset);
        (self.circles, self.taken) = (circles, full >> CIRCLE_BITS);
        while self.next() < turn || (self.next() == turn && !may_coincide) {
            self.advance();
        }
    }
}

impl Circle {
    /// Starts with this turn, counted over all candidates' turns one after the other.
    fn starting_with(weights: &[u64], mut turn: u64) -> Self {
        let mut candidates: Vec<_> = (0u64..)
            .zip(weights)
            .map(|(position, &weight)| Candidate {
                weight,
                offset: position.wrapping_mul(GOLDEN) % (1 << CIRCLE_BITS),
                circles: 0,
                taken: 0,
            })
            .collect();
        let owner = weights.iter().position(|&weight| {
            let is_here = turn < weight;
            turn -= if is_here { 0 } else { weight };
            is_here
        });
        let owner = owner.unwrap_or(0);
        let first = candidates.get(owner).map_or(0, |owner| owner.point(turn));
        for (position, candidate) in candidates.iter_mut().enumerate() {
            if candidate.weight > 0 {
                candidate.go_on_at((0, first), position >= owner);
            }
        }
        Self {
            turns: (0u32..)
                .zip(&candidates)
                .filter(|(_, candidate)| candidate.weight > 0)
                .map(|(position, candidate)| Reverse((candidate.next(), position)))
                .collect(),
            candidates,
            last: (0, first),
        }
    }

    fn take_next(&mut self) -> Option<u32> {
        let mut top = self.turns.peek_mut()?;
        let Reverse((_, position)) = *top;
        let candidate = self.candidates.get_mut(position as usize)?;
        candidate.advance();
        *top = Reverse((candidate.next(), position));
        Some(position)
    }

    fn pick(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..LOOKS {
            let &Reverse((turn, position)) = self.turns.peek()?;
            if !allowed(position as usize) {
                self.take_next();
                continue;
            }
            // One that was left out for long does not make up for it.
            if turn < self.last
                && let Some(candidate) = self.candidates.get_mut(position as usize)
            {
                candidate.go_on_at(self.last, false);
            }
            self.last = self.last.max(turn);
            return self.take_next().map(|position| position as usize);
        }
        self.pick_in_a_row(allowed)
    }

    /// Looks at every candidate once, where few are allowed.
    fn pick_in_a_row(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let (turn, position) = (0u32..)
            .zip(&self.candidates)
            .filter(|(position, candidate)| candidate.weight > 0 && allowed(*position as usize))
            .map(|(position, candidate)| (candidate.next(), position))
            .min()?;
        self.last = self.last.max(turn);
        let candidate = self.candidates.get_mut(position as usize)?;
        candidate.advance();
        let next = candidate.next();
        self.turns.retain(|Reverse((_, other))| *other != position);
        self.turns.push(Reverse((next, position)));
        Some(position as usize)
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from_the_beginning(weights: &[u32]) -> SmoothRoundRobin {
        SmoothRoundRobin::starting_with(weights, 0)
    }

    fn picks(mut picker: SmoothRoundRobin, count: usize) -> Vec<usize> {
        (0..count).map(|_| picker.pick(|_| true).unwrap()).collect()
    }

    #[test]
    fn a_heavy_backend_is_spread_over_the_cycle() {
        let picker = from_the_beginning(&[5, 1, 1]);
        assert_eq!(picks(picker, 7), [0, 0, 2, 0, 0, 1, 0]);
        let mut weights = vec![1; 101];
        weights[0] = 100;
        let picked = picks(from_the_beginning(&weights), 200);
        assert!(
            picked.windows(4).all(|four| four.contains(&0)),
            "{picked:?}"
        );
        assert!(picked.windows(4).any(|four| four != [0; 4]), "{picked:?}");
    }

    #[test]
    fn equal_seeds_give_equal_sequences_and_other_seeds_other_starts() {
        let sequence = |seed| picks(SmoothRoundRobin::new(&[1, 2, 3], seed), 50);
        assert_eq!(sequence(2), sequence(2));
        assert!((0..20).any(|seed| sequence(seed) != sequence(2)));
    }

    #[test]
    fn whoever_begins_anew_at_each_pick_still_gives_each_its_share() {
        for weights in [[128, 64, 1], [32_768, 16_387, 256]] {
            let total = f64::from(weights.iter().sum::<u32>());
            let mut taken = [0.0; 3];
            for seed in 0..20_000 {
                let mut picker = SmoothRoundRobin::new(&weights, seed);
                taken[picker.pick(|_| true).unwrap()] += 1.0;
            }
            for (taken, weight) in taken.iter().zip(weights) {
                let (share, due) = (taken / 20_000.0, f64::from(weight) / total);
                assert!((share - due).abs() < 0.015, "{share} for {due}");
            }
        }
    }

    #[test]
    fn nobody_is_picked_from_an_empty_list_or_from_weights_of_zero() {
        assert_eq!(SmoothRoundRobin::new(&[], 3).pick(|_| true), None);
        assert_eq!(SmoothRoundRobin::new(&[0, 0], 3).pick(|_| true), None);
        assert_eq!(SmoothRoundRobin::new(&[1, 1], 3).pick(|_| false), None);
        assert_eq!(SmoothRoundRobin::new(&[1; 40], 3).pick(|_| false), None);
    }

    #[test]
    fn a_candidate_left_out_is_not_picked_and_the_others_keep_their_proportion() {
        for weights in [[9, 1, 2], [9_001, 1_000, 2_000]] {
            let mut picker = SmoothRoundRobin::new(&weights, 0);
            let mut taken = [0; 3];
            for _ in 0..300 {
                taken[picker.pick(|position| position != 0).unwrap()] += 1;
            }
            assert_eq!(taken[0], 0);
            assert!((98..=102).contains(&taken[1]), "{taken:?}");
        }
    }

    #[test]
    fn a_light_candidate_is_found_when_all_others_are_left_out() {
        let mut weights = vec![256; 40];
        weights[39] = 1;
        let mut picker = SmoothRoundRobin::new(&weights, 5);
        assert!((0..1_000).all(|_| picker.pick(|position| position == 39) == Some(39)));
    }

    #[test]
    fn a_candidate_that_was_left_out_does_not_make_up_for_it() {
        for weights in [[2, 1, 1], [32_768, 16_385, 16_383]] {
            let mut picker = SmoothRoundRobin::new(&weights, 1);
            for _ in 0..10_000 {
                picker.pick(|position| position != 0).unwrap();
            }
            let after = (0..20).filter(|_| picker.pick(|_| true) == Some(0)).count();
            assert!((9..=12).contains(&after), "{after}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn between_two_picks_of_one_each_other_is_picked_as_their_weights_say(
            weights in proptest::collection::vec(1u32..=256, 2..20),
            seed in any::<u64>(),
        ) {
            let picked = picks(SmoothRoundRobin::new(&weights, seed), 3_000);
            for (one, &weight) in weights.iter().enumerate() {
                let mut rounds = picked.split(|&position| position == one);
                rounds.next();
                rounds.next_back();
                for round in rounds {
                    for (other, &others) in weights.iter().enumerate().filter(|(other, _)| *other != one) {
                        let count = round.iter().filter(|&&position| position == other).count() as u32;
                        let expected = others / weight..=others.div_ceil(weight);
                        prop_assert!(expected.contains(&count), "{count} of {other} in {expected:?}");
                    }
                }
            }
        }

        #[test]
        fn each_backends_share_is_within_two_percent_of_its_weight(
            weights in proptest::collection::vec(0u32..=256, 1..40),
            seed in any::<u64>(),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let count = 50_000;
            let mut taken = vec![0u64; weights.len()];
            for position in picks(SmoothRoundRobin::new(&weights, seed), count) {
                taken[position] += 1;
            }
            for (&taken, &weight) in taken.iter().zip(&weights) {
                let share = taken as f64 / count as f64;
                let due = f64::from(weight) / f64::from(total);
                prop_assert!((share - due).abs() <= 0.02 * due.max(0.01), "{share} for {due}");
                prop_assert!(weight > 0 || taken == 0);
            }
        }

        #[test]
        fn one_cycle_gives_each_backend_exactly_its_weight(
            weights in proptest::collection::vec(0u32..=20, 1..12),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut taken = vec![0; weights.len()];
            for position in picks(from_the_beginning(&weights), total as usize) {
                taken[position] += 1;
            }
            prop_assert_eq!(taken, weights);
        }
    }
}
