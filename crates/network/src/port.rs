//! The host's interfaces in a project's subnet: how backends get onto it.

use model::{ProjectId, SubnetId};
use rustix::io::Errno;

use crate::namespace::Namespace;
use crate::netlink::{self, Link, Netlink, PortKind};
use crate::network::{Object, Shared};
use crate::{Network, NetworkError};

/// What an interface is called that comes back to a host that meanwhile has another of its name.
const SPARE_NAME: &str = "returned%d";

/// Why our own links are refused.
const OWN: &str = "it is one of Evenkeel's own";

impl Network {
    /// Moves an interface of the host (a NIC, a VLAN, an end of a veth pair) into a project's namespace and
    /// makes it a port of the subnet's bridge, up. It loses its addresses. Where it is there already,
    /// that is seen to.
    ///
    /// # Errors
    /// `NoSuchInterface` where neither the host nor the project has it; `InterfaceRefused` for loopback,
    /// an interface with a default route, bridges, ports of other bridges, and links of our own; `Missing` for a subnet that was not
    /// ensured; `Kernel` or `TimedOut`.
    pub async fn ensure_port(
        &self,
        project: ProjectId,
        subnet: SubnetId,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let interface = interface.to_owned();
        self.in_turn(Object::Project(project), async move |shared| {
            shared.attach(project, subnet, &interface).await
        })
        .await
    }

    /// Takes an interface off a subnet and gives it back to the host's namespace, down. Fine when the
    /// project has no such port.
    ///
    /// # Errors
    /// `InterfaceRefused` for a link of our own; `Kernel` or `TimedOut`.
    pub async fn remove_port(
        &self,
        project: ProjectId,
        subnet: SubnetId,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let interface = interface.to_owned();
        self.in_turn(Object::Project(project), async move |shared| {
            shared.detach(project, subnet, &interface).await
        })
        .await
    }
}

impl Shared {
    async fn attach(
        &self,
        project: ProjectId,
        subnet: SubnetId,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let (namespace, bridge) = self.subnet_bridge(project, subnet).await?;
        let netlink = Netlink::open(&namespace).await?;
        let found = netlink.link(interface).await?;
        if found.is_none() {
            self.hand_over(interface, &namespace).await?;
        }
        let link = netlink.existing_link(interface).await?;
        self.refuse_own(&link)?;
        let outcome = netlink.enslave(&link, &bridge, PortKind::Ordinary).await;
        if outcome.is_err() && found.is_none() {
            // What cannot be a port is of no use here and may be of use to the host.
            self.give_back(&netlink, &link).await?;
        }
        outcome
    }

    /// Moves an interface from the host into `namespace`, if that may be.
    async fn hand_over(&self, interface: &str, namespace: &Namespace) -> Result<(), NetworkError> {
        let host = self.host_netlink().await?;
        let Some(link) = host.link(interface).await? else {
            return Err(NetworkError::NoSuchInterface {
                interface: interface.to_owned(),
            });
        };
        let is_ours = link.name == self.names.front_bridge()
            || self.names.parse_front_link(&link.name).is_some()
            || self.names.parse_tenant_link(&link.name).is_some();
        if is_ours {
            return Err(refused(interface, OWN));
        }
        if link.is_bridge {
            return Err(refused(interface, "a bridge cannot be a port of a bridge"));
        }
        if link.master.is_some() {
            return Err(refused(interface, "it is a port of another bridge or bond"));
        }
        if host.default_route_links().await?.contains(&link.index) {
            return Err(refused(
                interface,
                "the host's default route goes out by it, so the host would be cut off",
            ));
        }
        host.move_link(&link, &link.name, namespace).await
    }

    async fn detach(
        &self,
        project: ProjectId,
        subnet: SubnetId,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let Some(namespace) = Namespace::open(&self.names.project_namespace(project))? else {
            return Ok(());
        };
        let netlink = Netlink::open(&namespace).await?;
        let Some(link) = netlink.link(interface).await? else {
            return Ok(());
        };
        self.refuse_own(&link)?;
        // A port of another subnet is none of this one. One of no bridge is what a crash between moving
        // and enslaving left.
        let bridge = netlink.link(&self.names.subnet_bridge(subnet)).await?;
        if link.master.is_some() && link.master != bridge.map(|b| b.index) {
            return Ok(());
        }
        self.give_back(&netlink, &link).await
    }

    /// Puts a link that is not ours into the host's namespace, under its own name or, where that is
    /// taken, a spare one. What the kernel keeps in each namespace stays.
    pub(crate) async fn give_back(
        &self,
        netlink: &Netlink,
        link: &Link,
    ) -> Result<(), NetworkError> {
        match netlink.move_link(link, &link.name, &self.host).await {
            Err(e) if netlink::is(&e, Errno::EXIST) => {
                tracing::warn!(
                    interface = link.name,
                    "the host has another interface of this name: given back as `{SPARE_NAME}`"
                );
                netlink.move_link(link, SPARE_NAME, &self.host).await
            }
            // Fallback tunnels such as tunl0 are born in each namespace and cannot leave it.
            Err(e) if netlink::is(&e, Errno::INVAL) && link.master.is_none() => {
                tracing::debug!(interface = link.name, "stays in its namespace");
                Ok(())
            }
            Err(e) if netlink::is(&e, Errno::NODEV) => Ok(()),
            other => other,
        }
    }

    /// Keeps callers from what a project's namespace has of itself. Loopback is among that, so that the
    /// host's is never asked for.
    fn refuse_own(&self, link: &Link) -> Result<(), NetworkError> {
        if link.is_loopback {
            Err(refused(&link.name, "it is the loopback"))
        } else if self.is_ours_in_project(link) {
            Err(refused(&link.name, OWN))
        } else {
            Ok(())
        }
    }

    /// Whether a link in a project's namespace was made by us.
    pub(crate) fn is_ours_in_project(&self, link: &Link) -> bool {
        (link.is_bridge && self.names.parse_subnet_bridge(&link.name).is_some())
            || self.names.parse_tenant_link(&link.name).is_some()
    }

    /// A subnet's bridge and the namespace that it is in.
    pub(crate) async fn subnet_bridge(
        &self,
        project: ProjectId,
        subnet: SubnetId,
    ) -> Result<(Namespace, Link), NetworkError> {
        let (project, bridge) = (
            self.names.project_namespace(project),
            self.names.subnet_bridge(subnet),
        );
        let missing = |what: String| NetworkError::Missing {
            what,
            remedy: "ensure the subnet first".into(),
        };
        let namespace = Namespace::open(&project)?
            .ok_or_else(|| missing(format!("network namespace {project}")))?;
        let link = Netlink::open(&namespace).await?.link(&bridge).await?;
        let link = link.ok_or_else(|| missing(format!("bridge {bridge} in {namespace}")))?;
        Ok((namespace, link))
    }
}

fn refused(interface: &str, reason: &str) -> NetworkError {
    NetworkError::InterfaceRefused {
        interface: interface.to_owned(),
        reason: reason.to_owned(),
    }
}
