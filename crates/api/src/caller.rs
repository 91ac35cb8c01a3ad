//! Who is at the other end of a connection. Asked only where a request names no user.
//!
//! On the unix socket the kernel says whose process connected (`SO_PEERCRED`). On loopback the client's
//! socket is looked up in the kernel's table of TCP sockets, which names its owner's uid. The uid's name
//! comes from the system's user database; `uid-<n>` stands for one that it does not know, and
//! [`UNKNOWN_USER`] for a caller of whom not even the uid is known (a client that has hung up, or one in
//! another network namespace).
//!
//! This tells users apart, it does not keep them apart: a request may name any user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::{Uid, User};
use tokio::sync::OnceCell;

/// The user of a caller who cannot be identified.
pub const UNKNOWN_USER: &str = "default";

/// The other end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Of the unix socket: its uid, where the kernel told.
    Unix(Option<u32>),
    /// Of a TCP socket: both its ends.
    Tcp {
        client: SocketAddr,
        server: SocketAddr,
    },
}

/// A connection's caller. Found out once, when first asked for.
#[derive(Debug)]
pub(crate) struct Caller {
    pub peer: Peer,
    name: OnceCell<String>,
}

impl Caller {
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            name: OnceCell::new(),
        }
    }

    pub async fn name(&self) -> String {
        let peer = self.peer;
        let look_up = || async move {
            // Both the table of sockets and the user database are read by blocking calls.
            let name = tokio::task::spawn_blocking(move || user_of(peer)).await;
            name.unwrap_or_else(|_| UNKNOWN_USER.to_owned())
        };
        self.name.get_or_init(look_up).await.clone()
    }
}

fn user_of(peer: Peer) -> String {
    let uid = match peer {
        Peer::Unix(uid) => uid,
        Peer::Tcp { client, server } => owner(client, server),
    };
    let Some(uid) = uid else {
        return UNKNOWN_USER.to_owned();
    };
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) => format!("uid-{uid}"),
        Err(error) => {
            tracing::warn!(uid, %error, "the user database cannot be read");
            format!("uid-{uid}")
        }
    }
}

/// The uid that owns the client's end of a connection within this machine.
fn owner(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    // The thread's own view: it is of the network namespace in which this thread, and so the server, is.
    let path = match client {
        SocketAddr::V4(_) => "/proc/thread-self/net/tcp",
        SocketAddr::V6(_) => "/proc/thread-self/net/tcp6",
    };
    match std::fs::read_to_string(path) {
        Ok(table) => table
            .lines()
            .find_map(|line| owner_in(line, client, server)),
        Err(error) => {
            tracing::warn!(path, %error, "the table of sockets cannot be read");
            None
        }
    }
}

/// The uid in one line of the table, if the line is about the socket from `client` to `server`:
/// number, local address, remote address, state, queues, timer, retransmits, uid (proc(5)).
fn owner_in(line: &str, client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let local = parse_socket(columns.next()?)?;
    let remote = parse_socket(columns.next()?)?;
    let uid = columns.nth(4)?;
    match (local, remote) == (client, server) {
        true => uid.parse().ok(),
        false => None,
    }
}

/// `0100007F:1F90`: an address as 32-bit words in the machine's byte order, and a port.
fn parse_socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_sockets_is_read_as_the_kernel_writes_it() {
        let line = "   1: 0100007F:A2C4 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0";
        let client = "127.0.0.1:41668".parse().expect("an address");
        let server = "127.0.0.1:8080".parse().expect("an address");
        assert_eq!(owner_in(line, client, server), Some(1000));
        assert_eq!(owner_in(line, server, client), None);
        let v6 = "00000000000000000000000001000000:1F90";
        assert_eq!(parse_socket(v6), "[::1]:8080".parse().ok());
        for broken in [
            "",
            "x",
            "0100007F",
            "0100007F:",
            "01:1",
            "ü100007F:1F90",
            "1: 2: 3 4",
        ] {
            assert_eq!(parse_socket(broken), None, "{broken}");
            assert_eq!(owner_in(broken, client, server), None, "{broken}");
        }
    }

    #[test]
    fn the_owner_of_a_real_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("its address");
        let stream = std::net::TcpStream::connect(server).expect("a connection");
        let client = stream.local_addr().expect("its address");
        assert_eq!(owner(client, server), Some(Uid::current().as_raw()));
        assert_eq!(user_of(Peer::Unix(Some(4_000_000_000))), "uid-4000000000");
    }
}
