//! Which addresses a new VM gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use model::{BackendHost, Intent, Layout, Mac, ProjectId, SubnetId, VmId};

use crate::Settings;

/// Addresses looked at before a subnet is held to be full: a bound on the work of one plan.
const MOST_CANDIDATES: usize = 1 << 16;

/// The lowest front address that nothing uses, rests on, or is still named for in DNS.
///
/// `None` when the front network is full.
pub(crate) fn choose_front(settings: &Settings, layout: &Layout) -> Option<Ipv4Addr> {
    let mut taken: BTreeSet<Ipv4Addr> = layout.ledger.resting.keys().copied().collect();
    taken.extend(layout.dns.records.values().flatten());
    taken.extend(
        layout
            .instances
            .values()
            .flat_map(|i| i.vms.values())
            .map(|vm| vm.front.address),
    );
    taken.insert(settings.front.addr());
    settings
        .front
        .hosts()
        .take(MOST_CANDIDATES)
        .find(|address| !taken.contains(address))
}

/// The highest address of a tenant's subnet that no VM and no backend has.
///
/// People number their servers from the low end and put routers at either end, so a VM takes from the
/// high end and, in a subnet of 16 addresses and more, leaves the first and the last host address
/// alone. `None` when the subnet is full.
pub(crate) fn choose_tenant(
    intent: &Intent,
    layout: &Layout,
    project: ProjectId,
    subnet: SubnetId,
    cidr: Ipv4Net,
) -> Option<Ipv4Addr> {
    let taken: BTreeSet<Ipv4Addr> = layout
        .instances
        .values()
        .flat_map(|instance| instance.vms.values())
        .filter(|vm| vm.subnet == subnet)
        .map(|vm| vm.tenant.address)
        .chain(backend_addresses(intent, layout, project))
        .collect();
    let (network, broadcast) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
    let margin = if cidr.prefix_len() <= 28 { 2 } else { 1 };
    let lowest = network.saturating_add(margin);
    let highest = broadcast.saturating_sub(margin);
    (lowest..=highest)
        .rev()
        .take(MOST_CANDIDATES)
        .map(Ipv4Addr::from)
        .find(|address| !taken.contains(address))
}

/// Every address at which a project's backends are, as far as known.
pub(crate) fn backend_addresses(
    intent: &Intent,
    layout: &Layout,
    project: ProjectId,
) -> BTreeSet<Ipv4Addr> {
    let given = intent
        .instances
        .values()
        .filter(|instance| instance.project == project)
        .flat_map(|instance| &instance.backends)
        .filter_map(|backend| match backend.host {
            BackendHost::Address(address) => Some(address),
            BackendHost::Name(_) => None,
        });
    let resolved = layout
        .instances
        .values()
        .filter(|instance| instance.project == project)
        .flat_map(|instance| instance.resolved.values().flatten().copied());
    given.chain(resolved).collect()
}

/// The MACs of a VM's front and tenant NICs: locally administered, from the installation's salt and the
/// VM's number, so that no two VMs of a machine share one.
pub(crate) fn macs(settings: &Settings, vm: VmId) -> (Mac, Mac) {
    let [salt_a, salt_b] = settings.mac_salt;
    let [.., high, middle, low] = vm.0.to_be_bytes();
    let mac = |kind| Mac([kind, salt_a, salt_b, high, middle, low]);
    (mac(0x02), mac(0x06))
}
