//! What the threads of one balancer share. The hot path reads one number each turn; all else is touched
//! only when that number has changed.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use balancing::RetryBudget;
use rustix::event::{EventfdFlags, eventfd};

use crate::access_log::ring::Ring;
use crate::connections::Connections;
use crate::control::Level;
use crate::line::{Grant, Line};
use crate::snapshot::Snapshot;
use crate::statistics::{ThreadCounters, ThreadLatency};

/// Lines for the journal that wait for the control thread; more are dropped.
const NOTES: usize = 256;

/// What the control thread asks of one forwarding thread.
#[derive(Debug)]
pub enum Order {
    /// Accept from this listening socket, and no longer from the one before.
    Listen(OwnedFd),
    /// Clients are to leave: each HTTP answer ends its connection from now on.
    Drain,
    /// Accept no more, end what is under way, and return.
    Leave(Leave),
}

/// How a thread is to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    /// Milliseconds that what is under way is given.
    pub within_ms: u64,
    /// Whether another process goes on with the listening socket. Then what waits in it is left to that
    /// one; and connections without a request stay open for as long as they always may, since no moment
    /// to close one is quite safe.
    pub has_successor: bool,
}

/// One forwarding thread as the others see it.
pub struct ThreadDesk {
    /// Its totals.
    pub counters: ThreadCounters,
    /// How long its answers took.
    pub latency: ThreadLatency,
    /// What became of its requests, on the way to the host.
    pub log: Ring,
    /// Milliseconds of the process's clock at its last turn.
    pub last_turn_ms: AtomicU64,
    /// Set when it was told to leave and accepts no more.
    pub has_left: AtomicBool,
    wake: OwnedFd,
    orders: Mutex<Vec<Order>>,
    grants: Mutex<Vec<Grant>>,
}

impl ThreadDesk {
    /// The descriptor that becomes readable when the thread is wanted.
    #[must_use]
    pub fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    /// Ends the thread's sleep.
    pub fn wake(&self) {
        // It fails only when the thread was already woken 2^64 times.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Leaves an order and wakes the thread.
    pub fn order(&self, order: Order) {
        lock(&self.orders).push(order);
        self.wake();
    }

    /// Takes the orders, and lets the thread sleep again.
    pub fn take_orders(&self) -> Vec<Order> {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut *lock(&self.orders))
    }

    /// Leaves a slot for one of the thread's connections and wakes the thread.
    pub fn grant(&self, grant: Grant) {
        lock(&self.grants).push(grant);
        self.wake();
    }

    /// Takes the slots that were left.
    pub fn take_grants(&self) -> Vec<Grant> {
        std::mem::take(&mut *lock(&self.grants))
    }
}

/// What all threads share.
pub struct Shared {
    /// Raised whenever the snapshot or any backend's health has changed.
    epoch: AtomicU64,
    snapshot: Mutex<Arc<Snapshot>>,
    /// How many client connections are open, where that is bounded.
    pub connections: Connections,
    /// The forwarding threads.
    pub threads: Box<[ThreadDesk]>,
    /// The process's beginning, from which milliseconds are counted.
    pub began: Instant,
    /// Port of the balancer's own request on its front address, 0 when there is none.
    pub own_port: AtomicU16,
    /// The front address.
    pub own_address: Mutex<Option<Ipv4Addr>>,
    /// Target of the balancer's own request, which nobody else can guess.
    pub own_target: String,
    /// Becomes readable for the health checks when there is a new snapshot.
    pub published: OwnedFd,
    /// Those who wait for a backend.
    pub line: Line,
    /// How many retries there may be.
    pub retries: Mutex<RetryBudget>,
    /// Held by whoever ejects a backend, so that two do not eject one too many.
    pub ejecting: Mutex<()>,
    /// Whether somebody takes the access log.
    pub logs: AtomicBool,
    notes: Mutex<Vec<(Level, String)>>,
}

impl Shared {
    /// For so many forwarding threads.
    ///
    /// # Errors
    /// When the kernel gives no event descriptors.
    pub fn new(threads: usize, own_target: String) -> std::io::Result<Self> {
        let desks = (0..threads)
            .map(|_| {
                Ok(ThreadDesk {
                    counters: ThreadCounters::default(),
                    latency: ThreadLatency::default(),
                    log: Ring::new()?,
                    last_turn_ms: AtomicU64::new(0),
                    has_left: AtomicBool::new(false),
                    wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                    orders: Mutex::new(Vec::new()),
                    grants: Mutex::new(Vec::new()),
                })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            epoch: AtomicU64::new(0),
            snapshot: Mutex::new(Arc::new(Snapshot::empty())),
            connections: Connections::default(),
            threads: desks,
            began: Instant::now(),
            own_port: AtomicU16::new(0),
            own_address: Mutex::new(None),
            own_target,
            published: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            line: Line::default(),
            retries: Mutex::new(RetryBudget::default()),
            ejecting: Mutex::new(()),
            logs: AtomicBool::new(false),
            notes: Mutex::new(Vec::new()),
        })
    }

    /// Milliseconds since the process began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Microseconds since the process began: finer than any deadline needs, and as fine as latencies are
    /// told.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The number that says whether to look again.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.snapshot))
    }

    /// Puts a new snapshot in the place of the old one.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        *lock(&self.snapshot) = snapshot;
        self.announce();
        let _ = rustix::io::write(&self.published, &1u64.to_ne_bytes());
    }

    /// Leaves a line for the journal, which the control thread writes: writing can wait for whoever reads.
    pub fn note(&self, level: Level, text: String) {
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES {
            notes.push((level, text));
        }
    }

    /// Takes the lines that were left for the journal.
    pub fn take_notes(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *lock(&self.notes))
    }

    /// Has every forwarding thread look again.
    pub fn announce(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
        for thread in &self.threads {
            thread.wake();
        }
    }
}

/// Every holder leaves whole values behind, also one that panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
