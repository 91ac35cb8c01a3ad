//! What DNS says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{
    DnsLayout, Instance, InstanceId, InstanceLayout, Intent, Leaving, PersistentMap, VmLayout,
};

use crate::Inputs;
use crate::draft::Draft;
use crate::standing::Standing;

/// Names each instance's serving VMs. An instance of which none serves keeps the addresses that it had
/// `before`: an answer that fails for a moment is better than none, which resolvers remember.
pub(crate) fn plan_zone(inputs: Inputs<'_>, before: &Standing, layout: &mut Draft) {
    if !is_settled(before, layout) {
        write_zone(inputs, before, layout);
    }
    stamp_leaving(layout);
}

/// Whether the zone says of every instance what it is to say, under the names that it had before.
fn is_settled(before: &Standing, layout: &Draft) -> bool {
    let known = &before.layout().dns.records;
    // Of a layout from elsewhere it is not known whose its names are.
    !layout.may_be_ahead
        && layout.ids.iter().all(|id| {
            let names = layout.counted.names(*id);
            let standing = layout.instances.get(id);
            before.counted.names(*id) == names && are_said(known, names, standing)
        })
}

/// Whether the records of all these names are the instance's serving VMs, or, while none serves, the same.
fn are_said(
    known: &PersistentMap<String, BTreeSet<Ipv4Addr>>,
    names: &[String],
    standing: Option<&Arc<InstanceLayout>>,
) -> bool {
    let mut records = names.iter().map(|name| known.get(name));
    let serving = || serving_addresses(standing);
    match serving().next() {
        None => {
            let first = records.clone().next();
            records.all(|record| Some(record) == first)
        }
        Some(_) => records.all(|record| {
            record.is_some_and(|record| {
                record.len() == serving().count() && serving().all(|a| record.contains(&a))
            })
        }),
    }
}

fn write_zone(inputs: Inputs<'_>, before: &Standing, layout: &mut Draft) {
    let known = &before.layout().dns.records;
    let mut wanted: BTreeMap<&String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    let asked = layout.ids.iter();
    for id in asked.filter(|id| inputs.intent.instances.contains_key(*id)) {
        let names = layout.counted.names(*id);
        let serving = serving_addresses(layout.instances.get(id));
        let mut addresses: BTreeSet<Ipv4Addr> = serving.collect();
        // A new instance may have the name of one that was deleted in the same breath.
        if addresses.is_empty() && before.layout().instances.contains_key(id) {
            let last = names.iter().filter_map(|name| known.get(name));
            addresses = last.flatten().copied().collect();
        }
        if !addresses.is_empty() {
            wanted.extend(names.iter().map(|name| (name, addresses.clone())));
        }
    }
    let records = &mut layout.dns.records;
    let had = layout.is_whole.then(|| known.keys());
    let own = (!layout.is_whole).then(|| names_of(before, &layout.ids));
    let had = had.into_iter().flatten().chain(own.into_iter().flatten());
    for name in had.filter(|name| !wanted.contains_key(name)) {
        records.remove(name);
    }
    for (name, addresses) in wanted {
        if known.get(name) != Some(&addresses) {
            records.insert(name.clone(), addresses);
        }
    }
    if layout.dns.records != *known {
        layout.dns.serial = layout.dns.serial.saturating_add(1);
        stamp_changed(known, layout);
    }
}

/// The names that instances had before this plan.
fn names_of<'a>(
    before: &'a Standing,
    ids: &'a BTreeSet<InstanceId>,
) -> impl Iterator<Item = &'a String> {
    ids.iter().flat_map(|id| before.counted.names(*id))
}

/// The names of an instance relative to the zone, the current one first.
pub(crate) fn names(intent: &Intent, instance: &Instance) -> Vec<String> {
    let Some(project) = intent.projects.get(&instance.project) else {
        return Vec::new();
    };
    std::iter::once(&instance.label)
        .chain(&instance.former_labels)
        .map(|label| format!("{label}.{}", project.label))
        .collect()
}

/// Whether these are the names of an instance, in their order.
pub(crate) fn are_names(intent: &Intent, instance: &Instance, names: &[String]) -> bool {
    let Some(project) = intent.projects.get(&instance.project) else {
        return names.is_empty();
    };
    let labels = std::iter::once(&instance.label).chain(&instance.former_labels);
    let is_name = |(label, name): (&String, &String)| {
        let rest = name.strip_prefix(label.as_str());
        rest.and_then(|rest| rest.strip_prefix('.')) == Some(&project.label)
    };
    names.len() == 1 + instance.former_labels.len() && labels.zip(names).all(is_name)
}

/// Each instance whose own names changed waits for this generation of the zone.
fn stamp_changed(known: &PersistentMap<String, BTreeSet<Ipv4Addr>>, layout: &mut Draft) {
    let DnsLayout { serial, records } = &layout.dns;
    for (id, instance) in &mut layout.instances {
        let mut names = layout.counted.names(*id).iter();
        if names.any(|name| known.get(name) != records.get(name)) {
            Arc::make_mut(instance).zone_serial = *serial;
        }
    }
}

fn serving_addresses(standing: Option<&Arc<InstanceLayout>>) -> impl Iterator<Item = Ipv4Addr> {
    let vms = standing.into_iter().flat_map(|s| s.vms.values());
    vms.filter(|vm| vm.is_serving()).map(|vm| vm.front.address)
}

/// VMs that leave since this plan are out of the zone from this generation on.
fn stamp_leaving(layout: &mut Draft) {
    let serial = layout.dns.serial;
    let is_new = |leaving: &Leaving| leaving.dns_serial == 0;
    let leaves_now = |vm: &VmLayout| vm.leaving.as_ref().is_some_and(is_new);
    for instance in layout.instances.values_mut() {
        if !instance.vms.values().any(leaves_now) {
            continue;
        }
        let vms = Arc::make_mut(instance).vms.values_mut();
        let leaving = vms.filter_map(|vm| vm.leaving.as_mut());
        for leaving in leaving.filter(|leaving| is_new(leaving)) {
            leaving.dns_serial = serial;
        }
    }
}

#[cfg(test)]
mod tests;
