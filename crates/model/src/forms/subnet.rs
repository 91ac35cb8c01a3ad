//! Subnets: which ones there can be, and which addresses in them a backend can have.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::error::{Code, FormError, quoted};
use super::fields::Field;

/// The largest subnet.
const MIN_PREFIX: u8 = 8;
/// The smallest subnet: six hosts, so that there is room for VMs beside backends.
const MAX_PREFIX: u8 = 29;
/// The size of a subnet that was left out and is found from the backends' addresses.
const DERIVED_PREFIX: u8 = 24;

/// A subnet's CIDR: an IPv4 network of a supported size, among addresses that hosts can have.
pub(super) fn cidr(field: &Field<'_>) -> Result<Ipv4Net, FormError> {
    let text = field.text()?;
    let refuse = |code, problem: &str, hint: String| {
        let message = format!("`{}` {problem}", quoted(text));
        Err(FormError::new(code, &field.path, message, hint))
    };
    let form = "write an IPv4 network and its prefix length, such as 1.1.1.0/24";
    if text.contains(':') {
        return refuse(
            Code::Ipv6Unsupported,
            "is an IPv6 network, which is not supported yet",
            form.into(),
        );
    }
    let Ok(subnet) = text.parse::<Ipv4Net>() else {
        return refuse(Code::BadCidr, "is no IPv4 network", form.into());
    };
    if subnet.addr() != subnet.network() {
        let hint = format!("the network is {}", subnet.trunc());
        return refuse(Code::BadCidr, "is an address in a network", hint);
    }
    if !(MIN_PREFIX..=MAX_PREFIX).contains(&subnet.prefix_len()) {
        let hint = format!("use a prefix length from /{MIN_PREFIX} to /{MAX_PREFIX}");
        return refuse(Code::BadCidr, "is of a size that is not supported", hint);
    }
    match special_use(&subnet) {
        Some(special) => refuse(
            Code::BadCidr,
            &format!("shares addresses with {special}"),
            "use a network whose addresses hosts can have, such as 10.1.0.0/24".into(),
        ),
        None => Ok(subnet),
    }
}

/// The range of addresses that no host on a subnet can have and that the subnet overlaps.
fn special_use(subnet: &Ipv4Net) -> Option<&'static str> {
    const RANGES: [(Ipv4Addr, u8, &str); 5] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8, "0.0.0.0/8, \"this network\""),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8, the loopback"),
        (
            Ipv4Addr::new(169, 254, 0, 0),
            16,
            "169.254.0.0/16, the link-local addresses",
        ),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4, multicast"),
        (
            Ipv4Addr::new(240, 0, 0, 0),
            4,
            "240.0.0.0/4, the reserved addresses",
        ),
    ];
    RANGES.iter().find_map(|&(address, prefix, words)| {
        let range = Ipv4Net::new_assert(address, prefix);
        overlap(subnet, &range).then_some(words)
    })
}

/// Whether two networks share an address.
#[must_use]
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Refuses a subnet that shares addresses with the front network, where every VM has its other NIC.
pub(super) fn check_front(subnet: Ipv4Net, front: Ipv4Net, path: &str) -> Result<(), FormError> {
    match overlap(&subnet, &front) {
        true => Err(FormError::new(
            Code::SubnetOverlaps,
            path,
            format!(
                "{subnet} overlaps {}, the network where clients reach the VMs",
                front.trunc()
            ),
            "use another network for the backends, or let the operator move the front network",
        )),
        false => Ok(()),
    }
}

/// Refuses a backend's address that no host on the subnet can have.
pub(super) fn check_member(
    subnet: Ipv4Net,
    address: Ipv4Addr,
    path: &str,
) -> Result<(), FormError> {
    let problem = if !subnet.contains(&address) {
        "is not in"
    } else if address == subnet.network() {
        "is the network address of"
    } else if address == subnet.broadcast() {
        "is the broadcast address of"
    } else {
        return Ok(());
    };
    let (first, last) = (subnet.hosts().next(), subnet.hosts().next_back());
    let range = match (first, last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => subnet.to_string(),
    };
    Err(FormError::new(
        Code::BackendOutsideSubnet,
        path,
        format!("{address} {problem} the subnet {subnet}"),
        format!("use an address from {range}, or name the backend's own subnet in `subnet`"),
    ))
}

/// The /24 in which all the addresses are; none where there is no address, or they are apart.
pub(super) fn around(addresses: &[Ipv4Addr]) -> Option<Ipv4Net> {
    let first = addresses.first()?;
    let subnet = Ipv4Net::new(*first, DERIVED_PREFIX).ok()?.trunc();
    let fits = addresses.iter().all(|address| subnet.contains(address));
    (fits && special_use(&subnet).is_none()).then_some(subnet)
}

/// Refuses a subnet that shares addresses with another one of the project: one namespace cannot have
/// two networks under one address.
pub(super) fn check_others(
    subnet: Ipv4Net,
    others: &BTreeSet<Ipv4Net>,
    path: &str,
) -> Result<(), FormError> {
    match others
        .iter()
        .find(|other| **other != subnet && overlap(&subnet, other))
    {
        Some(other) => Err(FormError::new(
            Code::SubnetOverlaps,
            path,
            format!("{subnet} overlaps {other}, another subnet of the project"),
            format!("use {other}, a network apart from it, or another project"),
        )),
        None => Ok(()),
    }
}
