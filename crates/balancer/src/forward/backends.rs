//! One thread's view of the backends: who is next, and the connections to each that are idle.
//!
//! A backend's place here outlives configurations: one that was taken out keeps its place until its last
//! exchange has ended, and gets no new one.

use std::sync::Arc;

use balancing::{Candidate, Random, SmoothRoundRobin};

use super::gate::{Gate, Gates};
use super::slots::Key;
use crate::snapshot::{BackendRecord, Snapshot};
use crate::statistics::{BackendCounters, add, subtract};

/// Idle connections kept to one backend by one thread.
pub const IDLE_CONNECTIONS: usize = 512;

/// A backend's place in a thread's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub(super) u32);

/// What a pick goes by, beside the backends themselves.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    dead_code,
    reason = "the algorithms that read key and time come with the next change"
)]
pub struct Ask<'a> {
    /// Hash of what the algorithm hashes; of no meaning when it hashes nothing.
    pub key: u64,
    /// Backends that the request or session has tried, which are left out.
    pub tried: &'a [Place],
    /// Microseconds of the process's clock.
    pub now_us: u64,
}

pub(super) struct Held {
    pub(super) record: Arc<BackendRecord>,
    idle: Vec<Key>,
    pub(super) configured: bool,
    pub(super) active: u32,
    pub(super) gate: Gate,
}

impl Held {
    /// Whether it may take one more request or session. Asked of few backends at each pick, so it has to
    /// be cheap; what lasts for longer than a moment belongs in [`Backends::renew`].
    fn may_take(&self) -> bool {
        self.configured && (self.gate.is_open() || self.gate.lets_in(&self.record.standing))
    }
}

/// One thread's view of the backends.
pub struct Backends {
    thread: usize,
    pub(super) held: Vec<Option<Held>>,
    pub(super) eligible: Vec<Place>,
    pub(super) gates: Gates,
    picker: SmoothRoundRobin,
    random: Random,
}

impl Backends {
    /// Knows nobody yet. `seed` spreads the starts of many threads and balancers.
    #[must_use]
    pub fn new(thread: usize, seed: u64) -> Self {
        Self {
            thread,
            held: Vec::new(),
            eligible: Vec::new(),
            gates: Gates::default(),
            picker: SmoothRoundRobin::new(&[], 0),
            random: Random::new(seed),
        }
    }

    /// Takes a snapshot, or the same one with changed verdicts, in. Returns the idle connections to
    /// backends that are no longer configured, which are the caller's to close. `now` is in milliseconds of
    /// the process's clock.
    pub fn renew(&mut self, snapshot: &Snapshot, now: u64) -> Vec<Key> {
        for held in self.held.iter_mut().flatten() {
            held.configured = false;
        }
        let places: Vec<_> = snapshot
            .targets
            .iter()
            .map(|target| self.place_of(&target.record))
            .collect();
        let candidates: Vec<_> = snapshot
            .targets
            .iter()
            .map(|target| Candidate {
                weight: target.weight,
                health: target.record.health(),
            })
            .collect();
        let chosen = self.choose_eligible(snapshot, &candidates, now);
        let weights: Vec<_> = chosen
            .iter()
            .filter_map(|&position| candidates.get(position))
            .map(|candidate| u32::from(candidate.weight))
            .collect();
        self.eligible = chosen
            .iter()
            .filter_map(|&position| places.get(position).copied())
            .collect();
        self.picker = SmoothRoundRobin::new(&weights, self.random.next_u64());
        self.renew_gates(snapshot, &places, now);
        self.drop_unconfigured()
    }

    fn place_of(&mut self, record: &Arc<BackendRecord>) -> Place {
        let known = self.held.iter().position(|held| {
            held.as_ref()
                .is_some_and(|held| held.record.address == record.address)
        });
        let index = known.unwrap_or_else(|| self.free_index());
        let place = Place(u32::try_from(index).unwrap_or(u32::MAX));
        if let Some(entry) = self.held.get_mut(index) {
            let held = entry.get_or_insert_with(|| Held {
                record: Arc::clone(record),
                idle: Vec::new(),
                configured: true,
                active: 0,
                gate: Gate::default(),
            });
            held.configured = true;
        }
        place
    }

    fn free_index(&mut self) -> usize {
        self.held
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.held.push(None);
                self.held.len() - 1
            })
    }

    fn drop_unconfigured(&mut self) -> Vec<Key> {
        let mut orphans = Vec::new();
        for entry in &mut self.held {
            if let Some(held) = entry.as_mut().filter(|held| !held.configured) {
                orphans.append(&mut held.idle);
                if held.active == 0 {
                    *entry = None;
                }
            }
        }
        orphans
    }

    /// Chooses the backend for the next request or session.
    pub fn pick(&mut self, ask: Ask<'_>) -> Option<Place> {
        let (eligible, held) = (&self.eligible, &self.held);
        let position = self.picker.pick(|position| {
            let place = eligible.get(position).filter(|p| !ask.tried.contains(p));
            place
                .and_then(|place| held.get(place.0 as usize)?.as_ref())
                .is_some_and(Held::may_take)
        })?;
        eligible.get(position).copied()
    }

    pub(super) fn held(&self, place: Place) -> Option<&Held> {
        self.held.get(place.0 as usize)?.as_ref()
    }

    pub(super) fn held_mut(&mut self, place: Place) -> Option<&mut Held> {
        self.held.get_mut(place.0 as usize)?.as_mut()
    }

    /// The backend's record. A place that is in use is never empty.
    #[must_use]
    pub fn record(&self, place: Place) -> Option<&Arc<BackendRecord>> {
        self.held(place).map(|held| &held.record)
    }

    fn counters(&self, place: Place) -> Option<&BackendCounters> {
        self.held(place)?.record.counters(self.thread)
    }

    /// A request or session is given to the backend.
    pub fn begin(&mut self, place: Place) {
        if let Some(counters) = self.counters(place) {
            add(&counters.requests, 1);
            add(&counters.active, 1);
        }
        if let Some(held) = self.held_mut(place) {
            held.active += 1;
        }
    }

    /// It has left the backend again.
    pub fn end(&mut self, place: Place, failed: bool) {
        if let Some(counters) = self.counters(place) {
            subtract(&counters.active, 1);
            add(&counters.errors, u64::from(failed));
        }
        let Some(held) = self.held_mut(place) else {
            return;
        };
        held.active = held.active.saturating_sub(1);
        let forgotten = held.active == 0 && !held.configured;
        if forgotten && let Some(entry) = self.held.get_mut(place.0 as usize) {
            *entry = None;
        }
    }

    /// The idle connection that was used last, whose backend is least likely to have closed it.
    pub fn take_idle(&mut self, place: Place) -> Option<Key> {
        self.held_mut(place)?.idle.pop()
    }

    /// Keeps an idle connection; false when it is not wanted and is to be closed.
    pub fn keep_idle(&mut self, place: Place, upstream: Key) -> bool {
        self.held_mut(place)
            .filter(|held| held.configured && held.idle.len() < IDLE_CONNECTIONS)
            .map(|held| held.idle.push(upstream))
            .is_some()
    }

    /// An idle connection is no more.
    pub fn forget_idle(&mut self, place: Place, upstream: Key) {
        if let Some(held) = self.held_mut(place) {
            held.idle.retain(|&idle| idle != upstream);
        }
    }
}
