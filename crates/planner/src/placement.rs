//! How many VMs each instance has, and which of them are to go.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    BootNic, Instance, InstanceId, InstanceLayout, Ledger, NetworkLayout, ProjectId, SetAside,
    Verdict, VmId, VmLayout, vm_key,
};

use crate::addresses::{self, Addresses};
use crate::deaths::replacement_due;
use crate::draft::Draft;
use crate::failover::{leaving, staying};
use crate::networks::find_subnet;
use crate::scaling::wanted_vms;
use crate::{Inputs, breaker, removal};

/// Decides about each instance's VMs: the missing are added, the superfluous leave.
pub(crate) fn plan_vms(inputs: Inputs<'_>, layout: &mut Draft) {
    let Draft {
        instances,
        networks,
        ledger,
        counted,
        freed,
        host,
        ..
    } = layout;
    let addresses = Addresses::new(counted, ledger, freed);
    let mut supply = Supply {
        inputs,
        networks,
        ledger,
        set_aside: &mut host.set_aside,
        addresses,
    };
    for (id, standing) in instances {
        send_away_the_unmakeable(inputs, standing);
        match inputs.intent.instances.get(id) {
            None => send_away_all(inputs, standing),
            Some(asked) => {
                add_missing(&mut supply, asked, standing);
                make_room_on_the_host(inputs, *id, standing);
                send_away_superfluous(&mut supply, *id, asked, standing);
            }
        }
    }
}

/// What new VMs are made from.
struct Supply<'a> {
    inputs: Inputs<'a>,
    networks: &'a BTreeMap<ProjectId, NetworkLayout>,
    ledger: &'a mut Ledger,
    /// The breaker's memory.
    set_aside: &'a mut Vec<SetAside>,
    addresses: Addresses<'a>,
}

impl Supply<'_> {
    /// A VM with an identity and addresses of its own; `None` when the front network or the subnet is
    /// full, which the report says.
    fn new_vm(&mut self, asked: &Instance) -> Option<(VmId, VmLayout)> {
        let settings = self.inputs.settings;
        let subnet = find_subnet(self.networks.get(&asked.project)?, asked.subnet)?;
        let (front, tenant) = {
            let (project, cidr) = (asked.project, asked.subnet);
            self.addresses.take(settings.front, project, subnet, cidr)?
        };
        let id = VmId(self.ledger.last_vm.0.saturating_add(1));
        self.ledger.last_vm = id;
        let (front_mac, tenant_mac) = addresses::macs(settings, id);
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
                prefix: asked.subnet.prefix_len(),
                gateway: None,
            },
            created_at: self.inputs.now,
            verdict: Verdict::Starting,
            since: self.inputs.now,
            evidence: "it is not made yet".into(),
            aside: None,
            leaving: None,
        };
        Some((id, vm))
    }

    /// Whether a VM can go on as it is. A backend that was given the VM's own tenant address would be
    /// unreachable, so the VM makes room.
    fn can_stay(&self, project: ProjectId, vm: &VmLayout) -> bool {
        !self.addresses.is_backend(project, vm.tenant.address)
    }
}

/// VMs that were decided before the operator chose another driver, and never came to be.
fn send_away_the_unmakeable(inputs: Inputs<'_>, standing: &mut Arc<InstanceLayout>) {
    let others = |vm: &VmLayout| vm.driver != inputs.settings.driver;
    if !standing.vms.values().any(others) {
        return;
    }
    for (id, vm) in staying(Arc::make_mut(standing)).filter(|(_, vm)| others(vm)) {
        if vm.verdict == Verdict::Starting && !runs(inputs, id) {
            let reason = "it was to be run by a driver that is no longer chosen";
            vm.leaving = Some(leaving(inputs, reason.into()));
        }
    }
}

fn runs(inputs: Inputs<'_>, id: VmId) -> bool {
    let sight = inputs.observed.vms.get(&id);
    sight.is_some_and(|sight| sight.pid.is_some())
}

fn send_away_all(inputs: Inputs<'_>, standing: &mut Arc<InstanceLayout>) {
    if standing.vms.values().all(|vm| vm.leaving.is_some()) {
        return;
    }
    for (_, vm) in staying(Arc::make_mut(standing)) {
        vm.leaving = Some(leaving(inputs, "the instance was deleted".into()));
    }
}

/// Adds what is missing. Where VMs die one after the other, those in place of dead ones wait; what is wanted more than
/// before does not, for it is the load or the user that asks for it.
fn add_missing(supply: &mut Supply<'_>, asked: &Instance, standing: &mut Arc<InstanceLayout>) {
    let wanted = wanted_vms(asked, standing);
    let now = supply.inputs.now;
    let crew = standing.vms.values().filter(|vm| vm.is_crew());
    let fit = crew.filter(|vm| supply.can_stay(asked.project, vm)).count();
    let is_held = replacement_due(standing, wanted).is_some_and(|due| due > now);
    let growth = wanted.saturating_sub(standing.staffed);
    let most = if is_held { growth } else { usize::MAX };
    let missing = wanted.saturating_sub(fit).min(most);
    let new: Vec<_> = std::iter::from_fn(|| supply.new_vm(asked))
        .take(missing)
        .collect();
    if new.len() < missing {
        let reason = "it is down, and another VM needs its addresses";
        let standing = Arc::make_mut(standing);
        make_room(supply.inputs, asked.id, standing, reason, |_, vm| {
            vm.aside.is_some()
        });
    }
    // Growth for which there is no address stays growth.
    let ungrown = missing.saturating_sub(new.len()).min(growth);
    let staffed = wanted.saturating_sub(ungrown);
    if standing.staffed != staffed || !new.is_empty() {
        let standing = Arc::make_mut(standing);
        standing.staffed = staffed;
        standing.vms.extend(new);
    }
}

/// Where the host has no memory for a VM, a process that is kept though it is down, and shows no life, goes
/// before its time.
fn make_room_on_the_host(
    inputs: Inputs<'_>,
    instance: InstanceId,
    standing: &mut Arc<InstanceLayout>,
) {
    let lacks_room = |(id, vm): (&VmId, &VmLayout)| {
        let failure = || inputs.observed.failures.get(&vm_key(*id));
        vm.is_crew()
            && vm.verdict == Verdict::Starting
            && failure().is_some_and(|failure| failure.lacks_room)
    };
    if standing.vms.iter().any(lacks_room) {
        let reason = "it is down, and another VM needs its memory";
        make_room(
            inputs,
            instance,
            Arc::make_mut(standing),
            reason,
            |id, vm| vm.is_fenced() && vm.verdict == Verdict::Down && runs(inputs, id),
        );
    }
}

/// Has the oldest of those that are kept though they are down, and that would make room, go before its time.
fn make_room(
    inputs: Inputs<'_>,
    id: InstanceId,
    standing: &mut InstanceLayout,
    reason: &str,
    makes_room: impl Fn(VmId, &VmLayout) -> bool,
) {
    // One at a time: the room of one that is being removed is not free yet, and may be enough.
    let is_going = |vm: &VmLayout| removal::may_be_removed(inputs, id, vm);
    if standing.vms.values().any(is_going) {
        return;
    }
    let kept = staying(standing).find(|(id, vm)| makes_room(*id, vm));
    if let Some((_, vm)) = kept {
        vm.leaving = Some(leaving(inputs, reason.into()));
    }
}

/// Sends away what is more than wanted, never one that serves while its stand-in does not: first those
/// that cannot stay, then those that do not serve, then the youngest.
fn send_away_superfluous(
    supply: &mut Supply<'_>,
    instance: InstanceId,
    asked: &Instance,
    standing: &mut Arc<InstanceLayout>,
) {
    let wanted = wanted_vms(asked, standing);
    let all = standing.vms.values().filter(|vm| vm.is_crew());
    if all.count() <= wanted {
        return;
    }
    let mut crew: Vec<(bool, bool, VmId)> = standing
        .vms
        .iter()
        .filter(|(_, vm)| vm.is_crew())
        .map(|(id, vm)| {
            let serves = vm.is_serving() && vm.verdict != Verdict::Down;
            (supply.can_stay(asked.project, vm), serves, *id)
        })
        .collect();
    let fit_and_serving = crew.iter().filter(|(fit, serves, _)| *fit && *serves);
    if fit_and_serving.count() < wanted {
        return;
    }
    crew.sort_by_key(|(fit, serves, id)| (!*fit, !*serves, *id));
    for (fit, _, id) in crew.into_iter().skip(wanted) {
        let reason = match fit {
            true => "fewer VMs are wanted",
            false => "a backend has its tenant address",
        };
        if let Some(vm) = Arc::make_mut(standing).vms.get_mut(&id) {
            // One that the breaker holds goes on to count as found down.
            if breaker::is_held(vm) && breaker::is_recent(supply.inputs, vm.since) {
                let (found_at, at) = (vm.since, supply.inputs.now);
                supply.set_aside.push(SetAside {
                    instance,
                    found_at,
                    at,
                });
            }
            vm.leaving = Some(leaving(supply.inputs, reason.into()));
        }
    }
}

#[cfg(test)]
mod tests;
