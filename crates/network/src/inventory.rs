//! What is there, read from the world.

use std::collections::BTreeMap;

use model::{NetworkSight, NicSight, ProjectSight, VmId};

use crate::namespace::{self, Namespace};
use crate::netlink::Netlink;
use crate::network::Shared;
use crate::{Network, NetworkError};

/// Nothing closes a port yet.
const OPEN: NicSight = NicSight {
    front: false,
    tenant: false,
    fenced: Some(false),
};

impl Network {
    /// Everything on this machine that has our prefix: projects with their subnets and what is attached to
    /// these, and all VMs of which a link, a namespace or a rule on the host exists, whole or half-made.
    /// The front bridge is not in it; it belongs to the machine and not to a project.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; a part is never given for the whole.
    pub async fn inventory(&self) -> Result<NetworkSight, NetworkError> {
        self.shared.look().await
    }
}

impl Shared {
    async fn look(&self) -> Result<NetworkSight, NetworkError> {
        let mut sight = NetworkSight {
            vm_nics: self.vms_on_host().await?,
            ..NetworkSight::default()
        };
        for name in namespace::names()? {
            if let Some(vm) = self.names.parse_vm_namespace(&name) {
                sight.vm_nics.entry(vm).or_insert(OPEN);
            } else if let Some(project) = self.names.parse_project_namespace(&name) {
                let seen = self.look_into_project(&name, &mut sight.vm_nics).await?;
                sight.projects.insert(project, seen);
            }
        }
        Ok(sight)
    }

    /// VMs that have a link or rules in the host's namespace.
    async fn vms_on_host(&self) -> Result<BTreeMap<VmId, NicSight>, NetworkError> {
        let links = self.host_netlink().await?.links().await?;
        let ports = self.firewall.ports(&self.host).await?;
        let names = links.into_iter().map(|link| link.name).chain(ports);
        // Tenant NICs are made in the project's namespace: one that stands here is nobody's of ours.
        Ok(names
            .filter_map(|name| Some((self.names.parse_front_link(&name)?, OPEN)))
            .collect())
    }

    /// A namespace that is not one yet counts as a project without subnets, so that it can be removed.
    async fn look_into_project(
        &self,
        name: &str,
        vms: &mut BTreeMap<VmId, NicSight>,
    ) -> Result<ProjectSight, NetworkError> {
        let mut sight = ProjectSight::default();
        let Some(namespace) = Namespace::open(name)? else {
            return Ok(sight);
        };
        let links = Netlink::open(&namespace).await?.links().await?;
        let bridges = links.iter().filter(|link| link.is_bridge);
        for bridge in bridges {
            let Some(subnet) = self.names.parse_subnet_bridge(&bridge.name) else {
                continue;
            };
            let ports = links
                .iter()
                .filter(|link| link.master == Some(bridge.index));
            let names = ports.map(|port| port.name.clone());
            let foreign = names.filter(|port| self.vm_of(port).is_none());
            sight.subnets.insert(subnet, foreign.collect());
        }
        for vm in links.iter().filter_map(|link| self.vm_of(&link.name)) {
            vms.entry(vm).or_insert(OPEN);
        }
        Ok(sight)
    }

    fn vm_of(&self, link: &str) -> Option<VmId> {
        self.names
            .parse_front_link(link)
            .or_else(|| self.names.parse_tenant_link(link))
    }
}
