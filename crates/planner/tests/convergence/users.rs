//! What users ask for and what befalls the world, at random.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Attachment, AutoScaling, Backend, BackendHost, Criteria, Generation, HealthCheck,
    HealthProtocol, Instance, InstanceId, Intent, Policy, Project, ProjectId, Timeouts, Timestamp,
    TrafficType,
};
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub enum Event {
    CreateProject,
    DeleteProject(usize),
    CreateInstance {
        project: usize,
        subnet: usize,
        vms: u32,
    },
    DeleteInstance(usize),
    Rename(usize),
    Scale(usize, u32),
    AddBackend(usize, u8),
    RemoveBackend(usize),
    Attach {
        project: usize,
        subnet: usize,
        interface: usize,
    },
    Detach(usize),
    Kill(usize),
    Freeze(usize),
    ThawAll,
    BlockProbe(usize),
    CutChannel(usize),
    MendChannelsAndProbes,
    RestartController,
    MakeStranger,
    FailSteps(u64),
    StopDns(bool),
    SetClockBack(u64),
    Wait(u32),
}

pub fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..60)
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let n = || 0..8_usize;
    prop_oneof![
        2 => Just(CreateProject),
        1 => n().prop_map(DeleteProject),
        6 => (n(), 0..2_usize, 1..4_u32)
            .prop_map(|(project, subnet, vms)| CreateInstance { project, subnet, vms }),
        2 => n().prop_map(DeleteInstance),
        1 => n().prop_map(Rename),
        3 => (n(), 1..4_u32).prop_map(|(n, vms)| Scale(n, vms)),
        3 => (n(), prop_oneof![1..9_u8, 245..=253_u8]).prop_map(|(n, last)| AddBackend(n, last)),
        1 => n().prop_map(RemoveBackend),
        2 => (n(), 0..2_usize, 0..3_usize)
            .prop_map(|(project, subnet, interface)| Attach { project, subnet, interface }),
        1 => n().prop_map(Detach),
        4 => n().prop_map(Kill),
        2 => n().prop_map(Freeze),
        1 => Just(ThawAll),
        2 => n().prop_map(BlockProbe),
        1 => n().prop_map(CutChannel),
        1 => Just(MendChannelsAndProbes),
        2 => Just(RestartController),
        1 => Just(MakeStranger),
        1 => (0..60_u64).prop_map(FailSteps),
        1 => any::<bool>().prop_map(StopDns),
        1 => (1..100_000_u64).prop_map(SetClockBack),
        12 => (1..30_u32).prop_map(Wait),
    ]
}

/// The users' side: valid changes to the intent, as the door lets them through.
#[derive(Default)]
pub struct Users {
    pub intent: Intent,
    last_id: u64,
}

const SUBNETS: [&str; 2] = ["1.1.1.0/24", "2.2.2.0/24"];
/// Few labels, so that a deleted instance's name is soon taken by another.
const LABELS: [&str; 4] = ["a", "b", "c", "d"];
/// The front network of the test has room for twice as many VMs as these instances want.
const MOST_INSTANCES: usize = 8;

impl Users {
    /// Does what the event asks of users; an event that is not theirs changes nothing.
    pub fn act(&mut self, event: &Event) {
        let instances = &mut self.intent.instances;
        match event {
            Event::CreateProject => self.create_project(),
            Event::DeleteProject(n) => {
                if let Some(project) = pick(&self.intent.projects, *n) {
                    self.delete_project(project);
                }
            }
            Event::CreateInstance {
                project,
                subnet,
                vms,
            } => {
                if let Some(project) = pick(&self.intent.projects, *project) {
                    self.create_instance(project, SUBNETS[*subnet], *vms);
                }
            }
            Event::DeleteInstance(n) => {
                pick(instances, *n).and_then(|id| instances.remove(&id));
            }
            Event::Rename(n) => {
                if let Some(id) = pick(instances, *n) {
                    self.rename(id);
                }
            }
            Event::Scale(n, vms) => self.change(*n, |i| i.auto_scaling = scaling(*vms)),
            Event::AddBackend(n, last) => self.change(*n, |i| {
                let backend = backend(i, *last);
                if !i.backends.iter().any(|b| b.is_same_server(&backend)) {
                    i.backends.push(backend);
                }
            }),
            Event::RemoveBackend(n) => self.change(*n, |i| drop(i.backends.pop())),
            Event::Attach {
                project,
                subnet,
                interface,
            } => {
                let project = pick(&self.intent.projects, *project);
                let interface = format!("eth{interface}");
                let mut ports = self.intent.attachments.iter();
                let free = ports.all(|port| port.interface != interface);
                if let Some(project) = project.filter(|_| free) {
                    self.intent.attachments.insert(Attachment {
                        project,
                        subnet: SUBNETS[*subnet].parse().unwrap(),
                        interface,
                    });
                }
            }
            Event::Detach(n) => {
                let port = self.intent.attachments.iter().nth(*n).cloned();
                port.map(|port| self.intent.attachments.remove(&port));
            }
            _ => {}
        }
    }

    fn create_project(&mut self) {
        let id = ProjectId(self.next_id());
        let project = Project {
            id,
            user: "john".into(),
            name: format!("p{id}"),
            label: format!("p{id}"),
            generation: Generation(1),
            created_at: Timestamp(0),
        };
        self.intent.projects.insert(id, project);
    }

    fn delete_project(&mut self, id: ProjectId) {
        self.intent.projects.remove(&id);
        self.intent.instances.retain(|_, i| i.project != id);
        self.intent.attachments.retain(|port| port.project != id);
    }

    fn create_instance(&mut self, project: ProjectId, subnet: &str, vms: u32) {
        let is_free = |label: &&&str| {
            let mut instances = self.intent.instances.values();
            !instances.any(|i| {
                i.project == project && (i.label == **label || i.former_labels.contains(**label))
            })
        };
        let label = LABELS.iter().find(is_free).copied();
        let Some(label) = label.filter(|_| self.intent.instances.len() < MOST_INSTANCES) else {
            return;
        };
        let id = InstanceId(self.next_id());
        let mut made = Instance {
            id,
            project,
            name: label.into(),
            label: label.into(),
            former_labels: BTreeSet::new(),
            traffic: TrafficType::Http,
            port: 80,
            subnet: subnet.parse().unwrap(),
            backends: Vec::new(),
            health_check: HealthCheck {
                protocol: HealthProtocol::Http,
                port: None,
                request_path: "/".into(),
                host: None,
                expected_status: Vec::new(),
                expected_body: None,
                criteria: Criteria::default(),
            },
            auto_scaling: scaling(vms),
            timeouts: Timeouts::default(),
            policy: Policy::default(),
            generation: Generation(1),
            created_at: Timestamp(0),
        };
        made.backends.push(backend(&made, 10));
        self.intent.instances.insert(id, made);
    }

    fn rename(&mut self, id: InstanceId) {
        let label = format!("r{}", self.next_id());
        if let Some(instance) = self.intent.instances.get_mut(&id) {
            let former = std::mem::replace(&mut instance.label, label);
            instance.former_labels.insert(former);
        }
    }

    fn change(&mut self, n: usize, change: impl FnOnce(&mut Instance)) {
        let instances = &mut self.intent.instances;
        let chosen = pick(instances, n).and_then(|id| instances.get_mut(&id));
        if let Some(instance) = chosen {
            change(instance);
            instance.generation = instance.generation.next();
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// The `n`th key, counted round.
pub fn pick<K: Copy + Ord, V>(among: &BTreeMap<K, V>, n: usize) -> Option<K> {
    among.keys().nth(n.checked_rem(among.len())?).copied()
}

fn scaling(vms: u32) -> AutoScaling {
    AutoScaling::between(vms, vms)
}

fn backend(instance: &Instance, last_byte: u8) -> Backend {
    let network = u32::from(instance.subnet.network());
    Backend {
        host: BackendHost::Address((network + u32::from(last_byte)).into()),
        port: 8080,
        weight: 1,
        backup: false,
        max_connections: None,
    }
}
