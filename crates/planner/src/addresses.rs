//! Which addresses a new VM gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use model::{Ledger, Mac, PersistentMap, ProjectId, SubnetId, Timestamp, VmId, checker_address};

use crate::Settings;
use crate::counts::Counted;

/// Addresses looked at before a subnet is held to be full: a bound on the work of one plan.
const MOST_CANDIDATES: u32 = 1 << 16;

/// What is taken, and what a plan takes from the rest.
pub(crate) struct Addresses<'a> {
    /// What is taken before this plan.
    counted: &'a mut Counted,
    resting: PersistentMap<Ipv4Addr, Timestamp>,
    /// Tenant addresses of VMs that this plan forgot.
    freed: &'a BTreeSet<(SubnetId, Ipv4Addr)>,
    /// The lowest address that the plan has taken in each subnet. What lies above is not free.
    lowest: BTreeMap<SubnetId, u32>,
}

impl<'a> Addresses<'a> {
    pub(crate) fn new(
        counted: &'a mut Counted,
        ledger: &Ledger,
        freed: &'a BTreeSet<(SubnetId, Ipv4Addr)>,
    ) -> Self {
        Self {
            counted,
            resting: ledger.resting.clone(),
            freed,
            lowest: BTreeMap::new(),
        }
    }

    /// Whether a backend of the project has that address.
    pub(crate) fn is_backend(&self, project: ProjectId, address: Ipv4Addr) -> bool {
        self.counted.is_backend(project, address)
    }

    /// The lowest free front address and the highest free address of the tenant's subnet.
    ///
    /// `None` when the front network or the subnet is full.
    pub(crate) fn take(
        &mut self,
        front: Ipv4Net,
        project: ProjectId,
        subnet: SubnetId,
        cidr: Ipv4Net,
    ) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let tenant = self.choose_tenant(project, subnet, cidr)?;
        let front = self.take_front(front)?;
        self.lowest.insert(subnet, u32::from(tenant));
        Some((front, tenant))
    }

    /// The lowest front address that no VM has, that does not rest, that DNS does not name, and that is neither the
    /// host's own nor the checkers'.
    fn take_front(&mut self, front: Ipv4Net) -> Option<Ipv4Addr> {
        let margin = u32::from(front.prefix_len() < 31);
        let first = u32::from(front.network()).saturating_add(margin);
        let last = u32::from(front.broadcast()).saturating_sub(margin);
        let last = last.min(first.saturating_add(MOST_CANDIDATES - 1));
        let checker = checker_address(front);
        let from = first.max(self.counted.front_from());
        let free = (from..=last).find(|address| {
            let address = Ipv4Addr::from(*address);
            let is_taken = self.counted.is_front(address) || self.resting.contains_key(&address);
            !is_taken && address != front.addr() && Some(address) != checker
        });
        let next = free.unwrap_or(last).saturating_add(1);
        self.counted.look_for_fronts_from(next.max(from));
        free.map(Ipv4Addr::from)
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
        let margin = if cidr.prefix_len() <= 28 { 2 } else { 1 };
        let highest = u32::from(cidr.broadcast()).saturating_sub(margin);
        let lowest = u32::from(cidr.network()).saturating_add(margin);
        let lowest = lowest.max(highest.saturating_sub(MOST_CANDIDATES - 1));
        let taken = self
            .lowest
            .get(&subnet)
            .map(|taken| taken.saturating_sub(1));
        (lowest..=taken.unwrap_or(highest))
            .rev()
            .map(Ipv4Addr::from)
            .find(|address| {
                let is_freed = self.freed.contains(&(subnet, *address));
                let is_taken = self.counted.is_tenant(subnet, *address) && !is_freed;
                !is_taken && !self.is_backend(project, *address)
            })
    }
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
