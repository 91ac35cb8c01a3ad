//! A VM's two NICs, under both drivers.
//!
//! ```text
//!  host's namespace          VM                          project's namespace
//!  ek-front ── ekf7 ──── front NIC │ tenant NIC ──── ekt7 ── br5
//! ```
//!
//! Under `qemu` the two links are taps whose far sides QEMU holds; under `process` they are veth pairs whose
//! far ends are in a namespace that stands for the VM. All else is the same for both.
//!
//! The order is that of safety. Rules come first, so that a link never says what it may not; the host's
//! rules come before all, because they are also the record by which a half-made VM is found. Removal goes
//! the other way round.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use model::{BootNic, ProjectId, SubnetId, VmId};

use crate::firewall::{LinkKind, Record, Side};
use crate::namespace::{self, Namespace};
use crate::netlink::{Link, Netlink, PortKind};
use crate::network::{Object, Shared};
use crate::{Network, NetworkError, sysctl, tap, veth};

/// Where a VM's NICs are attached, and what they are allowed to say.
#[derive(Clone, Debug, PartialEq)]
pub struct VmNics {
    /// The VM.
    pub vm: VmId,
    /// The project whose backends it serves.
    pub project: ProjectId,
    /// The subnet of its tenant NIC.
    pub subnet: SubnetId,
    /// The NIC that clients reach.
    pub front: BootNic,
    /// The NIC that reaches the backends.
    pub tenant: BootNic,
}

/// The host's ends of a VM's NICs, for the process that is to be the VM. Both are taps with
/// `IFF_NO_PI | IFF_VNET_HDR`, and vanish when the last copy of their descriptor is closed. Both are
/// close-on-exec.
#[derive(Debug)]
pub struct TapNics {
    /// The NIC that clients reach.
    pub front: OwnedFd,
    /// The NIC that reaches the backends.
    pub tenant: OwnedFd,
}

/// The two bridges that a VM is put on, and the connections to where they are.
pub(crate) struct Places {
    pub(crate) host: Netlink,
    front_bridge: Link,
    pub(crate) project: Namespace,
    pub(crate) tenant: Netlink,
    tenant_bridge: Link,
}

impl Network {
    /// Makes new taps for a VM that is about to start. Taps of this VM that are there already are taken
    /// away, and with them the network of a process that still holds them: ask only while none runs.
    ///
    /// # Errors
    /// `Missing` where the front bridge or the subnet was not ensured; `Kernel`, `Firewall` or `TimedOut`.
    pub async fn ensure_tap_nics(&self, nics: &VmNics) -> Result<TapNics, NetworkError> {
        let nics = nics.clone();
        self.in_turn(Object::Vm(nics.vm), async move |shared| {
            shared.make_taps(&nics).await
        })
        .await
    }

    /// Puts right what was changed from outside about the taps of a VM that runs: its rules, its places on the
    /// bridges, the host's neighbour entry. The taps themselves belong to the process that holds them.
    ///
    /// # Errors
    /// `Missing` where the front bridge or the subnet was not ensured; `Kernel`, also where a tap is gone;
    /// `Firewall` or `TimedOut`.
    pub async fn mend_tap_nics(&self, nics: &VmNics) -> Result<(), NetworkError> {
        let nics = nics.clone();
        self.in_turn(Object::Vm(nics.vm), async move |shared| {
            let places = shared.places(&nics).await?;
            shared.allow(&nics, LinkKind::Tap, &places).await?;
            shared.connect(&nics, &places).await
        })
        .await
    }

    /// Makes a namespace that stands for a VM, with the links `front` and `tenant` in it as `nics` says, up and
    /// with their routes. Any port, 80 as well, may be listened on there without privileges. Pairs that
    /// are as they should be stay, and their traffic with them.
    ///
    /// # Errors
    /// `Missing` where the front bridge or the subnet was not ensured; `Kernel`, `Firewall` or `TimedOut`.
    pub async fn ensure_veth_nics(&self, nics: &VmNics) -> Result<(), NetworkError> {
        let nics = nics.clone();
        self.in_turn(Object::Vm(nics.vm), async move |shared| {
            shared.make_veths(&nics).await
        })
        .await
    }

    /// Removes all that was made for a VM: links, namespace, neighbour and rules. Fine when absent. A process
    /// that still runs loses its network.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again.
    pub async fn remove_vm_nics(&self, vm: VmId) -> Result<(), NetworkError> {
        self.in_turn(Object::Vm(vm), async move |shared| {
            shared.unmake_nics(vm).await
        })
        .await
    }

    /// The file that stands for the network namespace of a VM of the process driver. It is there once
    /// [`Network::ensure_veth_nics`] has succeeded.
    #[must_use]
    pub fn vm_namespace_path(&self, vm: VmId) -> PathBuf {
        namespace::path(&self.names().vm_namespace(vm))
    }
}

impl Shared {
    async fn make_taps(&self, nics: &VmNics) -> Result<TapNics, NetworkError> {
        let places = self.places(nics).await?;
        self.allow(nics, LinkKind::Tap, &places).await?;
        let (front_name, tenant_name) = self.link_names(nics.vm);
        places.host.delete_by_name(&front_name).await?;
        places.tenant.delete_by_name(&tenant_name).await?;
        // A tap belongs to the namespace in which its device file was opened, so the tenant's is born
        // where it is to be.
        let front = open_tap(&self.host, front_name).await?;
        let tenant = open_tap(&places.project, tenant_name).await?;
        self.connect(nics, &places).await?;
        Ok(TapNics { front, tenant })
    }

    async fn make_veths(&self, nics: &VmNics) -> Result<(), NetworkError> {
        let places = self.places(nics).await?;
        self.allow(nics, LinkKind::Veth, &places).await?;
        let vm = Namespace::ensure(&self.names.vm_namespace(nics.vm)).await?;
        sysctl::apply_to_vm(&vm).await?;
        let inside = Netlink::open(&vm).await?;
        let (front_name, tenant_name) = self.link_names(nics.vm);
        let (front, tenant) = (&nics.front, &nics.tenant);
        let pair = (&vm, &inside);
        veth::ensure_pair(&places.host, &front_name, pair, veth::FRONT, front).await?;
        veth::ensure_pair(&places.tenant, &tenant_name, pair, veth::TENANT, tenant).await?;
        self.connect(nics, &places).await?;
        let loopback = inside.existing_link("lo").await?;
        inside.bring_up(&loopback, None).await?;
        veth::configure(&inside, veth::FRONT, front, veth::FRONT_METRIC).await?;
        veth::configure(&inside, veth::TENANT, tenant, veth::TENANT_METRIC).await?;
        places.host.wait_until_forwarding(&front_name).await?;
        places.tenant.wait_until_forwarding(&tenant_name).await
    }

    async fn unmake_nics(&self, vm: VmId) -> Result<(), NetworkError> {
        let (front_name, tenant_name) = self.link_names(vm);
        let standing = self.firewall.standing(&self.host, Side::Front).await?;
        let record = self.firewall.record(&standing, &front_name);
        let project = match record {
            Some(record) => Some(record.project),
            None => self.project_with(&tenant_name).await?,
        };
        if let Some(namespace) = self.project_namespace(project)? {
            let netlink = Netlink::open(&namespace).await?;
            netlink.delete_by_name(&tenant_name).await?;
            self.firewall
                .remove_port(&namespace, Side::Tenant, &tenant_name)
                .await?;
        }
        Namespace::remove(&self.names.vm_namespace(vm))?;
        let host = self.host_netlink().await?;
        host.delete_by_name(&front_name).await?;
        let bridge = host.link(&self.names.front_bridge()).await?;
        if let (Some(record), Some(bridge)) = (record, bridge) {
            host.remove_neighbour(&bridge, record.address).await?;
        }
        self.firewall
            .remove_port(&self.host, Side::Front, &front_name)
            .await
    }

    pub(crate) async fn places(&self, nics: &VmNics) -> Result<Places, NetworkError> {
        let host = self.host_netlink().await?;
        let front = self.names.front_bridge();
        let front_bridge = host
            .link(&front)
            .await?
            .ok_or_else(|| NetworkError::Missing {
                what: format!("bridge {front} in {}", self.host),
                remedy: "ensure the front first".into(),
            })?;
        let (project, tenant_bridge) = self.subnet_bridge(nics.project, nics.subnet).await?;
        Ok(Places {
            host,
            front_bridge,
            tenant: Netlink::open(&project).await?,
            project,
            tenant_bridge,
        })
    }

    /// Writes the rules of both links. The host's come first: they are the record.
    pub(crate) async fn allow(
        &self,
        nics: &VmNics,
        kind: LinkKind,
        places: &Places,
    ) -> Result<(), NetworkError> {
        let (front, tenant) = self.link_names(nics.vm);
        let (front_record, tenant_record) = Record::both(nics, kind);
        self.firewall
            .ensure_port(&self.host, Side::Front, &front, &front_record)
            .await?;
        self.firewall
            .ensure_port(&places.project, Side::Tenant, &tenant, &tenant_record)
            .await
    }

    /// Puts both links on their bridges and up, and tells the host where the VM is.
    pub(crate) async fn connect(&self, nics: &VmNics, places: &Places) -> Result<(), NetworkError> {
        let (front, tenant) = self.link_names(nics.vm);
        let link = places.tenant.existing_link(&tenant).await?;
        places
            .tenant
            .enslave(&link, &places.tenant_bridge, PortKind::Ordinary)
            .await?;
        let (host, bridge) = (&places.host, &places.front_bridge);
        let link = host.existing_link(&front).await?;
        sysctl::disable_ipv6(&self.host, &front).await?;
        host.enslave(&link, bridge, PortKind::Isolated).await?;
        host.ensure_forwarding_entry(&link, nics.front.mac).await?;
        host.ensure_neighbour(bridge, nics.front.address, nics.front.mac)
            .await
    }

    pub(crate) fn link_names(&self, vm: VmId) -> (String, String) {
        (self.names.front_link(vm), self.names.tenant_link(vm))
    }

    fn project_namespace(
        &self,
        project: Option<ProjectId>,
    ) -> Result<Option<Namespace>, NetworkError> {
        match project {
            Some(project) => Namespace::open(&self.names.project_namespace(project)),
            None => Ok(None),
        }
    }

    /// Looks in all projects' namespaces for a tenant link or its rules, for a VM of which the host has no
    /// record.
    async fn project_with(&self, link: &str) -> Result<Option<ProjectId>, NetworkError> {
        for name in namespace::names()? {
            let Some(project) = self.names.parse_project_namespace(&name) else {
                continue;
            };
            let Some(namespace) = Namespace::open(&name)? else {
                continue;
            };
            let standing = self.firewall.standing(&namespace, Side::Tenant).await?;
            let has_rules = standing.names().any(|name| name == link);
            let netlink = Netlink::open(&namespace).await?;
            if has_rules || netlink.link(link).await?.is_some() {
                return Ok(Some(project));
            }
        }
        Ok(None)
    }
}

pub(crate) async fn open_tap(namespace: &Namespace, name: String) -> Result<OwnedFd, NetworkError> {
    namespace
        .enter(format!("make tap {name}"), move || tap::open(&name))
        .await
}
