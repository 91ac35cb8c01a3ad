//! The server: sockets on every address, one published generation.

mod published;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::zone::{Zone, ZoneContents, ZoneError};
use published::Published;

/// How often a free port is looked for when the caller leaves the choice: one that is free for UDP can
/// be taken for TCP.
const PORT_CHOICES: usize = 16;

/// Why the server could not be started, or a generation not be published.
#[derive(Debug, Error)]
pub enum DnsError {
    /// The address does not exist on this machine, or not yet: the caller tries again when it does.
    #[error(
        "DNS cannot listen on {address}: this machine has no such address (yet); it is tried again, \
         or choose one that `ip address` shows"
    )]
    AddressAbsent {
        /// The address.
        address: SocketAddr,
    },
    /// Another program has the address.
    #[error(
        "DNS cannot listen on {address}: another program does; find it with `ss -lunpt 'sport = \
         :{}'`, and stop it or choose another address", address.port()
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The port needs a privilege that the process does not have.
    #[error(
        "DNS may not listen on {address}: a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    )]
    AddressDenied {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    #[error("DNS cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The contents make no zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// A newer generation is already published. The caller's contents are out of date.
    #[error("the zone {origin} is published with serial {published}; {offered} is not newer")]
    OlderSerial {
        /// The zone.
        origin: String,
        /// The serial that is being served.
        published: u32,
        /// The serial that was refused.
        offered: u32,
    },
    /// The published generation has this serial and says otherwise: contents were changed without
    /// raising the serial.
    #[error(
        "the zone {origin} is published with serial {serial} and other contents: raise the serial"
    )]
    SameSerial {
        /// The zone.
        origin: String,
        /// The serial of both.
        serial: u32,
    },
    /// The server serves another zone; changing its name needs a restart.
    #[error("the server serves the zone {served}, not {offered}: restart it to change the zone")]
    OtherZone {
        /// The zone that is being served.
        served: String,
        /// The zone that was offered.
        offered: String,
    },
}

/// An authoritative server of one zone over UDP and TCP. Dropping it stops it.
#[derive(Debug)]
pub struct DnsServer {
    published: Arc<Published>,
    local_addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

impl DnsServer {
    /// Starts to serve `zone` over UDP and TCP on every address of `listen`, or on none when one
    /// cannot be had. With port 0 the system chooses a port, the same for UDP and TCP.
    ///
    /// Name the addresses one by one: from a socket on 0.0.0.0 a machine with several addresses can
    /// answer from another than was asked, and clients drop such answers. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`DnsError::AddressAbsent`], [`DnsError::AddressInUse`], [`DnsError::AddressDenied`] or
    /// [`DnsError::Bind`] with the address at fault; [`DnsError::Zone`].
    pub async fn bind(listen: &[SocketAddr], zone: ZoneContents) -> Result<Self, DnsError> {
        let published = Arc::new(Published::new(Zone::new(zone)?));
        let mut sockets = Vec::with_capacity(listen.len());
        for address in listen {
            sockets.push(bind_pair(*address).await?);
        }
        let mut server = Self {
            published,
            local_addresses: Vec::with_capacity(sockets.len()),
            tasks: JoinSet::new(),
        };
        for (address, udp, tcp) in sockets {
            server.local_addresses.push(address);
            let published = server.published.clone();
            server.tasks.spawn(udp::serve(udp, published));
            let published = server.published.clone();
            server.tasks.spawn(tcp::serve(tcp, published));
        }
        Ok(server)
    }

    /// The bound addresses with their ports, in the order of `listen`.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local_addresses
    }

    /// Puts a new generation in the place of the published one, whole: each query is answered from
    /// the one or from the other. Publishing again what is published does nothing.
    ///
    /// # Errors
    /// [`DnsError::Zone`], [`DnsError::OlderSerial`], [`DnsError::SameSerial`] or
    /// [`DnsError::OtherZone`]; the published generation stays.
    pub fn publish(&self, zone: ZoneContents) -> Result<(), DnsError> {
        self.published.replace(Zone::new(zone)?)
    }

    /// The serial of the published generation.
    pub fn serial(&self) -> u32 {
        self.published.current().serial()
    }

    /// Stops serving and closes the sockets. Connections that are open are cut.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Binds UDP and TCP to one address and one port.
async fn bind_pair(address: SocketAddr) -> Result<(SocketAddr, UdpSocket, TcpListener), DnsError> {
    let failed = |source| bind_error(address, source);
    let mut choices = PORT_CHOICES;
    loop {
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        let bound = udp.local_addr().map_err(failed)?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((bound, udp, tcp)),
            Err(_) if address.port() == 0 && choices > 0 => choices -= 1,
            Err(source) => return Err(failed(source)),
        }
    }
}

fn bind_error(address: SocketAddr, source: io::Error) -> DnsError {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => DnsError::AddressAbsent { address },
        io::ErrorKind::AddrInUse => DnsError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => DnsError::AddressDenied { address },
        _ => DnsError::Bind { address, source },
    }
}
