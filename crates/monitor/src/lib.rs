//! The health checker's eyes: whether each VM answers at the address that clients use.
//!
//! The checker registers each VM when it appears in the layout and asks its front address for as long
//! as it is there. It sees and tells; what follows from it is decided elsewhere.

mod checker;
mod probe;

pub use checker::{Checker, ProbeTiming};
pub use probe::{ProbeResult, ProbeTarget, probe};
