//! Everything outside of the controller: machines, networks, checkers, DNS, and the clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{
    Generation, InstanceId, LoadSample, LoadSight, Mac, NetworkSight, NicSight, Observation,
    ProjectId, ProjectSight, ResolvedName, SubnetId, Timestamp, VmId, VmLayout,
};

use crate::checker::Checker;
use crate::curve::Curve;
use crate::dns::DnsServer;
use crate::invariants::Violation;
use crate::machine::{Machine, Process};
use crate::users::BACKEND_NAMES;

/// The host's clock when the world begins: some day in 2026.
const EPOCH_MS: u64 = 1_780_000_000_000;
/// Requests per second with which one VM's processor is full.
pub(crate) const CAPACITY: f64 = 200.0;
/// By less than this the clock is kept right, and nothing that waits by it moves along.
pub(crate) const CLOCK_STRAYS_MS: u64 = 1_000;
/// Machines that boot beside each other before each takes longer.
const BOOTS_AT_A_TIME: u64 = 2;
/// Milliseconds between two load samples.
const SAMPLE_MS: u64 = 1_000;

/// Bridges with the ports on them, by project.
pub(crate) type Networks = BTreeMap<ProjectId, BTreeMap<SubnetId, BTreeSet<String>>>;

/// The world.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Time by the monotonic clock, since the world began.
    pub(crate) now_ms: u64,
    clock_ahead_ms: i64,
    pub(crate) machines: BTreeMap<VmId, Machine>,
    pub(crate) networks: Networks,
    pub(crate) dns: DnsServer,
    pub(crate) checkers: Vec<Checker>,
    pub(crate) curves: BTreeMap<InstanceId, Curve>,
    /// Load is what it was at this time.
    pub(crate) load_stands_at_ms: Option<u64>,
    /// How late heartbeats and the observer's timers are.
    pub(crate) late_ms: u64,
    pub(crate) compute_trouble: Option<String>,
    pub(crate) backend_moved: bool,
    /// Whether somebody deleted the front bridge.
    pub(crate) front_is_gone: bool,
    pub(crate) machine_starts: u64,
    /// When the last of these was.
    pub(crate) machine_started_ms: u64,
    /// The first thing that must never happen, and did.
    pub(crate) broken: Option<Violation>,
    /// When machines boot to their end: moments at which something can be seen.
    pub(crate) boots: Vec<u64>,
    owners: Owners,
    touched: Touched,
    last_pid: u32,
}

/// VMs of which something may be seen that is new.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) vms: BTreeSet<VmId>,
    /// Whether that is so of every VM.
    pub(crate) all: bool,
}

/// Who has what, to see at once when somebody else gets it.
#[derive(Debug, Default)]
struct Owners {
    fronts: BTreeMap<Ipv4Addr, VmId>,
    tenants: BTreeMap<(SubnetId, Ipv4Addr), VmId>,
    macs: BTreeMap<Mac, VmId>,
    /// Front addresses that were given back, when, and who had them: an effect that is done twice may bring back the VM itself for a moment.
    freed: BTreeMap<Ipv4Addr, (u64, VmId)>,
}

impl World {
    /// An empty world with checkers.
    pub(crate) fn with(checkers: Vec<Checker>) -> Self {
        Self {
            checkers,
            ..Self::default()
        }
    }

    /// The host's clock.
    pub(crate) fn wall(&self) -> Timestamp {
        let wall = EPOCH_MS.saturating_add(self.now_ms);
        Timestamp(wall.saturating_add_signed(self.clock_ahead_ms))
    }

    /// The host's clock jumps.
    pub(crate) fn jump_clock(&mut self, by_ms: i64) {
        self.clock_ahead_ms = self.clock_ahead_ms.saturating_add(by_ms);
    }

    pub(crate) fn breaks(&mut self, rule: &'static str, what: String) {
        self.broken.get_or_insert(Violation { rule, what });
    }

    /// Something about every VM may have changed: what checkers get from it is looked at anew.
    pub(crate) fn touch_all(&mut self) {
        self.touched.vms.extend(self.machines.keys());
        self.touched.all = true;
    }

    /// Lets checkers learn what changed. Returns of whom that may be seen.
    pub(crate) fn settle(&mut self) -> Touched {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched.vms {
            self.settle_one(*id);
        }
        touched
    }

    fn settle_one(&mut self, id: VmId) {
        let (now_ms, wall) = (self.now_ms, self.wall());
        let Some(machine) = self.machines.get_mut(&id) else {
            self.checkers.iter_mut().for_each(|c| c.forget(id));
            return;
        };
        let answers = machine.answers(now_ms);
        for (n, checker) in self.checkers.iter_mut().enumerate() {
            let reaches = answers && !machine.deaf_to.contains(&n);
            checker.learn(id, reaches, now_ms, wall);
        }
        let told = self.checkers.iter().filter(|c| c.is_heard(now_ms));
        let told: Vec<bool> = told.filter_map(|c| c.answered(id)).collect();
        let unanswered = told.iter().filter(|answered| !**answered).count();
        let process = machine.process.as_ref();
        let is_heard = process.is_some_and(|p| p.is_heard(now_ms));
        let is_hung = process.is_some_and(|p| p.hung_ms.is_some());
        let is_silent = !is_heard && unanswered * 2 > told.len();
        let is_cut = machine.nics.is_some_and(|nics| nics.lost);
        let is_failing = process.is_none() || is_hung || is_silent || is_cut;
        machine.failing.set(is_failing, now_ms);
        let is_whole = machine.nics.is_some_and(NicSight::is_whole);
        let is_well =
            machine.serves(now_ms) && is_heard && is_whole && unanswered == 0 && self.late_ms == 0;
        machine.well.set(is_well, now_ms);
    }

    /// All that an observer who began to watch at `since_ms` sees, but for what it knows of its own effects.
    pub(crate) fn observe(&self, since_ms: u64) -> Observation {
        let made = self.machines.iter().filter(|(_, m)| m.is_made);
        let sight = |machine: &Machine| machine.sight(self.now_ms, since_ms, self.late_ms);
        let checkers = self.checkers.iter().filter(|c| c.is_heard(self.now_ms));
        Observation {
            vms: made.map(|(id, machine)| (*id, sight(machine))).collect(),
            probes: checkers
                .map(|checker| (checker.name.clone(), checker.sights(self.now_ms)))
                .collect(),
            load: self.load(),
            host_lag_ms: self.late_ms,
            network: self.network(),
            resolved: self.resolved(),
            dns_serial: (self.dns.zone.serial > 0).then_some(self.dns.zone.serial),
            boot_id: format!("start-{}", self.machine_starts),
            uptime_ms: Some(self.now_ms - self.machine_started_ms),
            compute_trouble: self.compute_trouble.clone(),
            ..Observation::default()
        }
    }

    fn network(&self) -> NetworkSight {
        let projects = self.networks.iter().map(|(id, subnets)| {
            let subnets = subnets.clone();
            (*id, ProjectSight { subnets })
        });
        let machines = self.machines.iter();
        NetworkSight {
            front: !self.front_is_gone,
            projects: projects.collect(),
            vm_nics: machines
                .filter_map(|(id, m)| Some((*id, m.nics?)))
                .collect(),
        }
    }

    /// What the backends' host names resolve to.
    pub(crate) fn resolved(&self) -> BTreeMap<String, ResolvedName> {
        let last = if self.backend_moved { 71 } else { 70 };
        let networks = [[1, 1, 1, last], [2, 2, 2, last]];
        let resolve = |(name, address): (&str, [u8; 4])| {
            let addresses = vec![address.into()];
            let error = None;
            (name.to_owned(), ResolvedName { addresses, error })
        };
        BACKEND_NAMES
            .into_iter()
            .zip(networks)
            .map(resolve)
            .collect()
    }

    /// Clients spread what they ask for over the addresses that DNS names and that answer.
    fn load(&self) -> BTreeMap<VmId, LoadSight> {
        let serving = || {
            let machines = self.machines.iter();
            machines.filter(|(_, m)| {
                m.serves(self.now_ms) && m.front.is_some_and(|front| self.dns.names(front))
            })
        };
        let mut crews: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for instance in serving().filter_map(|(_, machine)| machine.instance) {
            *crews.entry(instance).or_default() += 1;
        }
        let at_ms = self.load_stands_at_ms.unwrap_or(self.now_ms);
        let share = |instance: InstanceId| {
            let curve = self.curves.get(&instance)?;
            let crew = f64::from(crews.get(&instance).copied().unwrap_or(1));
            Some(curve.at(at_ms) * curve.noise(at_ms) / crew)
        };
        let running = self.machines.iter().filter(|(_, m)| m.answers(self.now_ms));
        let load = |(id, machine): (&VmId, &Machine)| {
            let serves = machine.front.is_some_and(|front| self.dns.names(front));
            let served = machine.instance.filter(|_| serves && !machine.is_fenced());
            let rate = served.map_or(Some(0.0), share)?;
            let newest = LoadSample {
                cpu_percent: Some((rate / CAPACITY * 100.0).min(100.0)),
                connections: Some(rate / 10.0),
                requests_per_second: Some(rate),
            };
            let sight = LoadSight {
                cpu_percent: newest.cpu_percent,
                connections: newest.connections,
                requests_per_second: newest.requests_per_second,
                newest,
                age_ms: self.now_ms % SAMPLE_MS,
            };
            Some((*id, sight))
        };
        running.filter_map(load).collect()
    }

    /// A namespace's bridge, made with its namespace where it is missing.
    pub(crate) fn bridge(&mut self, project: ProjectId, subnet: SubnetId) -> &mut BTreeSet<String> {
        let subnets = self.networks.entry(project).or_default();
        subnets.entry(subnet).or_default()
    }

    /// A bridge goes. What hung on it hangs on nothing.
    pub(crate) fn remove_bridge(&mut self, project: ProjectId, subnet: SubnetId) {
        if let Some(subnets) = self.networks.get_mut(&project) {
            subnets.remove(&subnet);
        }
        for (id, machine) in &mut self.machines {
            if machine.subnet == subnet
                && let Some(nics) = &mut machine.nics
            {
                nics.tenant = false;
                self.touched.vms.insert(*id);
            }
        }
    }

    /// Makes a VM's NICs whole, and holds their addresses to have one owner that has waited its time.
    pub(crate) fn make_nics(
        &mut self,
        id: VmId,
        place: (ProjectId, InstanceId),
        layout: &VmLayout,
        rest_ms: u64,
    ) {
        self.bridge(place.0, layout.subnet);
        self.claim(id, layout, rest_ms);
        let machine = self.machines.entry(id).or_default();
        (machine.project, machine.instance) = (place.0, Some(place.1));
        machine.subnet = layout.subnet;
        machine.front = Some(layout.front.address);
        machine.tenant = Some(layout.tenant.address);
        machine.macs = vec![layout.front.mac, layout.tenant.mac];
        // What a process held is gone for good while it runs.
        if machine.process.is_some() && machine.nics.is_some_and(|nics| nics.lost) {
            return;
        }
        let known = machine.nics.filter(|nics| nics.is_whole());
        // A NIC that had to be made anew is open; the other is as it was.
        let fenced = match machine.nics {
            Some(nics) if known.is_some() => nics.fenced,
            Some(NicSight {
                fenced: Some(true), ..
            }) => None,
            _ => Some(false),
        };
        machine.nics = Some(NicSight {
            front: !self.front_is_gone,
            tenant: true,
            fenced,
            lost: false,
        });
        self.touched.vms.insert(id);
    }

    /// The front bridge goes, or comes again; what hung on it does not come with it.
    pub(crate) fn set_front(&mut self, is_gone: bool) {
        self.front_is_gone = is_gone;
        let nics = self.machines.values_mut().filter_map(|m| m.nics.as_mut());
        nics.filter(|_| is_gone).for_each(|nics| nics.front = false);
        self.touch_all();
    }

    fn claim(&mut self, id: VmId, layout: &VmLayout, rest_ms: u64) {
        let (front, tenant) = (layout.front.address, layout.tenant.address);
        let macs = [layout.front.mac, layout.tenant.mac];
        let owners = &mut self.owners;
        let others = [
            owners.fronts.insert(front, id),
            owners.tenants.insert((layout.subnet, tenant), id),
            owners.macs.insert(macs[0], id),
            owners.macs.insert(macs[1], id),
        ];
        if let Some(other) = others.into_iter().flatten().find(|other| *other != id) {
            let what = format!("VMs {other} and {id} share {front}, {tenant} or a MAC");
            return self.breaks("one owner for each address", what);
        }
        let freed = self.owners.freed.get(&front);
        let others = freed.filter(|(_, owner)| *owner != id);
        let Some((freed_ms, owner)) = others.filter(|_| !self.machines.contains_key(&id)) else {
            return;
        };
        let rested_ms = self.now_ms - freed_ms;
        let is_known = self.dns.leads_to(front, self.now_ms);
        if rested_ms + CLOCK_STRAYS_MS < rest_ms || is_known {
            let what = format!(
                "VM {id} got {front} of VM {owner} after {rested_ms} ms, known to clients: {is_known}"
            );
            self.breaks("no address is used again within its rest", what);
        }
    }

    /// Starts a VM's process, unless it runs.
    pub(crate) fn start(&mut self, id: VmId, boot_ms: u64) {
        let pid = self.last_pid.wrapping_add(1);
        let now_ms = self.now_ms;
        // Those that boot beside each other share the host's processors.
        let processes = self.machines.values().flat_map(|m| &m.process);
        let others = processes.filter(|p| p.up_ms > now_ms).count();
        let boot_ms = boot_ms * (1 + u64::try_from(others).unwrap_or(0) / BOOTS_AT_A_TIME);
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.process.is_none()) else {
            return;
        };
        machine.process = Some(Process::new(pid, now_ms, now_ms + boot_ms));
        (machine.is_made, machine.exit) = (true, None);
        self.last_pid = pid;
        self.boots.push(now_ms + boot_ms);
        self.touched.vms.insert(id);
    }

    /// Nothing of a VM is left; its addresses are free.
    pub(crate) fn take_away(&mut self, id: VmId) {
        let now_ms = self.now_ms;
        let Some(machine) = self.machines.remove(&id) else {
            return;
        };
        let owners = &mut self.owners;
        owners.fronts.retain(|_, owner| *owner != id);
        owners.tenants.retain(|_, owner| *owner != id);
        owners.macs.retain(|_, owner| *owner != id);
        let freed = machine.front.map(|front| (front, (now_ms, id)));
        owners.freed.extend(freed);
        self.touched.vms.insert(id);
    }

    /// Changes a VM's process, after its heartbeats so far were counted.
    pub(crate) fn befall(&mut self, id: VmId, change: impl FnOnce(&mut Machine, u64)) {
        let now_ms = self.now_ms;
        if let Some(machine) = self.machines.get_mut(&id) {
            if let Some(process) = &mut machine.process {
                process.settle(now_ms);
            }
            change(machine, now_ms);
            machine.deliver(now_ms);
            self.touched.vms.insert(id);
        }
    }

    /// The configuration that a VM runs.
    pub(crate) fn generation(&self, id: VmId) -> Option<Generation> {
        self.machines.get(&id).and_then(Machine::generation)
    }
}
