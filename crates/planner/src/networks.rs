//! Which subnets each project's namespace has, and what is attached to them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use model::{NetworkLayout, ProjectId, SubnetId, SubnetLayout};

use crate::Inputs;
use crate::draft::Draft;

/// The subnets that users asked for, each with its ports.
type WantedSubnets = BTreeMap<(ProjectId, Ipv4Net), BTreeSet<String>>;

/// A namespace for each project, a subnet wherever an instance or a port asks for one, and each
/// subnet's ports as they were asked for.
pub(crate) fn plan_subnets(inputs: Inputs<'_>, layout: &mut Draft) {
    for project in inputs.intent.projects.keys() {
        layout.networks.entry(*project).or_default();
    }
    let mut wanted = wanted_subnets(inputs);
    for (project, network) in &mut layout.networks {
        for subnet in network.subnets.values_mut() {
            subnet.ports = wanted.remove(&(*project, subnet.cidr)).unwrap_or_default();
        }
    }
    for ((project, cidr), ports) in wanted {
        let id = SubnetId(layout.ledger.last_subnet.0.saturating_add(1));
        layout.ledger.last_subnet = id;
        let network = layout.networks.entry(project).or_default();
        network.subnets.insert(id, SubnetLayout { cidr, ports });
    }
}

/// Drops the subnets that neither a VM, nor an instance, nor a port needs, and the namespaces of
/// projects that are gone.
pub(crate) fn drop_unused_subnets(inputs: Inputs<'_>, layout: &mut Draft) {
    let wanted = wanted_subnets(inputs);
    let used: BTreeSet<SubnetId> = layout
        .instances
        .values()
        .flat_map(|instance| instance.vms.values())
        .map(|vm| vm.subnet)
        .collect();
    for (project, network) in &mut layout.networks {
        network.subnets.retain(|id, subnet| {
            used.contains(id) || wanted.contains_key(&(*project, subnet.cidr))
        });
    }
    layout.networks.retain(|project, network| {
        inputs.intent.projects.contains_key(project) || !network.subnets.is_empty()
    });
}

/// The subnet with that CIDR, where the project's network has one.
pub(crate) fn find_subnet(network: &NetworkLayout, cidr: Ipv4Net) -> Option<SubnetId> {
    let mut subnets = network.subnets.iter();
    let (id, _) = subnets.find(|(_, subnet)| subnet.cidr == cidr)?;
    Some(*id)
}

/// An attachment to a project that is gone counts for nothing.
fn wanted_subnets(inputs: Inputs<'_>) -> WantedSubnets {
    let intent = inputs.intent;
    let mut wanted = WantedSubnets::new();
    for instance in intent.instances.values() {
        wanted
            .entry((instance.project, instance.subnet))
            .or_default();
    }
    let attachments = intent.attachments.iter();
    for port in attachments.filter(|port| intent.projects.contains_key(&port.project)) {
        let ports = wanted.entry((port.project, port.subnet)).or_default();
        ports.insert(port.interface.clone());
    }
    wanted
}
