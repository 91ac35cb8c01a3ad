//! What was decided, written before anything is done about it. Only the controller writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    BalancerConfig, BootNic, Driver, InstanceId, PersistentMap, ProjectId, ScaleLayout, SubnetId,
    Timestamp, VmId,
};

/// Every decision that stands. A copy costs next to nothing, and two layouts of which one was made from the
/// other share what is the same in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Instances that have something in the world, deleted ones until all of it is gone.
    pub instances: PersistentMap<InstanceId, Arc<InstanceLayout>>,
    /// Projects that have a namespace.
    pub networks: PersistentMap<ProjectId, Arc<NetworkLayout>>,
    /// What DNS says.
    pub dns: DnsLayout,
    /// What is handed out once only.
    pub ledger: Ledger,
    /// What is known of the machine.
    pub host: HostLayout,
}

/// What is known of the machine as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostLayout {
    /// The kernel's mark of the machine's last start ([`crate::Observation::boot_id`]). VMs from before it
    /// are not dead, they were never started since.
    pub boot_id: String,
    /// When that was, as the host's clock told it last: another answer means that the clock was set.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Since when so many VMs are down that the fault must be ours: nothing is replaced meanwhile.
    pub breaker_open_since: Option<Timestamp>,
    /// VMs that were set aside, as far back as the breaker looks; what became of them since is no matter.
    #[serde(default)]
    pub set_aside: Vec<SetAside>,
}

/// A VM that was taken out of service because it was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Whose it was.
    #[serde(default)]
    pub instance: InstanceId,
    /// When it was found down.
    pub found_at: Timestamp,
    /// When it was set aside: later, where the breaker held it.
    pub at: Timestamp,
}

/// One instance's VMs and what they are to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceLayout {
    /// The project whose network the VMs are in.
    pub project: ProjectId,
    /// What every VM of the instance is to run. Its generation rises with each change, also when only
    /// a host name's addresses changed.
    pub config: BalancerConfig,
    /// The last good answer for each host name among the backends.
    pub resolved: BTreeMap<String, Vec<Ipv4Addr>>,
    /// The VMs, those that are leaving included.
    pub vms: BTreeMap<VmId, VmLayout>,
    /// When VMs of the instance were last found down, oldest first; a bounded memory, so that an
    /// instance whose VMs die one after the other is given new ones ever more slowly.
    pub downs: Vec<Timestamp>,
    /// What the last of them died of, in words.
    #[serde(default)]
    pub last_down: Option<String>,
    /// For how many VMs it has been given VMs so far: what is wanted beyond that is growth, and what is missing
    /// below it died.
    #[serde(default)]
    pub staffed: usize,
    /// What the load asks for.
    #[serde(default)]
    pub scale: ScaleLayout,
    /// The generation of the zone in which what it says of the instance's names last changed: the one that is
    /// waited for.
    #[serde(default)]
    pub zone_serial: u32,
}

/// One VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmLayout {
    /// How it is run.
    pub driver: Driver,
    /// How large it is.
    pub shape: VmShape,
    /// The subnet of its tenant NIC.
    pub subnet: SubnetId,
    /// The NIC that clients reach.
    pub front: BootNic,
    /// The NIC that reaches the backends.
    pub tenant: BootNic,
    /// When it was decided.
    pub created_at: Timestamp,
    /// The verdict over it.
    pub verdict: Verdict,
    /// When the verdict last changed.
    pub since: Timestamp,
    /// What the verdict rests on, in words.
    pub evidence: String,
    /// Set while it is fenced off, or has yet to earn its place again after that.
    #[serde(default)]
    pub aside: Option<Aside>,
    /// Set when it is to go, never unset.
    pub leaving: Option<Leaving>,
}

impl VmLayout {
    /// Whether it counts among the VMs that its instance is to have.
    #[must_use]
    pub fn is_crew(&self) -> bool {
        self.leaving.is_none() && self.aside.is_none()
    }

    /// Whether clients may be sent to it: it has served, and was neither sent away nor set aside. One that
    /// is down and not set aside is held in its place by the breaker.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_crew() && self.verdict != Verdict::Starting
    }

    /// Whether the host closes its ports to all but the checker.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.aside
            .as_ref()
            .is_some_and(|aside| aside.open_since.is_none())
    }
}

/// A VM that was found down after it had served, and has time to come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// When it was found down: its time to come back begins here.
    pub since: Timestamp,
    /// What showed it, in words.
    pub reason: String,
    /// Since when the fence is lifted again, because it came back.
    pub open_since: Option<Timestamp>,
}

/// A VM's size. The names are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VmShape {
    /// Virtual processors; at least 1.
    pub vcpu: u32,
    /// GiB of a sparse disk; 0 for none.
    pub disk_size: u32,
    /// MiB of memory. Under the `process` driver it bounds the cgroup.
    pub memory_mib: u32,
}

impl Default for VmShape {
    /// What a balancer needs: one processor, 128 MiB, no disk.
    fn default() -> Self {
        Self {
            vcpu: 1,
            disk_size: 0,
            memory_mib: 128,
        }
    }
}

/// What the controller holds a VM to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was decided and does not serve yet.
    Starting,
    /// It runs a configuration and its hot path answers.
    Serving,
    /// It serves, but one of the signs is missing. Reported, never replaced.
    Suspect,
    /// It does not serve. It is replaced, unless the breaker holds that back.
    Down,
}

/// Why and since when a VM is to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaving {
    /// When it was decided.
    pub since: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// The first zone generation without it; it is removed only after that is published.
    pub dns_serial: u32,
    /// When that was first seen to be published: here the time of its clients begins.
    #[serde(default)]
    pub dropped_at: Option<Timestamp>,
    /// Since when its clients are told to leave it: whoever had it from DNS has come by then.
    #[serde(default)]
    pub drains_since: Option<Timestamp>,
    /// What the wait for its clients ended with, in words; it is removed from then on.
    #[serde(default)]
    pub let_go: Option<String>,
}

/// A project's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkLayout {
    /// The subnets in it.
    pub subnets: BTreeMap<SubnetId, SubnetLayout>,
}

/// One bridge in a project's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetLayout {
    /// The range that its machines have addresses in.
    pub cidr: Ipv4Net,
    /// Host interfaces that are attached to it.
    pub ports: BTreeSet<String>,
}

/// One generation of the zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DnsLayout {
    /// Rises with each change of the records.
    pub serial: u32,
    /// The addresses of each name. Names are relative to the zone: `web.johns-project`.
    pub records: PersistentMap<String, BTreeSet<Ipv4Addr>>,
}

/// Identities and addresses that must not be handed out twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The last VM's identity.
    pub last_vm: VmId,
    /// The last subnet's identity.
    pub last_subnet: SubnetId,
    /// Front addresses of VMs that are gone, with the time from which they may be used again.
    pub resting: PersistentMap<Ipv4Addr, Timestamp>,
}
