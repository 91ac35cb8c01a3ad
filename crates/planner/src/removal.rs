//! When a VM that leaves is removed, and when one that was removed is forgotten.
//!
//! ```text
//!   leaving ──▶ its clients have gone, or had their time ([`crate::departure`]) ──▶ removed ──▶ forgotten
//!      │                                                                              ▲        (its front
//!      └── nobody is sent to it: it is down, it never served, ────────────────────────┘         address rests)
//!          or its instance was deleted
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{InstanceId, Timestamp, Verdict, VmId, VmLayout, vm_key};

use crate::Inputs;
use crate::draft::Draft;

/// Whether a VM that leaves may be removed: at once when nobody is sent to it, else when its clients have gone
/// or had their time.
pub(crate) fn may_be_removed(inputs: Inputs<'_>, id: InstanceId, vm: &VmLayout) -> bool {
    vm.leaving
        .as_ref()
        .is_some_and(|leaving| nobody_is_sent_to(inputs, id, vm) || leaving.let_go.is_some())
}

/// Drops the VMs that were sent away by an earlier plan and of which nothing is left, lets their
/// addresses rest, and drops deleted instances without VMs.
pub(crate) fn forget_what_is_gone(inputs: Inputs<'_>, layout: &mut Draft) {
    end_rests(inputs, layout);
    let free_at = Timestamp(inputs.now.0.saturating_add(inputs.settings.windows.rest_ms));
    let (resting, freed) = (&mut layout.ledger.resting, &mut layout.freed);
    let is_over = |id: VmId, vm: &VmLayout| {
        let leaving = vm.leaving.as_ref();
        leaving.is_some_and(|l| l.since < inputs.now) && is_gone(inputs, id)
    };
    for instance in layout.instances.values_mut() {
        if !instance.vms.iter().any(|(id, vm)| is_over(*id, vm)) {
            continue;
        }
        Arc::make_mut(instance).vms.retain(|id, vm| {
            let forget = is_over(*id, vm);
            if forget {
                resting.insert(vm.front.address, free_at);
                freed.insert((vm.subnet, vm.tenant.address));
            }
            !forget
        });
    }
    layout.instances.retain(|id, instance| {
        inputs.intent.instances.contains_key(id) || !instance.vms.is_empty()
    });
}

/// A published zone that is behind may still name any address that rests; given to another VM, it would
/// lead clients to a stranger.
fn end_rests(inputs: Inputs<'_>, layout: &mut Draft) {
    let published = inputs.observed.dns_serial.unwrap_or_default();
    if published >= layout.dns.serial {
        let resting = &mut layout.ledger.resting;
        let over = resting
            .iter()
            .filter(|(_, free_at)| **free_at <= inputs.now);
        let over: Vec<Ipv4Addr> = over.map(|(address, _)| *address).collect();
        for address in over {
            resting.remove(&address);
            layout.counted.free_front(address);
        }
    }
}

/// A VM that is starting was never in DNS, and one that is fenced is not any more.
pub(crate) fn nobody_is_sent_to(inputs: Inputs<'_>, id: InstanceId, vm: &VmLayout) -> bool {
    matches!(vm.verdict, Verdict::Down | Verdict::Starting)
        || vm.is_fenced()
        || !inputs.intent.instances.contains_key(&id)
}

/// Whether nothing of a VM is seen, and nothing that may be making it is under way.
pub(crate) fn is_gone(inputs: Inputs<'_>, id: VmId) -> bool {
    let observed = inputs.observed;
    !observed.vms.contains_key(&id)
        && !observed.network.vm_nics.contains_key(&id)
        && !observed.in_flight.contains(&vm_key(id))
}
