//! The PROXY protocol's header: bit by bit as at once, and as crate ppp reads it.

use std::net::{IpAddr, SocketAddrV4};

use balancer::proxy_protocol::{Header, Refused, V2_BYTES, parse, write};
use model::ProxyVersion;
use ppp::{HeaderResult, v1, v2};

/// Checks any bytes.
pub fn check(data: &[u8]) {
    let found = parse(data);
    assert_eq!(
        found,
        in_pieces(data),
        "pieces mean something else than the whole"
    );
    assert!(
        found != Ok(None) || data.len() < V2_BYTES,
        "it asks for ever more"
    );
    let Ok(Some(header)) = found else { return };
    assert!(header.length <= data.len());
    agrees(&data[..header.length], header.client);
    let Some(client) = header.client else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write(
            version,
            client,
            SocketAddrV4::new([192, 0, 2, 9].into(), 80),
            &mut out,
        );
        let length = out.len();
        out.extend_from_slice(data);
        let client = Some(client);
        assert_eq!(parse(&out), Ok(Some(Header { length, client })));
    }
}

fn in_pieces(data: &[u8]) -> Result<Option<Header>, Refused> {
    for end in 0..=data.len() {
        if let Some(header) = parse(&data[..end])? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// Asserts that ppp reads the same client in what ours takes for a whole header.
fn agrees(header: &[u8], client: Option<SocketAddrV4>) {
    let theirs = match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(tcp) => Some((IpAddr::V4(tcp.source_address), tcp.source_port)),
            v1::Addresses::Tcp6(tcp) => Some((IpAddr::V6(tcp.source_address), tcp.source_port)),
        },
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => None,
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::Unspecified => None,
            v2::Addresses::IPv4(tcp) => Some((IpAddr::V4(tcp.source_address), tcp.source_port)),
            v2::Addresses::IPv6(tcp) => Some((IpAddr::V6(tcp.source_address), tcp.source_port)),
            v2::Addresses::Unix(_) => panic!("ours takes a path for an address"),
        },
        // What follows UNKNOWN means nothing, and ours does not look at it.
        HeaderResult::V1(Err(_)) if client.is_none() => None,
        refused => panic!("ppp refuses what ours accepts: {refused:?}"),
    };
    let theirs = theirs.map(|(address, port)| (address.to_canonical(), port));
    let ours = client.map(|client| (IpAddr::V4(*client.ip()), client.port()));
    assert_eq!(theirs, ours);
}
