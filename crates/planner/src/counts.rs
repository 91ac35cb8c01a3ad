//! What is counted over all instances, kept up with each change instead of counted anew.
//!
//! What an instance adds is kept with it, so that it can be taken back when it changes or goes, though nobody
//! knows any more what was asked for then. A copy costs next to nothing, as it does of a layout, so a plan that
//! is not kept leaves nothing to be undone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use model::{
    Instance, InstanceId, InstanceLayout, Intent, Layout, PersistentMap, ProjectId, SubnetId, VmId,
};

use crate::scaling::wanted_vms;
use crate::{traffic, zone};

/// How often each key occurs; one that does not is not there.
pub(crate) type Counts<K> = PersistentMap<K, u32>;

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// What each instance adds to the rest.
    shares: PersistentMap<InstanceId, Arc<Share>>,
    /// Front addresses that VMs have, or the zone names.
    fronts: Counts<Ipv4Addr>,
    /// Tenant addresses that VMs have.
    tenants: Counts<(SubnetId, Ipv4Addr)>,
    /// The same by project, with whose VM it is.
    tenant_owners: Counts<(ProjectId, Ipv4Addr, InstanceId)>,
    /// Addresses of backends, as far as known.
    backends: Counts<(ProjectId, Ipv4Addr)>,
    /// Subnets that instances ask for.
    subnets: Counts<(ProjectId, Ipv4Net)>,
    /// Whose each VM is.
    owners: PersistentMap<VmId, InstanceId>,
    /// VMs that are to be there, of the instances that are asked for.
    wanted_vms: usize,
    /// No front address before it is free: where to begin to look for one.
    front_from: u32,
}

/// What one instance adds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Share {
    asked: Option<Asked>,
    wanted_vms: usize,
    vms: Vec<VmShare>,
    /// Addresses that the zone gives for its names.
    named: BTreeSet<Ipv4Addr>,
}

/// What follows from what its user asked for.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    project: ProjectId,
    subnet: Ipv4Net,
    /// Its names in the zone, the current one first.
    names: Vec<String>,
    /// In the user's order.
    backends: Vec<Ipv4Addr>,
}

/// What one of its VMs has.
#[derive(Clone, Copy, Debug, PartialEq)]
struct VmShare {
    id: VmId,
    project: ProjectId,
    subnet: SubnetId,
    front: Ipv4Addr,
    tenant: Ipv4Addr,
}

impl Counted {
    /// Counts everything.
    pub(crate) fn of(intent: &Intent, layout: &Layout) -> Self {
        let mut counted = Self::default();
        let ids = intent.instances.keys().chain(layout.instances.keys());
        for id in ids.copied().collect::<BTreeSet<_>>() {
            let asked = intent.instances.get(&id);
            let standing = layout.instances.get(&id).map(Arc::as_ref);
            counted.note_asked(intent, id, asked, standing);
            counted.note_wanted(id, asked.zip(standing));
            counted.note_vms(id, standing);
            counted.note_named(id, &layout.dns.records);
        }
        counted
    }

    /// An instance's names in the zone, the current one first; none of one that was deleted.
    pub(crate) fn names(&self, id: InstanceId) -> &[String] {
        let share = self.shares.get(&id);
        let asked = share.and_then(|share| share.asked.as_ref());
        asked.map_or(&[], |asked| &asked.names)
    }

    /// Whose a VM is.
    pub(crate) fn owner(&self, vm: VmId) -> Option<InstanceId> {
        self.owners.get(&vm).copied()
    }

    pub(crate) fn is_front(&self, address: Ipv4Addr) -> bool {
        self.fronts.contains_key(&address)
    }

    /// The first front address that may be free.
    pub(crate) fn front_from(&self) -> u32 {
        self.front_from
    }

    /// No front address before that one is free.
    pub(crate) fn look_for_fronts_from(&mut self, address: u32) {
        self.front_from = address;
    }

    /// A front address may be free now.
    pub(crate) fn free_front(&mut self, address: Ipv4Addr) {
        self.front_from = self.front_from.min(u32::from(address));
    }

    /// The same, to be compared: where to begin to look says nothing about what stands.
    pub(crate) fn without_hints(mut self) -> Self {
        self.front_from = 0;
        self
    }

    pub(crate) fn is_tenant(&self, subnet: SubnetId, address: Ipv4Addr) -> bool {
        self.tenants.contains_key(&(subnet, address))
    }

    /// Whether a VM is in the subnet.
    pub(crate) fn is_used(&self, subnet: SubnetId) -> bool {
        let mut vms = self.tenants.iter_from(&(subnet, Ipv4Addr::UNSPECIFIED));
        vms.next().is_some_and(|((of, _), _)| *of == subnet)
    }

    /// Whether an instance asks for the subnet.
    pub(crate) fn is_asked_for(&self, project: ProjectId, cidr: Ipv4Net) -> bool {
        self.subnets.contains_key(&(project, cidr))
    }

    /// Whether a backend of the project has that address.
    pub(crate) fn is_backend(&self, project: ProjectId, address: Ipv4Addr) -> bool {
        self.backends.contains_key(&(project, address))
    }

    /// VMs that are to be there, of the instances that are asked for.
    pub(crate) fn wanted_vms(&self) -> usize {
        self.wanted_vms
    }

    /// Instances of the project of whose VMs one has that tenant address.
    fn at(&self, project: ProjectId, address: Ipv4Addr) -> impl Iterator<Item = InstanceId> {
        let first = (project, address, InstanceId(0));
        let at = self.tenant_owners.iter_from(&first).map(|(key, _)| *key);
        at.take_while(move |(p, a, _)| (*p, *a) == (project, address))
            .map(|(_, _, id)| id)
    }

    /// Counts what a user asks for; `None` where that is nothing any more. Returns the instances on whose VMs'
    /// addresses backends are found by that.
    pub(crate) fn note_asked(
        &mut self,
        intent: &Intent,
        id: InstanceId,
        asked: Option<&Instance>,
        standing: Option<&InstanceLayout>,
    ) -> Vec<InstanceId> {
        let known = self.shares.get(&id).and_then(|share| share.asked.as_ref());
        let is_known = match (known, asked) {
            (Some(known), Some(asked)) => known.is_of(intent, asked, standing),
            (None, None) => true,
            _ => false,
        };
        if is_known {
            return Vec::new();
        }
        let known = known.cloned();
        let asked = asked.map(|asked| Asked::of(intent, asked, standing));
        let mut crowded = Vec::new();
        if let Some(new) = &asked {
            add(&mut self.subnets, (new.project, new.subnet));
            for address in &new.backends {
                add(&mut self.backends, (new.project, *address));
                crowded.extend(self.at(new.project, *address));
            }
        }
        if let Some(old) = known {
            take(&mut self.subnets, (old.project, old.subnet));
            for address in old.backends {
                take(&mut self.backends, (old.project, address));
            }
        }
        self.change(id, |share| share.asked = asked);
        crowded
    }

    /// Counts how many VMs an instance is to have.
    pub(crate) fn note_wanted(
        &mut self,
        id: InstanceId,
        asked: Option<(&Instance, &InstanceLayout)>,
    ) {
        let wanted = asked.map_or(0, |(asked, standing)| wanted_vms(asked, standing));
        let known = self.shares.get(&id).map_or(0, |share| share.wanted_vms);
        if known != wanted {
            self.wanted_vms = self.wanted_vms.saturating_sub(known).saturating_add(wanted);
            self.change(id, |share| share.wanted_vms = wanted);
        }
    }

    /// Counts the VMs that an instance has.
    pub(crate) fn note_vms(&mut self, id: InstanceId, standing: Option<&InstanceLayout>) {
        let vms = || standing.into_iter().flat_map(VmShare::all_of);
        let known = self.shares.get(&id);
        let known = known.map_or(&[][..], |share| &share.vms);
        if vms().eq(known.iter().copied()) {
            return;
        }
        let (known, vms) = (known.to_vec(), Vec::from_iter(vms()));
        for vm in &vms {
            add(&mut self.fronts, vm.front);
            add(&mut self.tenants, (vm.subnet, vm.tenant));
            add(&mut self.tenant_owners, (vm.project, vm.tenant, id));
            self.owners.insert(vm.id, id);
        }
        for vm in known {
            take(&mut self.fronts, vm.front);
            self.free_front(vm.front);
            take(&mut self.tenants, (vm.subnet, vm.tenant));
            take(&mut self.tenant_owners, (vm.project, vm.tenant, id));
            if !vms.iter().any(|stays| stays.id == vm.id) {
                self.owners.remove(&vm.id);
            }
        }
        self.change(id, |share| share.vms = vms);
    }

    /// Counts the addresses that the zone gives for an instance.
    pub(crate) fn note_named(
        &mut self,
        id: InstanceId,
        records: &PersistentMap<String, BTreeSet<Ipv4Addr>>,
    ) {
        let none = BTreeSet::new();
        let known = self.shares.get(&id).map_or(&none, |share| &share.named);
        let mut named = self.names(id).iter().filter_map(|name| records.get(name));
        // All names of an instance have the same addresses.
        let is_known = match named.clone().next() {
            Some(_) => named.all(|addresses| addresses == known),
            None => known.is_empty(),
        };
        if is_known {
            return;
        }
        let known = known.clone();
        let named = self.names(id).iter().filter_map(|name| records.get(name));
        let named: BTreeSet<Ipv4Addr> = named.flatten().copied().collect();
        named.iter().for_each(|a| add(&mut self.fronts, *a));
        for address in known {
            take(&mut self.fronts, address);
            self.free_front(address);
        }
        self.change(id, |share| share.named = named);
    }

    /// Changes what an instance adds. One that adds nothing is forgotten.
    fn change(&mut self, id: InstanceId, change: impl FnOnce(&mut Share)) {
        let known = self.shares.get(&id);
        let mut share = known.map(|known| Share::clone(known)).unwrap_or_default();
        change(&mut share);
        match share == Share::default() {
            true => self.shares.remove(&id),
            false => self.shares.insert(id, Arc::new(share)),
        };
    }
}

impl Asked {
    fn of(intent: &Intent, asked: &Instance, standing: Option<&InstanceLayout>) -> Self {
        let resolved = standing.map(|standing| &standing.resolved);
        Self {
            project: asked.project,
            subnet: asked.subnet,
            names: zone::names(intent, asked),
            backends: Self::backends(asked, resolved).collect(),
        }
    }
}

impl Asked {
    /// Whether that is still what follows. Asked of every instance in every plan, so nothing is made for it.
    fn is_of(&self, intent: &Intent, asked: &Instance, standing: Option<&InstanceLayout>) -> bool {
        let resolved = standing.map(|standing| &standing.resolved);
        self.project == asked.project
            && self.subnet == asked.subnet
            && zone::are_names(intent, asked, &self.names)
            && Self::backends(asked, resolved).eq(self.backends.iter().copied())
    }

    fn backends<'a>(
        asked: &'a Instance,
        resolved: Option<&'a BTreeMap<String, Vec<Ipv4Addr>>>,
    ) -> impl Iterator<Item = Ipv4Addr> + 'a {
        let hosts = asked.backends.iter().map(|backend| &backend.host);
        hosts.flat_map(move |host| traffic::backend_addresses(host, resolved))
    }
}

impl VmShare {
    fn all_of(instance: &InstanceLayout) -> impl Iterator<Item = Self> {
        instance.vms.iter().map(|(id, vm)| Self {
            id: *id,
            project: instance.project,
            subnet: vm.subnet,
            front: vm.front.address,
            tenant: vm.tenant.address,
        })
    }
}

fn add<K: Ord + Clone>(counts: &mut Counts<K>, key: K) {
    match counts.get_mut(&key) {
        Some(count) => *count = count.saturating_add(1),
        None => {
            counts.insert(key, 1);
        }
    }
}

fn take<K: Ord + Clone>(counts: &mut Counts<K>, key: K) {
    match counts.get_mut(&key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(&key);
        }
    }
}
