//! What must hold in the world whatever befalls it, found without asking the planner.
//!
//! - `plans`: of each layout that is decided: owners, names, history, numbers, networks;
//! - `vms`: of each layout that is stored, by what is true of the machines: verdicts have a reason, what comes
//!   back has the newest configuration, at most the breaker's share is replaced;
//! - `zone`: of each zone that is published: its serial rises, and nobody's name loses its last address;
//! - `watch`: of the world as time goes on: what is wrong is put right within a bound, counted while the
//!   controller itself is left in peace;
//! - `rest`: of the world some time after the last fault: it is as asked, and stands still.

pub(crate) mod plans;
pub(crate) mod rest;
pub(crate) mod vms;
pub(crate) mod watch;
pub(crate) mod zone;

use std::fmt;

use model::{Instance, Intent};

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken.
    pub rule: &'static str,
    /// By what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Whether a rule holds.
pub(crate) type Held = Result<(), Violation>;

/// Holds a rule; `what` says what breaks it.
pub(crate) fn hold(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Held {
    match holds {
        true => Ok(()),
        false => Err(Violation { rule, what: what() }),
    }
}

/// The names of an instance, relative to the zone.
pub(crate) fn names<'a>(
    intent: &'a Intent,
    asked: &'a Instance,
) -> impl Iterator<Item = String> + 'a {
    let project = intent.projects.get(&asked.project);
    let labels = std::iter::once(&asked.label).chain(&asked.former_labels);
    labels.filter_map(move |label| Some(format!("{label}.{}", project?.label)))
}
