//! How an instance's traffic is spread over its backends, what is done when one of them fails, and what
//! clients may ask of it. One value, in the user's instance and in the balancer's configuration alike.
//!
//! Every bound here holds for one VM by itself: its balancer asks nobody else.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The most networks in one list.
pub const MAX_NETWORKS: usize = 256;

/// How traffic is spread, bounded and passed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Which backend takes the next request or TCP session.
    pub algorithm: Algorithm,
    /// Milliseconds over which the share of a backend that came up grows to its weight; 0 for at once. Not
    /// applied by the algorithms that hash, since a share that grows would move keys to and fro.
    pub slow_start_ms: u64,
    /// Milliseconds for requests and sessions of a backend that was taken out, or was given the weight 0,
    /// to end by themselves; then they are cut off.
    pub drain_ms: u64,
    /// What waits for a backend whose connections are all in use.
    pub queue: Queue,
    /// Which backends are left alone for a while because requests to them fail.
    pub outlier_ejection: Option<OutlierEjection>,
    /// When requests to a backend are no longer tried at all.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How often a request is tried.
    pub retry: Retry,
    /// What one client, and all of them, may ask for.
    pub limits: Limits,
    /// Networks whose clients are served; all when empty. Others get 403, or under TCP a reset.
    pub allowed_clients: Vec<Ipv4Net>,
    /// Who speaks the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// What becomes of a request whose client ends its half of the connection, or closes it, before it is
    /// answered: its FIN does not tell which.
    pub client_close: ClientClose,
    /// What backends are told of a request's way, under HTTP.
    pub forwarding: Forwarding,
    /// Whether a line is kept of each request or session.
    pub access_log: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            slow_start_ms: 0,
            drain_ms: 300_000,
            queue: Queue::default(),
            outlier_ejection: None,
            circuit_breaker: None,
            retry: Retry::default(),
            limits: Limits::default(),
            allowed_clients: Vec::new(),
            proxy_protocol: ProxyProtocol::default(),
            client_close: ClientClose::default(),
            forwarding: Forwarding::default(),
            access_log: true,
        }
    }
}

/// Which backend takes the next request or TCP session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Algorithm {
    /// Each in turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// The one with the fewest requests or sessions under way in relation to its weight, as far as each of a
    /// balancer's threads knows by itself; of equals, each in turn as often as its weight says.
    LeastConnections,
    /// The better of two that are drawn at random, by how long they lately took to answer and how much is
    /// under way. For TCP: by how long they took to accept a connection. Backends that are about as quick
    /// have the shares of their weights.
    PeakEwma,
    /// The same backend for the same client's address. When backends come and go, no client moves but to one
    /// that came or from one that went.
    SourceHash,
    /// The same backend for the same key, for nearly all keys also when backends come and go.
    Maglev {
        /// What is hashed.
        key: HashKey,
    },
}

/// What is hashed of a request. TCP sessions are always hashed by the client's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashKey {
    /// The client's address.
    Source,
    /// Path and query.
    Uri,
    /// The value of the first field of this name; the client's address where there is none.
    Header(String),
}

/// What waits for a backend whose connections are all in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Requests or sessions that may wait for each backend.
    pub length: u32,
    /// Milliseconds that each may wait.
    pub timeout_ms: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            length: 1_024,
            timeout_ms: 10_000,
        }
    }
}

/// Which backends are left alone for a while because requests to them fail (passive health checks).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierEjection {
    /// Failures in a row that eject a backend: connections that did not come about, answers that did not
    /// come or were malformed, and answers of 500 and above (501 excepted).
    pub consecutive_failures: u32,
    /// Milliseconds of the first ejection; the n-th in a row takes n times as long, up to ten times.
    pub ejection_ms: u64,
    /// The largest share of the backends, in percent, that may be ejected at once. One always may, where
    /// there are at least two.
    pub max_ejected_percent: u8,
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection_ms: 30_000,
            max_ejected_percent: 50,
        }
    }
}

/// When requests to a backend are no longer tried at all.
///
/// ```text
///           too large a share failed            open_ms have passed
///   closed ──────────────────────────▶ open ──────────────────────────▶ half-open
///     ▲                                  ▲        one request that failed   │ │
///     │                                  └──────────────────────────────────┘ │
///     └───────────────────── one request that succeeded ──────────────────────┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreaker {
    /// The share of failed requests, in percent, above which it opens.
    pub failure_percent: u8,
    /// Requests within the window without which it does not open.
    pub min_requests: u32,
    /// Milliseconds that are looked back on.
    pub window_ms: u64,
    /// Milliseconds for which no request is tried.
    pub open_ms: u64,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failure_percent: 50,
            min_requests: 20,
            window_ms: 10_000,
            open_ms: 5_000,
        }
    }
}

/// How often a request is tried. Only what is safe is tried again: when no backend can have seen any of
/// it, or when its method is idempotent and nothing of an answer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How often one request is sent to a backend at the most, the first time included.
    pub attempts: u32,
    /// Retries at the most, in percent of the requests of the last ten seconds; ten are always allowed. A
    /// connection that a backend closed while it was idle does not count.
    pub budget_percent: u16,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget_percent: 20,
        }
    }
}

/// What one client, and all of them, may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Client connections that are open at once; none when absent. More wait to be accepted.
    pub connections: Option<u32>,
    /// Client connections from one address that are open at once; none when absent. More are closed.
    pub connections_per_client: Option<u32>,
    /// Bytes of a request's first line, at the most.
    pub request_line_bytes: u32,
    /// Bytes of a request's head, at the most.
    pub request_head_bytes: u32,
    /// Bytes of a request's body, at the most; none when absent.
    pub request_body_bytes: Option<u64>,
    /// Bytes in a second at the least for a client that sends a request or takes an answer in, after a grace
    /// of ten seconds; 0 for no bound. Time in which it waits for the backend does not count.
    pub min_client_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            connections_per_client: None,
            request_line_bytes: 8 << 10,
            request_head_bytes: 32 << 10,
            request_body_bytes: None,
            min_client_rate: 128,
        }
    }
}

/// Who speaks the PROXY protocol (haproxy.org, "The PROXY protocol, versions 1 & 2").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyProtocol {
    /// Networks whose connections begin with a PROXY header, which is believed: its address is then the
    /// client's, for everything that asks for one. One that does not begin so is closed. From any other
    /// address the header is taken for what the client sent.
    pub accept_from: Vec<Ipv4Net>,
    /// What each connection to a backend begins with, a health check's of the backend's own port as well.
    /// Under HTTP each request then has a backend connection of its own.
    pub send: Option<ProxyVersion>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What becomes of a request whose client ends its half of the connection before it is answered. A reset is
/// always taken for the client's end, and what a client has not sent whole cannot be finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientClose {
    /// It is finished, and so waits for a backend if it has to: clients may end their half once they have
    /// asked (RFC 9112, section 9.6, and TCP itself).
    #[default]
    Finish,
    /// It is given up until its answer begins: its place among those who wait, and the connection to its
    /// backend. A TCP session gives up its place among those who wait; once it has a backend, each side's end
    /// is passed on to the other.
    Abort,
}

/// What backends are told of a request's way, under HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forwarding {
    /// Proxies whose `X-Forwarded-*` and `Forwarded` are believed and added to. From anybody else they are
    /// replaced.
    pub trusted_proxies: Vec<Ipv4Net>,
    /// Whether `Forwarded` (RFC 7239) is sent beside `X-Forwarded-*`.
    pub forwarded: bool,
    /// Name of the field with the request's id, which is made here unless a trusted proxy sent one.
    pub request_id: Option<String>,
}

/// Whether one of the networks has this address in it.
#[must_use]
pub fn contains(networks: &[Ipv4Net], address: Ipv4Addr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
