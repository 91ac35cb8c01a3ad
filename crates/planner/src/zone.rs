//! What DNS says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{DnsLayout, Instance, InstanceLayout, Layout, VmLayout};

use crate::Inputs;
use crate::draft::Draft;

/// Names each instance's serving VMs. An instance of which none serves keeps the addresses that it had
/// `before`: an answer that fails for a moment is better than none, which resolvers remember.
pub(crate) fn plan_zone(inputs: Inputs<'_>, before: &Layout, layout: &mut Draft) {
    let mut records = BTreeMap::new();
    for (id, instance) in &inputs.intent.instances {
        let names = names(inputs, instance);
        let mut addresses = serving_addresses(layout.instances.get(id));
        // A new instance may have the name of one that was deleted in the same breath.
        if addresses.is_empty() && before.instances.contains_key(id) {
            let last = names.iter().filter_map(|name| before.dns.records.get(name));
            addresses = last.flatten().copied().collect();
        }
        if !addresses.is_empty() {
            records.extend(names.into_iter().map(|name| (name, addresses.clone())));
        }
    }
    let records = records.into_iter().collect();
    if records != layout.dns.records {
        let serial = layout.dns.serial.saturating_add(1);
        layout.dns = DnsLayout { serial, records };
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

fn serving_addresses(standing: Option<&InstanceLayout>) -> BTreeSet<Ipv4Addr> {
    let vms = standing.into_iter().flat_map(|s| s.vms.values());
    vms.filter(|vm| vm.is_serving())
        .map(|vm| vm.front.address)
        .collect()
}

/// VMs that leave since this plan are out of the zone from this generation on.
fn stamp_leaving(layout: &mut Draft) {
    let serial = layout.dns.serial;
    let instances = layout.instances.values_mut();
    let vms = instances.flat_map(|instance| instance.vms.values_mut());
    let leaving = vms.filter_map(|vm: &mut VmLayout| vm.leaving.as_mut());
    for leaving in leaving.filter(|leaving| leaving.dns_serial == 0) {
        leaving.dns_serial = serial;
    }
}

#[cfg(test)]
mod tests;
