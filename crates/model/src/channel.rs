//! The control channel between the host and a balancer: one JSON object on a line, each way.
//!
//! Under the `qemu` driver the line travels over virtio-serial, under `process` over a unix socket;
//! the messages are the same. The protocol is level-triggered: the guest says in each heartbeat which
//! configuration it runs, and the host sends a newer one until the heartbeat names it. So either side
//! may be restarted, and any single message may be lost, without a handshake to repeat.
//!
//! Nothing here waits: a writer that finds the channel full drops the heartbeat.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::figures::BootMonitor;
use crate::{Generation, HealthCheck, Mac, Policy, TrafficType, VmId};

/// Bytes in one line, the newline included. A longer line is a fault of the sender; the reader skips
/// to the next newline.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Milliseconds by which a VM's clock may be off its host's before it is set.
pub const CLOCK_TOLERANCE_MS: u64 = 1_000;

/// Milliseconds between two words of a VM's about its clock.
pub const CLOCK_INTERVAL_MS: u64 = 5_000;

/// The MACs that the NICs of a VM have, front and tenant, when it is made before it is known who it is to be.
/// A restored VM's NICs have the MACs of the VM that the snapshot was made of, whatever QEMU is told, since
/// the MAC is part of the device state. So a snapshot is made with these, and the guest takes on its own
/// MAC from [`Boot`].
pub const STAND_IN_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];

/// What the host says to a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum HostMessage {
    /// Who the VM is. Sent in answer to [`GuestMessage::AwaitingBoot`] and never acted on twice.
    Boot(Boot),
    /// To go through what a VM does when it is told who it is, with a balancer that is thrown away, so that the code
    /// for it is at hand. Said to a machine that is to wait for somebody to be; one of an older version passes over it.
    Rehearse,
    /// What to balance. Taken whole or refused whole; an older generation than the running one is ignored.
    Configure(BalancerConfig),
    /// What time it is. Said to a VM whose clock, by its own word, is off by more than [`CLOCK_TOLERANCE_MS`].
    Time {
        /// The host's wall clock when this was written, in milliseconds since the Unix epoch.
        unix_time_ms: u64,
    },
    /// The VM is to go: clients are to leave it. It goes on to accept connections and to take configurations, but
    /// each HTTP answer ends its connection. Never taken back. Said to those whose [`Heartbeat::draining`] is
    /// `false`, until it is `true`.
    Drain,
}

/// What a VM says to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are heartbeats, and each is taken apart at once"
)]
pub enum GuestMessage {
    /// The VM runs and does not know who it is. Repeated every 50 ms until [`HostMessage::Boot`] comes.
    AwaitingBoot {
        /// Version of the balancer program.
        version: String,
    },
    /// The answer to [`HostMessage::Rehearse`], whether it went well or not. The VM waits for Boot again.
    Rehearsed {
        /// How many requests were answered.
        answered: usize,
        /// What went wrong, if anything did.
        trouble: Option<String>,
    },
    /// The balancer is alive. Sent at the interval that [`Boot`] named, and at once when the
    /// configuration was changed or refused.
    Heartbeat(Heartbeat),
    /// What the VM's own clock shows, if it has one of its own. Sent every [`CLOCK_INTERVAL_MS`].
    Clock {
        /// Milliseconds since the Unix epoch.
        unix_time_ms: u64,
    },
    /// One line for the VM's log on the host. Dropped rather than waited for.
    Log {
        /// `error`, `warn`, `info` or `debug`.
        level: String,
        /// The line, without a newline.
        text: String,
    },
}

/// Everything that tells a VM apart from its siblings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The VM.
    pub vm: VmId,
    /// Host name inside the VM.
    pub hostname: String,
    /// The NIC that clients reach. The balancer listens on its address alone.
    pub front: BootNic,
    /// The NIC that reaches the backends.
    pub tenant: BootNic,
    /// 32 fresh random bytes in hexadecimal, mixed into the VM's entropy pool.
    pub seed: String,
    /// The host's wall clock when this was written, in milliseconds since the Unix epoch.
    pub unix_time_ms: u64,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Where its figures go; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<BootMonitor>,
}

/// One NIC's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootNic {
    /// The NIC's MAC, by which init finds it, or which it gives to the NIC that has the stand-in's.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// Default route, where there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// What a balancer does, whole. Host names are resolved before it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancerConfig {
    /// Raised with each change.
    pub generation: Generation,
    /// The instance's name, for headers and logs.
    pub instance: String,
    /// HTTP or TCP.
    pub traffic: TrafficType,
    /// The port to listen on, on the front address.
    pub port: u16,
    /// Where traffic may go, in the order in which the user gave it. May be empty: then every request
    /// is answered with 503.
    pub backends: Vec<BackendConfig>,
    /// How backends are checked.
    pub health_check: HealthCheck,
    /// Bounds on waiting.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How traffic is spread, bounded and passed on.
    #[serde(default)]
    pub policy: Policy,
    /// The address from which the checker asks ([`crate::checker_address`]). What comes from there is answered by the
    /// balancer itself or not at all, and is no traffic. Nobody's when absent: then a checker is a client.
    #[serde(default)]
    pub checker: Option<Ipv4Addr>,
}

/// One server behind the balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendConfig {
    /// Its address on the tenant side.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Share of the traffic in relation to the others: 0 (no new traffic) to 256.
    pub weight: u16,
    /// Whether it takes traffic only while no other backend may.
    #[serde(default)]
    pub backup: bool,
    /// Requests under HTTP, sessions under TCP, that it takes at once; no bound when absent.
    #[serde(default)]
    pub max_connections: Option<u32>,
}

/// Bounds on waiting, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// For a connection to a backend.
    pub connect_ms: u64,
    /// For a client to send a whole request head.
    pub request_head_ms: u64,
    /// For a backend to begin its answer.
    pub response_ms: u64,
    /// For the next request on a client's connection.
    pub keep_alive_ms: u64,
    /// For any byte on a connection that is in the middle of something, or on a TCP session.
    pub idle_ms: u64,
    /// For a request from its head to the end of its answer; no bound when absent. Tunnels and TCP sessions
    /// have none.
    #[serde(default)]
    pub total_ms: Option<u64>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_ms: 3_000,
            request_head_ms: 10_000,
            response_ms: 60_000,
            keep_alive_ms: 60_000,
            idle_ms: 300_000,
            total_ms: None,
        }
    }
}

/// A balancer's account of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Rises by one with each heartbeat of one balancer process.
    pub sequence: u64,
    /// Milliseconds since the balancer process began.
    pub uptime_ms: u64,
    /// The configuration that runs; absent before the first.
    pub generation: Option<Generation>,
    /// The newest configuration that was refused, where one was and no newer one has been taken.
    pub refused: Option<Refusal>,
    /// Milliseconds since the balancer's own request through its listener was last answered by the
    /// hot path; absent before the first answer.
    pub progress_age_ms: Option<u64>,
    /// The longest that the balancer's own timers were late since the last heartbeat, or that its own request took of
    /// late where that is longer, in milliseconds: in a VM that is starved, a late answer proves less.
    #[serde(default)]
    pub lag_ms: u64,
    /// Whether clients are told to leave ([`HostMessage::Drain`]); absent where the balancer is of a version
    /// that cannot.
    #[serde(default)]
    pub draining: Option<bool>,
    /// Milliseconds since a client was last seen: one with an open connection, or one that asked something. Absent
    /// while there is one, or where the balancer is of a version that does not tell.
    #[serde(default)]
    pub deserted_ms: Option<u64>,
    /// Totals over all threads since the process began.
    pub counters: Counters,
    /// How long answers took of late.
    #[serde(default)]
    pub latency: Latency,
    /// One for each backend of the running configuration, in its order.
    pub backends: Vec<BackendStatus>,
}

/// Why a configuration was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The configuration that was refused.
    pub generation: Generation,
    /// The offending field, for example `backends[2].port`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// Totals since the balancer process began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// HTTP requests, or TCP sessions, that were begun.
    pub requests: u64,
    /// HTTP answers by the balancer itself, for want of a good one from a backend (5xx).
    pub errors: u64,
    /// Malformed requests that were refused (4xx by the balancer itself).
    pub rejected: u64,
    /// Client connections that were accepted.
    pub connections: u64,
    /// Client connections that are open now.
    pub open_connections: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Clients that were cut off because they sent, or took in, too slowly.
    #[serde(default)]
    pub slow_clients: u64,
    /// Requests that were sent once more after they may have reached a backend, or after a connection to
    /// one did not come about in time.
    pub retries: u64,
    /// Those that were not, since there had been too many ([`crate::Retry::budget_percent`]).
    pub retries_denied: u64,
    /// Requests or sessions that waited for a backend whose connections were all in use.
    pub queued: u64,
    /// Milliseconds that they waited, in all.
    pub queued_ms: u64,
    /// Those of them whose time was over.
    pub queue_timeouts: u64,
    /// Requests or sessions that were refused since too many waited.
    pub queue_full: u64,
    /// Those that wait now.
    pub waiting: u64,
    /// Client connections that were refused because their network is not allowed.
    #[serde(default)]
    pub refused_clients: u64,
    /// Client connections that were closed because their address had as many as it may.
    #[serde(default)]
    pub crowding_clients: u64,
    /// Bytes that passed, either way, without being copied.
    #[serde(default)]
    pub bytes_spliced: u64,
}

/// How long the answers of backends to HTTP requests took, over all threads and the last 10 to 20 seconds.
/// Times begin when the whole head of the request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Until the first bytes of the final answer went to the client.
    pub first_byte: Quantiles,
    /// Until the backend had given the last byte of the answer, and all but what the client had not taken was
    /// passed on. Those that were cut off are not among them.
    pub whole: Quantiles,
}

/// Times that so many of those counted do not exceed, in microseconds, at most a 32nd too large; all 0
/// when none was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quantiles {
    /// How many were counted.
    pub count: u64,
    /// Half of them.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
}

/// What a balancer knows of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Whether it is given traffic.
    pub health: BackendHealth,
    /// Milliseconds since `health` last changed.
    pub health_age_ms: u64,
    /// The last check's result in words, for example `200 OK in 3 ms` or `connection refused`.
    pub last_check: Option<String>,
    /// Milliseconds since the last check ended.
    pub last_check_age_ms: Option<u64>,
    /// HTTP requests, or TCP sessions, that were sent to it.
    pub requests: u64,
    /// Those that failed on its side.
    pub errors: u64,
    /// Those under way.
    pub active: u64,
    /// What its own traffic says of it, apart from the checks.
    #[serde(default)]
    pub passive: PassiveStatus,
}

/// What its own traffic says of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PassiveStatus {
    /// Milliseconds for which it is still left alone ([`crate::OutlierEjection`]); absent when it is not.
    pub ejected_ms: Option<u64>,
    /// How often it was ejected.
    pub ejections: u64,
    /// Where its circuit breaker stands.
    pub circuit: CircuitState,
    /// How often its circuit has opened.
    pub circuit_opens: u64,
}

/// Where a circuit breaker stands ([`crate::CircuitBreaker`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// Requests are tried.
    #[default]
    Closed,
    /// None is.
    Open,
    /// One at a time is.
    HalfOpen,
}

/// A verdict over a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendHealth {
    /// Not checked yet. Traffic goes to it only while no backend is up.
    Unknown,
    /// It takes traffic.
    Up,
    /// It takes none.
    Down,
}
