//! Smooth weighted round robin.
//!
//! Source: the algorithm that nginx introduced for upstream selection in 1.3.1 (2012, "Upstream: smooth
//! weighted round-robin balancing"). At each pick every candidate's credit grows by its weight; the one
//! with most credit is picked and pays the sum of all candidates' weights. Over one cycle (as many picks
//! as the sum of weights) each is picked exactly as often as its weight says, and the picks of a heavy
//! one are spread out instead of coming in a burst.
//!
//! Deviations: credits start at a seeded point of the cycle, so that many threads and balancers that
//! started together do not all begin with the same backend; and candidates can be left out of one pick
//! (those that a request has already tried), in which case they neither earn nor pay.
//!
//! A pick costs O(n) over two flat arrays.

/// The most picks by which a seed moves the start.
const MAX_START: u64 = 64;

/// The credits of a fixed list of candidates.
#[derive(Clone, Debug)]
pub struct SmoothRoundRobin {
    weights: Vec<i64>,
    credits: Vec<i64>,
}

impl SmoothRoundRobin {
    /// `weights` are the candidates' shares in relation to each other; one of weight 0 is never
    /// picked. Equal seeds give equal sequences.
    #[must_use]
    pub fn new(weights: &[u16], seed: u64) -> Self {
        let mut picker = Self {
            weights: weights.iter().map(|&weight| i64::from(weight)).collect(),
            credits: vec![0; weights.len()],
        };
        let candidates = u64::try_from(weights.len()).unwrap_or(u64::MAX).max(1);
        for _ in 0..seed % candidates.min(MAX_START) {
            picker.pick(|_| true);
        }
        picker
    }

    /// Picks among the candidates for which `allowed` holds; returns the position in the list of
    /// weights, or nothing when there is no such candidate.
    pub fn pick(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        let candidates = self.weights.iter().zip(self.credits.iter_mut()).enumerate();
        for (position, (&weight, credit)) in candidates {
            if weight == 0 || !allowed(position) {
                continue;
            }
            *credit += weight;
            total += weight;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((position, *credit));
            }
        }
        let (position, _) = best?;
        if let Some(credit) = self.credits.get_mut(position) {
            *credit -= total;
        }
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picks(weights: &[u16], seed: u64, count: usize) -> Vec<usize> {
        let mut picker = SmoothRoundRobin::new(weights, seed);
        (0..count).map(|_| picker.pick(|_| true).unwrap()).collect()
    }

    #[test]
    fn a_heavy_backend_is_spread_over_the_cycle() {
        assert_eq!(picks(&[5, 1, 1], 0, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_seeds_give_equal_sequences_and_other_seeds_other_starts() {
        assert_eq!(picks(&[1, 1, 1], 2, 9), picks(&[1, 1, 1], 2, 9));
        assert_ne!(picks(&[1, 1, 1], 0, 1), picks(&[1, 1, 1], 1, 1));
    }

    #[test]
    fn nobody_is_picked_from_an_empty_list_or_from_weights_of_zero() {
        assert_eq!(SmoothRoundRobin::new(&[], 3).pick(|_| true), None);
        assert_eq!(SmoothRoundRobin::new(&[0, 0], 3).pick(|_| true), None);
        assert_eq!(SmoothRoundRobin::new(&[1, 1], 3).pick(|_| false), None);
    }

    #[test]
    fn a_candidate_left_out_is_not_picked() {
        let mut picker = SmoothRoundRobin::new(&[9, 1, 1], 0);
        assert!((0..100).all(|_| picker.pick(|position| position != 0) != Some(0)));
    }

    proptest! {
        #[test]
        fn each_backends_share_is_within_two_percent_of_its_weight(
            weights in proptest::collection::vec(0u16..=256, 1..40),
            seed in any::<u64>(),
        ) {
            let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
            prop_assume!(total > 0);
            let count = 50_000;
            let mut taken = vec![0u64; weights.len()];
            for position in picks(&weights, seed, count) {
                taken[position] += 1;
            }
            for (position, &weight) in weights.iter().enumerate() {
                let share = taken[position] as f64 / count as f64;
                let due = f64::from(weight) / total as f64;
                prop_assert!((share - due).abs() <= 0.02 * due.max(0.01), "{share} for {due}");
                prop_assert!(weight > 0 || taken[position] == 0);
            }
        }

        #[test]
        fn one_cycle_gives_each_backend_exactly_its_weight(
            weights in proptest::collection::vec(0u16..=20, 1..12),
        ) {
            let total: usize = weights.iter().map(|&w| usize::from(w)).sum();
            prop_assume!(total > 0);
            let sequence = picks(&weights, 0, total);
            for (position, &weight) in weights.iter().enumerate() {
                let taken = sequence.iter().filter(|&&p| p == position).count();
                prop_assert_eq!(taken, usize::from(weight));
            }
        }
    }
}
