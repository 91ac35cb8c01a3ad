//! A server that receives traffic.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The port of a backend for which none was given.
pub const DEFAULT_BACKEND_PORT: u16 = 80;
/// The weight of a backend for which none was given.
pub const DEFAULT_WEIGHT: u16 = 1;
/// The largest weight.
pub const MAX_WEIGHT: u16 = 256;
/// The most backends of one instance, and the most servers of one configuration: a name may stand for several. Their
/// configuration, and the heartbeats that tell of them, fit in one line of the control channel
/// ([`crate::MAX_LINE_BYTES`]) whatever else is set.
pub const MAX_BACKENDS: usize = 1024;

/// A backend as its user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where it is.
    pub host: BackendHost,
    /// Its port.
    pub port: u16,
    /// Its share of the traffic in relation to the others: 0 (no new traffic) to [`MAX_WEIGHT`].
    pub weight: u16,
    /// Whether it takes traffic only while no other backend may.
    #[serde(default)]
    pub backup: bool,
    /// Requests under HTTP, sessions under TCP, that it takes at once from each VM; no bound when absent.
    #[serde(default)]
    pub max_connections: Option<u32>,
}

impl Backend {
    /// Whether both name the same server. The weight is no part of its identity.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendHost {
    /// At an address.
    Address(Ipv4Addr),
    /// At whatever a host name resolves to, on the host: one backend for each address.
    Name(String),
}

impl fmt::Display for BackendHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
