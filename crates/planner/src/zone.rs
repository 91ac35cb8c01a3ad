//! What DNS says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{Instance, InstanceId, Layout};

use crate::Inputs;

/// Names each instance's serving VMs. An instance of which none serves keeps the addresses it had: an
/// answer that fails for a moment is better than none, which resolvers remember.
pub(crate) fn plan_zone(inputs: Inputs<'_>, layout: &mut Layout) {
    let records: BTreeMap<String, BTreeSet<Ipv4Addr>> = inputs
        .intent
        .instances
        .iter()
        .flat_map(|(id, instance)| {
            let addresses = addresses_of(layout, *id, &names(inputs, instance));
            names(inputs, instance)
                .into_iter()
                .map(move |name| (name, addresses.clone()))
        })
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    if records != layout.dns.records {
        layout.dns.records = records;
        layout.dns.serial = layout.dns.serial.saturating_add(1);
    }
    stamp_leaving(layout);
}

/// The names of an instance relative to the zone, the current one first.
pub(crate) fn names(inputs: Inputs<'_>, instance: &Instance) -> Vec<String> {
    let Some(project) = inputs.intent.projects.get(&instance.project) else {
        return Vec::new();
    };
    std::iter::once(&instance.label)
        .chain(&instance.former_labels)
        .map(|label| format!("{label}.{}", project.label))
        .collect()
}

fn addresses_of(layout: &Layout, id: InstanceId, names: &[String]) -> BTreeSet<Ipv4Addr> {
    let vms = layout.instances.get(&id).map(|instance| &instance.vms);
    let serving: BTreeSet<Ipv4Addr> = vms
        .into_iter()
        .flat_map(|vms| vms.values())
        .filter(|vm| vm.is_serving())
        .map(|vm| vm.front.address)
        .collect();
    match serving.is_empty() {
        true => names
            .iter()
            .filter_map(|name| layout.dns.records.get(name))
            .flatten()
            .copied()
            .collect(),
        false => serving,
    }
}

/// VMs that leave since this plan are out of the zone from this generation on.
fn stamp_leaving(layout: &mut Layout) {
    let serial = layout.dns.serial;
    let vms = layout
        .instances
        .values_mut()
        .flat_map(|instance| instance.vms.values_mut());
    for leaving in vms
        .filter_map(|vm| vm.leaving.as_mut())
        .filter(|l| l.dns_serial == 0)
    {
        leaving.dns_serial = serial;
    }
}
