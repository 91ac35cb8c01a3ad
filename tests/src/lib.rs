//! A host for each test, and Evenkeel in it.
//!
//! A [`Host`] is a network, mount and process namespace: Evenkeel in it believes to have a machine of
//! its own, with `/run` empty and no other process in sight. When the test ends, however it ends, the
//! first process of the namespace dies and the kernel ends every other one in it, VMs included. So
//! tests run beside each other and leave nothing behind.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null, and a panic is a failed test"
)]

mod door;
mod host;
mod servers;
mod service;
mod waiting;

pub use door::Door;
pub use host::{Host, Running};
pub use servers::Servers;
pub use service::{Driver, Evenkeel};
pub use waiting::{eventually, within};
