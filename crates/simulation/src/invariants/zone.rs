//! What must hold of each zone that is published.

use std::net::Ipv4Addr;

use model::{DnsLayout, InstanceId, InstanceLayout, Intent, Layout};

use super::{Held, hold, names};
use crate::world::World;

/// A VM that has been well for so long could be known to serve.
const KNOWN_WELL_MS: u64 = 10_000;

/// Holds a zone that comes after the one that is published.
pub(crate) fn check(world: &World, intent: &Intent, stored: &Layout, next: &DnsLayout) -> Held {
    let now = &world.dns.zone;
    let rises = next.serial >= now.serial;
    hold("the zone's serial never goes back", rises, || {
        format!("{} after {}", next.serial, now.serial)
    })?;
    let named = next.serial != now.serial || next.records == now.records;
    hold(
        "each change of the zone has a serial of its own",
        named,
        || format!("serial {} has other records than before", next.serial),
    )?;
    for (id, asked) in &intent.instances {
        // A new instance may have the name of one that was deleted in the same breath.
        let standing = stored.instances.get(id);
        let Some(standing) = standing.filter(|_| world.dns.known.contains(id)) else {
            continue;
        };
        for name in names(intent, asked) {
            let Some(old) = now.records.get(&name) else {
                continue;
            };
            let new = next.records.get(&name);
            hold(
                "DNS is never empty",
                new.is_some_and(|new| !new.is_empty()),
                || format!("{name} was {old:?}"),
            )?;
            let worked = old
                .iter()
                .any(|a| works(world, standing, *a, KNOWN_WELL_MS));
            let mut still = new.into_iter().flatten();
            let works = !worked || still.any(|a| works(world, standing, *a, 0));
            hold("DNS goes on naming somebody who works", works, || {
                format!("{name} was {old:?} and is {new:?}")
            })?;
        }
    }
    Ok(())
}

/// The instances of which the published zone names a VM of their own.
pub(crate) fn own_names<'a>(
    world: &'a World,
    intent: &'a Intent,
    stored: &'a Layout,
) -> impl Iterator<Item = InstanceId> + 'a {
    let records = &world.dns.zone.records;
    let names_own = |id: &InstanceId, asked| {
        let vms = || {
            stored
                .instances
                .get(id)
                .into_iter()
                .flat_map(|i| i.vms.values())
        };
        let mut named = names(intent, asked).filter_map(|name| records.get(&name));
        named.any(|named| vms().any(|vm| named.contains(&vm.front.address)))
    };
    let asked = intent.instances.iter();
    asked
        .filter(move |(id, asked)| names_own(id, asked))
        .map(|(id, _)| *id)
}

/// Whether the instance's VM with that address is in its place, and has been well for so long.
fn works(world: &World, standing: &InstanceLayout, address: Ipv4Addr, for_ms: u64) -> bool {
    let mut crew = standing.vms.iter().filter(|(_, vm)| vm.is_crew());
    crew.any(|(id, vm)| {
        let machine = world.machines.get(id);
        let well_ms = machine.and_then(|m| m.well.holds_for_ms(world.now_ms));
        vm.front.address == address && well_ms >= Some(for_ms)
    })
}
