//! Figures that each thread counts for itself and the control thread adds up.
//!
//! Each counter has one writer, so a plain load and store will do; no cache line is shared between
//! writers.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Counters;

use crate::latency::Recorder;

/// Adds to a counter that only this thread writes.
pub fn add(counter: &AtomicU64, count: u64) {
    let value = counter.load(Ordering::Relaxed).wrapping_add(count);
    counter.store(value, Ordering::Relaxed);
}

/// Takes from a counter that only this thread writes.
pub fn subtract(counter: &AtomicU64, count: u64) {
    let value = counter.load(Ordering::Relaxed).wrapping_sub(count);
    counter.store(value, Ordering::Relaxed);
}

/// One thread's totals; see [`Counters`].
#[derive(Debug, Default)]
#[repr(align(128))]
#[expect(missing_docs, reason = "the fields are those of model::Counters")]
pub struct ThreadCounters {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub rejected: AtomicU64,
    pub connections: AtomicU64,
    pub open_connections: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub slow_clients: AtomicU64,
    pub retries: AtomicU64,
    pub retries_denied: AtomicU64,
    pub queued: AtomicU64,
    pub queued_ms: AtomicU64,
    pub queue_timeouts: AtomicU64,
    pub queue_full: AtomicU64,
    pub refused_clients: AtomicU64,
    pub crowding_clients: AtomicU64,
    pub bytes_spliced: AtomicU64,
    /// HTTP answers that began to go to clients, by their class from 1xx on.
    pub answers: [AtomicU64; 5],
}

impl ThreadCounters {
    /// Counts an answer to a client by its status.
    pub fn count_answer(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(answers) = self.answers.get(class) {
            add(answers, 1);
        }
    }

    /// Adds this thread's answers by class to `sums`.
    pub fn add_answers_to(&self, sums: &mut [u64; 5]) {
        for (sum, answers) in sums.iter_mut().zip(&self.answers) {
            *sum += answers.load(Ordering::Relaxed);
        }
    }

    /// Adds this thread's totals to `sum`.
    pub fn add_to(&self, sum: &mut Counters) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sum.requests += read(&self.requests);
        sum.errors += read(&self.errors);
        sum.rejected += read(&self.rejected);
        sum.connections += read(&self.connections);
        sum.open_connections += read(&self.open_connections);
        sum.bytes_in += read(&self.bytes_in);
        sum.bytes_out += read(&self.bytes_out);
        sum.slow_clients += read(&self.slow_clients);
        sum.retries += read(&self.retries);
        sum.retries_denied += read(&self.retries_denied);
        sum.queued += read(&self.queued);
        sum.queued_ms += read(&self.queued_ms);
        sum.queue_timeouts += read(&self.queue_timeouts);
        sum.queue_full += read(&self.queue_full);
        sum.refused_clients += read(&self.refused_clients);
        sum.crowding_clients += read(&self.crowding_clients);
        sum.bytes_spliced += read(&self.bytes_spliced);
    }
}

/// How long one thread's answers took; see [`model::Latency`].
#[derive(Debug, Default)]
pub struct ThreadLatency {
    /// Until the first byte of the answer went to the client.
    pub first_byte: Recorder,
    /// Until the backend's answer was whole.
    pub whole: Recorder,
}

/// One thread's totals of one backend.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct BackendCounters {
    /// Requests, or TCP sessions, that were sent to it.
    pub requests: AtomicU64,
    /// Those that failed on its side.
    pub errors: AtomicU64,
    /// Those under way.
    pub active: AtomicU64,
    /// Its answers that began, or connections for sessions that it took.
    pub answers: AtomicU64,
    /// Microseconds until they did, in all.
    pub answer_us: AtomicU64,
}
