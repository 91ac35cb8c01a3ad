//! What the hot path reads: one configuration, whole and never changed, and beside it each backend's
//! record, which outlives configurations.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use balancing::Maglev;
use model::{
    BackendHealth, BackendStatus, Criteria, Generation, HealthCheck, HealthProtocol, Policy,
    Timeouts, TrafficType,
};

use crate::edge::Edge;
use crate::standing::Standing;
use crate::statistics::BackendCounters;

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// One configuration as the hot path wants it.
#[derive(Debug)]
pub struct Snapshot {
    /// Which configuration this is; absent before the first.
    pub generation: Option<Generation>,
    /// What new connections carry.
    pub traffic: TrafficType,
    /// Where new traffic may go, in the configuration's order.
    pub targets: Vec<Target>,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// Host and port that clients reach, for requests that name none.
    pub own_host: Vec<u8>,
    /// How backends are checked.
    pub health_check: HealthCheck,
    /// How traffic is spread, bounded and passed on.
    pub policy: Policy,
    /// The algorithm's tables, where it needs any.
    pub maglev: Arc<Maglev>,
    /// The client's side of the policy, worked out.
    pub edge: Edge,
}

/// A backend's place in one configuration.
#[derive(Clone, Debug)]
pub struct Target {
    /// The backend.
    pub record: Arc<BackendRecord>,
    /// Share of the traffic in relation to the others.
    pub weight: u16,
    /// Whether it takes traffic only while no other backend may.
    pub backup: bool,
    /// Requests, or TCP sessions, that it takes at once; no bound when absent.
    pub max_connections: Option<u32>,
}

impl Snapshot {
    /// What holds before the first configuration: nothing is balanced.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            generation: None,
            traffic: TrafficType::Tcp,
            targets: Vec::new(),
            timeouts: Timeouts::default(),
            own_host: Vec::new(),
            health_check: HealthCheck {
                protocol: HealthProtocol::Tcp,
                port: None,
                request_path: "/".to_owned(),
                host: None,
                expected_status: Vec::new(),
                expected_body: None,
                criteria: Criteria::default(),
            },
            policy: Policy::default(),
            maglev: Arc::default(),
            edge: Edge::new(&Policy::default(), NOWHERE, None),
        }
    }
}

/// What is known of a backend, for as long as any configuration names it.
#[derive(Debug)]
pub struct BackendRecord {
    /// Where it is reached.
    pub address: SocketAddrV4,
    /// What its own traffic says of it.
    pub standing: Standing,
    health: AtomicU8,
    report: Mutex<CheckReport>,
    threads: Box<[BackendCounters]>,
}

/// What the health checks say, for people.
#[derive(Clone, Debug)]
struct CheckReport {
    health_since: Instant,
    last: Option<(String, Instant)>,
}

impl BackendRecord {
    /// A backend that was never checked, with counters for so many threads.
    #[must_use]
    pub fn new(address: SocketAddrV4, threads: usize, now: Instant) -> Self {
        Self {
            address,
            standing: Standing::new(threads),
            health: AtomicU8::new(code(BackendHealth::Unknown)),
            report: Mutex::new(CheckReport {
                health_since: now,
                last: None,
            }),
            threads: (0..threads).map(|_| BackendCounters::default()).collect(),
        }
    }

    /// The verdict as it stands.
    #[must_use]
    pub fn health(&self) -> BackendHealth {
        match self.health.load(Ordering::Relaxed) {
            1 => BackendHealth::Up,
            2 => BackendHealth::Down,
            _ => BackendHealth::Unknown,
        }
    }

    /// One thread's counters; nothing for a thread that does not exist.
    #[must_use]
    pub fn counters(&self, thread: usize) -> Option<&BackendCounters> {
        self.threads.get(thread)
    }

    /// Requests, or TCP sessions, that were sent to it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let threads = self.threads.iter();
        threads
            .map(|counters| counters.requests.load(Ordering::Relaxed))
            .sum()
    }

    /// Its answers that began, or connections that it took, and microseconds until they did, in all.
    #[must_use]
    pub fn answers(&self) -> (u64, u64) {
        self.threads.iter().fold((0, 0), |(answers, us), counters| {
            let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let us = us + read(&counters.answer_us);
            (answers + read(&counters.answers), us)
        })
    }

    /// Takes a new verdict in.
    pub fn set_health(&self, health: BackendHealth, now: Instant) {
        self.lock_report().health_since = now;
        self.health.store(code(health), Ordering::Relaxed);
    }

    /// Takes a check's result in words in.
    pub fn set_last_check(&self, words: String, now: Instant) {
        self.lock_report().last = Some((words, now));
    }

    /// The backend's part of a heartbeat; `now_ms` is the process's clock.
    #[must_use]
    pub fn status(&self, now: Instant, now_ms: u64) -> BackendStatus {
        let report = self.lock_report().clone();
        let age = |since: Instant| {
            u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
        };
        let sum = |which: fn(&BackendCounters) -> &std::sync::atomic::AtomicU64| {
            self.threads
                .iter()
                .map(|counters| which(counters).load(Ordering::Relaxed))
                .sum()
        };
        BackendStatus {
            address: *self.address.ip(),
            port: self.address.port(),
            health: self.health(),
            health_age_ms: age(report.health_since),
            last_check_age_ms: report.last.as_ref().map(|(_, at)| age(*at)),
            last_check: report.last.map(|(words, _)| words),
            requests: sum(|counters| &counters.requests),
            errors: sum(|counters| &counters.errors),
            active: sum(|counters| &counters.active),
            passive: self.standing.status(now_ms),
        }
    }

    /// A holder that panicked left whole values behind.
    fn lock_report(&self) -> std::sync::MutexGuard<'_, CheckReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn code(health: BackendHealth) -> u8 {
    match health {
        BackendHealth::Unknown => 0,
        BackendHealth::Up => 1,
        BackendHealth::Down => 2,
    }
}
