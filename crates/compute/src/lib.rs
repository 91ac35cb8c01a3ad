//! VMs: how they are started, watched, talked to and removed.
//!
//! Two drivers stand behind one interface, [`Compute`]: `qemu` runs a microVM from the image that
//! [`image`] builds, `process` runs the same balancer in a network namespace and cgroup of its own.
//!
//! Invariants:
//! - A VM outlives the process that started it. It has a session of its own and logs to a file; a
//!   later [`Compute::open`] finds it by the owner's tag on its command line and goes on with it.
//! - The world is the truth. There are no pid files; what a VM is told to be (`vm.json` in its
//!   directory) is written before the VM exists, and its directory goes last, so that whatever a crash
//!   leaves behind is seen by [`Compute::observe`] and taken away by [`Compute::remove_vm`].
//! - Nothing is decided here. Whether a VM is dead, wanted or healthy is for others to say.

mod accelerator;
mod admission;
mod adoption;
mod cgroup;
mod changes;
mod channel;
mod compute;
mod config;
mod directory;
mod error;
pub mod image;
mod launch;
mod line;
mod log_file;
mod log_port;
mod memory;
mod owner;
mod pidfd;
mod pool;
mod process;
mod qemu;
mod readiness;
mod removal;
mod scan;
mod snapshot;
mod start;
mod trial;
mod vm;

pub use changes::News;
pub use compute::{Ahead, Compute};
pub use config::{ComputeChoice, ComputeConfig, DEFAULT_MEMORY_RESERVE_MIB, Identity, VmSpec};
pub use error::ComputeError;
pub use launch::raise_open_files;
pub use log_port::LogPort;
pub use readiness::{Accelerator, Readiness};
