//! The better of two backends drawn at random.
//!
//! Sources: the power of two choices (Mitzenmacher, 2001), with the cost of Finagle's `PeakEwma`: the moving
//! average of how long a backend takes to answer ([`Latency`]) times what it has under way and one more.
//!
//! Deviations:
//! - Weights. The first of the two is drawn by weight, and the second, never the same, too; the second is
//!   taken only when it costs less than [`CLEARLY`] of the first. So as long as backends are about as quick,
//!   the shares are exactly those of the weights, and noise in the figures does not level them. What a
//!   backend has under way counts in relation to its weight.
//! - A failure counts as an answer that took [`FAILURE`] times as long as the slowest good one of late: a
//!   backend that refuses at once is the quickest of all, and must not draw everybody, also not when all the
//!   others have just been slow. What is usual is usual of good answers.
//! - Backends without figures are taken for usual.
//! - Each forwarding thread goes by its own figures, as in [`LeastConnections`](crate::LeastConnections). A
//!   thread without traffic knows nothing, and then has nothing to choose wrongly either.
//!
//! What is promised of shares: with equal latencies and one request at a time, those of the weights; with
//! more under way, near them (less than two percent of all requests off in the tests). A backend that is
//! clearly slower is taken only where it is compared with none that is better.

use crate::{Latency, Load, Random, View, WeightedDraw};

/// The second of the two has to cost less than this share of the first.
const CLEARLY: f64 = 0.8;
/// How many times the usual a failure is taken to last.
const FAILURE: f64 = 10.0;
/// What a failure is at least taken to last, in microseconds, times [`FAILURE`].
const FAILURE_AT_LEAST_US: f64 = 1_000.0;
/// Draws that may fall on backends that cannot be taken.
const DRAWS: usize = 8;
/// The weight of one answer in what is usual.
const USUAL_WEIGHT: f64 = 1.0 / 32.0;

/// Draws among a fixed list of candidates.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    weights: Vec<u32>,
    mean_weight: f64,
    draw: WeightedDraw,
    random: Random,
    /// Microseconds that an answer usually takes; 1 before the first.
    usual_us: f64,
}

impl PeakEwma {
    /// `weights` are the candidates' shares in relation to each other; one of weight 0 is never picked.
    /// `latencies` are what is known of them. Equal seeds give equal sequences.
    #[must_use]
    pub fn new(weights: &[u32], latencies: &[Latency], seed: u64) -> Self {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let count = weights.iter().filter(|&&weight| weight > 0).count();
        let known = latencies.iter().filter_map(Latency::known).collect();
        Self {
            draw: WeightedDraw::new(weights),
            mean_weight: total as f64 / count.max(1) as f64,
            weights: weights.to_vec(),
            random: Random::new(seed),
            usual_us: median(known).unwrap_or(1.0),
        }
    }

    /// Picks among the candidates that the view allows; returns the position, or nothing when there is no
    /// such candidate.
    pub fn pick(&mut self, now_us: u64, view: &impl View) -> Option<usize> {
        let first = self.draw(|position| view.may_take(position))?;
        let Some(second) = self.draw(|position| position != first && view.may_take(position))
        else {
            return Some(first);
        };
        let cost = |position| self.cost(position, view.load(position), now_us);
        Some(if cost(second) < cost(first) * CLEARLY {
            second
        } else {
            first
        })
    }

    /// Takes in how long a good answer took.
    pub fn observe(&mut self, took_us: u64) {
        let took = took_us.max(1) as f64;
        if self.usual_us <= 1.0 {
            self.usual_us = took;
        } else {
            self.usual_us += (took - self.usual_us) * USUAL_WEIGHT;
        }
    }

    /// How many microseconds a failure is taken to last; `slowest` are the good answers of all backends as if
    /// they were one's.
    #[must_use]
    pub fn failure_us(&self, slowest: Latency, now_us: u64) -> u64 {
        let slowest_us = slowest.at(now_us, self.usual_us);
        (slowest_us.max(FAILURE_AT_LEAST_US) * FAILURE) as u64
    }

    fn cost(&self, position: usize, load: Load, now_us: u64) -> f64 {
        let weight = self.weights.get(position).copied().unwrap_or(1).max(1);
        let busy = f64::from(load.active) * self.mean_weight / f64::from(weight);
        load.latency.at(now_us, self.usual_us) * (1.0 + busy)
    }

    fn draw(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..DRAWS {
            let position = self.draw.draw(self.random.next_u64())?;
            if allowed(position) {
                return Some(position);
            }
        }
        self.next_in_a_row(allowed)
    }

    /// Where few are allowed: the first of them after a random position.
    fn next_in_a_row(&mut self, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.weights.len();
        let start = self.draw.draw(self.random.next_u64())?;
        (start..count).chain(0..start).find(|&position| {
            self.weights.get(position).is_some_and(|&weight| weight > 0) && allowed(position)
        })
    }
}

fn median(mut of: Vec<f64>) -> Option<f64> {
    let middle = of.len() / 2;
    of.sort_by(f64::total_cmp);
    of.get(middle).copied()
}
