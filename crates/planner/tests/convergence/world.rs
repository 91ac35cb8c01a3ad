//! A world in memory: VMs, namespaces and a zone, changed by effects that take their time, fail half-way
//! and are cut off when the controller dies.
//!
//! What must never happen to the real world panics here: two owners of one address, a bridge taken from
//! under a NIC, a VM removed while clients are sent to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendStatus, BalancerConfig, Counters, DnsLayout, Driver, Effect, Failure,
    Heartbeat, HeartbeatSight, Mac, NetworkSight, NicSight, Observation, ProbeSight, ProjectId,
    ProjectSight, SubnetId, Timestamp, VmId, VmLayout, VmSight,
};
use planner::Windows;

/// Milliseconds from one round to the next.
pub const TICK_MS: u64 = 250;
/// Ticks from a process's start to its first heartbeat.
const BOOT_TICKS: u64 = 3;

fn nics(machine: &Machine) -> NicSight {
    NicSight {
        front: true,
        tenant: true,
        fenced: Some(machine.fenced),
        lost: false,
    }
}

/// A seeded generator (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// A number below `bound`.
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub struct World {
    pub dice: Dice,
    /// Time by the monotonic clock.
    pub now_ms: u64,
    pub vms: BTreeMap<VmId, Machine>,
    pub projects: BTreeMap<ProjectId, BTreeMap<SubnetId, BTreeSet<String>>>,
    pub zone: DnsLayout,
    /// Of a hundred steps, so many fail.
    pub failing_percent: u64,
    pub dns_stands_still: bool,
    in_flight: BTreeMap<String, Work>,
    failures: BTreeMap<String, Failure>,
    controller_began_ms: u64,
    last_named_ms: BTreeMap<Ipv4Addr, u64>,
    freed_ms: BTreeMap<Ipv4Addr, u64>,
    windows: Windows,
}

/// One VM: its NICs, and its process when that was started.
#[derive(Default)]
pub struct Machine {
    pub subnet: SubnetId,
    pub front: Option<Ipv4Addr>,
    pub tenant: Option<Ipv4Addr>,
    pub macs: Vec<Mac>,
    pub started_ms: Option<u64>,
    pub alive: bool,
    pub frozen: bool,
    pub probe_blocked: bool,
    pub channel_cut: bool,
    pub fenced: bool,
    pub config: Option<BalancerConfig>,
    /// Whether it was silent for the whole window, and its probe failed then.
    lost: bool,
    heard_ms: Option<u64>,
    probe: Option<ProbeSight>,
}

/// An effect that is under way.
struct Work {
    effect: Effect,
    ticks_left: u64,
    half_done: bool,
}

impl World {
    pub fn new(seed: u64, windows: Windows) -> Self {
        Self {
            dice: Dice(seed),
            now_ms: 1_000_000,
            vms: BTreeMap::new(),
            projects: BTreeMap::new(),
            zone: DnsLayout::default(),
            failing_percent: 0,
            dns_stands_still: false,
            in_flight: BTreeMap::new(),
            failures: BTreeMap::new(),
            controller_began_ms: 0,
            last_named_ms: BTreeMap::new(),
            freed_ms: BTreeMap::new(),
            windows,
        }
    }

    /// All that a controller sees.
    pub fn observe(&self) -> Observation {
        // Of a machine that was never started there are but its NICs.
        let started = self.vms.iter().filter(|(_, vm)| vm.started_ms.is_some());
        let probes = self.vms.iter();
        let projects = self.projects.iter().map(|(id, subnets)| {
            let subnets = subnets.clone();
            (*id, ProjectSight { subnets })
        });
        Observation {
            vms: started.map(|(id, vm)| (*id, self.sight(vm))).collect(),
            probes: [(
                "local".to_owned(),
                probes
                    .filter_map(|(id, vm)| Some((*id, vm.probe.clone()?)))
                    .collect(),
            )]
            .into(),
            network: NetworkSight {
                front: true,
                projects: projects.collect(),
                vm_nics: self.vms.iter().map(|(id, vm)| (*id, nics(vm))).collect(),
            },
            dns_serial: (self.zone.serial > 0).then_some(self.zone.serial),
            failures: self.failures.clone(),
            in_flight: self.in_flight.keys().cloned().collect(),
            ..Observation::default()
        }
    }

    /// Takes on effects; each is carried out in the next ticks.
    pub fn begin(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let work = Work {
                ticks_left: self.dice.roll(4),
                half_done: false,
                effect,
            };
            let doubled = self.in_flight.insert(work.effect.key(), work);
            assert!(doubled.is_none(), "two effects work on one thing at a time");
        }
    }

    /// The controller dies and another begins: effects stop where they are, and nothing was heard yet.
    pub fn restart_controller(&mut self) {
        self.in_flight.clear();
        self.failures.clear();
        self.controller_began_ms = self.now_ms;
    }

    /// Makes what carries the installation's mark and stands in no layout.
    pub fn make_stranger(&mut self) {
        let number = 1_000_000 + self.dice.roll(1_000_000);
        let stranger = Machine {
            alive: true,
            subnet: SubnetId(number),
            ..Machine::default()
        };
        self.vms.insert(VmId(number), stranger);
        self.bridge(ProjectId(number), SubnetId(number + 1));
    }

    /// Lets one tick pass. `decided` is the zone in the store.
    pub fn tick(&mut self, decided: &DnsLayout) {
        self.now_ms += TICK_MS;
        for key in self.in_flight.keys().cloned().collect::<Vec<_>>() {
            self.work_on(&key);
        }
        self.live();
        for address in self.zone.records.values().flatten() {
            self.last_named_ms.insert(*address, self.now_ms);
        }
        if !self.dns_stands_still && self.dice.roll(2) == 0 {
            self.zone = decided.clone();
        }
    }

    fn work_on(&mut self, key: &str) {
        let Some(mut work) = self.in_flight.remove(key) else {
            return;
        };
        if work.ticks_left > 0 {
            work.ticks_left -= 1;
            self.in_flight.insert(key.into(), work);
        } else if self.dice.roll(100) < self.failing_percent {
            let failure = Failure {
                message: "it was not to be".into(),
                since: Timestamp(0),
                attempts: 1,
            };
            self.failures.insert(key.into(), failure);
        } else if self.carry_out(&work.effect, work.half_done) {
            self.failures.remove(key);
        } else {
            work.half_done = true;
            self.in_flight.insert(key.into(), work);
        }
    }

    /// Does the first or the second half of an effect; true when all of it is done.
    fn carry_out(&mut self, effect: &Effect, half_done: bool) -> bool {
        match effect {
            Effect::EnsureFront => {}
            Effect::EnsureProject { project } => {
                self.projects.entry(*project).or_default();
            }
            Effect::EnsurePort {
                project,
                subnet,
                interface,
            } => {
                self.bridge(*project, *subnet);
                let mut ports = self.projects.values().flat_map(|p| p.values().flatten());
                let is_free = ports.all(|port| port != interface);
                if is_free && half_done {
                    self.bridge(*project, *subnet).insert(interface.clone());
                }
                return half_done || !is_free;
            }
            Effect::EnsureVm {
                project,
                vm,
                layout,
                ..
            } => {
                self.bridge(*project, layout.subnet);
                self.make_nics(*vm, layout);
                if half_done {
                    self.start(*vm);
                }
                return half_done;
            }
            Effect::SetFence { vm, fenced } => {
                if let Some(machine) = self.vms.get_mut(vm) {
                    machine.fenced = *fenced;
                }
            }
            Effect::PushConfig { vm, config } => self.configure(*vm, config),
            Effect::RemoveVm { vm } => {
                if half_done {
                    let gone = self.vms.remove(vm);
                    let front = gone.and_then(|machine| machine.front);
                    self.freed_ms
                        .extend(front.map(|front| (front, self.now_ms)));
                } else if let Some(machine) = self.vms.get_mut(vm) {
                    machine.alive = false;
                    machine.started_ms = None;
                }
                return half_done;
            }
            Effect::RemovePort {
                project,
                subnet,
                interface,
            } => {
                self.bridge(*project, *subnet).remove(interface);
            }
            Effect::RemoveSubnet { project, subnet } => self.remove_bridge(*project, *subnet),
            Effect::RemoveProject { project } => {
                let subnets = self.projects.remove(project).unwrap_or_default();
                assert!(
                    subnets.is_empty(),
                    "namespace {project} is removed with bridges in it"
                );
            }
        }
        true
    }

    fn bridge(&mut self, project: ProjectId, subnet: SubnetId) -> &mut BTreeSet<String> {
        self.projects
            .entry(project)
            .or_default()
            .entry(subnet)
            .or_default()
    }

    fn remove_bridge(&mut self, project: ProjectId, subnet: SubnetId) {
        let ports = self
            .projects
            .get_mut(&project)
            .and_then(|p| p.remove(&subnet));
        assert!(
            ports.is_none_or(|p| p.is_empty()),
            "bridge {subnet} is removed with ports on it"
        );
        let mut machines = self.vms.values();
        let used = machines.any(|machine| machine.subnet == subnet);
        assert!(!used, "bridge {subnet} is removed with a VM's NIC on it");
    }

    fn make_nics(&mut self, id: VmId, layout: &VmLayout) {
        let (front, tenant) = (layout.front.address, layout.tenant.address);
        let macs = vec![layout.front.mac, layout.tenant.mac];
        for (other_id, other) in self.vms.iter().filter(|(other, _)| **other != id) {
            assert_ne!(
                other.front,
                Some(front),
                "VMs {other_id} and {id} share a front address"
            );
            let shares = other.subnet == layout.subnet && other.tenant == Some(tenant);
            assert!(
                !shares,
                "VMs {other_id} and {id} share tenant address {tenant}"
            );
            let shares = other.macs.iter().any(|mac| macs.contains(mac));
            assert!(!shares, "VMs {other_id} and {id} share a MAC");
        }
        if !self.vms.contains_key(&id) {
            let mut named = self.zone.records.values().flatten();
            let is_named = named.any(|address| *address == front);
            assert!(
                !is_named,
                "VM {id} got {front}, which DNS gives for another"
            );
            let freed_ms = self.freed_ms.get(&front);
            let rested = freed_ms.is_none_or(|ms| self.now_ms - ms >= self.windows.rest_ms);
            assert!(rested, "VM {id} got {front} before it had rested");
        }
        let machine = self.vms.entry(id).or_default();
        machine.subnet = layout.subnet;
        machine.front = Some(front);
        machine.tenant = Some(tenant);
        machine.macs = macs;
    }

    fn start(&mut self, id: VmId) {
        if let Some(machine) = self.vms.get_mut(&id).filter(|machine| !machine.alive) {
            machine.alive = true;
            machine.started_ms = Some(self.now_ms);
            machine.config = None;
        }
    }

    fn configure(&mut self, id: VmId, config: &BalancerConfig) {
        let machine = self.vms.get_mut(&id);
        if let Some(machine) =
            machine.filter(|machine| machine.alive && !machine.frozen && !machine.channel_cut)
        {
            let running = machine.config.as_ref().map(|config| config.generation);
            if running < Some(config.generation) {
                machine.config = Some(config.clone());
            }
        }
    }

    /// Machines run, are heard and probed, or are not.
    fn live(&mut self) {
        for machine in self.vms.values_mut() {
            let Some(started_ms) = machine.started_ms else {
                continue;
            };
            let up = machine.alive
                && !machine.frozen
                && self.now_ms - started_ms >= BOOT_TICKS * TICK_MS;
            if up && !machine.channel_cut {
                machine.heard_ms = Some(self.now_ms);
            }
            let answered = up && machine.config.is_some() && !machine.probe_blocked;
            let silent_ms = self.now_ms - machine.heard_ms.unwrap_or(started_ms);
            machine.lost |= silent_ms > self.windows.silence_ms && !answered;
            let before = machine
                .probe
                .take()
                .filter(|probe| probe.answered == answered);
            machine.probe = Some(ProbeSight {
                answered,
                since: before
                    .as_ref()
                    .map_or(Timestamp(self.now_ms), |probe| probe.since),
                streak: before.map_or(1, |probe| probe.streak + 1),
                evidence: if answered { "answered" } else { "timed out" }.into(),
            });
        }
    }

    fn sight(&self, machine: &Machine) -> VmSight {
        let began_ms = self
            .controller_began_ms
            .max(machine.started_ms.unwrap_or_default());
        let heard_ms = machine.heard_ms.filter(|ms| *ms > began_ms);
        let died = machine.started_ms.is_some() && !machine.alive;
        VmSight {
            driver: Driver::Process,
            pid: machine.alive.then_some(1),
            accelerator: "process".into(),
            watched_ms: self.now_ms - began_ms,
            heartbeat: heard_ms.map(|heard_ms| HeartbeatSight {
                age_ms: self.now_ms - heard_ms,
                late_ms: 0,
                heartbeat: machine.heartbeat(self.now_ms),
            }),
            exit: (died && self.controller_began_ms == 0).then(|| "killed by signal 9".into()),
        }
    }

    /// Holds that clients had their time to turn away from a VM. A controller knows when DNS dropped it
    /// to within a round.
    pub fn assert_deserted(&self, id: VmId) {
        let front = self.vms.get(&id).and_then(|machine| machine.front);
        let named_ms = front.and_then(|front| self.last_named_ms.get(&front));
        let time_ms = self.windows.drain_ms - TICK_MS;
        let deserted = named_ms.is_none_or(|ms| self.now_ms - ms >= time_ms);
        assert!(
            deserted,
            "VM {id} is removed while clients may know it from DNS"
        );
    }
}

impl Machine {
    /// Whether it may rightly be held to be down.
    pub fn has_failed(&self) -> bool {
        !self.alive || self.lost
    }

    fn heartbeat(&self, now_ms: u64) -> Heartbeat {
        let backends = self.config.iter().flat_map(|config| &config.backends);
        let backends = backends.map(|backend| BackendStatus {
            address: backend.address,
            port: backend.port,
            health: BackendHealth::Up,
            health_age_ms: 1,
            last_check: Some("200 OK".into()),
            last_check_age_ms: Some(1),
            requests: 0,
            errors: 0,
            active: 0,
            passive: model::PassiveStatus::default(),
        });
        Heartbeat {
            sequence: now_ms / TICK_MS,
            uptime_ms: now_ms - self.started_ms.unwrap_or_default(),
            generation: self.config.as_ref().map(|config| config.generation),
            refused: None,
            progress_age_ms: self.config.as_ref().map(|_| now_ms % 400),
            lag_ms: 0,
            counters: Counters::default(),
            latency: model::Latency::default(),
            backends: backends.collect(),
        }
    }
}
