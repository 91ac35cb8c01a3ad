//! Namespaces, bridges, taps, veth pairs and their isolation.

mod error;
mod names;
mod network;
mod nics;

pub use error::NetworkError;
pub use names::Names;
pub use network::{Network, NetworkConfig};
pub use nics::{TapNics, VmNics};
