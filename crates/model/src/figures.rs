//! How a VM's figures are named on their way to the monitor, as collectd names things:
//! `host/plugin/type-instance`.
//!
//! The real collectd in a VM and a balancer that speaks for itself send the same names.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::VmId;

/// Seconds between two samples.
pub const FIGURES_INTERVAL_S: u64 = 1;

/// The port that collectd's protocol is registered with.
pub const COLLECTD_PORT: u16 = 25_826;

/// collectd's plugin that tells the share of the processors that is in use, over all of them.
pub const CPU_PLUGIN: &str = "cpu";
/// The type of that share, a gauge.
pub const CPU_TYPE: &str = "percent";
/// And its instance: all that is not idle.
pub const CPU_INSTANCE: &str = "active";

/// The plugin under which a balancer's own figures stand.
pub const BALANCER_PLUGIN: &str = "evenkeel";
/// The type of figures that go up and down.
pub const GAUGE_TYPE: &str = "gauge";
/// The type of counts that only grow.
pub const DERIVE_TYPE: &str = "derive";
/// The gauge of client connections that are open.
pub const CONNECTIONS: &str = "connections";
/// The count of HTTP requests, or TCP sessions.
pub const REQUESTS: &str = "requests";

/// The name of a VM among hosts, and of the user as whom it sends.
#[must_use]
pub fn collectd_host(vm: VmId) -> String {
    format!("vm-{vm}")
}

/// Where a VM sends its figures, and how it shows who it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootMonitor {
    /// The monitor's address, on the front network.
    pub address: Ipv4Addr,
    /// Its UDP port.
    pub port: u16,
    /// Whom the VM sends as; also its host name among the figures ([`collectd_host`]).
    pub user: String,
    /// The VM's own password.
    pub key: String,
}

impl fmt::Debug for BootMonitor {
    /// Without the key, which is nobody else's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.address, self.port)
    }
}
