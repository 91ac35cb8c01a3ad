//! What must hold of every plan, whatever befell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{Effect, InstanceId, Layout, Report, Verdict, VmId, VmLayout};
use planner::Inputs;

use crate::world::World;

pub fn assert_planned(
    inputs: Inputs<'_>,
    before: &Layout,
    next: &Layout,
    report: &Report,
    effects: &[Effect],
) {
    let again = planner::plan(inputs, before);
    assert_eq!(
        again,
        (next.clone(), report.clone()),
        "the same gives the same"
    );
    let further = planner::plan(inputs, next);
    assert_eq!(
        further,
        (next.clone(), report.clone()),
        "a plan is a fixed point"
    );
    assert_owners(next);
    assert_dns(inputs, before, next);
    assert_history(before, next);
    assert_networks(inputs, next);
    let keys: BTreeSet<String> = effects.iter().map(Effect::key).collect();
    assert_eq!(
        keys.len(),
        effects.len(),
        "one step for a thing: {effects:?}"
    );
    assert!(keys.is_disjoint(&inputs.observed.in_flight));
}

/// A VM is found down only when its machine failed: not for its probe alone, nor because a controller
/// began just now.
pub fn assert_verdicts(layout: &Layout, world: &World) {
    for (id, vm) in vms(layout).filter(|(_, vm)| vm.verdict == Verdict::Down) {
        let machine = world.vms.get(id);
        let rightly = machine.is_none_or(|machine| machine.has_failed());
        assert!(
            rightly,
            "VM {id} is well and held to be down: {}",
            vm.evidence
        );
    }
}

fn vms(layout: &Layout) -> impl Iterator<Item = (&VmId, &VmLayout)> {
    layout.instances.values().flat_map(|instance| &instance.vms)
}

fn assert_owners(layout: &Layout) {
    let mut fronts = BTreeSet::new();
    let mut tenants = BTreeSet::new();
    let mut macs = BTreeSet::new();
    for (id, vm) in vms(layout) {
        let front = vm.front.address;
        assert!(fronts.insert(front), "VM {id} shares {front}");
        assert!(
            !layout.ledger.resting.contains_key(&front),
            "VM {id} has {front}, which rests"
        );
        assert!(
            tenants.insert((vm.subnet, vm.tenant.address)),
            "VM {id} shares a tenant address"
        );
        assert!(
            macs.insert(vm.front.mac) && macs.insert(vm.tenant.mac),
            "VM {id} shares a MAC"
        );
        assert!(*id <= layout.ledger.last_vm);
    }
}

/// DNS names the serving VMs of each instance, or, while none serves, what it named before.
fn assert_dns(inputs: Inputs<'_>, before: &Layout, next: &Layout) {
    let mut names = BTreeSet::new();
    for (id, asked) in &inputs.intent.instances {
        let project = &inputs.intent.projects[&asked.project].label;
        let labels = std::iter::once(&asked.label).chain(&asked.former_labels);
        let own: Vec<String> = labels.map(|label| format!("{label}.{project}")).collect();
        let serving = serving(next, *id);
        let last = match before.instances.contains_key(id) {
            true => own
                .iter()
                .filter_map(|name| before.dns.records.get(name))
                .max(),
            false => None,
        };
        let expected = match serving.is_empty() {
            true => last.cloned().unwrap_or_default(),
            false => serving,
        };
        for name in &own {
            let named = next.dns.records.get(name).cloned().unwrap_or_default();
            assert_eq!(named, expected, "{name}");
        }
        names.extend(own);
    }
    assert!(
        next.dns.records.keys().all(|name| names.contains(name)),
        "a name of nobody"
    );
    let changed = next.dns.records != before.dns.records;
    assert_eq!(next.dns.serial, before.dns.serial + u32::from(changed));
}

fn serving(layout: &Layout, id: InstanceId) -> BTreeSet<Ipv4Addr> {
    let vms = layout
        .instances
        .get(&id)
        .into_iter()
        .flat_map(|i| i.vms.values());
    vms.filter(|vm| vm.is_serving())
        .map(|vm| vm.front.address)
        .collect()
}

/// What was decided of a VM stays: identity, addresses, that it is down, that it leaves.
fn assert_history(before: &Layout, next: &Layout) {
    let old: BTreeMap<_, _> = vms(before).collect();
    for (id, vm) in vms(next) {
        let Some(old) = old.get(id) else {
            assert!(*id > before.ledger.last_vm, "VM {id} has a used identity");
            continue;
        };
        let identity = |vm: &VmLayout| (vm.front.clone(), vm.tenant.clone(), vm.subnet);
        assert_eq!(identity(vm), identity(old));
        assert!(
            old.leaving.is_none() || vm.leaving.is_some(),
            "VM {id} left and is back"
        );
        let is_kept = vm.aside.is_some() || next.host.breaker_open_since.is_some();
        assert!(
            vm.verdict != Verdict::Down || vm.leaving.is_some() || is_kept,
            "VM {id} is down and stays"
        );
    }
    for (id, instance) in &before.instances {
        let after = next.instances.get(id);
        assert!(after.is_none_or(|after| after.config.generation >= instance.config.generation));
    }
}

/// Every VM has its subnet, and every subnet somebody who needs it.
fn assert_networks(inputs: Inputs<'_>, next: &Layout) {
    for instance in next.instances.values() {
        let network = &next.networks[&instance.project];
        let mut vms = instance.vms.values();
        assert!(vms.all(|vm| network.subnets.contains_key(&vm.subnet)));
    }
    let used: BTreeSet<_> = vms(next).map(|(_, vm)| vm.subnet).collect();
    for (project, network) in &next.networks {
        for (id, subnet) in &network.subnets {
            let mut asked = inputs.intent.instances.values();
            let wanted = asked.any(|i| i.project == *project && i.subnet == subnet.cidr);
            assert!(
                wanted || !subnet.ports.is_empty() || used.contains(id),
                "subnet {id} is idle"
            );
        }
    }
}
