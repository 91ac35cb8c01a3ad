//! What must hold of the world some time after the last fault.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{BackendHost, Condition, Instance, InstanceLayout, Intent, Layout, Report};

use super::plans::{bounds, vms};
use super::{Held, hold};
use crate::world::World;

const AS_ASKED: &str = "once faults stop, all is as asked";
const NOBODYS: &str = "nothing is owned by nobody";
const WELL: &str = "once faults stop, all is well";
const GONE: &str = "delete always converges";

/// Every instance is as its user asked, and runs what its user asked for last.
pub(crate) fn as_asked(world: &World, intent: &Intent, stored: &Layout, report: &Report) -> Held {
    let told = || report.instances.keys();
    let asked = || intent.instances.keys();
    hold(AS_ASKED, told().eq(asked()), || {
        let told = Vec::from_iter(told());
        format!("{told:?} are told of, and {:?} asked for", asked())
    })?;
    hold(AS_ASKED, report.troubles.is_empty(), || {
        format!("{:?}", report.troubles)
    })?;
    for (id, asked) in &intent.instances {
        let told = report.instances.get(id);
        let (Some(told), Some(standing)) = (told, stored.instances.get(id)) else {
            continue;
        };
        let condition = match standing.config.backends.is_empty() {
            true => Condition::NoBackend,
            false => Condition::Serving,
        };
        let stands = told.condition == condition && told.in_effect;
        hold(AS_ASKED, stands, || {
            format!("instance {id} waits for {:?}", told.waiting_for)
        })?;
        let (min, max) = bounds(asked);
        let crew = standing.vms.values().filter(|vm| vm.is_crew()).count();
        hold(AS_ASKED, (min..=max).contains(&crew), || {
            format!("instance {id} has {crew} VMs, of {min} to {max}")
        })?;
        hold(AS_ASKED, told.addresses.len() == crew, || {
            format!("instance {id} has {crew} VMs and {:?}", told.addresses)
        })?;
        runs(world, asked, standing)?;
    }
    Ok(())
}

/// Every VM of the instance runs the backends that its user named last.
fn runs(world: &World, asked: &Instance, standing: &InstanceLayout) -> Held {
    let resolved = world.resolved();
    let mut wanted: BTreeSet<(Ipv4Addr, u16)> = BTreeSet::new();
    for backend in &asked.backends {
        let addresses = match &backend.host {
            BackendHost::Address(address) => std::slice::from_ref(address),
            BackendHost::Name(name) => resolved.get(name).map_or(&[][..], |r| &r.addresses),
        };
        let inside = addresses.iter().filter(|a| asked.subnet.contains(*a));
        wanted.extend(inside.map(|address| (*address, backend.port)));
    }
    for (id, vm) in standing.vms.iter().filter(|(_, vm)| vm.is_crew()) {
        let process = world.machines.get(id).and_then(|m| m.process.as_ref());
        let config = process.and_then(|process| process.config.as_ref());
        let backends = config.into_iter().flat_map(|config| &config.backends);
        let runs: BTreeSet<_> = backends.map(|b| (b.address, b.port)).collect();
        hold("no update is lost", runs == wanted, || {
            format!("VM {id} ({:?}) has {runs:?} of {wanted:?}", vm.verdict)
        })?;
    }
    Ok(())
}

/// The world holds what was decided and nothing else.
pub(crate) fn as_decided(world: &World, stored: &Layout) -> Held {
    let decided: BTreeSet<_> = vms(stored).map(|(id, _)| *id).collect();
    let there: BTreeSet<_> = world.machines.keys().copied().collect();
    hold(NOBODYS, decided == there, || {
        let extra: Vec<_> = there.difference(&decided).collect();
        let missing: Vec<_> = decided.difference(&there).collect();
        format!("VMs {extra:?} are nobody's, and {missing:?} are missing")
    })?;
    let networks = stored.networks.iter().map(|(id, network)| {
        let subnets = network.subnets.iter().map(|(id, s)| (*id, s.ports.clone()));
        (*id, subnets.collect::<BTreeMap<_, _>>())
    });
    let decided: BTreeMap<_, _> = networks.collect();
    hold(NOBODYS, has_all(&decided, world), || {
        format!("networks are {:?}, not {decided:?}", world.networks)
    })?;
    hold(NOBODYS, stored.dns == world.dns.zone, || {
        format!("DNS says {:?}, not {:?}", world.dns.zone, stored.dns)
    })?;
    for (id, vm) in vms(stored) {
        let machine = world.machines.get(id);
        let is_well = machine.is_some_and(|m| m.well.holds_for_ms(world.now_ms).is_some());
        hold(WELL, is_well && vm.is_crew(), || {
            format!("VM {id} is {machine:?}\n{vm:?}")
        })?;
    }
    let resting = &stored.ledger.resting;
    hold(WELL, resting.is_empty(), || format!("{resting:?} rest"))
}

/// Whether the world has the networks that were decided: a bridge that nobody hangs on need not be there.
fn has_all(decided: &crate::world::Networks, world: &World) -> bool {
    let is_idle = |subnet| !world.machines.values().any(|m| m.subnet == subnet);
    decided.keys().eq(world.networks.keys())
        && decided.iter().all(|(project, subnets)| {
            let there = world.networks.get(project).into_iter().flatten();
            let there: BTreeMap<_, _> = there.collect();
            let wanted = subnets.iter().filter(|(id, ports)| {
                there.contains_key(id) || !ports.is_empty() || !is_idle(**id)
            });
            wanted.eq(there.iter().map(|(id, ports)| (*id, *ports)))
        })
}

/// Nothing is left of anything.
pub(crate) fn is_gone(world: &World, stored: &Layout) -> Held {
    let nothing = stored.instances.is_empty() && stored.networks.is_empty();
    hold(GONE, nothing, || {
        format!("{:?} {:?} stand", stored.instances, stored.networks)
    })?;
    let resting = &stored.ledger.resting;
    hold(GONE, resting.is_empty(), || format!("{resting:?} rest"))?;
    let (machines, networks) = (&world.machines, &world.networks);
    hold(GONE, machines.is_empty() && networks.is_empty(), || {
        format!("{:?} and {networks:?} are left", machines.keys())
    })?;
    let records = &world.dns.zone.records;
    hold(GONE, records.is_empty(), || {
        format!("DNS names {records:?}")
    })
}
