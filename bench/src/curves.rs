//! Loads over time: how many requests in a second are asked for.

use std::f64::consts::TAU;
use std::io::{Error, Result};
use std::time::Duration;

/// What one VM takes with room to spare.
const FEW: f64 = 60.0;
/// For which there must be three VMs, of 150 requests in a second each.
const MANY: f64 = 360.0;
/// For which there must be four.
const MOST: f64 = 540.0;
const STEP_FROM_S: f64 = 20.0;
const STEP_TO_S: f64 = 80.0;
const FLASH_FROM_S: f64 = 20.0;
/// In which a flash crowd comes.
const FLASH_RISE_S: f64 = 3.0;
/// To which it stays whole.
const FLASH_TO_S: f64 = 45.0;
/// In which what is left of it falls to 1/e.
const FLASH_DECAY_S: f64 = 15.0;
/// A day.
const DAY_S: f64 = 120.0;

/// A load's shape.
#[derive(Debug)]
pub struct Curve {
    /// What results call it.
    pub name: &'static str,
    /// How long it is followed.
    pub lasts: Duration,
    /// Requests in a second, by the second.
    shape: fn(f64) -> f64,
}

/// All there are. The first is the shortest.
pub const CURVES: [Curve; 3] = [
    Curve {
        name: "step",
        lasts: Duration::from_secs(150),
        shape: step,
    },
    Curve {
        name: "flash crowd",
        lasts: Duration::from_secs(165),
        shape: flash_crowd,
    },
    Curve {
        name: "two days",
        lasts: Duration::from_secs(240),
        shape: days,
    },
];

/// The curve of a name.
///
/// # Errors
/// Where there is none.
pub fn curve(name: &str) -> Result<&'static Curve> {
    let found = CURVES.iter().find(|curve| curve.name == name);
    found.ok_or_else(|| Error::other(format!("there is no curve `{name}`")))
}

impl Curve {
    /// Requests in a second that are asked for so long after the beginning.
    #[must_use]
    pub fn rate_at(&self, since: Duration) -> u32 {
        (self.shape)(since.as_secs_f64()).round() as u32
    }
}

fn step(second: f64) -> f64 {
    match (STEP_FROM_S..STEP_TO_S).contains(&second) {
        true => MANY,
        false => FEW,
    }
}

fn flash_crowd(second: f64) -> f64 {
    let share = if second < FLASH_FROM_S {
        0.0
    } else if second < FLASH_TO_S {
        ((second - FLASH_FROM_S + 1.0) / FLASH_RISE_S).min(1.0)
    } else {
        (-(second - FLASH_TO_S) / FLASH_DECAY_S).exp()
    };
    FEW + (MOST - FEW) * share
}

fn days(second: f64) -> f64 {
    FEW + (MOST - FEW) * (1.0 - (TAU * second / DAY_S).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_begins_and_ends_with_what_one_vm_takes_and_rises_to_what_takes_several() {
        for curve in &CURVES {
            let rates = (0..=curve.lasts.as_secs()).map(|s| curve.rate_at(Duration::from_secs(s)));
            let rates: Vec<u32> = rates.collect();
            assert!(
                rates.first().is_some_and(|rate| *rate == 60),
                "{}",
                curve.name
            );
            assert!(
                rates.last().is_some_and(|rate| *rate < 63),
                "{}",
                curve.name
            );
            assert!(rates.iter().any(|rate| *rate >= 360), "{}", curve.name);
        }
        assert!(curve("sawtooth").is_err());
    }
}
