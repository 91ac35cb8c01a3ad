//! The front bridge, where clients reach VMs.

use std::sync::Arc;

use model::Mac;

use crate::network::{Object, Shared};
use crate::{Network, NetworkError, sysctl};

impl Network {
    /// Makes the front bridge in the host's namespace, up, with the gateway's address and nothing else, and
    /// the rules that keep VMs from the host and from each other.
    ///
    /// The host's `bridge-nf-call-*` settings stay as they are: others' rules may rely on them, and a bridge
    /// between whose ports nothing passes does not mind them.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again.
    pub async fn ensure_front(&self) -> Result<(), NetworkError> {
        self.in_turn(Object::Front, Shared::make_front).await
    }

    /// Removes the front bridge and its rules. VMs' front links lose their bridge; remove those first.
    /// Fine when absent.
    ///
    /// # Errors
    /// `Kernel`, `Firewall` or `TimedOut`; each may be tried again.
    pub async fn remove_front(&self) -> Result<(), NetworkError> {
        self.in_turn(Object::Front, Shared::unmake_front).await
    }
}

impl Shared {
    async fn make_front(self: Arc<Self>) -> Result<(), NetworkError> {
        let bridge = self.names.front_bridge();
        let port_prefix = format!("{}f", self.names.prefix());
        self.firewall
            .ensure_port_guard(&self.host, &port_prefix)
            .await?;
        self.firewall
            .ensure_front_guard(&self.host, &bridge)
            .await?;
        let netlink = self.host_netlink().await?;
        let link = netlink.ensure_bridge(&bridge, self.front_mac()).await?;
        sysctl::disable_ipv6(&self.host, &bridge).await?;
        netlink
            .ensure_address(&link, self.front.addr(), self.front.prefix_len())
            .await
    }

    async fn unmake_front(self: Arc<Self>) -> Result<(), NetworkError> {
        let netlink = self.host_netlink().await?;
        netlink.delete_by_name(&self.names.front_bridge()).await?;
        self.firewall.remove_tables(&self.host).await
    }

    /// `06:00` and the gateway's address: unique in the front network, and never a VM's, which begin
    /// with `02`.
    fn front_mac(&self) -> Mac {
        let [a, b, c, d] = self.front.addr().octets();
        Mac([0x06, 0, a, b, c, d])
    }
}
