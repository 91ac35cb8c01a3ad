//! What the operator set, as far as decisions depend on it.

use ipnet::Ipv4Net;
use model::{Driver, VmShape};

/// Settings of one installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Two bytes that tell this installation's MACs from another's on one wire.
    pub mac_salt: [u8; 2],
    /// The front network; its address is the host's end.
    pub front: Ipv4Net,
    /// How new VMs are run.
    pub driver: Driver,
    /// How large new VMs are.
    pub shape: VmShape,
    /// Spans of time.
    pub windows: Windows,
}

/// Spans of time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// A running VM may stay silent for this long before it is held to be gone.
    pub silence_ms: u64,
    /// The hot path may go without answering the balancer's own request for this long.
    pub progress_ms: u64,
    /// A new VM may take this long until its first heartbeat.
    pub boot_ms: u64,
    /// A balancer that has run for this long is believed without a probe: no checker is there.
    pub unprobed_ms: u64,
    /// A VM that leaves while it serves is kept this long after DNS has dropped it.
    pub drain_ms: u64,
    /// A VM's death is held against its instance's next ones for this long.
    pub downs_ms: u64,
    /// A front address rests this long before it is used again.
    pub rest_ms: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            silence_ms: 3_000,
            progress_ms: 5_000,
            boot_ms: 60_000,
            unprobed_ms: 5_000,
            drain_ms: 5_000,
            downs_ms: 300_000,
            rest_ms: 600_000,
        }
    }
}
