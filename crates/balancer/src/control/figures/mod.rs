//! What the balancer tells of itself once a second, in collectd's terms.
//!
//! ```text
//!   in a VM:            figures ─▶ collectd's unix socket ─▶ collectd, which adds the machine's ─▶ monitor
//!   without a machine:  figures, and the processor time of the VM's group ─▶ encrypted by itself ─▶ monitor
//! ```
//!
//! Neither waits: what there is no room for is lost, and the next second tells again. Counts are totals since the
//! process began; whoever reads them takes one that falls as a new beginning. Latencies are those since the last time
//! that they, or any of them, were handed over: each is told once at the most, and what is lost is lost.

mod daemon;
mod processor;
mod sender;
mod told;

use std::path::Path;
use std::time::{Duration, Instant};

use model::figures::FIGURES_INTERVAL_S;
use model::{Boot, Counters};

use daemon::Daemon;
use sender::Sender;
use told::{Figure, Told};

use super::agent::Agent;
use super::latencies::Totals;
use super::stages::Stage;

/// Between two tellings.
const INTERVAL: Duration = Duration::from_secs(FIGURES_INTERVAL_S);

/// Tells figures for as long as it is asked to.
pub struct Figures {
    way: Way,
    due: Instant,
    /// The latencies that were handed over.
    told: Totals,
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
        Some(Self {
            way,
            due: now,
            told: Totals::default(),
        })
    }

    /// When the next ones are to be told.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        self.due
    }

    /// Tells them when they are due.
    fn turn(&mut self, now: Instant, told: impl FnOnce() -> Told) {
        if now < self.due {
            return;
        }
        // At even steps, but never several at once after a sleep.
        self.due = (self.due + INTERVAL).max(now + INTERVAL / 2);
        let told = told();
        let figures = told.figures(&self.told);
        let handed_over = match &mut self.way {
            Way::Daemon(daemon) => daemon.put(&figures),
            Way::Sender(sender) => sender.send(&figures, now),
        };
        if handed_over {
            self.told = told.latencies;
        }
    }
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
            figures.turn(now, || Told::read(&self.shared, self.counters()));
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
