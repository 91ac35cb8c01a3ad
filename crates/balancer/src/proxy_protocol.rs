//! The PROXY protocol (haproxy.org, "The PROXY protocol, versions 1 & 2"): a header before all else on a
//! connection, by which a proxy says whose connection it passes on. Bytes in, a header out, and back.
//!
//! Read strictly: whoever sends a header is configured to, so anything else is a fault or a forgery. The
//! header ends where it says, and what follows is the connection's own.
//!
//! Addresses are IPv4. A header of IPv6 is believed where its client's address is an IPv4 address in IPv6
//! clothes (`::ffff:1.2.3.4`); any other, and those of unix sockets, are refused: the client could only be
//! taken for the proxy, which limits and allowed networks would judge wrongly. `LOCAL`, `UNKNOWN` and
//! `AF_UNSPEC` name no client, as the specification has it: the connection is the proxy's own.
//!
//! TLVs of version 2 are skipped, the checksum among them; TCP has one of its own.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use model::ProxyVersion;

use crate::http::grammar::decimal;

/// The longest header of version 1, its CR LF included.
pub const V1_BYTES: usize = 107;
/// The longest header of version 2 that is read; the addresses take at most 232 of them.
pub const V2_BYTES: usize = 4 << 10;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;

/// A header, read and found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub length: usize,
    /// Whose connection it is; nobody's but the proxy's own when absent.
    pub client: Option<SocketAddrV4>,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The connection begins with something else.
    #[error("there is no PROXY header")]
    Absent,
    /// It is none of the two versions, or longer than one may be.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// The client has no IPv4 address, or does not speak TCP.
    #[error("the PROXY header is of a family that is not served")]
    Family,
}

/// Reads the header that `bytes`, a connection's first, begin with. Nothing when more of them are needed,
/// which is never so from [`V2_BYTES`] on.
///
/// # Errors
/// What is wrong with it, as soon as that can be seen.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => parse_v1(bytes),
        Some(b'\r') => parse_v2(bytes),
        Some(_) => Err(Refused::Absent),
    }
}

/// Whether `bytes` are as much of `start` as there can be.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes
        .iter()
        .zip(start)
        .all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    if !begins_like(bytes, V1_START) {
        return Err(Refused::Absent);
    }
    let within = bytes.get(..V1_BYTES).unwrap_or(bytes);
    let Some(feed) = memchr::memchr(b'\n', within) else {
        return match bytes.len() {
            length if length < V1_BYTES => Ok(None),
            _ => Err(Refused::Malformed("the line is too long")),
        };
    };
    let line = within.get(..feed).unwrap_or_default();
    let line = line
        .strip_prefix(V1_START)
        .and_then(|line| line.strip_suffix(b"\r"))
        .ok_or(Refused::Malformed("the line does not end in CR LF"))?;
    Ok(Some(Header {
        length: feed + 1,
        client: read_line(line)?,
    }))
}

/// Reads what stands between `PROXY` and the line's end.
fn read_line(line: &[u8]) -> Result<Option<SocketAddrV4>, Refused> {
    const BAD: Refused = Refused::Malformed("the line's parts are not those of the protocol");
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let mut parts = line.split(|&byte| byte == b' ');
    let mut next = || parts.next().ok_or(BAD);
    let family = next()?;
    let (client, server) = (next()?, next()?);
    let (client_port, server_port) = (port(next()?)?, port(next()?)?);
    if parts.next().is_some() {
        return Err(BAD);
    }
    let read = |text: &[u8]| {
        let text = std::str::from_utf8(text).map_err(|_| BAD)?;
        match family {
            b"TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| BAD),
            b"TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| BAD),
            _ => Err(BAD),
        }
    };
    // Where the connection went is read for its form alone.
    let _ = (read(server)?, server_port);
    Ok(Some(SocketAddrV4::new(plain(read(client)?)?, client_port)))
}

/// A port: digits without a leading zero.
fn port(text: &[u8]) -> Result<u16, Refused> {
    const BAD: Refused = Refused::Malformed("a port is malformed");
    if text.len() > 1 && text.starts_with(b"0") {
        return Err(BAD);
    }
    let port = decimal(text).ok_or(BAD)?;
    u16::try_from(port).map_err(|_| BAD)
}

/// The address as IPv4, which it may be in IPv6 clothes.
fn plain(address: IpAddr) -> Result<Ipv4Addr, Refused> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => address.to_ipv4_mapped().ok_or(Refused::Family),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    if !begins_like(bytes, V2_START) {
        return Err(Refused::Absent);
    }
    let Some(&[command, family, high, low]) = bytes
        .get(V2_START.len()..V2_FIXED)
        .and_then(|fixed| fixed.first_chunk())
    else {
        return Ok(None);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Refused::Malformed("neither version 2 nor a command of it")),
    };
    if length > V2_BYTES {
        return Err(Refused::Malformed("it is too long"));
    }
    let Some(block) = bytes.get(V2_FIXED..length) else {
        return Ok(None);
    };
    let client = match is_local {
        true => None,
        false => read_block(family, block)?,
    };
    Ok(Some(Header { length, client }))
}

/// Reads the addresses of version 2: client, server, client's port, server's port. TLVs may follow.
fn read_block(family: u8, block: &[u8]) -> Result<Option<SocketAddrV4>, Refused> {
    const SHORT: Refused = Refused::Malformed("the addresses are cut off");
    match family {
        0x00 => Ok(None),
        0x11 => {
            let &[a, b, c, d, _, _, _, _, high, low, _, _] =
                block.first_chunk::<12>().ok_or(SHORT)?;
            let port = u16::from_be_bytes([high, low]);
            Ok(Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)))
        }
        0x21 => {
            let all = block.first_chunk::<36>().ok_or(SHORT)?;
            let (address, rest) = all.split_first_chunk::<16>().ok_or(SHORT)?;
            let port = rest.get(16..).and_then(|ports| ports.first_chunk::<2>());
            let port = u16::from_be_bytes(*port.ok_or(SHORT)?);
            let address = plain(Ipv6Addr::from(*address).into())?;
            Ok(Some(SocketAddrV4::new(address, port)))
        }
        0x12 | 0x22 | 0x31 | 0x32 => Err(Refused::Family),
        _ => Err(Refused::Malformed("the family is none of the protocol's")),
    }
}

/// Writes the header for a connection of `client` to `server`.
pub fn write(version: ProxyVersion, client: SocketAddrV4, server: SocketAddrV4, out: &mut Vec<u8>) {
    match version {
        ProxyVersion::V1 => {
            // Writing to a Vec does not fail.
            let _ = write!(
                out,
                "PROXY TCP4 {} {} {} {}\r\n",
                client.ip(),
                server.ip(),
                client.port(),
                server.port()
            );
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(V2_START);
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&client.ip().octets());
            out.extend_from_slice(&server.ip().octets());
            out.extend_from_slice(&client.port().to_be_bytes());
            out.extend_from_slice(&server.port().to_be_bytes());
        }
    }
}

/// The header for a connection of the balancer's own, such as a health check's.
#[must_use]
pub fn own(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyVersion::V2 => [V2_START, &[0x20, 0, 0, 0]].concat(),
    }
}

#[cfg(test)]
mod tests;
