//! Least connections: the backend with the fewest requests or sessions under way in relation to its weight.
//!
//! Source: weighted least connections as in Linux Virtual Server (`ip_vs_wlc`) and nginx's `least_conn`: the
//! least active/weight is picked. Among equals it goes in turn by weight: each backend has a virtual time
//! that grows by 1/weight with each pick, and the one furthest behind is picked (stride scheduling,
//! Waldspurger and Weihl, 1995). So the shares are those of the weights also when one request at a time is
//! under way. With few at a time an idle backend goes before a busy one, whatever their weights, which gives
//! light ones more than their share; with many, what is under way settles at the weights, to within one.
//!
//! Deviations:
//! - Each forwarding thread goes by what it has under way itself. Figures shared by all threads would cost a
//!   cache line that bounces between cores at every request, and would change behind any index over them, so
//!   that each pick had to look at all backends. The kernel spreads connections over threads by a hash, each
//!   thread settles at the weights, and so does the sum.
//! - A tree of duels over the backends makes a pick O(1) and a change of what is under way O(log n).

use crate::Random;

/// Virtual time of one pick at weight 1.
const STRIDE: u64 = 1 << 32;
/// Virtual time at which all clocks are set back.
const LATEST: u64 = 1 << 62;
/// Nobody won.
const NOBODY: u32 = u32::MAX;

/// Who has the fewest under way, of a fixed list of candidates.
#[derive(Clone, Debug)]
pub struct LeastConnections {
    seats: Vec<Seat>,
    /// A binary tree: the root at 1, the children of i at 2i and 2i + 1, the leaves in the second half, one
    /// for each seat. Each node holds the better of its children's positions.
    winners: Vec<u32>,
    /// The virtual time of the last pick.
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    weight: u64,
    /// What it has under way by its weight, in parts of 2^32.
    load: u64,
    /// The virtual time of its next turn.
    turn: u64,
}

impl Seat {
    fn stride(&self) -> u64 {
        STRIDE / self.weight.max(1)
    }

    fn set_active(&mut self, active: u32) {
        self.load = (u64::from(active) << 32) / self.weight.max(1);
    }

    /// The least is picked.
    fn rank(&self) -> (u64, u64) {
        (self.load, self.turn)
    }
}

impl LeastConnections {
    /// `weights` are the candidates' shares in relation to each other, at most 2^15; one of weight 0 is never
    /// picked. `active` are the requests or sessions that each has under way. Equal seeds give equal
    /// sequences.
    #[must_use]
    pub fn new(weights: &[u32], active: &[u32], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let seats: Vec<_> = weights
            .iter()
            .zip(active)
            .map(|(&weight, &active)| {
                let mut seat = Seat {
                    weight: u64::from(weight),
                    load: 0,
                    turn: 0,
                };
                seat.set_active(active);
                seat.turn = random.next_u64() % seat.stride();
                seat
            })
            .collect();
        let leaves = seats.len().next_power_of_two();
        let mut picker = Self {
            winners: vec![NOBODY; leaves * 2],
            clock: 0,
            seats,
        };
        picker.hold_all_duels();
        picker
    }

    /// Picks among the candidates for which `allowed` holds; returns its position, or nothing when there is
    /// no such candidate. The caller says with [`LeastConnections::set_active`] what came of it.
    pub fn pick(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let winner = self.best_below(1, &allowed)?;
        let position = winner as usize;
        let seat = self.seats.get_mut(position)?;
        self.clock = self.clock.max(seat.turn);
        // Whoever was passed over for long, because it had much under way, does not make up for it.
        let stride = seat.stride();
        seat.turn = seat.turn.max(self.clock.saturating_sub(stride)) + stride;
        if self.clock > LATEST {
            self.set_clocks_back();
        }
        self.hold_duels_above(winner);
        Some(position)
    }

    /// Says how many requests or sessions a candidate has under way.
    pub fn set_active(&mut self, position: usize, active: u32) {
        let Some(seat) = self.seats.get_mut(position) else {
            return;
        };
        seat.set_active(active);
        if let Ok(position) = u32::try_from(position) {
            self.hold_duels_above(position);
        }
    }

    /// The best allowed candidate below a node. Only where a winner is not allowed, both of its node's
    /// children are looked at; so with k candidates left out this costs O(k log n).
    fn best_below(&self, node: usize, allowed: &impl Fn(usize) -> bool) -> Option<u32> {
        let winner = self.winner(node);
        if winner == NOBODY {
            return None;
        }
        if allowed(winner as usize) {
            return Some(winner);
        }
        if node >= self.winners.len() / 2 {
            return None;
        }
        let left = self.best_below(node * 2, allowed).unwrap_or(NOBODY);
        let right = self.best_below(node * 2 + 1, allowed).unwrap_or(NOBODY);
        Some(self.better(left, right)).filter(|&winner| winner != NOBODY)
    }

    fn winner(&self, node: usize) -> u32 {
        self.winners.get(node).copied().unwrap_or(NOBODY)
    }

    fn better(&self, left: u32, right: u32) -> u32 {
        let rank = |position: u32| self.seats.get(position as usize).map(Seat::rank);
        match (rank(left), rank(right)) {
            (Some(a), Some(b)) if b < a => right,
            (None, _) => right,
            _ => left,
        }
    }

    fn hold_duel(&mut self, node: usize) -> u32 {
        let winner = self.better(self.winner(node * 2), self.winner(node * 2 + 1));
        if let Some(entry) = self.winners.get_mut(node) {
            *entry = winner;
        }
        winner
    }

    fn hold_duels_above(&mut self, position: u32) {
        let mut node = (self.winners.len() / 2 + position as usize) / 2;
        while node > 0 {
            let before = self.winner(node);
            // Who won before and wins again without having changed is known further up.
            if self.hold_duel(node) == before && before != position {
                return;
            }
            node /= 2;
        }
    }

    fn hold_all_duels(&mut self) {
        let leaves = self.winners.len() / 2;
        for ((position, seat), leaf) in (0u32..)
            .zip(&self.seats)
            .zip(self.winners.iter_mut().skip(leaves))
        {
            *leaf = if seat.weight > 0 { position } else { NOBODY };
        }
        for node in (1..leaves).rev() {
            self.hold_duel(node);
        }
    }

    fn set_clocks_back(&mut self) {
        for seat in &mut self.seats {
            seat.turn = seat.turn.saturating_sub(self.clock);
        }
        self.clock = 0;
        self.hold_all_duels();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn idle(weights: &[u32], seed: u64) -> LeastConnections {
        LeastConnections::new(weights, &vec![0; weights.len()], seed)
    }

    #[test]
    fn the_least_under_way_in_relation_to_the_weight_is_picked() {
        let mut picker = LeastConnections::new(&[1, 2, 4], &[1, 1, 3], 0);
        assert_eq!(picker.pick(|_| true), Some(1));
        picker.set_active(1, 2);
        assert_eq!(picker.pick(|_| true), Some(2));
        picker.set_active(0, 0);
        assert_eq!(picker.pick(|_| true), Some(0));
    }

    #[test]
    fn nobody_is_picked_from_an_empty_list_or_from_weights_of_zero() {
        assert_eq!(idle(&[], 3).pick(|_| true), None);
        assert_eq!(idle(&[0, 0], 3).pick(|_| true), None);
        assert_eq!(idle(&[1, 1, 1], 3).pick(|_| false), None);
    }

    #[test]
    fn equal_seeds_give_equal_sequences_and_other_seeds_other_starts() {
        let sequence = |seed| {
            let mut picker = idle(&[1, 2, 3], seed);
            std::iter::repeat_with(|| picker.pick(|_| true))
                .take(50)
                .collect::<Vec<_>>()
        };
        assert_eq!(sequence(2), sequence(2));
        assert!((0..20).any(|seed| sequence(seed) != sequence(2)));
    }

    #[test]
    fn one_that_was_busy_for_long_does_not_make_up_for_it() {
        let mut picker = LeastConnections::new(&[1, 1], &[9, 0], 0);
        assert!((0..1_000).all(|_| picker.pick(|_| true) == Some(1)));
        picker.set_active(0, 0);
        let after = (0..20).filter(|_| picker.pick(|_| true) == Some(0)).count();
        assert!((9..=12).contains(&after), "{after}");
    }

    #[test]
    fn clocks_that_are_set_back_keep_the_shares() {
        let mut picker = idle(&[3, 1], 0);
        let mut first = 0;
        for round in 0..400 {
            if round % 10 == 0 {
                let ahead = LATEST.saturating_sub(picker.clock);
                picker.clock += ahead;
                for seat in &mut picker.seats {
                    seat.turn += ahead;
                }
                picker.hold_all_duels();
            }
            first += usize::from(picker.pick(|_| true) == Some(0));
        }
        assert!((290..=310).contains(&first), "{first}");
    }

    proptest! {
        #[test]
        fn the_pick_is_always_the_best_of_those_allowed(
            weights in proptest::collection::vec(0u32..=256, 1..40),
            steps in proptest::collection::vec((any::<u64>(), 0usize..40, 0u32..9), 1..60),
        ) {
            let mut picker = idle(&weights, 1);
            for (mask, position, active) in steps {
                picker.set_active(position, active);
                let allowed = |position: usize| mask >> position & 1 == 1;
                let best = (0..weights.len())
                    .filter(|&position| weights[position] > 0 && allowed(position))
                    .min_by_key(|&position| picker.seats[position].rank());
                prop_assert_eq!(picker.pick(allowed), best);
            }
        }
    }
}
