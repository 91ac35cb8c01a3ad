//! How many VMs each instance has, and which of them are to go.

use std::collections::BTreeMap;

use model::{
    BootNic, Instance, InstanceId, InstanceLayout, Ledger, NetworkLayout, ProjectId, SetAside,
    Verdict, VmId, VmLayout,
};

use crate::addresses::{self, Addresses};
use crate::deaths::replacement_due;
use crate::draft::Draft;
use crate::failover::{leaving, staying};
use crate::networks::find_subnet;
use crate::scaling::wanted_vms;
use crate::{Inputs, breaker};

/// Decides about each instance's VMs: the missing are added, the superfluous leave.
pub(crate) fn plan_vms(inputs: Inputs<'_>, layout: &mut Draft) {
    let addresses = Addresses::new(inputs, layout);
    let Draft {
        instances,
        networks,
        ledger,
        host,
        ..
    } = layout;
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
    addresses: Addresses,
}

impl Supply<'_> {
    /// A VM with an identity and addresses of its own; `None` when the front network or the subnet is
    /// full, which the report says.
    fn new_vm(&mut self, asked: &Instance) -> Option<(VmId, VmLayout)> {
        let settings = self.inputs.settings;
        let subnet = find_subnet(self.networks.get(&asked.project)?, asked.subnet)?;
        let (front, tenant) = self.addresses.take(asked.project, subnet, asked.subnet)?;
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
fn send_away_the_unmakeable(inputs: Inputs<'_>, standing: &mut InstanceLayout) {
    let runs = |id: &VmId| {
        inputs
            .observed
            .vms
            .get(id)
            .is_some_and(|sight| sight.pid.is_some())
    };
    for (id, vm) in &mut standing.vms {
        let unmade = vm.verdict == Verdict::Starting && !runs(id);
        if vm.leaving.is_none() && unmade && vm.driver != inputs.settings.driver {
            let reason = "it was to be run by a driver that is no longer chosen";
            vm.leaving = Some(leaving(inputs, reason.into()));
        }
    }
}

fn send_away_all(inputs: Inputs<'_>, standing: &mut InstanceLayout) {
    for (_, vm) in staying(standing) {
        vm.leaving = Some(leaving(inputs, "the instance was deleted".into()));
    }
}

fn add_missing(supply: &mut Supply<'_>, asked: &Instance, standing: &mut InstanceLayout) {
    let wanted = wanted_vms(asked, standing);
    let now = supply.inputs.now;
    if replacement_due(standing, wanted).is_some_and(|due| due > now) {
        return;
    }
    let crew = standing.vms.values().filter(|vm| vm.is_crew());
    let fit = crew.filter(|vm| supply.can_stay(asked.project, vm)).count();
    let missing = wanted.saturating_sub(fit);
    let new: Vec<_> = std::iter::from_fn(|| supply.new_vm(asked))
        .take(missing)
        .collect();
    if new.len() < missing {
        make_room(supply.inputs, standing);
    }
    standing.vms.extend(new);
}

/// Where there is no address for a VM that is missing, the oldest of those that are kept though they are
/// down goes before its time.
fn make_room(inputs: Inputs<'_>, standing: &mut InstanceLayout) {
    // One at a time: the room of one that leaves is not free yet, and may be enough.
    if standing.vms.values().any(|vm| vm.leaving.is_some()) {
        return;
    }
    let kept = staying(standing).find(|(_, vm)| vm.aside.is_some());
    if let Some((_, vm)) = kept {
        let reason = "it is down, and another VM needs its addresses";
        vm.leaving = Some(leaving(inputs, reason.into()));
    }
}

/// Sends away what is more than wanted, never one that serves while its stand-in does not: first those
/// that cannot stay, then those that do not serve, then the youngest.
fn send_away_superfluous(
    supply: &mut Supply<'_>,
    instance: InstanceId,
    asked: &Instance,
    standing: &mut InstanceLayout,
) {
    let wanted = wanted_vms(asked, standing);
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
        if let Some(vm) = standing.vms.get_mut(&id) {
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
