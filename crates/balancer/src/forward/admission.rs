//! Entering a backend and leaving it: slots of backends with a bound, trials of half-open circuits, and what
//! is made of how a request ended.
//!
//! Without a bound, ejection or circuit breaking, entering and leaving count in this thread's own figures
//! and nothing else.

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use balancing::{Admission, Ended, Switch, may_eject};
use model::OutlierEjection;

use super::backends::{Ask, Place};
use super::context::Context;
use super::gate::{Lack, Slot};
use crate::control::Level;
use crate::http::reply::Reason;
use crate::shared::lock;
use crate::snapshot::BackendRecord;
use crate::statistics::add;

/// How often a pick is repeated whose backend was taken by another thread in between.
const RACES: usize = 4;

/// How a request or session left its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer of this status.
    Answered(u16),
    /// It was a session, whose connection came about.
    Connected,
    /// Without a good answer, by the backend's fault.
    Failed(Reason),
    /// In a way that says nothing of the backend.
    Untold,
}

impl Outcome {
    /// What a failure says of the backend.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::Rejected(_) | Reason::RequestTimeout | Reason::Drained => Self::Untold,
            reason => Self::Failed(reason),
        }
    }

    /// Whether it is one of those that count against a backend.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self.ended() == Ended::Badly
    }

    fn ended(self) -> Ended {
        match self {
            Self::Answered(501) | Self::Connected => Ended::Well,
            Self::Answered(status) if status >= 500 => Ended::Badly,
            Self::Answered(_) => Ended::Well,
            Self::Failed(_) => Ended::Badly,
            Self::Untold => Ended::Untold,
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered(status) => write!(formatter, "status {status}"),
            Self::Failed(reason) => formatter.write_str(reason.word()),
            Self::Connected => formatter.write_str("connected"),
            Self::Untold => formatter.write_str("untold"),
        }
    }
}

/// A stay at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The backend.
    pub place: Place,
    /// Whether its circuit's state hangs on this request.
    pub is_trial: bool,
}

impl Context {
    /// Chooses a backend and enters it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn enter(&mut self, ask: Ask<'_>) -> Result<Stay, Lack> {
        for _ in 0..RACES {
            let Some(place) = self.backends.pick(ask) else {
                break;
            };
            if let Some(stay) = self.enter_place(place) {
                return Ok(stay);
            }
        }
        Err(self.backends.lack(ask.tried))
    }

    fn enter_place(&mut self, place: Place) -> Option<Stay> {
        if !self.backends.is_gated(place) {
            self.backends.begin(place);
            return Some(Stay {
                place,
                is_trial: false,
            });
        }
        let slot = self.backends.slot(place);
        if let Some(Slot { record, bound, .. }) = &slot
            && !record.standing.take_slot(*bound)
        {
            return None;
        }
        self.pass_guard(place, slot)
    }

    /// Asks a half-open circuit; `slot` was taken, and is freed when the circuit refuses.
    fn pass_guard(&mut self, place: Place, slot: Option<Slot>) -> Option<Stay> {
        let admission = match self.backends.record(place) {
            Some(record) if self.backends.is_guarded(place) => record.standing.admit(self.now),
            _ => Admission::Pass,
        };
        if admission == Admission::Refused {
            if let Some(slot) = slot {
                self.free(&slot);
            }
            return None;
        }
        self.backends.begin(place);
        Some(Stay {
            place,
            is_trial: admission == Admission::Trial,
        })
    }

    /// Enters the backend one of whose slots was granted; the slot is freed when that cannot be.
    pub fn enter_granted(&mut self, record: &Arc<BackendRecord>) -> Option<Stay> {
        let place = self.backends.find(record);
        let slot = place.and_then(|place| self.backends.slot(place));
        match (place, slot) {
            (Some(place), Some(slot)) if slot.takes_new => self.pass_guard(place, Some(slot)),
            _ => {
                record.standing.count_out(1);
                None
            }
        }
    }

    /// Gives a granted slot back that nobody wants any more.
    pub fn return_grant(&mut self, record: &Arc<BackendRecord>) {
        let slot = self
            .backends
            .find(record)
            .and_then(|place| self.backends.slot(place));
        match slot {
            Some(slot) => self.free(&slot),
            None => record.standing.count_out(1),
        }
    }

    /// Leaves the backend.
    pub fn leave(&mut self, stay: Stay, outcome: Outcome) {
        self.note_outcome(stay, outcome);
        let slot = if self.backends.is_gated(stay.place) {
            self.backends.slot(stay.place)
        } else {
            None
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        if self.backends.measures() && outcome.is_failure() {
            self.backends.penalize(stay.place, self.now_us);
        }
        self.backends.end(stay.place, failed);
        if let Some(slot) = slot {
            self.free(&slot);
        }
    }

    /// A slot is free: whoever waits for one is next.
    fn free(&self, slot: &Slot) {
        let threads = &self.shared.threads;
        if slot.takes_new {
            self.shared.line.pass_on(&slot.record, slot.bound, threads);
        } else {
            slot.record.standing.count_out(1);
        }
    }

    /// Gives all free slots to those who wait.
    pub fn serve_line(&self) {
        if self.shared.line.is_empty() {
            return;
        }
        for slot in self.backends.bounded() {
            self.shared
                .line
                .serve(&slot.record, slot.bound, &self.shared.threads);
        }
    }

    /// Takes in how a request ended, or that a session's connection came about.
    pub fn note_outcome(&mut self, stay: Stay, outcome: Outcome) {
        if !self.backends.watches() {
            return;
        }
        let Some(record) = self.backends.record(stay.place) else {
            return;
        };
        let (ended, policy) = (outcome.ended(), &self.snapshot.policy);
        if let Some(settings) = &policy.outlier_ejection {
            match ended {
                Ended::Well => record.standing.note_success(),
                Ended::Badly if record.standing.note_failure(settings) => {
                    self.eject(record, settings, outcome);
                }
                Ended::Badly | Ended::Untold => {}
            }
        }
        if let Some(settings) = &policy.circuit_breaker {
            let (standing, now) = (&record.standing, self.now);
            let switch = standing.count(self.thread, ended, stay.is_trial, settings, now);
            if let Some(switch) = switch {
                self.tell_switch(record, switch, outcome);
            }
        }
    }

    /// One failure too many in a row: ejects the backend if not too many others are.
    fn eject(&self, record: &Arc<BackendRecord>, settings: &OutlierEjection, last: Outcome) {
        let _alone = lock(&self.shared.ejecting);
        let is_ejected = |record: &BackendRecord| record.standing.ejected_until(self.now).is_some();
        if is_ejected(record) {
            return;
        }
        let targets = self.snapshot.targets.iter().filter(|t| t.weight > 0);
        let (all, ejected) = targets.fold((0, 0), |(all, ejected), target| {
            (all + 1, ejected + usize::from(is_ejected(&target.record)))
        });
        if !may_eject(all, ejected, settings.max_ejected_percent) {
            return;
        }
        let lasts_ms = record.standing.eject(settings, self.now);
        let (address, failures) = (record.address, settings.consecutive_failures);
        let text = format!(
            "backend {address} is ejected for {lasts_ms} ms: {failures} failures in a row, the last: {last}"
        );
        self.shared.note(Level::Warn, text);
        self.shared.announce();
    }

    fn tell_switch(&self, record: &BackendRecord, switch: Switch, last: Outcome) {
        let address = record.address;
        let (level, text) = match switch {
            Switch::Opened { until } => {
                let lasts_ms = until.saturating_sub(self.now);
                let text = format!(
                    "the circuit of backend {address} is open for {lasts_ms} ms, the last failure: {last}"
                );
                (Level::Warn, text)
            }
            Switch::Closed => {
                let text = format!("the circuit of backend {address} is closed");
                (Level::Info, text)
            }
        };
        self.shared.note(level, text);
        self.shared.announce();
    }

    /// Takes one retry out of the budget; false when there is none left.
    pub fn take_retry(&mut self) -> bool {
        self.tell_requests();
        let percent = self.snapshot.policy.retry.budget_percent;
        let granted = lock(&self.shared.retries).take(percent, self.now);
        let counters = self.counters();
        let counter = if granted {
            &counters.retries
        } else {
            &counters.retries_denied
        };
        add(counter, 1);
        granted
    }

    /// Tells the retries' budget of this thread's requests, about once a second.
    pub fn tell_requests_each_second(&mut self) {
        if self.now / 1_000 != self.told_second {
            self.tell_requests();
        }
    }

    fn tell_requests(&mut self) {
        let requests = self
            .counters()
            .requests
            .load(std::sync::atomic::Ordering::Relaxed);
        let new = requests.wrapping_sub(self.told_requests);
        self.told_requests = requests;
        self.told_second = self.now / 1_000;
        if new > 0 {
            lock(&self.shared.retries).tell_requests(new, self.now);
        }
    }
}
