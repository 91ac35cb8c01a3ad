//! What is seen of VMs from outside: whether each answers, and what it has to do.
//!
//! The checker registers each VM when it appears in the layout and asks its front address for as long
//! as it is there. It sees and tells; what follows from it is decided elsewhere. What it could not see, because
//! it was not run itself or had no means to ask, it does not tell as a failure of the VM's.
//!
//! The [`Intake`] takes the figures that VMs send by collectd's protocol, and tells the load from the newest of
//! each. The [`HostIntake`] takes those that users' own collectd sends of the hosts that backends are on. The [`Keeper`]
//! keeps all of them in the monitor log. The [`Tally`] counts them for whoever asks for everything.

mod checker;
mod forward;
mod hosts;
mod intake;
mod keeper;
mod lag;
mod means;
mod patience;
mod probe;
mod questions;
mod round;
mod tally;

/// How a packet is protected.
pub use collectd::Protection;

pub use checker::{Checker, ProbeTiming};
pub use forward::Forwarder;
pub use hosts::{HostIntake, HostProject, HostRefusal, HostRules, HostTaken};
pub use intake::{Intake, Moment, Refusal, Sample, Taken, VmKeys};
pub use keeper::{
    Asker, Bounds, HostKeeper, Keeper, NoRoom, Origin, Standing, answer_questions, ask_monitor,
    ask_newest, bind_questions,
};
pub use lag::LagMeter;
pub use probe::{NotAsked, ProbeResult, ProbeTarget, probe};
pub use tally::Tally;
