//! A project's namespace and the bridges in it.

use model::{Mac, ProjectId, SubnetId};

use crate::firewall::Side;
use crate::namespace::Namespace;
use crate::netlink::Netlink;
use crate::network::{Object, Shared};
use crate::{Network, NetworkError, sysctl};

impl Network {
    /// Makes a project's namespace: nothing is forwarded in it, and its VMs' tenant links may say only what
    /// was ensured for them.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again.
    pub async fn ensure_project(&self, project: ProjectId) -> Result<(), NetworkError> {
        self.in_turn(Object::Project(project), async move |shared| {
            shared.make_project(project).await.map(drop)
        })
        .await
    }

    /// Makes a subnet's bridge in its project's namespace, up and without an address, and the project's
    /// namespace where that is not there yet.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again.
    pub async fn ensure_subnet(
        &self,
        project: ProjectId,
        subnet: SubnetId,
    ) -> Result<(), NetworkError> {
        self.in_turn(Object::Project(project), async move |shared| {
            let namespace = shared.make_project(project).await?;
            let netlink = Netlink::open(&namespace).await?;
            let bridge = shared.names.subnet_bridge(subnet);
            netlink.ensure_bridge(&bridge, bridge_mac(subnet)).await?;
            Ok(())
        })
        .await
    }

    /// Removes a subnet's bridge. Links on it that are not ours go back to the host's namespace first, down
    /// and without the addresses that they once had. Fine when absent.
    ///
    /// # Errors
    /// `Kernel` or `TimedOut`; each may be tried again.
    pub async fn remove_subnet(
        &self,
        project: ProjectId,
        subnet: SubnetId,
    ) -> Result<(), NetworkError> {
        self.in_turn(Object::Project(project), async move |shared| {
            shared.unmake_subnet(project, subnet).await
        })
        .await
    }

    /// Removes a project's namespace. All links in it that are not ours go back to the host's namespace
    /// first. Fine when absent.
    ///
    /// # Errors
    /// `Kernel` or `TimedOut`; each may be tried again.
    pub async fn remove_project(&self, project: ProjectId) -> Result<(), NetworkError> {
        self.in_turn(Object::Project(project), async move |shared| {
            shared.unmake_project(project).await
        })
        .await
    }
}

impl Shared {
    async fn make_project(&self, project: ProjectId) -> Result<Namespace, NetworkError> {
        let namespace = Namespace::ensure(&self.names.project_namespace(project)).await?;
        sysctl::apply_to_project(&namespace).await?;
        let netlink = Netlink::open(&namespace).await?;
        let loopback = netlink.existing_link("lo").await?;
        netlink.bring_up(&loopback, None).await?;
        self.firewall
            .ensure_port_guard(&namespace, Side::Tenant)
            .await?;
        Ok(namespace)
    }

    async fn unmake_subnet(
        &self,
        project: ProjectId,
        subnet: SubnetId,
    ) -> Result<(), NetworkError> {
        let Some(namespace) = Namespace::open(&self.names.project_namespace(project))? else {
            return Ok(());
        };
        let netlink = Netlink::open(&namespace).await?;
        let Some(bridge) = netlink.link(&self.names.subnet_bridge(subnet)).await? else {
            return Ok(());
        };
        for link in netlink.links().await? {
            if link.master == Some(bridge.index) && !self.is_ours_in_project(&link) {
                self.give_back(&netlink, &link).await?;
            }
        }
        netlink.delete(&bridge).await
    }

    async fn unmake_project(&self, project: ProjectId) -> Result<(), NetworkError> {
        let name = self.names.project_namespace(project);
        if let Some(namespace) = Namespace::open(&name)? {
            let netlink = Netlink::open(&namespace).await?;
            for link in netlink.links().await? {
                if self.is_ours_in_project(&link) {
                    // At once, and not when the kernel gets round to the namespace.
                    netlink.delete(&link).await?;
                } else if !link.is_loopback {
                    self.give_back(&netlink, &link).await?;
                }
            }
        }
        Namespace::remove(&name)
    }
}

/// `06:01` and the number of the subnet: never a VM's, which begin with `02`. Two bridges could share one
/// only if they were four thousand million subnets apart, and then they are in no common network.
fn bridge_mac(subnet: SubnetId) -> Mac {
    let [.., a, b, c, d] = subnet.0.to_be_bytes();
    Mac([0x06, 0x01, a, b, c, d])
}
