//! What is seen of the world. Ages are taken from a monotonic clock by whoever looked, so that a jump
//! of the host's clock makes no verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Generation, Heartbeat, ProjectId, SubnetId, Timestamp, VmId};

/// How a VM is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// A QEMU microVM.
    Qemu,
    /// The balancer in a namespace and cgroup of its own, without a machine around it.
    Process,
}

/// One look at everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Every VM of which anything exists: a process, or what one left behind.
    pub vms: BTreeMap<VmId, VmSight>,
    /// What VMs' front addresses answered, by the checker that asked. A checker that is silent is not in it.
    pub probes: BTreeMap<String, BTreeMap<VmId, ProbeSight>>,
    /// What each VM has to do at present, as the monitor knows it.
    pub load: BTreeMap<VmId, LoadSight>,
    /// The longest that the observer's own timers were late of late, in milliseconds: on a host that is
    /// starved, silence proves less.
    pub host_lag_ms: u64,
    /// Namespaces, bridges and ports.
    pub network: NetworkSight,
    /// What host names of backends resolved to; a name whose look-up failed keeps its last answer.
    pub resolved: BTreeMap<String, ResolvedName>,
    /// The serial of the zone that the DNS server publishes.
    pub dns_serial: Option<u32>,
    /// Effects whose last attempt failed, by the effect's key, with the error in words.
    pub failures: BTreeMap<String, Failure>,
    /// Keys of effects that are under way: what they work on may appear at any moment.
    pub in_flight: BTreeSet<String>,
    /// The kernel's mark of the machine's last start; empty where it cannot be read.
    pub boot_id: String,
    /// Milliseconds since the machine's start by a clock that nobody sets, read together with the host's clock;
    /// absent where it cannot be read.
    pub uptime_ms: Option<u64>,
    /// Why no VM can be made at present, in words, where that is so.
    pub compute_trouble: Option<String>,
    /// What VMs wait for, and what makes them come more slowly than they could, each in words.
    pub compute_notes: Vec<String>,
}

/// What is seen of one VM from its host.
#[derive(Clone, Debug, PartialEq)]
pub struct VmSight {
    /// How it is run.
    pub driver: Driver,
    /// Its process (QEMU or balancer), while that lives.
    pub pid: Option<u32>,
    /// `kvm`, `tcg` or `process`.
    pub accelerator: String,
    /// Milliseconds since this observer began to watch the VM: silence for longer than that proves nothing.
    pub watched_ms: u64,
    /// The last heartbeat, where one was heard.
    pub heartbeat: Option<HeartbeatSight>,
    /// The process's end in words, where it was seen: `killed by signal 9`.
    pub exit: Option<String>,
}

/// A heartbeat and its age.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatSight {
    /// Milliseconds since it was heard.
    pub age_ms: u64,
    /// The longest that one of this VM's heartbeats was late of late, in milliseconds.
    pub late_ms: u64,
    /// What it said.
    pub heartbeat: Heartbeat,
}

impl HeartbeatSight {
    /// The configuration that the balancer runs.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.heartbeat.generation
    }
}

/// What a VM's front address answered. Written by the checker when the answer changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSight {
    /// Whether the last probe was answered by the hot path.
    pub answered: bool,
    /// When `answered` last changed.
    pub since: Timestamp,
    /// Probes in a row with that result, up to a bound of the checker's.
    pub streak: u32,
    /// The last result in words.
    pub evidence: String,
}

/// What is seen of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSight {
    /// Whether the front is whole: its bridge is there, up, with the host's address, and so are the rules that
    /// keep VMs from the host and from each other.
    pub front: bool,
    /// Each project's namespace.
    pub projects: BTreeMap<ProjectId, ProjectSight>,
    /// VMs of which a NIC, a namespace or a rule exists.
    pub vm_nics: BTreeMap<VmId, NicSight>,
}

/// What is seen of one VM's two NICs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicSight {
    /// Whether the front NIC is up, on the front bridge, and bound by its rules.
    pub front: bool,
    /// Whether the tenant NIC is up, on its subnet's bridge, and bound by its rules.
    pub tenant: bool,
    /// Whether both NICs are closed to all but the checker, or both open; absent when they differ, or are
    /// not there.
    pub fenced: Option<bool>,
    /// Whether something is gone that cannot be given back to a process that runs: a tap belongs to the process
    /// that opened it. Of a VM that runs and that nothing is under way for it says that only a new VM helps;
    /// of any other it says nothing, for taps come and go with the process.
    pub lost: bool,
}

impl NicSight {
    /// Whether both NICs are as they should be, the fence left aside.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.front && self.tenant
    }
}

/// What one VM has to do: means over the newest samples of the monitor, and the newest itself. What was not reported
/// is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadSight {
    /// Share of its processors that is in use, in percent.
    pub cpu_percent: Option<f64>,
    /// Client connections that are open.
    pub connections: Option<f64>,
    /// HTTP requests, or TCP sessions, in a second.
    pub requests_per_second: Option<f64>,
    /// The newest sample alone: a load that rises is seen in it before the means show all of it.
    #[serde(default, skip_serializing_if = "LoadSample::is_empty")]
    pub newest: LoadSample,
    /// Milliseconds since the newest samples came; of figures that came apart, those of the one that came first.
    pub age_ms: u64,
}

/// One sample of what a VM has to do, in the units of [`LoadSight`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadSample {
    /// Share of its processors that is in use, in percent.
    pub cpu_percent: Option<f64>,
    /// Client connections that are open.
    pub connections: Option<f64>,
    /// HTTP requests, or TCP sessions, in a second.
    pub requests_per_second: Option<f64>,
}

impl LoadSample {
    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is seen in one project's namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectSight {
    /// Each subnet's bridge with the names of the links enslaved to it, VM NICs left out.
    pub subnets: BTreeMap<SubnetId, BTreeSet<String>>,
}

/// A host name's last good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedName {
    /// IPv4 addresses in ascending order.
    pub addresses: Vec<Ipv4Addr>,
    /// The last look-up's error, where it failed.
    pub error: Option<String>,
}

/// An effect that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error with its causes, in words.
    pub message: String,
    /// When it first failed in this row.
    pub since: Timestamp,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Whether the host has no memory for it, so that it can be as soon as another VM is gone.
    pub lacks_room: bool,
}
