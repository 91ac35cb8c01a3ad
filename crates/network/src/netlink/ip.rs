//! Addresses, routes and neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use model::Mac;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use super::{Link, Netlink, absent_is_fine};
use crate::NetworkError;

impl Netlink {
    /// Leaves `link` with exactly these IPv4 addresses, each with the length of its network.
    pub(crate) async fn ensure_addresses(
        &self,
        link: &Link,
        wanted: &[(Ipv4Addr, u8)],
    ) -> Result<(), NetworkError> {
        let mut missing = wanted.to_vec();
        for message in self.addresses(link).await? {
            let Some(has) = ipv4_address(&message.attributes) else {
                continue;
            };
            let is = |wanted: &(Ipv4Addr, u8)| *wanted == (has, message.header.prefix_len);
            if wanted.iter().any(is) {
                missing.retain(|wanted| !is(wanted));
            } else {
                let removal = self.handle.address().del(message).execute();
                self.done(format!("remove {has} from {}", link.name), removal)
                    .await?;
            }
        }
        for (address, prefix) in missing {
            let addition = self
                .handle
                .address()
                .add(link.index, address.into(), prefix)
                .execute();
            self.done(format!("add {address}/{prefix} to {}", link.name), addition)
                .await?;
        }
        Ok(())
    }

    /// Whether `link` has these IPv4 addresses.
    pub(crate) async fn has_addresses(
        &self,
        link: &Link,
        wanted: &[(Ipv4Addr, u8)],
    ) -> Result<bool, NetworkError> {
        let addresses = self.addresses(link).await?;
        Ok(wanted.iter().all(|(address, prefix)| {
            addresses.iter().any(|message| {
                ipv4_address(&message.attributes) == Some(*address)
                    && message.header.prefix_len == *prefix
            })
        }))
    }

    async fn addresses(&self, link: &Link) -> Result<Vec<AddressMessage>, NetworkError> {
        let all = self
            .handle
            .address()
            .get()
            .set_link_index_filter(link.index)
            .execute()
            .try_collect();
        self.bounded(format!("list the addresses of {}", link.name), all)
            .await
    }

    /// The default route through `gateway`; the one with the lowest metric counts.
    pub(crate) async fn ensure_default_route(
        &self,
        link: &Link,
        gateway: Ipv4Addr,
        metric: u32,
    ) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(link.index)
            .priority(metric)
            .build();
        self.done(
            format!("route through {gateway} on {}", link.name),
            self.handle.route().add(route).replace().execute(),
        )
        .await
    }

    /// The links that default routes go out by, of IPv4 and of IPv6.
    pub(crate) async fn default_route_links(&self) -> Result<Vec<u32>, NetworkError> {
        let mut links = Vec::new();
        for filter in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let answer = self.handle.route().get(filter).execute();
            let routes: Vec<RouteMessage> = self
                .bounded("list routes".into(), answer.try_collect())
                .await?;
            let defaults = routes
                .iter()
                .filter(|route| route.header.destination_prefix_length == 0);
            links.extend(defaults.flat_map(outgoing_links));
        }
        Ok(links)
    }

    /// A neighbour that is known for good: the first packet to a VM does not wait for ARP, which can
    /// cost a second while the VM boots.
    pub(crate) async fn ensure_neighbour(
        &self,
        link: &Link,
        address: Ipv4Addr,
        mac: Mac,
    ) -> Result<(), NetworkError> {
        let addition = self
            .handle
            .neighbours()
            .add(link.index, IpAddr::V4(address))
            .link_layer_address(&mac.0)
            .state(NeighbourState::Permanent)
            .replace()
            .execute();
        self.done(
            format!("make {address} a neighbour on {}", link.name),
            addition,
        )
        .await
    }

    /// Forgets a neighbour. Fine when absent.
    pub(crate) async fn remove_neighbour(
        &self,
        link: &Link,
        address: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link.index;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
                address,
            )));
        absent_is_fine(
            self.done(
                format!("forget neighbour {address} on {}", link.name),
                self.handle.neighbours().del(message).execute(),
            )
            .await,
        )
    }

    /// Tells the bridge behind which of its ports a MAC is. The state is `Noarp`, which a bridge takes for
    /// static; `Permanent` would mean that the MAC is the host's own.
    pub(crate) async fn ensure_forwarding_entry(
        &self,
        port: &Link,
        mac: Mac,
    ) -> Result<(), NetworkError> {
        let addition = self
            .handle
            .neighbours()
            .add_bridge(port.index, &mac.0)
            .state(NeighbourState::Noarp)
            .flags(NeighbourFlags::Controller)
            .replace()
            .execute();
        self.done(format!("place {mac} behind {}", port.name), addition)
            .await
    }
}

fn outgoing_links(route: &RouteMessage) -> Vec<u32> {
    let links = route.attributes.iter().map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    links.flatten().collect()
}

fn ipv4_address(attributes: &[AddressAttribute]) -> Option<Ipv4Addr> {
    attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}
