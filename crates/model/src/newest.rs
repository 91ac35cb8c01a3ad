//! What was counted of everything that VMs sent, and the newest of what goes up and down, as the monitor tells it in one
//! answer. It travels between roles as JSON.
//!
//! Counts are of instances and not of VMs: the monitor adds up by how much each VM's own counts rise. So they fall
//! only when the monitor begins anew, never when a VM goes, and what a new VM did before it was first seen is in them.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use crate::{InstanceId, Timestamp, VmId};

/// Up to how many microseconds each part of a [`LatencyTotal`] goes; one more part has what took longer.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// One answer about everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Newest {
    /// How the monitor itself fares.
    pub intake: IntakeCounts,
    /// What each instance did.
    pub instances: BTreeMap<InstanceId, InstanceCounts>,
    /// How each VM is loaded of which something was heard in the last seconds.
    pub vms: BTreeMap<VmId, VmGauges>,
}

/// What came to the monitor, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntakeCounts {
    /// When the monitor began to count.
    pub began_at: Option<Timestamp>,
    /// Samples that were taken.
    pub samples: u64,
    /// Packets of VMs that were refused, by reason.
    pub refused_packets: BTreeMap<String, u64>,
    /// Packets of backends' hosts that were refused, by reason.
    pub refused_host_packets: BTreeMap<String, u64>,
    /// Figures of backends' hosts that were left out, since nothing is told of them.
    pub unused_host_figures: u64,
    /// Packets that were sent on to a user's own collectd.
    pub forwarded_packets: u64,
    /// Those that were not, since there were too many, or nobody took them.
    pub unforwarded_packets: u64,
    /// Lines of access logs that were lost on their way to a syslog server, since too many waited for it or nobody took
    /// them.
    pub dropped_syslog_lines: u64,
    /// Samples that the monitor log refused, by reason.
    pub refused_samples: BTreeMap<String, u64>,
    /// Samples that were not kept for want of room, or of a log.
    pub unkept_samples: u64,
    /// Time series in the monitor log.
    pub log_series: u64,
    /// Bytes of its files.
    pub log_bytes: u64,
    /// Its files that were found damaged when it was opened, and put aside.
    pub damaged_log_files: u64,
    /// Samples that were found behind damage in them, and cannot be told.
    pub lost_samples: u64,
}

/// What an instance did, over all VMs that it had since the monitor began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceCounts {
    /// What its balancers count.
    pub counts: BalancerCounts,
    /// HTTP answers by class, `1xx` to `5xx`.
    pub answers: [u64; 5],
    /// How long answers took until they were whole.
    pub whole: LatencyTotal,
    /// How long they took until they began.
    pub first_byte: LatencyTotal,
    /// Of each backend.
    pub backends: BTreeMap<SocketAddrV4, BackendCounts>,
    /// Lines of the access log that were kept.
    pub log_records: u64,
    /// Lines that its VMs dropped, since there was no room for them, and those that could not be written.
    pub log_dropped: u64,
}

/// What a balancer counts of itself, under its own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancerCounts {
    /// HTTP requests, or TCP sessions.
    pub requests: u64,
    /// Those that it answered itself for want of a good answer.
    pub errors: u64,
    /// Requests that it refused as malformed or too large.
    pub rejected: u64,
    /// Client connections that were accepted.
    pub accepted: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Requests that were sent once more.
    pub retries: u64,
    /// Those for which the budget of retries had no room.
    pub retries_denied: u64,
    /// Requests that had to wait for a backend.
    pub queued: u64,
    /// Those that waited too long.
    pub queue_timeouts: u64,
    /// Those for which the line was too long.
    pub queue_full: u64,
    /// Clients that were cut off for being slow.
    pub slow_clients: u64,
    /// Clients that the instance does not serve.
    pub refused_clients: u64,
    /// Connections of clients that had too many.
    pub crowding_clients: u64,
}

/// Latencies by their length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyTotal {
    /// How many there were up to each of [`LATENCY_BOUNDS_US`] and beyond the one before, and last those beyond all.
    pub parts: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// All of them added up, in microseconds.
    pub sum_us: u64,
}

/// What was sent to a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendCounts {
    /// Requests or sessions.
    pub requests: u64,
    /// Those that failed there.
    pub errors: u64,
    /// Answers that began, or connections that were taken.
    pub answers: u64,
    /// Microseconds until they did, in all.
    pub answer_us: u64,
    /// Requests or sessions under way now.
    pub active: f64,
}

/// How a VM is loaded now; what was not heard of late is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmGauges {
    /// Client connections that are open.
    pub connections: Option<f64>,
    /// Requests that wait for a backend.
    pub waiting: Option<f64>,
    /// The processors' share in use, in percent.
    pub cpu_percent: Option<f64>,
    /// Bytes of memory in use, of a VM that has its own.
    pub memory_bytes: Option<f64>,
}

impl BalancerCounts {
    /// The count of this name.
    pub fn named(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "requests" => &mut self.requests,
            "errors" => &mut self.errors,
            "rejected" => &mut self.rejected,
            "accepted" => &mut self.accepted,
            "bytes_in" => &mut self.bytes_in,
            "bytes_out" => &mut self.bytes_out,
            "retries" => &mut self.retries,
            "retries_denied" => &mut self.retries_denied,
            "queued" => &mut self.queued,
            "queue_timeouts" => &mut self.queue_timeouts,
            "queue_full" => &mut self.queue_full,
            "slow_clients" => &mut self.slow_clients,
            "refused_clients" => &mut self.refused_clients,
            "crowding_clients" => &mut self.crowding_clients,
            _ => return None,
        })
    }
}

impl BackendCounts {
    /// The count of this name.
    pub fn named(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "requests" => &mut self.requests,
            "errors" => &mut self.errors,
            "answers" => &mut self.answers,
            "answer_us" => &mut self.answer_us,
            _ => return None,
        })
    }
}

impl LatencyTotal {
    /// Counts latencies of one length.
    pub fn add(&mut self, latency_us: f64, times: u64) {
        let beyond = LATENCY_BOUNDS_US.partition_point(|bound| (*bound as f64) < latency_us);
        if let Some(part) = self.parts.get_mut(beyond) {
            *part = part.saturating_add(times);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let parts = self.parts.iter().copied();
        parts.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_below_the_first_bound_that_it_does_not_exceed() {
        for (us, part) in [
            (0.0, 0),
            (250.0, 0),
            (250.5, 1),
            (1_000.0, 2),
            (1e7, 13),
            (1e7 + 1.0, 14),
        ] {
            let mut total = LatencyTotal::default();
            total.add(us, 3);
            assert_eq!((total.parts[part], total.count()), (3, 3), "{us}");
        }
    }

    #[test]
    fn an_answer_comes_back_from_its_json() {
        let mut newest = Newest::default();
        let instance = newest.instances.entry(InstanceId(7)).or_default();
        instance.counts.requests = 5;
        let backend = "1.1.1.10:80".parse().unwrap();
        instance.backends.entry(backend).or_default().active = 1.0;
        newest.vms.insert(VmId(3), VmGauges::default());
        let text = serde_json::to_string(&newest).unwrap();
        assert_eq!(serde_json::from_str::<Newest>(&text).unwrap(), newest);
    }
}
