//! The health checker's eyes: whether each VM answers at the address that clients use.
//!
//! The checker registers each VM when it appears in the layout and asks its front address for as long
//! as it is there. It sees and tells; what follows from it is decided elsewhere. What it could not see, because
//! it was not run itself, it does not tell as a failure of the VM's.

mod checker;
mod lag;
mod patience;
mod probe;
mod questions;
mod round;

pub use checker::{Checker, ProbeTiming};
pub use lag::LagMeter;
pub use probe::{ProbeResult, ProbeTarget, probe};
