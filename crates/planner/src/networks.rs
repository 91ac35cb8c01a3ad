//! Which subnets each project's namespace has, and what is attached to them.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use model::{Layout, NetworkLayout, ProjectId, SubnetId, SubnetLayout};

use crate::Inputs;

/// A namespace for each project, a subnet wherever an instance or a port asks for one, and each
/// subnet's ports as they were asked for.
pub(crate) fn plan_subnets(inputs: Inputs<'_>, layout: &mut Layout) {
    for project in inputs.intent.projects.keys() {
        layout.networks.entry(*project).or_default();
    }
    for (project, cidr) in wanted_subnets(inputs) {
        ensure_subnet(layout, project, cidr);
    }
    for (project, network) in &mut layout.networks {
        for subnet in network.subnets.values_mut() {
            subnet.ports = inputs
                .intent
                .attachments
                .iter()
                .filter(|port| port.project == *project && port.subnet == subnet.cidr)
                .map(|port| port.interface.clone())
                .collect();
        }
    }
}

/// Drops the subnets that neither a VM, nor an instance, nor a port needs, and the namespaces of
/// projects that are gone.
pub(crate) fn drop_unused_subnets(inputs: Inputs<'_>, layout: &mut Layout) {
    let wanted = wanted_subnets(inputs);
    let used: BTreeSet<SubnetId> = layout
        .instances
        .values()
        .flat_map(|instance| instance.vms.values())
        .map(|vm| vm.subnet)
        .collect();
    for (project, network) in &mut layout.networks {
        network
            .subnets
            .retain(|id, subnet| used.contains(id) || wanted.contains(&(*project, subnet.cidr)));
    }
    layout.networks.retain(|project, network| {
        inputs.intent.projects.contains_key(project) || !network.subnets.is_empty()
    });
}

/// The subnet of a project with that CIDR, where the layout has one.
pub(crate) fn find_subnet(layout: &Layout, project: ProjectId, cidr: Ipv4Net) -> Option<SubnetId> {
    let network = layout.networks.get(&project)?;
    network
        .subnets
        .iter()
        .find(|(_, subnet)| subnet.cidr == cidr)
        .map(|(id, _)| *id)
}

fn ensure_subnet(layout: &mut Layout, project: ProjectId, cidr: Ipv4Net) {
    if find_subnet(layout, project, cidr).is_some() {
        return;
    }
    let id = SubnetId(layout.ledger.last_subnet.0.saturating_add(1));
    layout.ledger.last_subnet = id;
    let network: &mut NetworkLayout = layout.networks.entry(project).or_default();
    network.subnets.insert(
        id,
        SubnetLayout {
            cidr,
            ports: BTreeSet::new(),
        },
    );
}

fn wanted_subnets(inputs: Inputs<'_>) -> BTreeSet<(ProjectId, Ipv4Net)> {
    let instances = inputs
        .intent
        .instances
        .values()
        .map(|i| (i.project, i.subnet));
    let ports = inputs
        .intent
        .attachments
        .iter()
        .map(|port| (port.project, port.subnet));
    instances.chain(ports).collect()
}
