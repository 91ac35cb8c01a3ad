//! Many seeds, on all processors.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::invariants::Violation;
use crate::scenario::{Scenario, replay_command};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Soak {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual time, over all of them.
    pub virtual_ms: u64,
    /// Controllers' rounds, over all of them.
    pub rounds: u64,
    /// Faults, over all of them.
    pub faults: u64,
    /// Changes by users, over all of them.
    pub changes: u64,
    /// The fewest instances and faults in any of them, and the shortest virtual time.
    pub least: Option<(usize, usize, u64)>,
    /// Real time that it took.
    pub took: Duration,
    /// What was found, by rising seed.
    pub failures: Vec<Failure>,
}

/// A seed that broke a rule.
#[derive(Debug)]
pub struct Failure {
    /// The seed's world.
    pub scenario: Scenario,
    /// The rule and what broke it.
    pub violation: Violation,
}

impl Failure {
    /// The rule, the command that shows it again, and the last steps before.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut scenario = self.scenario.clone();
        scenario.trace = true;
        let trace = scenario.run().trace.join("\n  ");
        let (seed, violation) = (scenario.seed, &self.violation);
        let replay = replay_command(&scenario);
        format!("seed {seed}: {violation}\n  {trace}\nTo see it again: {replay}")
    }
}

/// Runs the seeds, `each` made into a scenario, on `threads` threads; to the first that breaks a rule when
/// `to_the_first`, else to the end.
#[must_use]
pub fn soak(
    seeds: Range<u64>,
    threads: usize,
    to_the_first: bool,
    each: impl Fn(u64) -> Scenario + Sync,
) -> Soak {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stops = AtomicBool::new(false);
    let all = Mutex::new(Soak::default());
    let work = || {
        while !stops.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let scenario = each(seed);
            let outcome = scenario.run();
            stops.fetch_or(
                outcome.violation.is_some() && to_the_first,
                Ordering::Relaxed,
            );
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(scenario, outcome);
        }
    };
    thread::scope(|scope| {
        (0..threads.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.took = began.elapsed();
    all.failures.sort_by_key(|failure| failure.scenario.seed);
    all
}

impl Soak {
    fn add(&mut self, scenario: Scenario, outcome: crate::Outcome) {
        self.seeds += 1;
        self.virtual_ms += outcome.virtual_ms;
        self.rounds += outcome.rounds;
        self.faults += outcome.faults as u64;
        self.changes += scenario.changes as u64;
        match outcome.violation {
            Some(violation) => self.failures.push(Failure {
                scenario,
                violation,
            }),
            None => {
                let (instances, faults) = (outcome.instances, outcome.faults);
                let this = (instances, faults, outcome.virtual_ms);
                let least = self.least.unwrap_or(this);
                self.least = Some((
                    least.0.min(this.0),
                    least.1.min(this.1),
                    least.2.min(this.2),
                ));
            }
        }
    }
}
