//! Namespaces, bridges, taps, veth pairs and their isolation.
//!
//! [`Network`] carries out what was decided and reports what is there; it decides nothing and remembers
//! nothing. Names carry their owners, so the world itself is the record: a process that was killed in the
//! middle of anything leaves what the next call, of any process, completes or removes.
//!
//! ```text
//!              host's namespace                          project's namespace ek-p3
//!   clients ── (routes) ── ek-front                      br5 ── backends (attached interfaces)
//!                            │ ekf7 (isolated port)       │ ekt7
//!                            └───────────── VM 7 ─────────┘
//! ```
//!
//! Deliberately not here: routing from the host to the world, address translation, IPv6, and the choice of
//! any name, address or MAC of a VM.

mod error;
mod fence;
mod firewall;
mod front;
mod inventory;
mod names;
mod namespace;
mod netlink;
mod network;
mod nft;
mod nics;
mod port;
mod project;
mod spare;
mod sysctl;
mod tap;
mod veth;

pub use error::NetworkError;
pub use names::Names;
pub use network::{Network, NetworkConfig};
pub use nics::{TapNics, VmNics};
