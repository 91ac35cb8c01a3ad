//! What is seen of VMs from outside: whether each answers, and what it has to do.
//!
//! The checker registers each VM when it appears in the layout and asks its front address for as long
//! as it is there. It sees and tells; what follows from it is decided elsewhere. What it could not see, because
//! it was not run itself, it does not tell as a failure of the VM's.
//!
//! The [`Intake`] takes the figures that VMs send by collectd's protocol, and keeps the newest of each.

mod checker;
mod intake;
mod lag;
mod patience;
mod probe;
mod questions;
mod round;

pub use checker::{Checker, ProbeTiming};
pub use intake::{Intake, Moment, Refusal, VmKeys};
pub use lag::LagMeter;
pub use probe::{ProbeResult, ProbeTarget, probe};
