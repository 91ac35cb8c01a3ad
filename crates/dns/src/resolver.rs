//! Resolving the host names of backends, as the host would.

mod host;
mod table;
mod watch;

use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

pub use host::{HostFiles, HostResolver};
pub use watch::NameWatch;

/// What a look-up came to.
pub type Resolution = Result<ResolvedAddresses, ResolveError>;

/// A name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAddresses {
    /// In ascending order, each once, at least one.
    pub addresses: Vec<Ipv4Addr>,
    /// For how long they hold.
    pub valid_for: Duration,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The text is not a host name.
    #[error("{name:?} is not a host name: {reason}")]
    InvalidName {
        /// The text.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name servers say that there is no such name.
    #[error("no such name: {name} is not known in DNS; check its spelling")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// The name exists without an IPv4 address.
    #[error("{name} exists and has no IPv4 address (A record)")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// No name server answered in time.
    #[error("timeout: no name server of {file} answered for {name} in time")]
    Timeout {
        /// The name.
        name: String,
        /// The file that names the name servers.
        file: String,
    },
    /// The name servers cannot be reached or do not answer properly.
    #[error("the name servers of {file} could not resolve {name}: {reason}")]
    Failed {
        /// The name.
        name: String,
        /// The file that names the name servers.
        file: String,
        /// What was seen.
        reason: String,
    },
}

/// Something that resolves names: [`HostResolver`], or a table in a test.
pub trait Lookup: Send + Sync + 'static {
    /// Looks `name` up once. It comes to an end by itself, within a time that the implementation
    /// bounds.
    fn resolve(&self, name: &str) -> impl Future<Output = Resolution> + Send;
}
