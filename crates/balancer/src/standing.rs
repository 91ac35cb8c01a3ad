//! What its own traffic says of one backend, over all threads: how much it has under way, whether it was
//! ejected, and whether its circuit is open.
//!
//! This is apart from what the health checks say. Nothing here is touched on the hot path unless the
//! configuration asks for it: a bound on its connections, outlier ejection, or circuit breaking. And then a
//! request that went well writes to what its thread alone writes to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use balancing::{Admission, Breaker, Circuit, Ended, Outlier, SlidingWindow, Switch, Tally};
use model::{CircuitBreaker, OutlierEjection, PassiveStatus};

use crate::shared::lock;

/// One thread's counts, apart from those of other threads.
#[derive(Debug)]
#[repr(align(64))]
struct ThreadWindow(Mutex<SlidingWindow>);

/// What its traffic says of one backend.
#[derive(Debug)]
pub struct Standing {
    in_use: AtomicU32,
    failed_in_a_row: AtomicU32,
    ejected_until: AtomicU64,
    ejections: AtomicU64,
    opens: AtomicU64,
    outlier: Mutex<Outlier>,
    breaker: Mutex<Breaker>,
    windows: Box<[ThreadWindow]>,
}

impl Standing {
    /// A backend without any traffic, for so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let window = || ThreadWindow(Mutex::new(SlidingWindow::new(1_000)));
        Self {
            in_use: AtomicU32::new(0),
            failed_in_a_row: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            opens: AtomicU64::new(0),
            outlier: Mutex::new(Outlier::default()),
            breaker: Mutex::new(Breaker::default()),
            windows: (0..threads).map(|_| window()).collect(),
        }
    }

    /// Whether all of its `bound` connections are in use.
    #[must_use]
    pub fn is_full(&self, bound: u32) -> bool {
        self.in_use.load(Ordering::SeqCst) >= bound
    }

    /// Whether more than `bound` connections are in use.
    #[must_use]
    pub fn is_over(&self, bound: u32) -> bool {
        self.in_use.load(Ordering::SeqCst) > bound
    }

    /// Takes one of its `bound` connections, if one is free.
    pub fn take_slot(&self, bound: u32) -> bool {
        let raised = |in_use| (in_use < bound).then_some(in_use + 1);
        self.in_use
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, raised)
            .is_ok()
    }

    /// Counts what a thread had under way before there was a bound.
    pub fn count_in(&self, under_way: u32) {
        self.in_use.fetch_add(under_way, Ordering::SeqCst);
    }

    /// Counts connections out that are free again, or that need not be counted any more.
    pub fn count_out(&self, under_way: u32) {
        self.in_use.fetch_sub(under_way, Ordering::SeqCst);
    }

    /// Until when it is ejected, in milliseconds of the process's clock; nothing when it is not.
    #[must_use]
    pub fn ejected_until(&self, now: u64) -> Option<u64> {
        Some(self.ejected_until.load(Ordering::SeqCst)).filter(|&until| until > now)
    }

    /// A request went well.
    pub fn note_success(&self) {
        // Read first: nearly always there is nothing to write, and no cache line to fight over.
        if self.failed_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failed_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed. Whether that is one too many in a row.
    #[must_use]
    pub fn note_failure(&self, settings: &OutlierEjection) -> bool {
        let failed = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
        failed.saturating_add(1) >= settings.consecutive_failures.max(1)
    }

    /// Ejects it; returns for how many milliseconds. The caller has made sure that it may.
    pub fn eject(&self, settings: &OutlierEjection, now: u64) -> u64 {
        let until = lock(&self.outlier).eject(settings, now);
        self.failed_in_a_row.store(0, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.ejected_until.store(until, Ordering::SeqCst);
        until.saturating_sub(now)
    }

    /// Ejection is no longer wanted.
    pub fn pardon(&self) {
        self.ejected_until.store(0, Ordering::SeqCst);
        self.failed_in_a_row.store(0, Ordering::Relaxed);
    }

    /// Where its circuit stands.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        lock(&self.breaker).circuit()
    }

    /// Whether its circuit would let a request pass.
    #[must_use]
    pub fn would_admit(&self, now: u64) -> bool {
        let mut copy = *lock(&self.breaker);
        copy.admit(now) != Admission::Refused
    }

    /// Asks its circuit for a request.
    pub fn admit(&self, now: u64) -> Admission {
        lock(&self.breaker).admit(now)
    }

    /// A request has ended that one thread counts, and that was the trial or was not.
    pub fn count(
        &self,
        thread: usize,
        ended: Ended,
        is_trial: bool,
        settings: &CircuitBreaker,
        now: u64,
    ) -> Option<Switch> {
        let switch = if is_trial {
            lock(&self.breaker).end_trial(ended, settings, now)
        } else {
            self.count_untried(thread, ended, settings, now)
        };
        if matches!(switch, Some(Switch::Opened { .. })) {
            self.opens.fetch_add(1, Ordering::Relaxed);
        }
        switch
    }

    fn count_untried(
        &self,
        thread: usize,
        ended: Ended,
        settings: &CircuitBreaker,
        now: u64,
    ) -> Option<Switch> {
        let marked = match ended {
            Ended::Well => 0,
            Ended::Badly => 1,
            Ended::Untold => return None,
        };
        if let Some(ThreadWindow(window)) = self.windows.get(thread) {
            let mut window = lock(window);
            window.set_length(settings.window_ms);
            window.add(now, Tally { all: 1, marked });
        }
        if marked == 0 {
            return None;
        }
        let mut breaker = lock(&self.breaker);
        let since = breaker.counts_since();
        let sums = self
            .windows
            .iter()
            .map(|ThreadWindow(window)| lock(window).sums(now, since));
        let tally = sums.fold(Tally::default(), Tally::plus);
        breaker.note_failure(tally, settings, now)
    }

    /// Circuit breaking is no longer wanted.
    pub fn close_circuit(&self, now: u64) {
        lock(&self.breaker).close(now);
    }

    /// For people and for monitoring.
    #[must_use]
    pub fn status(&self, now: u64) -> PassiveStatus {
        let circuit = match self.circuit() {
            Circuit::Closed => model::CircuitState::Closed,
            Circuit::Open { until } if now < until => model::CircuitState::Open,
            Circuit::Open { .. } => model::CircuitState::HalfOpen,
        };
        PassiveStatus {
            ejected_ms: self.ejected_until(now).map(|until| until - now),
            ejections: self.ejections.load(Ordering::Relaxed),
            circuit,
            circuit_opens: self.opens.load(Ordering::Relaxed),
        }
    }
}
