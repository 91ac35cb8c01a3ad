//! What the balancer tells of itself once a second, in collectd's terms.
//!
//! ```text
//!   in a VM:            figures ─▶ collectd's unix socket ─▶ collectd, which adds the machine's ─▶ monitor
//!   without a machine:  figures, and the processor time of the VM's group ─▶ encrypted by itself ─▶ monitor
//! ```
//!
//! Neither waits: what there is no room for is lost, and the next second tells again. Counts are totals since the
//! process began; whoever reads them takes one that falls as a new beginning.

mod daemon;
mod processor;
mod sender;

use std::path::Path;
use std::time::{Duration, Instant};

use collectd::Value;
use model::figures::{CONNECTIONS, DERIVE_TYPE, FIGURES_INTERVAL_S, GAUGE_TYPE, REQUESTS};
use model::{Boot, Counters};

use daemon::Daemon;
use sender::Sender;

use super::agent::Agent;
use super::stages::Stage;

/// Between two tellings.
const INTERVAL: Duration = Duration::from_secs(FIGURES_INTERVAL_S);

/// One of the balancer's own figures.
struct Figure {
    kind: &'static str,
    instance: &'static str,
    value: Value,
}

/// Tells figures for as long as it is asked to.
pub struct Figures {
    way: Way,
    due: Instant,
}

enum Way {
    Daemon(Daemon),
    Sender(Box<Sender>),
}

impl Figures {
    /// Tells them as `boot` says, if it does: by the collectd that listens on `socket`, or, where there is
    /// none, by itself. `threads` is over how many processors the VM's time counts.
    #[must_use]
    pub fn new(boot: &Boot, socket: Option<&Path>, threads: usize, now: Instant) -> Option<Self> {
        let monitor = boot.monitor.as_ref()?;
        let way = match socket {
            Some(path) => Way::Daemon(Daemon::new(path, &monitor.user)),
            None => {
                let sender = Sender::new(boot.vm, boot.front.address, monitor, threads);
                Way::Sender(Box::new(sender))
            }
        };
        Some(Self { way, due: now })
    }

    /// When the next ones are to be told.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        self.due
    }

    /// Tells them when they are due.
    pub fn turn(&mut self, now: Instant, counters: impl FnOnce() -> Counters) {
        if now < self.due {
            return;
        }
        // At even steps, but never several at once after a sleep.
        self.due = (self.due + INTERVAL).max(now + INTERVAL / 2);
        let figures = figures(&counters());
        match &mut self.way {
            Way::Daemon(daemon) => daemon.put(&figures),
            Way::Sender(sender) => sender.send(&figures, now),
        }
    }
}

fn figures(counters: &Counters) -> [Figure; 7] {
    let gauge = |instance, figure: u64| Figure {
        kind: GAUGE_TYPE,
        instance,
        value: Value::Gauge(figure as f64),
    };
    let count = |instance, count: u64| Figure {
        kind: DERIVE_TYPE,
        instance,
        value: Value::Derive(i64::try_from(count).unwrap_or(i64::MAX)),
    };
    [
        gauge(CONNECTIONS, counters.open_connections),
        gauge("waiting", counters.waiting),
        count(REQUESTS, counters.requests),
        count("errors", counters.errors),
        count("accepted", counters.connections),
        count("bytes_in", counters.bytes_in),
        count("bytes_out", counters.bytes_out),
    ]
}

impl Agent {
    /// Tells figures while this process serves: of two, the count would seem to begin anew again and again.
    pub(super) fn tell_figures(&mut self, now: Instant) {
        if self.stage != Stage::Serving {
            self.figures = None;
            return;
        }
        let mut figures = self.figures.take().or_else(|| {
            let threads = self.shared.threads.len();
            Figures::new(self.boot.as_ref()?, self.collectd.as_deref(), threads, now)
        });
        if let Some(figures) = &mut figures {
            figures.turn(now, || self.counters());
        }
        self.figures = figures;
    }

    /// Totals over all threads.
    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for desk in &self.shared.threads {
            desk.counters.add_to(&mut counters);
        }
        counters.waiting = self.shared.line.len() as u64;
        counters
    }
}
