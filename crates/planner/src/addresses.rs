//! Which addresses a new VM gets.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Take;
use std::net::Ipv4Addr;

use ipnet::{Ipv4AddrRange, Ipv4Net};
use model::{Intent, Mac, ProjectId, SubnetId, VmId};

use crate::draft::Draft;
use crate::{Inputs, Settings, traffic};

/// Addresses looked at before a subnet is held to be full: a bound on the work of one plan.
const MOST_CANDIDATES: usize = 1 << 16;

/// The addresses of backends, as far as known, by project.
pub(crate) type BackendAddresses = BTreeMap<ProjectId, BTreeSet<Ipv4Addr>>;

/// What is taken, gathered once for a plan, and what the plan takes from the rest.
pub(crate) struct Addresses {
    /// Front addresses that VMs have, that rest, that DNS still names, and the host's own.
    front: BTreeSet<Ipv4Addr>,
    /// Where the search for a front address goes on. What lies before is taken.
    front_candidates: Take<Ipv4AddrRange>,
    tenant: BTreeMap<SubnetId, BTreeSet<Ipv4Addr>>,
    backends: BackendAddresses,
}

impl Addresses {
    pub(crate) fn new(inputs: Inputs<'_>, layout: &Draft) -> Self {
        let settings = inputs.settings;
        let mut front: BTreeSet<Ipv4Addr> = layout.ledger.resting.keys().copied().collect();
        front.extend(layout.dns.records.values().flatten());
        front.insert(settings.front.addr());
        let mut tenant: BTreeMap<SubnetId, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for vm in layout.instances.values().flat_map(|i| i.vms.values()) {
            front.insert(vm.front.address);
            tenant
                .entry(vm.subnet)
                .or_default()
                .insert(vm.tenant.address);
        }
        Self {
            front,
            front_candidates: settings.front.hosts().take(MOST_CANDIDATES),
            tenant,
            backends: backend_addresses(inputs.intent, layout),
        }
    }

    /// Whether a backend of the project has that address.
    pub(crate) fn is_backend(&self, project: ProjectId, address: Ipv4Addr) -> bool {
        is_backend(&self.backends, project, address)
    }

    /// The lowest free front address and the highest free address of the tenant's subnet.
    ///
    /// `None` when the front network or the subnet is full.
    pub(crate) fn take(
        &mut self,
        project: ProjectId,
        subnet: SubnetId,
        cidr: Ipv4Net,
    ) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let tenant = self.choose_tenant(project, subnet, cidr)?;
        let front = self
            .front_candidates
            .find(|address| !self.front.contains(address))?;
        self.tenant.entry(subnet).or_default().insert(tenant);
        Some((front, tenant))
    }

    /// The highest address of a tenant's subnet that no VM and no backend has.
    ///
    /// People number their servers from the low end and put routers at either end, so a VM takes from
    /// the high end and, in a subnet of 16 addresses and more, leaves the first and the last host
    /// address alone.
    fn choose_tenant(
        &self,
        project: ProjectId,
        subnet: SubnetId,
        cidr: Ipv4Net,
    ) -> Option<Ipv4Addr> {
        let vms = self.tenant.get(&subnet);
        let margin = if cidr.prefix_len() <= 28 { 2 } else { 1 };
        let lowest = u32::from(cidr.network()).saturating_add(margin);
        let highest = u32::from(cidr.broadcast()).saturating_sub(margin);
        (lowest..=highest)
            .rev()
            .take(MOST_CANDIDATES)
            .map(Ipv4Addr::from)
            .find(|address| {
                !vms.is_some_and(|vms| vms.contains(address)) && !self.is_backend(project, *address)
            })
    }
}

/// Every address at which backends are: those that users named, and those that their names resolve to.
pub(crate) fn backend_addresses(intent: &Intent, layout: &Draft) -> BackendAddresses {
    let mut found = BackendAddresses::new();
    for (id, instance) in &intent.instances {
        let Some(standing) = layout.instances.get(id) else {
            continue;
        };
        let addresses = instance
            .backends
            .iter()
            .flat_map(|backend| traffic::backend_addresses(&backend.host, &standing.resolved));
        found.entry(instance.project).or_default().extend(addresses);
    }
    found
}

/// Whether a backend of the project has that address.
pub(crate) fn is_backend(
    backends: &BackendAddresses,
    project: ProjectId,
    address: Ipv4Addr,
) -> bool {
    backends
        .get(&project)
        .is_some_and(|of_project| of_project.contains(&address))
}

/// The MACs of a VM's front and tenant NICs: locally administered, from the installation's salt and the
/// VM's number, so that no two VMs of a machine share one.
pub(crate) fn macs(settings: &Settings, vm: VmId) -> (Mac, Mac) {
    let [salt_a, salt_b] = settings.mac_salt;
    let [.., high, middle, low] = vm.0.to_be_bytes();
    let mac = |kind| Mac([kind, salt_a, salt_b, high, middle, low]);
    (mac(0x02), mac(0x06))
}

#[cfg(test)]
mod tests;
