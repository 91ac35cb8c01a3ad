//! What the hot path asks of a policy with every connection and request, worked out once for each
//! configuration: what is off costs the test of one flag.

use std::net::{Ipv4Addr, SocketAddrV4};

use model::{ClientClose, Policy, ProxyVersion};

use crate::http::head::{HEAD_BYTES_AT_MOST, HeadBounds};
use crate::proxy_protocol;

/// The client's side of a policy.
#[derive(Clone, Debug)]
pub struct Edge {
    /// How large a request's head may be.
    pub head_bounds: HeadBounds,
    /// How large a request's body may be; `u64::MAX` for any.
    pub body_bytes: u64,
    /// Bytes in a second at the least for a client that is waited for; 0 for no bound.
    pub client_rate: u32,
    /// Client connections at the most.
    pub connections: Option<u32>,
    /// Client connections from one address at the most.
    pub connections_per_client: Option<u32>,
    /// Whether some clients are not served.
    pub checks_clients: bool,
    /// Whether some connections begin with a PROXY header.
    pub reads_proxy_header: bool,
    /// Whether some clients are believed in what they say of a request's way.
    pub trusts_proxies: bool,
    /// Whether a client that has ended its half is taken to have gone.
    pub aborts: bool,
    /// What each connection to a backend begins with.
    pub proxy_header: Option<ProxyVersion>,
    /// What a health check begins with.
    pub check_header: Vec<u8>,
    /// Whether a line is kept of each request or session.
    pub logs: bool,
    /// The address that clients reach.
    pub front: SocketAddrV4,
    /// The address from which the checker asks, and no client.
    pub checker: Option<Ipv4Addr>,
}

impl Edge {
    /// Works it out, for clients that reach `front`, of whom `checker` is none.
    #[must_use]
    pub fn new(policy: &Policy, front: SocketAddrV4, checker: Option<Ipv4Addr>) -> Self {
        let limits = &policy.limits;
        let within = |bytes: u32| (bytes as usize).min(HEAD_BYTES_AT_MOST);
        Self {
            head_bounds: HeadBounds {
                line: within(limits.request_line_bytes),
                head: within(limits.request_head_bytes),
            },
            body_bytes: limits.request_body_bytes.unwrap_or(u64::MAX),
            client_rate: limits.min_client_rate,
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            checks_clients: !policy.allowed_clients.is_empty(),
            reads_proxy_header: !policy.proxy_protocol.accept_from.is_empty(),
            trusts_proxies: !policy.forwarding.trusted_proxies.is_empty(),
            aborts: policy.client_close == ClientClose::Abort,
            proxy_header: policy.proxy_protocol.send,
            check_header: policy
                .proxy_protocol
                .send
                .map(proxy_protocol::own)
                .unwrap_or_default(),
            logs: policy.access_log,
            front,
            checker,
        }
    }
}
