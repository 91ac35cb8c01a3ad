//! Whether a backend is well: rise and fall thresholds over the results of its checks.
//!
//! ```text
//!              first check good                first check failed
//!   Up ◀───────────────────────── Unknown ─────────────────────────▶ Down
//!    │                                                                ▲ │
//!    └──────────── unhealth_threshold failed checks in a row ─────────┘ │
//!    ▲                                                                  │
//!    └──────────── health_threshold good checks in a row ───────────────┘
//! ```
//!
//! A single result against the verdict changes nothing, and one result that agrees with it sets the
//! count back to zero: a backend that fails every other check keeps the verdict it has.

use model::{BackendHealth, Criteria};

/// How many results in a row overturn a verdict. A threshold of 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good checks in a row that bring a backend up.
    pub rise: u32,
    /// Failed checks in a row that take a backend down.
    pub fall: u32,
}

impl From<&Criteria> for Thresholds {
    fn from(criteria: &Criteria) -> Self {
        Self {
            rise: criteria.health_threshold,
            fall: criteria.unhealth_threshold,
        }
    }
}

/// One backend's verdict, and the run of results that speaks against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    verdict: BackendHealth,
    against: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            verdict: BackendHealth::Unknown,
            against: 0,
        }
    }
}

impl Health {
    /// A verdict that somebody else has come to; nothing speaks against it yet.
    #[must_use]
    pub fn known(verdict: BackendHealth) -> Self {
        Self {
            verdict,
            against: 0,
        }
    }

    /// The verdict as it stands.
    #[must_use]
    pub fn verdict(&self) -> BackendHealth {
        self.verdict
    }

    /// Takes one check's result in; returns the new verdict when this result changed it.
    pub fn observe(&mut self, good: bool, thresholds: Thresholds) -> Option<BackendHealth> {
        let (asked_for, needed) = match (self.verdict, good) {
            (BackendHealth::Unknown, true) => (BackendHealth::Up, 1),
            (BackendHealth::Unknown, false) => (BackendHealth::Down, 1),
            (BackendHealth::Up, false) => (BackendHealth::Down, thresholds.fall.max(1)),
            (BackendHealth::Down, true) => (BackendHealth::Up, thresholds.rise.max(1)),
            (BackendHealth::Up, true) | (BackendHealth::Down, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        *self = Self {
            verdict: asked_for,
            against: 0,
        };
        Some(asked_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO_THREE: Thresholds = Thresholds { rise: 2, fall: 3 };

    fn verdicts(results: &[bool], thresholds: Thresholds) -> Vec<BackendHealth> {
        let mut health = Health::default();
        results
            .iter()
            .map(|&good| {
                health.observe(good, thresholds);
                health.verdict()
            })
            .collect()
    }

    #[test]
    fn the_first_check_decides_by_itself() {
        assert_eq!(verdicts(&[true], TWO_THREE), [BackendHealth::Up]);
        assert_eq!(verdicts(&[false], TWO_THREE), [BackendHealth::Down]);
    }

    #[test]
    fn the_thresholds_decide_after_the_first_check() {
        use BackendHealth::{Down, Up};
        assert_eq!(
            verdicts(
                &[true, false, false, true, false, false, false, true, true],
                TWO_THREE
            ),
            [Up, Up, Up, Up, Up, Up, Down, Down, Up]
        );
    }

    #[test]
    fn a_threshold_of_zero_counts_as_one() {
        let zero = Thresholds { rise: 0, fall: 0 };
        assert_eq!(
            verdicts(&[true, false], zero),
            [BackendHealth::Up, BackendHealth::Down]
        );
    }

    proptest! {
        #[test]
        fn a_verdict_changes_only_after_a_full_run_of_results_against_it(
            results in proptest::collection::vec(any::<bool>(), 1..200),
            rise in 1u32..6,
            fall in 1u32..6,
        ) {
            let thresholds = Thresholds { rise, fall };
            let mut health = Health::default();
            for (position, &good) in results.iter().enumerate() {
                let before = health.verdict();
                let changed = health.observe(good, thresholds);
                prop_assert_eq!(changed.is_some(), before != health.verdict());
                if before == BackendHealth::Unknown {
                    continue;
                }
                let needed = if before == BackendHealth::Up { fall } else { rise } as usize;
                let run = results[..=position]
                    .iter()
                    .rev()
                    .take_while(|&&result| result == (before == BackendHealth::Down))
                    .count();
                // The check that decided by itself does not count against its own verdict, and
                // neither do those that overturned the last one.
                if changed.is_some() {
                    prop_assert!(run >= needed);
                }
            }
        }
    }
}
