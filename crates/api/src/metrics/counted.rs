//! What the monitor counts of an instance, over all VMs that it had. Pure.

use model::figures::ANSWERS_VALUES;
use model::{InstanceCounts, LATENCY_BOUNDS_US, LatencyTotal};

use super::family::{Family, Kind, Labels, Sample, Value};

/// A counter's name, what it is, and which it is.
type Count = (&'static str, &'static str, fn(&InstanceCounts) -> u64);
/// The same of a histogram.
type Latency = (
    &'static str,
    &'static str,
    fn(&InstanceCounts) -> &LatencyTotal,
);

/// In the order in which they are told.
const COUNTS: [Count; 16] = [
    (
        "evenkeel_lb_requests_total",
        "HTTP requests, or TCP sessions.",
        |of| of.counts.requests,
    ),
    (
        "evenkeel_lb_errors_total",
        "Requests that the balancer answered itself for want of a good answer.",
        |of| of.counts.errors,
    ),
    (
        "evenkeel_lb_rejected_requests_total",
        "Malformed requests that were refused.",
        |of| of.counts.rejected,
    ),
    (
        "evenkeel_lb_retries_total",
        "Requests that were sent once more.",
        |of| of.counts.retries,
    ),
    (
        "evenkeel_lb_denied_retries_total",
        "Requests that were not sent once more, since there had been too many.",
        |of| of.counts.retries_denied,
    ),
    (
        "evenkeel_lb_queued_requests_total",
        "Requests or sessions that had to wait for a backend.",
        |of| of.counts.queued,
    ),
    (
        "evenkeel_lb_queue_timeouts_total",
        "Those of them whose time was over.",
        |of| of.counts.queue_timeouts,
    ),
    (
        "evenkeel_lb_queue_full_total",
        "Requests or sessions that were refused since too many waited.",
        |of| of.counts.queue_full,
    ),
    (
        "evenkeel_lb_accepted_connections_total",
        "Client connections that were accepted.",
        |of| of.counts.accepted,
    ),
    (
        "evenkeel_lb_refused_connections_total",
        "Client connections from networks that are not allowed.",
        |of| of.counts.refused_clients,
    ),
    (
        "evenkeel_lb_crowding_connections_total",
        "Client connections that were closed because their address had as many as it may.",
        |of| of.counts.crowding_clients,
    ),
    (
        "evenkeel_lb_slow_clients_total",
        "Clients that were cut off for being slow.",
        |of| of.counts.slow_clients,
    ),
    (
        "evenkeel_lb_received_bytes_total",
        "Bytes from clients.",
        |of| of.counts.bytes_in,
    ),
    ("evenkeel_lb_sent_bytes_total", "Bytes to clients.", |of| {
        of.counts.bytes_out
    }),
    (
        "evenkeel_lb_log_lines_total",
        "Lines of the access log that were kept.",
        |of| of.log_records,
    ),
    (
        "evenkeel_lb_dropped_log_lines_total",
        "Lines of the access log that VMs had no room for, or that could not be written.",
        |of| of.log_dropped,
    ),
];

const LATENCIES: [Latency; 2] = [
    (
        "evenkeel_lb_response_duration_seconds",
        "How long answers took until they were whole, from the whole head of the request on.",
        |of| &of.whole,
    ),
    (
        "evenkeel_lb_response_start_duration_seconds",
        "How long answers took until they began, from the whole head of the request on.",
        |of| &of.first_byte,
    ),
];

/// All of them, of these instances.
pub(super) fn families<'s>(
    instances: impl Iterator<Item = (&'s Labels, &'s InstanceCounts)> + Clone,
) -> Vec<Family> {
    let mut families: Vec<Family> = COUNTS
        .iter()
        .map(|(name, help, value)| {
            let mut family = Family::counter(name, help);
            for (labels, counts) in instances.clone() {
                family.add(labels.clone(), value(counts) as f64);
            }
            family
        })
        .collect();
    families.push(responses(instances.clone()));
    for (name, help, total) in LATENCIES {
        let mut family = Family::new(name, help, Kind::Histogram);
        let samples = instances.clone();
        let samples = samples.map(|(labels, counts)| sample(labels, total(counts)));
        family.samples.extend(samples);
        families.push(family);
    }
    families
}

fn responses<'s>(instances: impl Iterator<Item = (&'s Labels, &'s InstanceCounts)>) -> Family {
    let name = "evenkeel_lb_responses_total";
    let mut family = Family::counter(name, "HTTP answers to clients, by class.");
    for (labels, counts) in instances {
        for (class, count) in ANSWERS_VALUES.iter().zip(counts.answers) {
            family.add(labels.and("class", *class), count as f64);
        }
    }
    family
}

fn sample(labels: &Labels, total: &LatencyTotal) -> Sample {
    Sample {
        labels: labels.clone(),
        value: Value::Times {
            bounds_us: &LATENCY_BOUNDS_US,
            parts: total.parts.to_vec(),
            sum_us: total.sum_us,
        },
    }
}
