//! What tests of real VMs need.

pub mod artifacts;
pub mod world;
