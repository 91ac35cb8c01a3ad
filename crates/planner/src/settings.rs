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
    /// When so many VMs are down that the fault must be ours.
    pub breaker: Breaker,
}

/// What stops the controller from replacing everything at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// So many VMs may be set aside within the window in any case.
    pub at_least: usize,
    /// And so many of a hundred.
    pub percent: usize,
    /// The window, in milliseconds.
    pub window_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            at_least: 3,
            percent: 30,
            window_ms: 30_000,
        }
    }
}

/// Spans of time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// A running VM may stay silent for this long before it is held to be gone; longer where its heartbeats,
    /// or the host's own timers, were late of late.
    pub silence_ms: u64,
    /// The hot path may go without answering the balancer's own request for this long; longer where the
    /// balancer's own timers, its heartbeats, or the host's were late of late.
    pub progress_ms: u64,
    /// A new VM may take this long until its first heartbeat.
    pub boot_ms: u64,
    /// A balancer that has run for this long is believed without a probe: no checker is there.
    pub unprobed_ms: u64,
    /// A VM that was found down has this long to come back.
    pub grace_ms: u64,
    /// A VM that came back must be well for this long before its fence is lifted: longer than a question to it
    /// may have been under way, whose answer tells of what was before.
    pub steady_ms: u64,
    /// Clients may come to a VM for this long after DNS has dropped it: for as long as an answer may be kept, and
    /// what a look-up and a connection take.
    pub ttl_ms: u64,
    /// A VM that leaves while it serves waits this long, after that, for its clients to go.
    pub drain_ms: u64,
    /// A VM's death is held against its instance's next ones for this long.
    pub downs_ms: u64,
    /// A front address rests this long before it is used again.
    pub rest_ms: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            silence_ms: 750,
            progress_ms: 1_000,
            boot_ms: 60_000,
            unprobed_ms: 5_000,
            grace_ms: 300_000,
            steady_ms: 3_000,
            ttl_ms: 5_000,
            drain_ms: 30_000,
            downs_ms: 300_000,
            rest_ms: 600_000,
        }
    }
}
