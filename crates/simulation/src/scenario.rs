//! What is simulated.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bugs::Bug;
use crate::dice::Dice;
use crate::invariants::Violation;
use crate::simulation::{Outcome, Simulation};

/// The fewest instances in a world.
const FEWEST_INSTANCES: u64 = 20;
/// The fewest faults in an hour.
const FEWEST_FAULTS: u64 = 10;

/// One world. The same scenario gives the same run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What everything random is drawn from.
    pub seed: u64,
    /// Load balancers that are asked for in the beginning.
    pub instances: usize,
    /// What users change later on.
    pub changes: usize,
    /// What befalls the world.
    pub faults: usize,
    /// The planted bug, where one is to be found.
    pub bug: Option<Bug>,
    /// Whether the last steps are kept for people to read.
    pub trace: bool,
    /// Whether every step is printed as it is taken.
    pub tells_all: bool,
}

impl Scenario {
    /// The world of a seed: at least 20 instances, ten faults, and more than an hour.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(!seed);
        let number = |n: u64| usize::try_from(n).unwrap_or_default();
        Self {
            seed,
            instances: number(FEWEST_INSTANCES + dice.roll(8)),
            changes: number(dice.roll(30)),
            faults: number(FEWEST_FAULTS + dice.roll(16)),
            bug: None,
            trace: false,
            tells_all: false,
        }
    }

    /// The same with a planted bug.
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        self
    }

    /// Projects that share the instances.
    pub(crate) fn projects(&self) -> usize {
        3 + self.instances / 50
    }

    /// Runs it. A panic of what is under test is a violation like any other.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let run = || Simulation::new(self).run();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|w| (*w).to_owned()));
            Outcome {
                violation: Some(Violation {
                    rule: "nothing panics",
                    what: words.unwrap_or_default(),
                }),
                virtual_ms: 0,
                rounds: 0,
                faults: self.faults,
                instances: self.instances,
                trace: Vec::new(),
            }
        })
    }
}

/// The one command that shows a seed's run again, step by step.
#[must_use]
pub fn replay_command(scenario: &Scenario) -> String {
    use clap::ValueEnum;
    let bug = scenario.bug.and_then(|bug| bug.to_possible_value());
    let bug = bug.map_or(String::new(), |bug| format!(" BUG={}", bug.get_name()));
    let usual = Scenario::of_seed(scenario.seed);
    let other = |name: &str, usual: usize, this: usize| match this == usual {
        true => String::new(),
        false => format!(" {name}={this}"),
    };
    let faults = other("FAULTS", usual.faults, scenario.faults);
    let changes = other("CHANGES", usual.changes, scenario.changes);
    let instances = other("INSTANCES", usual.instances, scenario.instances);
    let seed = scenario.seed;
    format!("make simulate SEED={seed}{bug}{faults}{changes}{instances}")
}
