//! What users ask for: valid changes to the intent, made through the store as the door makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use ipnet::Ipv4Net;
use model::{
    Attachment, AutoScaling, Backend, BackendHost, Criteria, Generation, HealthCheck,
    HealthProtocol, Instance, InstanceId, Policy, Project, ProjectId, Scaling, Timeouts, Timestamp,
    TrafficType,
};
use store::Store;
use store::intent::{EditError, IntentDraft, edit_intent};

use crate::dice::Dice;

/// Few subnets, so that several projects use the same range.
const SUBNETS: [[u8; 4]; 2] = [[1, 1, 1, 0], [2, 2, 2, 0]];
/// The host names that some backends have, one in each subnet.
pub(crate) const BACKEND_NAMES: [&str; 2] = ["app.one.internal", "app.two.internal"];

/// One request. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    CreateProject,
    DeleteProject(u64),
    CreateInstance(u64),
    DeleteInstance(u64),
    Rename(u64),
    Scale(u64),
    AddBackend(u64),
    RemoveBackend(u64),
    Attach(u64),
    Detach(u64),
    DeleteEverything,
}

impl Action {
    /// A change at random; creations and deletions are in balance.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let n = dice.next();
        match dice.roll(24) {
            0 => Self::DeleteProject(n),
            1 => Self::CreateProject,
            2..=4 => Self::DeleteInstance(n),
            5..=8 => Self::CreateInstance(n),
            9 => Self::Rename(n),
            10..=13 => Self::Scale(n),
            14..=18 => Self::AddBackend(n),
            19..=20 => Self::RemoveBackend(n),
            21..=22 => Self::Attach(n),
            _ => Self::Detach(n),
        }
    }
}

/// Makes the change. One for which there is nothing to choose from changes nothing.
pub(crate) fn act(
    store: &Store,
    action: Action,
    now: Timestamp,
) -> Result<(), EditError<Infallible>> {
    edit_intent(store, |draft| {
        apply(draft, action, now);
        Ok(())
    })
}

fn apply(draft: &mut IntentDraft, action: Action, now: Timestamp) {
    match action {
        Action::CreateProject => create_project(draft, now),
        Action::DeleteProject(n) => {
            // The last project stays, so that there is something to break.
            if let Some(project) = pick(&draft.intent().projects, n)
                && draft.intent().projects.len() > 2
            {
                draft.remove_project(project);
            }
        }
        Action::CreateInstance(n) => create_instance(draft, n, now),
        Action::DeleteInstance(n) => {
            if let Some(instance) = pick(&draft.intent().instances, n) {
                draft.remove_instance(instance);
            }
        }
        Action::Rename(n) => change(draft, n, |instance| {
            let label = format!("r{}-{}", instance.id, instance.generation);
            let former = std::mem::replace(&mut instance.label, label);
            instance.former_labels.insert(former);
        }),
        Action::Scale(n) => change(draft, n, |i| i.auto_scaling = scaling(&mut Dice::new(n))),
        Action::AddBackend(n) => change(draft, n, |instance| {
            let backend = backend(instance.subnet, &mut Dice::new(n));
            if !instance.backends.iter().any(|b| b.is_same_server(&backend)) {
                instance.backends.push(backend);
            }
        }),
        Action::RemoveBackend(n) => change(draft, n, |instance| drop(instance.backends.pop())),
        Action::Attach(n) => attach(draft, n),
        Action::Detach(n) => {
            let ports: Vec<Attachment> = draft.intent().attachments.iter().cloned().collect();
            let port = ports.get(usize::try_from(n % 7).unwrap_or_default());
            port.into_iter()
                .for_each(|port| draft.remove_attachment(port));
        }
        Action::DeleteEverything => {
            let projects: Vec<ProjectId> = draft.intent().projects.keys().copied().collect();
            projects.into_iter().for_each(|id| draft.remove_project(id));
        }
    }
}

fn create_project(draft: &mut IntentDraft, now: Timestamp) {
    let id = draft.next_project_id();
    draft.put_project(Project {
        id,
        user: "john".into(),
        name: format!("p{id}"),
        label: format!("p{id}"),
        generation: Generation(1),
        created_at: now,
    });
}

/// A new instance takes the lowest label that is free in its project, so that a deleted one's name is soon
/// another's.
fn create_instance(draft: &mut IntentDraft, n: u64, now: Timestamp) {
    let mut dice = Dice::new(n);
    let Some(project) = pick(&draft.intent().projects, dice.next()) else {
        return;
    };
    let taken: BTreeSet<&String> = draft
        .intent()
        .instances
        .values()
        .filter(|instance| instance.project == project)
        .flat_map(|instance| std::iter::once(&instance.label).chain(&instance.former_labels))
        .collect();
    let mut labels = (0_u32..).map(|number| format!("i{number}"));
    let Some(label) = labels.find(|label| !taken.contains(label)) else {
        return;
    };
    let subnet = subnet(&mut dice);
    draft.put_instance(Instance {
        id: draft.next_instance_id(),
        project,
        name: label.clone(),
        label,
        former_labels: BTreeSet::new(),
        traffic: TrafficType::Http,
        port: 80,
        subnet,
        backends: vec![backend(subnet, &mut dice)],
        health_check: HealthCheck {
            protocol: HealthProtocol::Http,
            port: None,
            request_path: "/".into(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: Criteria::default(),
        },
        auto_scaling: scaling(&mut dice),
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(1),
        created_at: now,
    });
}

fn attach(draft: &mut IntentDraft, n: u64) {
    let mut dice = Dice::new(n);
    let interface = format!("eth{}", dice.roll(3));
    let mut ports = draft.intent().attachments.iter();
    let is_free = ports.all(|port| port.interface != interface);
    let project = pick(&draft.intent().projects, dice.next());
    if let Some(project) = project.filter(|_| is_free) {
        draft.put_attachment(Attachment {
            project,
            subnet: subnet(&mut dice),
            interface,
        });
    }
}

fn change(draft: &mut IntentDraft, n: u64, change: impl FnOnce(&mut Instance)) {
    let chosen: Option<InstanceId> = pick(&draft.intent().instances, n);
    let instance = chosen.and_then(|id| draft.intent().instances.get(&id).cloned());
    if let Some(mut instance) = instance {
        change(&mut instance);
        instance.generation = instance.generation.next();
        draft.put_instance(instance);
    }
}

/// The `n`th key, counted round.
pub(crate) fn pick<K: Copy + Ord, V>(among: &BTreeMap<K, V>, n: u64) -> Option<K> {
    let n = n.checked_rem(among.len() as u64)?;
    among.keys().nth(usize::try_from(n).ok()?).copied()
}

fn subnet(dice: &mut Dice) -> Ipv4Net {
    let [first, second] = SUBNETS;
    let network = if dice.chance(70) { first } else { second };
    Ipv4Net::new(network.into(), 24).expect("24 is a prefix length")
}

/// The name that leads into the subnet.
fn backend_name(subnet: Ipv4Net) -> &'static str {
    let [one, two] = BACKEND_NAMES;
    let [first, _] = SUBNETS;
    if subnet.contains(&std::net::Ipv4Addr::from(first)) {
        one
    } else {
        two
    }
}

/// Half of the instances have one VM, some a fixed number, the others as many as the load asks for.
fn scaling(dice: &mut Dice) -> AutoScaling {
    let vms = u32::try_from(dice.between(1, 3)).unwrap_or(1);
    match dice.roll(4) {
        0 | 1 => AutoScaling::Off,
        2 => AutoScaling::between(vms, vms),
        _ => by_load(vms, dice),
    }
}

/// As many VMs as the load asks for, by one target or by several.
fn by_load(min: u32, dice: &mut Dice) -> AutoScaling {
    let target = |dice: &mut Dice| dice.chance(50).then_some(100);
    AutoScaling::Between(Scaling {
        min,
        max: min + 3,
        target_requests: target(dice),
        target_connections: target(dice).map(|target| target / 10),
        ..Scaling::default()
    })
}

/// A backend at the low end of the subnet, sometimes where VMs have theirs, sometimes by name.
fn backend(subnet: Ipv4Net, dice: &mut Dice) -> Backend {
    let last = match dice.chance(85) {
        true => dice.between(10, 60),
        false => dice.between(245, 253),
    };
    let address = u32::from(subnet.network()) + u32::try_from(last).unwrap_or(10);
    let host = match dice.chance(10) {
        true => BackendHost::Name(backend_name(subnet).into()),
        false => BackendHost::Address(address.into()),
    };
    Backend {
        host,
        port: 8080,
        weight: 1,
        backup: false,
        max_connections: None,
    }
}
