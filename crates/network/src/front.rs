//! The front bridge, where clients reach VMs.

use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{Mac, checker_address};

use crate::firewall::Side;
use crate::network::{Object, Shared};
use crate::{Network, NetworkError, sysctl};

impl Network {
    /// Makes the front bridge in the host's namespace, up, with the gateway's address, the checkers' and nothing else, and
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

    /// Like [`Self::ensure_front`], and writes the owner's name on the bridge: of two installations that
    /// were given one prefix, the second is refused before it touches what is the first's.
    ///
    /// # Errors
    /// `OwnedByAnother`, and those of [`Self::ensure_front`].
    pub async fn claim_front(&self, owner: &str) -> Result<(), NetworkError> {
        let owner = format!("evenkeel-{owner}");
        self.in_turn(Object::Front, |shared| shared.claim(owner))
            .await
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
    async fn claim(self: Arc<Self>, owner: String) -> Result<(), NetworkError> {
        let bridge = self.names.front_bridge();
        let netlink = self.host_netlink().await?;
        let standing = netlink.link(&bridge).await?;
        match standing.and_then(|link| link.alias) {
            Some(other) if other != owner => Err(NetworkError::OwnedByAnother {
                prefix: self.names.prefix().to_owned(),
                owner: other,
            }),
            Some(_) => self.make_front().await,
            None => {
                Arc::clone(&self).make_front().await?;
                let link = netlink.existing_link(&bridge).await?;
                netlink.label(&link, &owner).await
            }
        }
    }

    async fn make_front(self: Arc<Self>) -> Result<(), NetworkError> {
        let bridge = self.names.front_bridge();
        self.firewall
            .ensure_port_guard(&self.host, Side::Front)
            .await?;
        self.firewall
            .ensure_front_guard(&self.host, &bridge)
            .await?;
        let netlink = self.host_netlink().await?;
        let link = netlink.ensure_bridge(&bridge, self.front_mac()).await?;
        sysctl::disable_ipv6(&self.host, &bridge).await?;
        netlink
            .ensure_addresses(&link, &self.front_addresses())
            .await
    }

    async fn unmake_front(self: Arc<Self>) -> Result<(), NetworkError> {
        let netlink = self.host_netlink().await?;
        netlink.delete_by_name(&self.names.front_bridge()).await?;
        self.firewall.remove_tables(&self.host).await
    }

    /// The gateway's address, by which the host is reached and from which it speaks, and that from which checkers ask.
    /// The latter brings no route of its own, so nobody speaks from it who does not ask for it.
    pub(crate) fn front_addresses(&self) -> Vec<(Ipv4Addr, u8)> {
        let gateway = (self.front.addr(), self.front.prefix_len());
        let checker = checker_address(self.front).map(|address| (address, 32));
        std::iter::once(gateway).chain(checker).collect()
    }

    /// `06:00` and the gateway's address: unique in the front network, and never a VM's, which begin
    /// with `02`.
    fn front_mac(&self) -> Mac {
        let [a, b, c, d] = self.front.addr().octets();
        Mac([0x06, 0, a, b, c, d])
    }
}
