//! How a VM's figures are named on their way to the monitor, as collectd names things:
//! `host/plugin/type-instance`.
//!
//! The real collectd in a VM and a balancer that speaks for itself send the same names.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::VmId;

/// Seconds between two samples.
pub const FIGURES_INTERVAL_S: u64 = 1;

/// The port that collectd's protocol is registered with.
pub const COLLECTD_PORT: u16 = 25_826;

/// collectd's plugin that tells the share of the processors that is in use, over all of them.
pub const CPU_PLUGIN: &str = "cpu";
/// The type of that share, a gauge.
pub const CPU_TYPE: &str = "percent";
/// And its instance: all that is not idle.
pub const CPU_INSTANCE: &str = "active";

/// The plugin under which a balancer's own figures stand.
pub const BALANCER_PLUGIN: &str = "evenkeel";
/// The type of figures that go up and down.
pub const GAUGE_TYPE: &str = "gauge";
/// The type of counts that only grow.
pub const DERIVE_TYPE: &str = "derive";
/// The gauge of client connections that are open.
pub const CONNECTIONS: &str = "connections";
/// The count of HTTP requests, or TCP sessions.
pub const REQUESTS: &str = "requests";

/// The type of answers to clients by class, which is counted with each: `1xx` to `5xx`.
pub const ANSWERS_TYPE: &str = "evenkeel_answers";
/// The type of what a balancer knows of one backend, whose address and port are the plugin's instance.
pub const BACKEND_TYPE: &str = "evenkeel_backend";
/// The type of latencies since the reading before, in microseconds: how long all of them took together, and of each
/// bucket that is not empty one number ([`LatencyBucket`]). Of a second with more buckets than fit there are several
/// lists; their order tells nothing.
pub const LATENCIES_TYPE: &str = "evenkeel_latencies";
/// The latencies until an answer began, among those of [`LATENCIES_TYPE`].
pub const FIRST_BYTE: &str = "first_byte";
/// The latencies until an answer was whole.
pub const WHOLE: &str = "whole";
/// Buckets in one list of latencies: with them a command to collectd's plugin `unixsock`, which reads 1,023 bytes,
/// is never too long.
pub const LATENCY_BUCKETS: usize = 31;

/// The values of a list of [`ANSWERS_TYPE`], in order; each a count that only grows.
pub const ANSWERS_VALUES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The values of a list of [`BACKEND_TYPE`], in order. Four are counts that only grow: requests or sessions, those that
/// failed, answers that began or connections that were taken, and microseconds until they did, in all. Then what is
/// under way, and whether it is healthy, 1 or 0.
pub const BACKEND_VALUES: [&str; 6] = [
    "requests",
    "errors",
    "answers",
    "answer_us",
    "active",
    "healthy",
];

/// Latencies of one bucket, as one number: how many there are, and in the lowest ten bits which bucket it is. Buckets
/// are the monitor log's: each number below 32 has one, and each power of two above it 32 of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyBucket {
    /// Which.
    pub index: u16,
    /// How many latencies are in it; 0 where a list has no more of them.
    pub count: u64,
}

impl LatencyBucket {
    const INDEX_BITS: u32 = 10;

    /// As the number that travels. More than 2^53 latencies in one reading count as so many.
    #[must_use]
    pub fn to_number(self) -> u64 {
        let most = (1 << (63 - Self::INDEX_BITS)) - 1;
        let index = u64::from(self.index) & ((1 << Self::INDEX_BITS) - 1);
        self.count.min(most) << Self::INDEX_BITS | index
    }

    /// Of the number that travels.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let index = number & ((1 << Self::INDEX_BITS) - 1);
        Self {
            index: u16::try_from(index).unwrap_or_default(),
            count: number >> Self::INDEX_BITS,
        }
    }
}

/// What collectd has to know of these types: a file for its setting `TypesDB`.
#[must_use]
pub fn types_db() -> String {
    let line = |kind: &str, values: Vec<String>| format!("{kind}\t{}\n", values.join(", "));
    let counts = |value: &&str| format!("{value}:DERIVE:0:U");
    let answers = ANSWERS_VALUES.iter().map(counts).collect();
    let backend = BACKEND_VALUES.iter().map(|value| match *value {
        "active" | "healthy" => format!("{value}:GAUGE:0:U"),
        value => counts(&value),
    });
    let buckets = (0..LATENCY_BUCKETS).map(|bucket| format!("bucket{bucket}:ABSOLUTE:0:U"));
    let sum = ["sum_us:ABSOLUTE:0:U".to_owned()];
    let latencies = sum.into_iter().chain(buckets).collect();
    [
        line(ANSWERS_TYPE, answers),
        line(BACKEND_TYPE, backend.collect()),
        line(LATENCIES_TYPE, latencies),
    ]
    .concat()
}

/// The name of a VM among hosts, and of the user as whom it sends.
#[must_use]
pub fn collectd_host(vm: VmId) -> String {
    format!("vm-{vm}")
}

/// Where a VM sends its figures, and how it shows who it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootMonitor {
    /// The monitor's address, on the front network.
    pub address: Ipv4Addr,
    /// Its UDP port.
    pub port: u16,
    /// Whom the VM sends as; also its host name among the figures ([`collectd_host`]).
    pub user: String,
    /// The VM's own password.
    pub key: String,
}

impl fmt::Debug for BootMonitor {
    /// Without the key, which is nobody else's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.address, self.port)
    }
}
