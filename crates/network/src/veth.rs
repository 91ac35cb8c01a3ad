//! The NICs of a VM that is a namespace: veth pairs with one end in it.

use model::BootNic;

use crate::NetworkError;
use crate::namespace::Namespace;
use crate::netlink::Netlink;

/// The VM's ends of the veth pairs in a VM's namespace.
pub(crate) const FRONT: &str = "front";
pub(crate) const TENANT: &str = "tenant";

/// Metrics of default routes: where both NICs have a gateway, answers to clients go by the front.
pub(crate) const FRONT_METRIC: u32 = 0;
pub(crate) const TENANT_METRIC: u32 = 1000;

/// A veth pair with one end outside and the other, `nic`, in the VM's namespace. Ends that are not each
/// other's are deleted and made anew.
pub(crate) async fn ensure_pair(
    outside: &Netlink,
    name: &str,
    (vm, inside): (&Namespace, &Netlink),
    nic: &str,
    boot: &BootNic,
) -> Result<(), NetworkError> {
    let (near, far) = (outside.link(name).await?, inside.link(nic).await?);
    let ends = near.as_ref().zip(far.as_ref());
    if ends.is_some_and(|(a, b)| a.peer == Some(b.index) && b.peer == Some(a.index)) {
        return Ok(());
    }
    if let Some(near) = near {
        outside.delete(&near).await?;
    }
    // Asked again, because the end outside may have taken it along.
    inside.delete_by_name(nic).await?;
    outside.add_veth(name, nic, boot.mac, vm).await
}

/// Gives a NIC in a VM's namespace its MAC, address and route.
pub(crate) async fn configure(
    inside: &Netlink,
    name: &str,
    nic: &BootNic,
    metric: u32,
) -> Result<(), NetworkError> {
    let link = inside.existing_link(name).await?;
    inside.bring_up(&link, Some(nic.mac)).await?;
    inside
        .ensure_addresses(&link, &[(nic.address, nic.prefix)])
        .await?;
    match nic.gateway {
        Some(gateway) => inside.ensure_default_route(&link, gateway, metric).await,
        None => Ok(()),
    }
}
