//! What is told of a balancer in one second, from what its threads have counted. Pure but for reading the counts.
//!
//! Counts are totals, so what is lost on the way is made up for by the next second. Latencies are those since the last
//! second that was handed over: a histogram of totals would have hundreds of series, of which each goes on for ever.

use std::cmp::Reverse;
use std::sync::Arc;

use collectd::Value;
use model::figures::{
    ANSWERS_TYPE, BACKEND_TYPE, CONNECTIONS, DERIVE_TYPE, FIRST_BYTE, GAUGE_TYPE, LATENCIES_TYPE,
    LATENCY_BUCKETS, LatencyBucket, REQUESTS, WHOLE,
};
use model::{BackendHealth, BackendStatus, Counters};

use crate::control::latencies::Totals;
use crate::latency::Times;
use crate::shared::Shared;
use crate::snapshot::{BackendRecord, Target};

/// Backends of which figures are told: those with the most requests, so that a list of a thousand costs neither the
/// VM nor the log six thousand series. How many are left out is told as `backends_untold`.
pub(super) const MOST_BACKENDS: usize = 32;

/// One list of values, as collectd names things.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Which backend it is of, or empty.
    pub(super) of: String,
    pub(super) kind: &'static str,
    pub(super) instance: String,
    pub(super) values: Vec<Value>,
}

/// What is told in one second.
pub(super) struct Told {
    pub(super) counters: Counters,
    pub(super) answers: [u64; 5],
    pub(super) latencies: Totals,
    backends: Vec<Backend>,
    untold: usize,
}

/// What is told of one backend.
struct Backend {
    status: BackendStatus,
    answers: u64,
    answer_us: u64,
}

impl Told {
    pub(super) fn read(shared: &Shared, counters: Counters) -> Self {
        let mut answers = [0; 5];
        for desk in &shared.threads {
            desk.counters.add_answers_to(&mut answers);
        }
        let snapshot = shared.snapshot();
        let (backends, untold) = backends(&snapshot.targets, shared);
        Self {
            counters,
            answers,
            latencies: Totals::of(&shared.threads),
            backends,
            untold,
        }
    }

    /// All of it, with the latencies that came after `before`.
    pub(super) fn figures(&self, before: &Totals) -> Vec<Figure> {
        let mut figures = own(&self.counters, self.untold);
        figures.push(Figure {
            of: String::new(),
            kind: ANSWERS_TYPE,
            instance: String::new(),
            values: self.answers.map(count).to_vec(),
        });
        let (now, then) = (&self.latencies, before);
        figures.extend(latencies(
            FIRST_BYTE,
            &now.first_byte.since(&then.first_byte),
        ));
        figures.extend(latencies(WHOLE, &now.whole.since(&then.whole)));
        figures.extend(self.backends.iter().map(Backend::figure));
        figures
    }
}

/// The backends with the most requests, in the order of their addresses, and how many are left out.
fn backends(targets: &[Target], shared: &Shared) -> (Vec<Backend>, usize) {
    let mut records: Vec<&Arc<BackendRecord>> =
        targets.iter().map(|target| &target.record).collect();
    if records.len() > MOST_BACKENDS {
        records.sort_by_cached_key(|record| (Reverse(record.requests()), record.address));
    }
    let untold = records.len().saturating_sub(MOST_BACKENDS);
    records.truncate(MOST_BACKENDS);
    records.sort_by_key(|record| record.address);
    let (now, now_ms) = (std::time::Instant::now(), shared.now_ms());
    let told = records.into_iter().map(|record| {
        let (answers, answer_us) = record.answers();
        Backend {
            status: record.status(now, now_ms),
            answers,
            answer_us,
        }
    });
    (told.collect(), untold)
}

impl Backend {
    fn figure(&self) -> Figure {
        let status = &self.status;
        let is_healthy = status.health == BackendHealth::Up;
        Figure {
            of: format!("{}:{}", status.address, status.port),
            kind: BACKEND_TYPE,
            instance: String::new(),
            values: vec![
                count(status.requests),
                count(status.errors),
                count(self.answers),
                count(self.answer_us),
                Value::Gauge(status.active as f64),
                Value::Gauge(f64::from(u8::from(is_healthy))),
            ],
        }
    }
}

fn own(counters: &Counters, untold: usize) -> Vec<Figure> {
    let gauges = [
        (CONNECTIONS, counters.open_connections),
        ("waiting", counters.waiting),
        ("backends_untold", untold as u64),
    ];
    let counts = [
        (REQUESTS, counters.requests),
        ("errors", counters.errors),
        ("rejected", counters.rejected),
        ("accepted", counters.connections),
        ("bytes_in", counters.bytes_in),
        ("bytes_out", counters.bytes_out),
        ("retries", counters.retries),
        ("retries_denied", counters.retries_denied),
        ("queued", counters.queued),
        ("queue_timeouts", counters.queue_timeouts),
        ("queue_full", counters.queue_full),
        ("slow_clients", counters.slow_clients),
        ("refused_clients", counters.refused_clients),
        ("crowding_clients", counters.crowding_clients),
    ];
    let one = |kind, instance: &str, value| Figure {
        of: String::new(),
        kind,
        instance: instance.to_owned(),
        values: vec![value],
    };
    let gauges =
        gauges.map(|(instance, figure)| one(GAUGE_TYPE, instance, Value::Gauge(figure as f64)));
    let counts = counts.map(|(instance, total)| one(DERIVE_TYPE, instance, count(total)));
    gauges.into_iter().chain(counts).collect()
}

/// Lists of latencies, as many as the buckets take; none where there are none.
fn latencies(instance: &str, times: &Times) -> Vec<Figure> {
    let buckets: Vec<_> = times.buckets().collect();
    let lists = buckets.chunks(LATENCY_BUCKETS).enumerate();
    lists
        .map(|(list, buckets)| {
            // Once, or it would count as often as there are lists.
            let sum = if list == 0 { times.sum_us() } else { 0 };
            let numbers = buckets.iter().map(|(index, count)| {
                let (index, count) = (*index, *count);
                LatencyBucket { index, count }.to_number()
            });
            let padding = std::iter::repeat(0);
            let numbers = numbers.chain(padding).take(LATENCY_BUCKETS);
            Figure {
                of: String::new(),
                kind: LATENCIES_TYPE,
                instance: format!("{instance}-{list}"),
                values: [sum]
                    .into_iter()
                    .chain(numbers)
                    .map(Value::Absolute)
                    .collect(),
            }
        })
        .collect()
}

fn count(total: u64) -> Value {
    Value::Derive(i64::try_from(total).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
