//! What must hold of every layout that is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{
    BackendHost, Effect, Instance, InstanceId, InstanceLayout, Intent, Layout, ProjectId, Verdict,
    VmId, VmLayout,
};
use planner::{Inputs, Planned, Scope, Standing};

use super::{Held, hold, names};
use crate::bugs::alter;

/// VMs that one instance may have in all besides three for each that it asks for: those that leave or are
/// kept though they are down, and as many as the growing pauses between replacements leave room for.
const MOST_BESIDES: usize = 16;

/// The same inputs give the same layout.
pub(crate) fn is_pure(
    inputs: Inputs<'_>,
    before: &Standing,
    scope: &Scope,
    planned: &Planned,
) -> Held {
    let again = planner::plan(inputs, before, scope).standing;
    let next = &planned.standing;
    let same = again.layout() == next.layout() && again.report() == next.report();
    hold("the same inputs give the same plan", same, || {
        difference(next.layout(), again.layout())
    })
}

/// Planning again from what was planned changes nothing, and what is counted is what would be counted anew.
pub(crate) fn is_fixed_point(inputs: Inputs<'_>, planned: &Planned) -> Held {
    let next = &planned.standing;
    let further = planner::plan(inputs, next, &planned.scope).standing;
    let (once, again) = (
        but_for_figures(next.layout()),
        but_for_figures(further.layout()),
    );
    hold("a plan is a fixed point", once == again, || {
        difference(&once, &again)
    })?;
    let same = further.report() == next.report() || further.layout() != next.layout();
    hold("a report is a fixed point", same, || {
        format!("{:?}, then {:?}", next.report(), further.report())
    })?;
    let counted = next.is_counted_right(inputs.intent);
    hold("what is counted is kept up", counted, || {
        format!("{:?}", planned.scope)
    })
}

/// A layout without what is remembered of load. That goes on to be measured, and a plan remembers it before it
/// decides what becomes of VMs.
pub(crate) fn but_for_figures(layout: &Layout) -> Layout {
    let mut layout = layout.clone();
    alter(&mut layout, |_, instance| {
        instance.scale.rising = None;
        instance.scale.enough = 0;
        instance.scale.peaks.clear();
    });
    layout
}

/// Where two layouts begin to differ.
pub(crate) fn difference(one: &Layout, other: &Layout) -> String {
    let others: BTreeMap<_, _> = vms(other).collect();
    if let Some((id, vm)) = vms(one).find(|(id, vm)| others.get(id) != Some(vm)) {
        return format!("VM {id} {vm:?}, then {:?}", others.get(id));
    }
    for (id, instance) in &one.instances {
        let again = other.instances.get(id);
        if again != Some(instance) {
            let again = again.map(|again| (again.vms.keys(), &again.scale, &again.downs));
            let once = (instance.vms.keys(), &instance.scale, &instance.downs);
            return format!("instance {id} {once:?}, then {again:?}");
        }
    }
    let rest = |layout: &Layout| {
        format!(
            "{:?} {:?} {:?}",
            layout.host, layout.ledger, layout.networks
        )
    };
    let zones = format!("{:?}, then {:?}", one.dns, other.dns);
    format!("{}, then {}; {zones}", rest(one), rest(other))
}

/// Holds a layout that is about to be stored.
pub(crate) fn check(intent: &Intent, before: &Layout, next: &Layout) -> Held {
    owners(next)?;
    zone(intent, before, next)?;
    history(before, next)?;
    networks(intent, next)?;
    numbers(intent, before, next)
}

/// Effects that are begun at once work on different things.
pub(crate) fn effects(effects: &[Effect], in_flight: &BTreeSet<String>) -> Held {
    let mut keys = BTreeSet::new();
    let is_alone = |effect: &Effect| {
        let key = effect.key();
        !in_flight.contains(&key) && keys.insert(key)
    };
    let alone = effects.iter().all(is_alone);
    hold("one effect at a time for one thing", alone, || {
        format!("{effects:?}")
    })
}

pub(crate) fn vms(layout: &Layout) -> impl Iterator<Item = (&VmId, &VmLayout)> {
    layout.instances.values().flat_map(|instance| &instance.vms)
}

fn owners(layout: &Layout) -> Held {
    const RULE: &str = "one owner for each address";
    let mut fronts = BTreeSet::new();
    let mut tenants = BTreeSet::new();
    let mut macs = BTreeSet::new();
    for (id, vm) in vms(layout) {
        let front = vm.front.address;
        hold(RULE, fronts.insert(front), || {
            format!("VM {id} shares {front}")
        })?;
        hold(RULE, !layout.ledger.resting.contains_key(&front), || {
            format!("VM {id} has {front}, which rests")
        })?;
        let tenant = vm.tenant.address;
        hold(RULE, tenants.insert((vm.subnet, tenant)), || {
            format!("VM {id} shares {tenant}")
        })?;
        let own_macs = macs.insert(vm.front.mac) && macs.insert(vm.tenant.mac);
        hold(RULE, own_macs, || format!("VM {id} shares a MAC"))?;
        hold(RULE, *id <= layout.ledger.last_vm, || {
            format!("VM {id} is not in the ledger")
        })?;
    }
    Ok(())
}

/// DNS names the serving VMs of each instance, or, while none serves, what it named before.
fn zone(intent: &Intent, before: &Layout, next: &Layout) -> Held {
    const RULE: &str = "DNS names the VMs that serve, or the last that did";
    let mut all = BTreeSet::new();
    for (id, asked) in &intent.instances {
        let own: Vec<String> = names(intent, asked).collect();
        let serving = serving(next.instances.get(id).map(Arc::as_ref));
        let last = before.instances.contains_key(id).then(|| {
            let last = own.iter().filter_map(|name| before.dns.records.get(name));
            last.max().cloned().unwrap_or_default()
        });
        let expected = match serving.is_empty() {
            true => last.unwrap_or_default(),
            false => serving,
        };
        for name in own {
            let named = next.dns.records.get(&name).cloned().unwrap_or_default();
            hold(RULE, named == expected, || {
                format!("{name} is {named:?} and should be {expected:?}")
            })?;
            all.insert(name);
        }
    }
    let stranger = next.dns.records.keys().find(|name| !all.contains(*name));
    hold(RULE, stranger.is_none(), || {
        format!("{stranger:?} is nobody's")
    })?;
    let changed = next.dns.records != before.dns.records;
    let serial = before.dns.serial + u32::from(changed);
    hold(
        "each change of the zone has a serial of its own",
        next.dns.serial == serial,
        || format!("{} after {}", next.dns.serial, before.dns.serial),
    )
}

fn serving(standing: Option<&InstanceLayout>) -> BTreeSet<Ipv4Addr> {
    let vms = standing.into_iter().flat_map(|s| s.vms.values());
    vms.filter(|vm| vm.is_serving())
        .map(|vm| vm.front.address)
        .collect()
}

/// What was decided of a VM stays: identity, addresses, that it leaves.
fn history(before: &Layout, next: &Layout) -> Held {
    const RULE: &str = "what was decided of a VM stays";
    let old: BTreeMap<_, _> = vms(before).collect();
    for (id, vm) in vms(next) {
        let Some(old) = old.get(id) else {
            hold(RULE, *id > before.ledger.last_vm, || {
                format!("VM {id} has a used identity")
            })?;
            continue;
        };
        let same = vm.front == old.front && vm.tenant == old.tenant && vm.subnet == old.subnet;
        hold(RULE, same, || {
            format!("VM {id} is another: {old:?}, then {vm:?}")
        })?;
        let stays_away = old.leaving.is_none() || vm.leaving.is_some();
        hold(RULE, stays_away, || format!("VM {id} left and is back"))?;
    }
    for (id, instance) in &before.instances {
        let was = instance.config.generation;
        let after = next.instances.get(id).map(|after| after.config.generation);
        let rises = after.is_none_or(|after| after >= was);
        hold("no older generation after a newer one", rises, || {
            format!("instance {id} has {after:?} after {was}")
        })?;
    }
    Ok(())
}

/// Every VM has its subnet, and every subnet somebody who needs it.
fn networks(intent: &Intent, next: &Layout) -> Held {
    const RULE: &str = "every VM has its subnet, and every subnet its use";
    for (id, instance) in &next.instances {
        let network = next.networks.get(&instance.project);
        let has = |vm: &VmLayout| network.is_some_and(|n| n.subnets.contains_key(&vm.subnet));
        hold(RULE, instance.vms.values().all(has), || {
            format!("a VM of instance {id} has no subnet")
        })?;
    }
    let used: BTreeSet<_> = vms(next).map(|(_, vm)| vm.subnet).collect();
    let asked = intent.instances.values();
    let asked: BTreeSet<_> = asked.map(|i| (i.project, i.subnet)).collect();
    for (project, network) in &next.networks {
        for (id, subnet) in &network.subnets {
            let wanted = asked.contains(&(*project, subnet.cidr))
                || !subnet.ports.is_empty()
                || used.contains(id);
            hold(RULE, wanted, || format!("subnet {id} is idle"))?;
        }
    }
    Ok(())
}

/// VMs are added up to the most that were asked for, and sent away down to the fewest.
fn numbers(intent: &Intent, before: &Layout, next: &Layout) -> Held {
    const RULE: &str = "as many VMs as asked for, and their replacements";
    for (id, standing) in &next.instances {
        let old = before.instances.get(id);
        let Some(asked) = intent.instances.get(id).filter(|_| old != Some(standing)) else {
            continue;
        };
        let (min, max) = bounds(asked);
        let all = standing.vms.len();
        hold(RULE, all <= max * 3 + MOST_BESIDES, || {
            format!("instance {id} has {all} VMs and may have {max}")
        })?;
        let known = |vm: &VmId| old.and_then(|old| old.vms.get(vm));
        let crew = || standing.vms.iter().filter(|(_, vm)| vm.is_crew());
        let grew = crew().any(|(vm, _)| known(vm).is_none());
        let room = max + unfit(intent, next, asked.project, standing);
        hold(RULE, !grew || crew().count() <= room, || {
            let vms = standing.vms.keys();
            format!("instance {id} was given a VM beyond {room}: {vms:?}")
        })?;
        let left = |(id, vm): (&VmId, &VmLayout)| {
            vm.leaving.is_some()
                && serves(vm)
                && known(id).is_some_and(|k| k.is_crew() && serves(k))
        };
        let shrank = standing.vms.iter().any(left);
        let stay = crew().filter(|(_, vm)| serves(vm)).count();
        hold(RULE, !shrank || stay >= min, || {
            format!("instance {id} was left with {stay} of {min} VMs that serve")
        })?;
    }
    Ok(())
}

/// Whether a VM is held to serve.
pub(crate) fn serves(vm: &VmLayout) -> bool {
    matches!(vm.verdict, Verdict::Serving | Verdict::Suspect)
}

/// The fewest and the most VMs that a user asked for.
pub(crate) fn bounds(asked: &Instance) -> (usize, usize) {
    let (min, max) = (asked.auto_scaling.min(), asked.auto_scaling.max());
    (min as usize, max as usize)
}

/// VMs that have to make room, because a backend was given their address.
fn unfit(intent: &Intent, next: &Layout, project: ProjectId, standing: &InstanceLayout) -> usize {
    let own = intent.instances.iter();
    let own = own.filter(|(_, instance)| instance.project == project);
    let addresses = |(id, asked): (&InstanceId, &Instance)| -> Vec<Ipv4Addr> {
        let standing = next.instances.get(id).into_iter();
        let resolved = standing.flat_map(|s| s.resolved.values().flatten().copied());
        let hosts = asked.backends.iter().map(|backend| &backend.host);
        let named = hosts.filter_map(|host| match host {
            BackendHost::Address(address) => Some(*address),
            BackendHost::Name(_) => None,
        });
        named.chain(resolved).collect()
    };
    let taken: BTreeSet<Ipv4Addr> = own.flat_map(addresses).collect();
    let crew = standing.vms.values().filter(|vm| vm.is_crew());
    crew.filter(|vm| taken.contains(&vm.tenant.address)).count()
}
