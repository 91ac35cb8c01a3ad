//! Keeps a balancer running, replaces it by a new process, and holds meanwhile what must not be lost.
//!
//! ```text
//!   supervisor ──────────────── listening sockets, configuration, verdicts   (descriptors under names)
//!     │  ▲  link: a pair of sockets, descriptors beside the packets
//!     │  └── keep, ready, left
//!     └───── keep…, begin, serve, leave
//!   balancer ── control channel ── host
//! ```
//!
//! The supervisor opens no socket, reads no configuration and speaks with nobody but its balancers and by
//! signals, so there is little in it that could fail. It understands nothing of what it keeps.
//! A balancer that is killed leaves its listening sockets here: connections that arrive wait in them, and
//! the next balancer, started at once, takes them. [`lineup`] decides, [`run`](self) carries out.
//!
//! In a VM this is what process 1 becomes ([`Supervisor::run`] called by init); under the `process` driver
//! it is the VM's process (`evenkeel-balancer supervise run …`). Its balancers die with it.
//!
//! Deliberately not here: replacing the supervisor itself. Balancers are started from the program on disk
//! whenever one is replaced, and from the same file after a crash, so a new version of the balancer never
//! needs a new supervisor; a new version of the supervisor comes with the next VM.

mod backoff;
mod companion;
pub mod lineup;
pub mod link;
pub mod message;
mod process;
mod run;
pub mod store;

use std::ffi::OsString;

pub use companion::Companion;
pub use run::Supervisor;

/// Runs a balancer with these arguments until SIGTERM, and starts it again whenever it ends.
///
/// # Errors
/// When the system does not give what is needed, or the balancer ends before it was ever ready.
pub fn supervise(arguments: Vec<OsString>) -> std::io::Result<()> {
    Supervisor::new(arguments)?.run(|supervisor| !supervisor.was_ever_ready())
}
