//! A small installation for tests: what was asked, decided and seen, changed by hand and planned again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{
    AutoScaling, Backend, BackendHost, Driver, Effect, Generation, HealthCheck, HealthProtocol,
    Heartbeat, HeartbeatSight, Instance, InstanceId, InstanceLayout, Intent, Layout, NetworkSight,
    NicSight, Observation, Policy, ProbeSight, Project, ProjectId, Report, Timeouts, Timestamp,
    TrafficType, VmId, VmLayout, VmShape, VmSight,
};

use crate::{Inputs, Scope, Settings, Standing, Told, Windows};

pub(crate) struct Bench {
    pub settings: Settings,
    pub intent: Intent,
    pub layout: Layout,
    pub report: Report,
    pub observed: Observation,
    pub now: Timestamp,
}

impl Bench {
    /// One project with the given instances.
    pub(crate) fn with(instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut intent = Intent::default();
        intent.projects.insert(ProjectId(1), project(1));
        intent
            .instances
            .extend(instances.into_iter().map(|i| (i.id, i)));
        Self {
            settings: settings(),
            intent,
            layout: Layout::default(),
            report: Report::default(),
            observed: Observation {
                network: NetworkSight {
                    front: true,
                    ..NetworkSight::default()
                },
                ..Observation::default()
            },
            now: Timestamp(1_000_000),
        }
    }

    /// The same, with everything made, serving and published.
    pub(crate) fn serving(instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut bench = Self::with(instances);
        bench.plan();
        bench.make_all_serve();
        bench.plan();
        bench.publish();
        bench
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            settings: &self.settings,
            intent: &self.intent,
            observed: &self.observed,
            now: self.now,
        }
    }

    /// Plans everything, and holds the plan to be a fixed point.
    pub(crate) fn plan(&mut self) -> Report {
        self.plan_and_tell();
        self.report.clone()
    }

    /// The same, for what it has to tell.
    pub(crate) fn plan_and_tell(&mut self) -> Vec<Told> {
        let (inputs, before) = (self.inputs(), self.decided());
        let next = crate::plan(inputs, &before, &Scope::All).standing;
        let again = crate::plan(inputs, &next, &Scope::All).standing;
        assert_eq!(
            (again.layout(), again.report()),
            (next.layout(), next.report())
        );
        assert!(next.is_counted_right(&self.intent));
        assert_eq!(crate::events(inputs, &next, &again), []);
        let told = crate::events(inputs, &before, &next);
        self.layout = next.layout().clone();
        self.report = next.report().clone();
        told
    }

    pub(crate) fn diff(&self) -> Vec<Effect> {
        crate::diff(self.inputs(), &self.decided(), &Scope::All)
    }

    fn decided(&self) -> Standing {
        Standing::of(&self.intent, self.layout.clone())
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.0 += ms;
        if let Some(uptime_ms) = &mut self.observed.uptime_ms {
            *uptime_ms += ms;
        }
    }

    /// Every VM that was not sent away runs its newest configuration and answers.
    pub(crate) fn make_all_serve(&mut self) {
        for (id, generation) in self.staying() {
            self.observed.vms.insert(id, healthy(generation));
            self.observed.network.vm_nics.insert(id, whole());
            self.probes().insert(id, answered());
        }
    }

    /// DNS publishes what is decided.
    pub(crate) fn publish(&mut self) {
        self.observed.dns_serial = Some(self.layout.dns.serial);
    }

    /// A VM's process is killed.
    pub(crate) fn kill(&mut self, id: u64) {
        let sight = self.sight(id);
        sight.pid = None;
        sight.exit = Some("killed by signal 9".into());
    }

    /// A moment passes, and nothing of a VM is left in the world.
    pub(crate) fn vanish(&mut self, id: u64) {
        self.pass(1);
        self.observed.vms.remove(&VmId(id));
        self.probes().remove(&VmId(id));
        self.observed.network.vm_nics.remove(&VmId(id));
    }

    /// What the one checker saw.
    pub(crate) fn probes(&mut self) -> &mut BTreeMap<VmId, ProbeSight> {
        self.observed.probes.entry("local".to_owned()).or_default()
    }

    pub(crate) fn sight(&mut self, id: u64) -> &mut VmSight {
        self.observed
            .vms
            .get_mut(&VmId(id))
            .expect("the VM is seen")
    }

    pub(crate) fn asked(&mut self, id: u64) -> &mut Instance {
        let asked = self.intent.instances.get_mut(&InstanceId(id));
        asked.expect("the instance is asked for")
    }

    pub(crate) fn standing(&self, instance: u64) -> &InstanceLayout {
        let standing = self.layout.instances.get(&InstanceId(instance));
        standing.expect("the instance stands")
    }

    pub(crate) fn standing_mut(&mut self, instance: u64) -> &mut InstanceLayout {
        let standing = self.layout.instances.get_mut(&InstanceId(instance));
        Arc::make_mut(standing.expect("the instance stands"))
    }

    pub(crate) fn vms(&self, instance: u64) -> &BTreeMap<VmId, VmLayout> {
        &self.standing(instance).vms
    }

    pub(crate) fn vm(&self, id: u64) -> &VmLayout {
        let mut vms = self.layout.instances.values().flat_map(|i| &i.vms);
        let (_, vm) = vms.find(|(vm, _)| **vm == VmId(id)).expect("the VM stands");
        vm
    }

    /// The VMs of an instance that were neither sent away nor set aside.
    pub(crate) fn stay(&self, instance: u64) -> Vec<u64> {
        let vms = self.vms(instance).iter();
        vms.filter(|(_, vm)| vm.is_crew())
            .map(|(id, _)| id.0)
            .collect()
    }

    pub(crate) fn record(&self, name: &str) -> Vec<Ipv4Addr> {
        let record = self.layout.dns.records.get(name);
        record.into_iter().flatten().copied().collect()
    }

    fn staying(&self) -> Vec<(VmId, Generation)> {
        let instances = self.layout.instances.values();
        instances
            .flat_map(|i| i.vms.iter().map(|(id, vm)| (*id, vm, i.config.generation)))
            .filter(|(_, vm, _)| vm.leaving.is_none())
            .map(|(id, _, generation)| (id, generation))
            .collect()
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        mac_salt: [0xab, 0xcd],
        front: "10.200.0.1/24".parse().expect("a CIDR"),
        driver: Driver::Process,
        shape: VmShape {
            vcpu: 1,
            disk_size: 0,
            memory_mib: 96,
        },
        breaker: crate::Breaker::default(),
        windows: Windows::default(),
    }
}

pub(crate) fn project(id: u64) -> Project {
    Project {
        id: ProjectId(id),
        user: "john".into(),
        name: format!("p{id}"),
        label: format!("p{id}"),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

/// An instance `i<id>` of project 1 with one backend and one VM.
pub(crate) fn instance(id: u64) -> Instance {
    Instance {
        id: InstanceId(id),
        project: ProjectId(1),
        name: format!("i{id}"),
        label: format!("i{id}"),
        former_labels: BTreeSet::new(),
        traffic: TrafficType::Http,
        port: 80,
        subnet: "1.1.1.0/24".parse().expect("a CIDR"),
        backends: vec![backend("1.1.1.10")],
        health_check: HealthCheck {
            protocol: HealthProtocol::Http,
            port: None,
            request_path: "/".into(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: model::Criteria::default(),
        },
        auto_scaling: AutoScaling::Off,
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

/// The same with a number of VMs.
pub(crate) fn instance_of(id: u64, vms: u32) -> Instance {
    Instance {
        auto_scaling: AutoScaling::between(vms, vms),
        ..instance(id)
    }
}

/// A backend at an address or a host name, on port 8080.
pub(crate) fn backend(host: &str) -> Backend {
    Backend {
        host: match host.parse() {
            Ok(address) => BackendHost::Address(address),
            Err(_) => BackendHost::Name(host.into()),
        },
        port: 8080,
        weight: 1,
        backup: false,
        max_connections: None,
    }
}

/// A process of which nothing was heard, watched for a second.
pub(crate) fn silent() -> VmSight {
    VmSight {
        driver: Driver::Process,
        pid: Some(4711),
        accelerator: "process".into(),
        watched_ms: 1_000,
        heartbeat: None,
        exit: None,
    }
}

/// NICs that are as they should be.
pub(crate) fn whole() -> NicSight {
    NicSight {
        front: true,
        tenant: true,
        fenced: Some(false),
        lost: false,
    }
}

/// A process whose heartbeats say that all is well.
pub(crate) fn healthy(generation: Generation) -> VmSight {
    VmSight {
        heartbeat: Some(HeartbeatSight {
            age_ms: 100,
            late_ms: 0,
            heartbeat: heartbeat(generation),
        }),
        ..silent()
    }
}

pub(crate) fn heartbeat(generation: Generation) -> Heartbeat {
    Heartbeat {
        sequence: 7,
        uptime_ms: 2_000,
        generation: Some(generation),
        refused: None,
        progress_age_ms: Some(200),
        lag_ms: 0,
        draining: Some(false),
        deserted_ms: None,
        counters: model::Counters::default(),
        latency: model::Latency::default(),
        backends: Vec::new(),
    }
}

pub(crate) fn answered() -> ProbeSight {
    ProbeSight {
        answered: true,
        since: Timestamp(0),
        streak: 3,
        evidence: "answered".into(),
    }
}

pub(crate) fn unanswered(streak: u32) -> ProbeSight {
    ProbeSight {
        answered: false,
        since: Timestamp(0),
        streak,
        evidence: "timed out".into(),
    }
}
