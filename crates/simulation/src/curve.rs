//! How much the clients of one instance ask for, as time goes on.

use crate::dice::Dice;

/// Requests per second over time.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    shape: Shape,
    /// The largest deviation from the shape, in percent: noise that stands still for a second each.
    noise_percent: u64,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Shape {
    Constant(f64),
    /// From one level to another at a moment.
    Step {
        before: f64,
        after: f64,
        at_ms: u64,
    },
    /// A crowd that comes within a minute and leaves within ten.
    FlashCrowd {
        base: f64,
        peak: f64,
        at_ms: u64,
    },
    /// A day that is compressed into half an hour.
    Diurnal {
        mean: f64,
        swing: f64,
    },
}

const DAY_MS: f64 = 1_800_000.0;
const CROWD_COMES_MS: f64 = 60_000.0;
const CROWD_LEAVES_MS: f64 = 600_000.0;
const NOISE_MS: u64 = 1_000;

impl Curve {
    /// A curve at random, whose level suits a few VMs of `capacity` requests per second each.
    pub(crate) fn random(dice: &mut Dice, capacity: f64, span_ms: u64) -> Self {
        let level = |dice: &mut Dice| capacity * (dice.between(10, 250) as f64) / 100.0;
        let at_ms = dice.roll(span_ms);
        let shape = match dice.roll(5) {
            0 | 1 => Shape::Constant(level(dice)),
            2 => Shape::Step {
                before: level(dice),
                after: level(dice),
                at_ms,
            },
            3 => Shape::FlashCrowd {
                base: level(dice) / 2.0,
                peak: level(dice) * 2.0,
                at_ms,
            },
            _ => Shape::Diurnal {
                mean: level(dice),
                swing: 0.8,
            },
        };
        Self {
            shape,
            noise_percent: dice.roll(21),
            seed: dice.next(),
        }
    }

    /// Requests per second at a time since the world began, the noise left aside.
    pub(crate) fn at(&self, ms: u64) -> f64 {
        let since = |at_ms: u64| ms.checked_sub(at_ms).map(|ms| ms as f64);
        match self.shape {
            Shape::Constant(level) => level,
            Shape::Step {
                before,
                after,
                at_ms,
            } => since(at_ms).map_or(before, |_| after),
            Shape::FlashCrowd { base, peak, at_ms } => since(at_ms).map_or(base, |ms| {
                let come = (ms / CROWD_COMES_MS).min(1.0);
                let left = ((ms - CROWD_COMES_MS) / CROWD_LEAVES_MS).clamp(0.0, 1.0);
                base + (peak - base).max(0.0) * (come - left)
            }),
            Shape::Diurnal { mean, swing } => {
                mean * (1.0 + swing * (std::f64::consts::TAU * ms as f64 / DAY_MS).sin())
            }
        }
    }

    /// A factor that stands still for a second each.
    pub(crate) fn noise(&self, ms: u64) -> f64 {
        let mut dice = Dice::new(self.seed ^ (ms / NOISE_MS));
        let percent = self.noise_percent as f64;
        1.0 + percent / 100.0 * (dice.roll(2_001) as f64 / 1_000.0 - 1.0)
    }
}
