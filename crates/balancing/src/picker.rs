//! One of the algorithms, at work over the backends of one configuration.
//!
//! A picker is made anew whenever what it knows of the backends changes (a configuration, a verdict, a step
//! of slow start), and what has to outlive that is given to it: what is under way, and the latencies.

use std::sync::Arc;

use model::Algorithm;

use crate::{Latency, LeastConnections, Maglev, PeakEwma, SmoothRoundRobin, SourceHash};

/// The largest weight that the algorithms take: that of a backend of weight 256 in the parts of slow start.
pub const MAX_WEIGHT: u32 = 1 << 15;

/// A backend as a picker is told of it. Its place in the list is its position.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// What stands for it everywhere; see [`identity_of`](crate::identity_of).
    pub identity: u64,
    /// Its share in relation to the others, at most [`MAX_WEIGHT`]; 0 when it may not take traffic.
    pub weight: u32,
    /// Whether it is a backup.
    pub backup: bool,
    /// What it has under way, as far as this thread knows.
    pub load: Load,
}

/// What a backend has to do, as far as this thread knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Requests or sessions under way.
    pub active: u32,
    /// How long it takes to answer.
    pub latency: Latency,
}

/// What a pick asks of the backends at the moment, by their positions.
pub trait View {
    /// Whether it may be picked.
    fn may_take(&self, position: usize) -> bool;
    /// What it has to do.
    fn load(&self, position: usize) -> Load;
}

/// One of the algorithms at work.
#[derive(Clone, Debug)]
pub enum Picker {
    /// See [`SmoothRoundRobin`].
    RoundRobin(SmoothRoundRobin),
    /// See [`LeastConnections`].
    LeastConnections(LeastConnections),
    /// See [`PeakEwma`].
    PeakEwma(PeakEwma),
    /// See [`SourceHash`].
    SourceHash(SourceHash),
    /// See [`Maglev`].
    Maglev {
        /// The configuration's tables.
        tables: Arc<Maglev>,
        /// Which of them.
        backups: bool,
        /// Whether each backend may take traffic.
        eligible: Vec<bool>,
    },
}

impl Default for Picker {
    fn default() -> Self {
        Self::RoundRobin(SmoothRoundRobin::new(&[], 0))
    }
}

impl Picker {
    /// `tables` are those of the configuration, and are only used for Maglev; positions in them are those of
    /// `seats`. Equal seeds give equal sequences.
    #[must_use]
    pub fn new(algorithm: &Algorithm, seats: &[Seat], tables: &Arc<Maglev>, seed: u64) -> Self {
        let weights: Vec<_> = seats.iter().map(|seat| seat.weight).collect();
        match algorithm {
            Algorithm::RoundRobin => Self::RoundRobin(SmoothRoundRobin::new(&weights, seed)),
            Algorithm::LeastConnections => {
                let active: Vec<_> = seats.iter().map(|seat| seat.load.active).collect();
                Self::LeastConnections(LeastConnections::new(&weights, &active, seed))
            }
            Algorithm::PeakEwma => {
                let latencies: Vec<_> = seats.iter().map(|seat| seat.load.latency).collect();
                Self::PeakEwma(PeakEwma::new(&weights, &latencies, seed))
            }
            Algorithm::SourceHash => {
                let identities: Vec<_> = seats.iter().map(|seat| seat.identity).collect();
                Self::SourceHash(SourceHash::new(&identities, &weights))
            }
            Algorithm::Maglev { .. } => Self::Maglev {
                tables: Arc::clone(tables),
                backups: seats.iter().any(|seat| seat.weight > 0 && seat.backup),
                eligible: weights.iter().map(|&weight| weight > 0).collect(),
            },
        }
    }

    /// Whether weights that grow with slow start are of use to it. For those that hash they would move keys
    /// to and fro.
    #[must_use]
    pub fn grows(algorithm: &Algorithm) -> bool {
        !matches!(algorithm, Algorithm::SourceHash | Algorithm::Maglev { .. })
    }

    /// Picks a backend that the view allows; returns its position, or nothing when there is none. `key` is
    /// the hash of what the algorithm hashes. Takes no memory.
    pub fn pick(&mut self, key: u64, now_us: u64, view: &impl View) -> Option<usize> {
        let may_take = |position| view.may_take(position);
        match self {
            Self::RoundRobin(picker) => picker.pick(may_take),
            Self::LeastConnections(picker) => picker.pick(may_take),
            Self::PeakEwma(picker) => picker.pick(now_us, view),
            Self::SourceHash(picker) => picker.pick(key, may_take),
            Self::Maglev {
                tables,
                backups,
                eligible,
            } => tables.table(*backups).pick(key, |position| {
                eligible.get(position) == Some(&true) && may_take(position)
            }),
        }
    }

    /// A backend now has so many requests or sessions under way.
    pub fn set_active(&mut self, position: usize, active: u32) {
        if let Self::LeastConnections(picker) = self {
            picker.set_active(position, active);
        }
    }

    /// Whether it matters how long backends take to answer.
    #[must_use]
    pub fn measures(&self) -> bool {
        matches!(self, Self::PeakEwma(_))
    }

    /// A backend took so many microseconds to answer well.
    pub fn observe(&mut self, took_us: u64) {
        if let Self::PeakEwma(picker) = self {
            picker.observe(took_us);
        }
    }

    /// How many microseconds a failure is to be taken for, where latencies matter; `slowest` are the good
    /// answers of all backends as if they were one's.
    #[must_use]
    pub fn failure_us(&self, slowest: Latency, now_us: u64) -> Option<u64> {
        match self {
            Self::PeakEwma(picker) => Some(picker.failure_us(slowest, now_us)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Simulation;
    use proptest::prelude::*;

    fn furthest_off(shares: &[f64], weights: &[u32]) -> f64 {
        let total = f64::from(weights.iter().sum::<u32>());
        shares
            .iter()
            .zip(weights)
            .map(|(share, &weight)| (share - f64::from(weight) / total).abs())
            .fold(0.0, f64::max)
    }

    const BY_LOAD: [Algorithm; 2] = [Algorithm::LeastConnections, Algorithm::PeakEwma];

    #[test]
    fn a_slow_backend_gets_less() {
        for (algorithm, at_most) in [
            (Algorithm::LeastConnections, 0.12),
            (Algorithm::PeakEwma, 0.12),
        ] {
            let mut simulation = Simulation::new(&algorithm, &[1, 1, 1], 7);
            simulation.latencies_us = vec![10_000, 10_000, 50_000];
            let shares = simulation.run(100, 20_000);
            assert!(shares[2] < at_most, "{algorithm:?}: {shares:?}");
        }
    }

    #[test]
    fn a_slow_backend_is_left_alone_by_peak_ewma_when_others_are_clearly_quicker() {
        for weights in [&[1, 1][..], &[1, 3], &[3, 1], &[1, 1, 1]] {
            let mut simulation = Simulation::new(&Algorithm::PeakEwma, weights, 7);
            simulation.latencies_us[0] = 30_000;
            let shares = simulation.run(1, 5_000);
            assert!(shares[0] < 0.03, "{weights:?}: {shares:?}");
        }
    }

    #[test]
    fn a_backend_that_was_slow_is_tried_again_and_gets_its_share_back() {
        let mut simulation = Simulation::new(&Algorithm::PeakEwma, &[1, 1], 7);
        simulation.latencies_us[0] = 30_000;
        simulation.run(1, 2_000);
        simulation.latencies_us[0] = 10_000;
        // 100 requests are answered in a second, and figures last for some ten seconds.
        simulation.run(1, 10_000);
        let shares = simulation.run(1, 20_000);
        assert!(furthest_off(&shares, &[1, 1]) < 0.02, "{shares:?}");
    }

    #[test]
    fn a_backend_that_refuses_at_once_does_not_draw_everybody() {
        let mut simulation = Simulation::new(&Algorithm::PeakEwma, &[1, 1, 1], 7);
        simulation.refusing = vec![1];
        let shares = simulation.run(10, 20_000);
        assert!(shares[1] < 0.1, "{shares:?}");
    }

    #[test]
    fn equal_seeds_give_equal_shares_and_threads_of_their_own_add_up() {
        for algorithm in BY_LOAD {
            let run = |seed, threads| {
                let mut simulation = Simulation::new(&algorithm, &[5, 2, 3], seed);
                simulation.noise = 0.2;
                simulation.threads(threads);
                simulation.run(300, 20_000)
            };
            assert_eq!(run(3, 1), run(3, 1));
            for threads in [2, 4] {
                let shares = run(3, threads);
                assert!(furthest_off(&shares, &[5, 2, 3]) < 0.02, "{shares:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn one_at_a_time_or_many_each_backends_share_is_within_two_percent_of_its_weight(
            weights in proptest::collection::vec(1u32..=256, 1..12),
            seed in any::<u64>(),
        ) {
            for algorithm in BY_LOAD {
                for clients in [1, 500] {
                    let mut simulation = Simulation::new(&algorithm, &weights, seed);
                    simulation.noise = 0.1;
                    let shares = simulation.run(clients, 12_000);
                    let off = furthest_off(&shares, &weights);
                    prop_assert!(off < 0.02, "{algorithm:?} of {clients}: {off}");
                }
            }
        }
    }
}
