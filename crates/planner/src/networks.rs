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
    for project in &layout.projects {
        if inputs.intent.projects.contains_key(project) {
            layout.networks.entry(*project).or_default();
        }
    }
    let mut wanted = wanted_subnets(inputs, layout);
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
    let wanted = wanted_subnets(inputs, layout);
    let counted = &layout.counted;
    for (project, network) in &mut layout.networks {
        network.subnets.retain(|id, subnet| {
            counted.is_used(*id)
                || counted.is_asked_for(*project, subnet.cidr)
                || wanted.contains_key(&(*project, subnet.cidr))
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

/// An attachment to a project that is gone counts for nothing. The subnets of instances that the plan is not
/// about are there.
fn wanted_subnets(inputs: Inputs<'_>, layout: &Draft) -> WantedSubnets {
    let intent = inputs.intent;
    let mut wanted = WantedSubnets::new();
    let asked = layout.ids.iter();
    for instance in asked.filter_map(|id| intent.instances.get(id)) {
        wanted
            .entry((instance.project, instance.subnet))
            .or_default();
    }
    let is_about =
        |project| layout.projects.contains(project) && intent.projects.contains_key(project);
    for port in intent
        .attachments
        .iter()
        .filter(|port| is_about(&port.project))
    {
        let ports = wanted.entry((port.project, port.subnet)).or_default();
        ports.insert(port.interface.clone());
    }
    wanted
}
