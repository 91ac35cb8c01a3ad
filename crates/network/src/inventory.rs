//! What is there, read from the world, and whether it is whole.
//!
//! A look costs one dump of the links of each namespace and one question after the generation of its rules;
//! `nft` runs only where somebody else changed these since the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{NetworkSight, NicSight, ProjectId, ProjectSight, VmId};

use crate::firewall::{LinkKind, Record, Side, Standing};
use crate::namespace::{self, Namespace};
use crate::netlink::{Link, Netlink};
use crate::network::Shared;
use crate::{Network, NetworkError};

/// What is in one namespace.
#[derive(Default)]
struct Place {
    links: BTreeMap<String, Link>,
    standing: Arc<Standing>,
    /// Whether the rules stand that are there whatever VMs there are.
    is_guarded: bool,
}

/// Everything.
struct World {
    host: Place,
    projects: BTreeMap<ProjectId, Place>,
    /// VMs of the process driver that have a namespace.
    namespaces: BTreeSet<VmId>,
}

impl Network {
    /// Everything on this machine that has our prefix: the front, projects with their subnets and what is
    /// attached to these, and all VMs of which a link, a namespace or a rule exists, whole or half-made.
    ///
    /// Of a VM of the process driver the far ends of its pairs are seen by their carrier alone: an address
    /// that was taken away inside the VM's namespace is not noticed.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; a part is never given for the whole.
    pub async fn inventory(&self) -> Result<NetworkSight, NetworkError> {
        self.shared.look().await
    }
}

impl Shared {
    async fn look(&self) -> Result<NetworkSight, NetworkError> {
        let netlink = self.host_netlink().await?;
        let host = self.host_place(&netlink).await?;
        let front = self.front_is_whole(&netlink, &host).await?;
        let mut world = World {
            host,
            projects: BTreeMap::new(),
            namespaces: BTreeSet::new(),
        };
        for name in namespace::names()? {
            if let Some(vm) = self.names.parse_vm_namespace(&name) {
                world.namespaces.insert(vm);
            } else if let Some(project) = self.names.parse_project_namespace(&name) {
                world
                    .projects
                    .insert(project, self.project_place(&name).await?);
            }
        }
        self.firewall.forget_unused();
        let sights = world.projects.iter();
        Ok(NetworkSight {
            front,
            projects: sights
                .map(|(project, place)| (*project, self.project_sight(place)))
                .collect(),
            vm_nics: self
                .vms(&world)
                .into_iter()
                .map(|vm| (vm, self.nic_sight(vm, &world)))
                .collect(),
        })
    }

    async fn host_place(&self, netlink: &Netlink) -> Result<Place, NetworkError> {
        let standing = self.firewall.standing(&self.host, Side::Front).await?;
        Ok(Place {
            links: by_name(netlink.links().await?),
            is_guarded: self
                .firewall
                .host_is_guarded(&standing, &self.names.front_bridge()),
            standing,
        })
    }

    /// A namespace that is not one yet counts as a project without anything, so that it can be removed.
    async fn project_place(&self, name: &str) -> Result<Place, NetworkError> {
        let Some(namespace) = Namespace::open(name)? else {
            return Ok(Place::default());
        };
        let standing = self.firewall.standing(&namespace, Side::Tenant).await?;
        Ok(Place {
            links: by_name(Netlink::open(&namespace).await?.links().await?),
            is_guarded: self.firewall.project_is_guarded(&standing),
            standing,
        })
    }

    async fn front_is_whole(&self, netlink: &Netlink, host: &Place) -> Result<bool, NetworkError> {
        let bridge = host.links.get(&self.names.front_bridge());
        match bridge.filter(|bridge| bridge.is_bridge && bridge.is_up && host.is_guarded) {
            Some(bridge) => {
                let addresses = self.front_addresses();
                netlink.has_addresses(bridge, &addresses).await
            }
            None => Ok(false),
        }
    }

    fn project_sight(&self, place: &Place) -> ProjectSight {
        let mut sight = ProjectSight::default();
        for bridge in place.links.values().filter(|link| link.is_bridge) {
            let Some(subnet) = self.names.parse_subnet_bridge(&bridge.name) else {
                continue;
            };
            let ports = place.links.values();
            let ports = ports.filter(|link| link.master == Some(bridge.index));
            let names = ports.map(|port| port.name.clone());
            let foreign = names.filter(|port| self.vm_of(port).is_none());
            sight.subnets.insert(subnet, foreign.collect());
        }
        sight
    }

    /// All VMs of which there is something. Tenant NICs are made in the project's namespace: one that stands
    /// in the host's is nobody's of ours.
    fn vms(&self, world: &World) -> BTreeSet<VmId> {
        let on_host = world.host.names();
        let on_host = on_host.filter_map(|name| self.names.parse_front_link(name));
        let in_projects = world.projects.values().flat_map(Place::names);
        let in_projects = in_projects.filter_map(|name| self.vm_of(name));
        let namespaces = world.namespaces.iter().copied();
        on_host.chain(in_projects).chain(namespaces).collect()
    }

    fn nic_sight(&self, vm: VmId, world: &World) -> NicSight {
        let (front, tenant) = self.link_names(vm);
        let host = &world.host;
        let Some(record) = self.firewall.record(&host.standing, &front) else {
            return NicSight::default();
        };
        let nothing = Place::default();
        let project = world.projects.get(&record.project).unwrap_or(&nothing);
        let is_on = |place: &Place, port: &str, bridge: &str| {
            place.is_guarded
                && self.firewall.is_bound(&place.standing, port)
                && place.is_port(port, bridge)
        };
        let is_isolated = host.links.get(&front).is_some_and(|link| link.is_isolated);
        let subnet = self.names.subnet_bridge(record.subnet);
        NicSight {
            front: is_isolated && is_on(host, &front, &self.names.front_bridge()),
            tenant: is_on(project, &tenant, &subnet),
            fenced: self.fence_of((&front, &tenant), (host, project), &record),
            lost: match record.kind {
                LinkKind::Tap => {
                    !(host.links.contains_key(&front) && project.links.contains_key(&tenant))
                }
                LinkKind::Veth => !world.namespaces.contains(&vm),
            },
        }
    }

    /// A fence without the rules that look at it is none.
    fn fence_of(
        &self,
        (front, tenant): (&str, &str),
        (host, project): (&Place, &Place),
        record: &Record,
    ) -> Option<bool> {
        let fence = |place: &Place, side, port| {
            let fence = self.firewall.fence(&place.standing, side, port, record);
            fence.filter(|_| place.is_guarded)
        };
        let front = fence(host, Side::Front, front);
        front.filter(|_| front == fence(project, Side::Tenant, tenant))
    }

    fn vm_of(&self, link: &str) -> Option<VmId> {
        self.names
            .parse_front_link(link)
            .or_else(|| self.names.parse_tenant_link(link))
    }
}

impl Place {
    /// The names of its links and of whatever its rules speak of.
    fn names(&self) -> impl Iterator<Item = &str> {
        let links = self.links.keys().map(String::as_str);
        links.chain(self.standing.names())
    }

    /// Whether a link passes frames to a bridge: it is up, its far side is there, and it is on that bridge.
    fn is_port(&self, link: &str, bridge: &str) -> bool {
        let bridge = self.links.get(bridge);
        let bridge = bridge.filter(|bridge| bridge.is_bridge && bridge.is_up);
        let link = self
            .links
            .get(link)
            .filter(|link| link.is_up && link.has_carrier);
        bridge
            .zip(link)
            .is_some_and(|(bridge, link)| link.master == Some(bridge.index))
    }
}

fn by_name(links: Vec<Link>) -> BTreeMap<String, Link> {
    let named = links.into_iter().map(|link| (link.name.clone(), link));
    named.collect()
}
