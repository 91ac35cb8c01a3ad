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

mod collectd;
mod crowd;
mod door;
mod host;
mod load;
mod page;
mod requests;
mod servers;
mod service;
mod url;
mod visitors;
mod waiting;
mod web;
mod world;

pub use collectd::Collectd;
pub use crowd::{Count, Crowd, Kinds};
pub use door::Door;
pub use host::{Host, Running};
pub use load::Load;
pub use page::{Reader, install, install_without_machines};
pub use requests::quick_checks;
pub use servers::{Servers, program_of_this_package};
pub use service::{Driver, Evenkeel};
pub use url::host_of;
pub use visitors::{Tally, Visitors};
pub use waiting::{eventually, throughout, within};
pub use web::{Vm, Web};
pub use world::World;

/// Makes two tests of each function that takes a [`Driver`]: one in QEMU microVMs, one in processes.
#[macro_export]
macro_rules! over_both_drivers {
    ($($promise:ident),+ $(,)?) => {
        mod machine {
            $(#[test] fn $promise() { super::$promise(end_to_end::Driver::Machine); })+
        }
        mod process {
            $(#[test] fn $promise() { super::$promise(end_to_end::Driver::Process); })+
        }
    };
}
