//! How many VMs each instance has, which of them go, and when one that left is forgotten.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::{
    BootNic, InstanceId, InstanceLayout, Layout, Leaving, Timestamp, Verdict, VmId, VmLayout,
    vm_key,
};

use crate::networks::find_subnet;
use crate::{Inputs, addresses};

/// Deaths of VMs that an instance remembers.
const MOST_DOWNS: usize = 16;
/// The longest that a replacement is held back.
const LONGEST_WAIT_MS: u64 = 60_000;

/// Decides about each instance's VMs: the dead go, the missing are added, the superfluous leave.
pub(crate) fn plan_vms(inputs: Inputs<'_>, layout: &mut Layout) {
    let ids: Vec<InstanceId> = layout.instances.keys().copied().collect();
    for id in ids {
        send_away_the_dead(inputs, layout, id);
        match inputs.intent.instances.get(&id) {
            None => send_away_all(inputs, layout, id),
            Some(instance) => {
                let wanted = usize::try_from(instance.auto_scaling.min()).unwrap_or(usize::MAX);
                add_missing(inputs, layout, id, wanted);
                send_away_superfluous(inputs, layout, id, wanted);
            }
        }
    }
    layout.instances.retain(|id, instance| {
        inputs.intent.instances.contains_key(id) || !instance.vms.is_empty()
    });
}

/// Drops the VMs that were sent away and of which nothing is left, and lets their addresses rest.
pub(crate) fn forget_vms_that_are_gone(inputs: Inputs<'_>, layout: &mut Layout) {
    let observed = inputs.observed;
    let is_gone = |id: &VmId| {
        !observed.vms.contains_key(id)
            && !observed.network.vm_nics.contains(id)
            && !observed.in_flight.contains(&vm_key(*id))
    };
    let free_at = Timestamp(inputs.now.0.saturating_add(inputs.settings.windows.rest_ms));
    let ledger = &mut layout.ledger;
    for instance in layout.instances.values_mut() {
        instance.vms.retain(|id, vm| {
            let forget = vm.leaving.is_some() && is_gone(id);
            if forget {
                ledger.resting.insert(vm.front.address, free_at);
            }
            !forget
        });
    }
    ledger.resting.retain(|_, free_at| *free_at > inputs.now);
}

/// Whether a VM that leaves may be removed: at once when nobody is sent to it, else when DNS has
/// dropped it and clients that still hold the answer have had their time.
pub(crate) fn may_be_removed(inputs: Inputs<'_>, id: InstanceId, vm: &VmLayout) -> bool {
    let Some(leaving) = &vm.leaving else {
        return false;
    };
    if vm.verdict == Verdict::Down || !inputs.intent.instances.contains_key(&id) {
        return true;
    }
    let dropped = inputs
        .observed
        .dns_serial
        .is_some_and(|serial| serial >= leaving.dns_serial);
    dropped && inputs.now.since_ms(leaving.since) >= inputs.settings.windows.drain_ms
}

/// Sends the dead away and remembers when they were found.
fn send_away_the_dead(inputs: Inputs<'_>, layout: &mut Layout, id: InstanceId) {
    for_each_staying(layout, id, |vm| {
        (vm.verdict == Verdict::Down)
            .then(|| leaving(inputs, format!("it is down: {}", vm.evidence)))
    });
    let Some(instance) = layout.instances.get_mut(&id) else {
        return;
    };
    let dead = instance
        .vms
        .values()
        .filter_map(|vm| vm.leaving.as_ref().map(|l| (vm.verdict, l.since)));
    let found = dead
        .filter(|dead| *dead == (Verdict::Down, inputs.now))
        .count();
    let remembered = instance
        .downs
        .iter()
        .filter(|at| **at == inputs.now)
        .count();
    instance.downs.extend(std::iter::repeat_n(
        inputs.now,
        found.saturating_sub(remembered),
    ));
    instance
        .downs
        .retain(|at| inputs.now.since_ms(*at) < inputs.settings.windows.downs_ms);
    let surplus = instance.downs.len().saturating_sub(MOST_DOWNS);
    instance.downs.drain(..surplus);
}

/// The time before which an instance gets no further VM in place of a dead one, where it has to wait.
///
/// As many as it has VMs and one more are replaced at once; after that the wait doubles from one
/// second to a bound, so that an image that cannot boot does not busy the host.
pub(crate) fn replacement_due(instance: &InstanceLayout, wanted: usize) -> Option<Timestamp> {
    let last = instance.downs.last()?;
    let beyond = instance.downs.len().checked_sub(wanted.saturating_add(2))?;
    let doublings = u32::try_from(beyond).unwrap_or(u32::MAX);
    let wait_ms = 1_000_u64
        .checked_shl(doublings)
        .unwrap_or(u64::MAX)
        .min(LONGEST_WAIT_MS);
    Some(Timestamp(last.0.saturating_add(wait_ms)))
}

fn send_away_all(inputs: Inputs<'_>, layout: &mut Layout, id: InstanceId) {
    for_each_staying(layout, id, |_| {
        Some(leaving(inputs, "the instance was deleted".into()))
    });
}

/// Sends away what is more than wanted, never one that serves while its stand-in does not: first those
/// that cannot stay, then those that do not serve, then the youngest.
fn send_away_superfluous(inputs: Inputs<'_>, layout: &mut Layout, id: InstanceId, wanted: usize) {
    let taken = addresses::backend_addresses(inputs.intent, layout, project_of(layout, id));
    let Some(instance) = layout.instances.get_mut(&id) else {
        return;
    };
    let mut staying: Vec<(VmId, bool, bool)> = instance
        .vms
        .iter()
        .filter(|(_, vm)| vm.leaving.is_none())
        .map(|(vm_id, vm)| (*vm_id, can_stay(vm, &taken), vm.is_serving()))
        .collect();
    let fit_and_serving = staying
        .iter()
        .filter(|(_, fit, serving)| *fit && *serving)
        .count();
    if fit_and_serving < wanted {
        return;
    }
    staying.sort_by_key(|(vm_id, fit, serving)| (!*fit, !*serving, *vm_id));
    for (vm_id, fit, _) in staying.into_iter().skip(wanted) {
        if let Some(vm) = instance.vms.get_mut(&vm_id) {
            let reason = match fit {
                true => "fewer VMs are wanted",
                false => "a backend has its tenant address",
            };
            vm.leaving = Some(leaving(inputs, reason.into()));
        }
    }
}

fn add_missing(inputs: Inputs<'_>, layout: &mut Layout, id: InstanceId, wanted: usize) {
    let taken = addresses::backend_addresses(inputs.intent, layout, project_of(layout, id));
    let Some(instance) = layout.instances.get(&id) else {
        return;
    };
    let fit = instance
        .vms
        .values()
        .filter(|vm| vm.leaving.is_none() && can_stay(vm, &taken))
        .count();
    if replacement_due(instance, wanted).is_some_and(|due| due > inputs.now) {
        return;
    }
    for _ in fit..wanted {
        let Some((vm_id, vm)) = new_vm(inputs, layout, id) else {
            return;
        };
        layout.ledger.last_vm = vm_id;
        if let Some(instance) = layout.instances.get_mut(&id) {
            instance.vms.insert(vm_id, vm);
        }
    }
}

/// A VM with addresses of its own; `None` when the front network or the subnet is full, which the
/// report says.
fn new_vm(inputs: Inputs<'_>, layout: &Layout, id: InstanceId) -> Option<(VmId, VmLayout)> {
    let settings = inputs.settings;
    let instance = inputs.intent.instances.get(&id)?;
    let subnet = find_subnet(layout, instance.project, instance.subnet)?;
    let vm_id = VmId(layout.ledger.last_vm.0.saturating_add(1));
    let front = addresses::choose_front(settings, layout)?;
    let tenant = addresses::choose_tenant(
        inputs.intent,
        layout,
        instance.project,
        subnet,
        instance.subnet,
    )?;
    let (front_mac, tenant_mac) = addresses::macs(settings, vm_id);
    let vm = VmLayout {
        driver: settings.driver,
        shape: settings.shape,
        subnet,
        front: BootNic {
            mac: front_mac,
            address: front,
            prefix: settings.front.prefix_len(),
            gateway: Some(settings.front.addr()),
        },
        tenant: BootNic {
            mac: tenant_mac,
            address: tenant,
            prefix: instance.subnet.prefix_len(),
            gateway: None,
        },
        created_at: inputs.now,
        verdict: Verdict::Starting,
        since: inputs.now,
        evidence: "it was decided".into(),
        leaving: None,
    };
    Some((vm_id, vm))
}

/// Whether a VM can go on as it is. A backend that was given the VM's own tenant address would be
/// unreachable, so the VM makes room.
fn can_stay(vm: &VmLayout, backends: &BTreeSet<Ipv4Addr>) -> bool {
    !backends.contains(&vm.tenant.address)
}

fn for_each_staying(
    layout: &mut Layout,
    id: InstanceId,
    decide: impl Fn(&VmLayout) -> Option<Leaving>,
) {
    let vms = layout
        .instances
        .get_mut(&id)
        .map(|instance| &mut instance.vms);
    for vm in vms
        .into_iter()
        .flat_map(|vms| vms.values_mut())
        .filter(|vm| vm.leaving.is_none())
    {
        vm.leaving = decide(vm);
    }
}

fn project_of(layout: &Layout, id: InstanceId) -> model::ProjectId {
    layout
        .instances
        .get(&id)
        .map(|instance: &InstanceLayout| instance.project)
        .unwrap_or_default()
}

/// The zone generation is filled in when the zone is planned.
fn leaving(inputs: Inputs<'_>, reason: String) -> Leaving {
    Leaving {
        since: inputs.now,
        reason,
        dns_serial: 0,
    }
}
