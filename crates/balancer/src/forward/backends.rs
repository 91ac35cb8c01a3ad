//! One thread's view of the backends: who is next, and the connections to each that are idle.
//!
//! A backend's place here outlives configurations: one that was taken out keeps its place until its last
//! exchange has ended, and gets no new one.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::sync::Arc;

use balancing::{
    Candidate, Latency, Load, MAX_WEIGHT, Picker, Random, Seat, View, identity_of, next_step_ms,
    weigh,
};
use model::BackendHealth;

use super::gate::{Gate, Gates};
use super::slots::Key;
use crate::snapshot::{BackendRecord, Snapshot, Target};
use crate::statistics::{BackendCounters, add, subtract};

/// Idle connections kept to one backend by one thread.
pub const IDLE_CONNECTIONS: usize = 512;

/// A backend's place in a thread's view. When it has gone, the next who takes its seat has another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    index: u32,
    generation: u32,
}

/// What a pick goes by, beside the backends themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Hash of what the algorithm hashes; of no meaning when it hashes nothing.
    pub key: u64,
    /// Backends that the request or session has tried, which are left out.
    pub tried: &'a [Place],
    /// Microseconds of the process's clock.
    pub now_us: u64,
}

pub(super) struct Held {
    pub(super) place: Place,
    pub(super) record: Arc<BackendRecord>,
    idle: Vec<Key>,
    /// Idle ones that are not used before a time in milliseconds, the earliest first.
    resting: VecDeque<(Key, u64)>,
    pub(super) configured: bool,
    pub(super) active: u32,
    pub(super) gate: Gate,
    /// How long it takes to answer, where that is measured.
    latency: Latency,
    /// Its first position in the configuration; nothing when it is in none.
    position: Option<usize>,
    /// Since when it is up, in milliseconds of the process's clock.
    up_since: Option<u64>,
}

impl Held {
    fn new(place: Place, record: &Arc<BackendRecord>) -> Self {
        Self {
            place,
            record: Arc::clone(record),
            idle: Vec::new(),
            resting: VecDeque::new(),
            configured: false,
            active: 0,
            gate: Gate::default(),
            latency: Latency::default(),
            position: None,
            up_since: None,
        }
    }

    fn load(&self) -> Load {
        Load {
            active: self.active,
            latency: self.latency,
        }
    }

    /// For how many milliseconds it has been up; for ever when it is not, since one that takes traffic all
    /// the same has nothing to grow into.
    fn up_for(&self, now: u64) -> u64 {
        self.up_since
            .map_or(u64::MAX, |since| now.saturating_sub(since))
    }

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
    /// Where in `held` each backend is, and which entries are free.
    places: HashMap<SocketAddrV4, Place>,
    free: Vec<u32>,
    /// How many backends have had a place, so that each has its own.
    generation: u32,
    /// The place of each position in the configuration.
    seated: Vec<Place>,
    picker: Picker,
    /// How long good answers take, of all backends as if they were one's: what a failure is held against.
    slowest: Latency,
    random: Random,
}

/// What a pick may see of the backends: those of one configuration, by position.
struct Seated<'a> {
    seated: &'a [Place],
    held: &'a [Option<Held>],
    tried: &'a [Place],
}

impl Seated<'_> {
    fn held(&self, position: usize) -> Option<(Place, &Held)> {
        let place = *self.seated.get(position)?;
        Some((place, held_at(self.held, place)?))
    }
}

impl View for Seated<'_> {
    fn may_take(&self, position: usize) -> bool {
        self.held(position)
            .is_some_and(|(place, held)| held.may_take() && !self.tried.contains(&place))
    }

    fn load(&self, position: usize) -> Load {
        self.held(position)
            .map_or(Load::default(), |(_, held)| held.load())
    }
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
            places: HashMap::new(),
            free: Vec::new(),
            generation: 0,
            seated: Vec::new(),
            picker: Picker::default(),
            slowest: Latency::default(),
            random: Random::new(seed),
        }
    }

    /// Takes a snapshot, or the same one with changed verdicts, in. Returns the idle connections to
    /// backends that are no longer configured, which are the caller's to close. `now` is in milliseconds of
    /// the process's clock.
    pub fn renew(&mut self, snapshot: &Snapshot, now: u64) -> Vec<Key> {
        for held in self.held.iter_mut().flatten() {
            held.configured = false;
            held.position = None;
        }
        let places: Vec<_> = (0..)
            .zip(&snapshot.targets)
            .map(|(position, target)| self.seat(position, &target.record, now))
            .collect();
        let candidates: Vec<_> = snapshot
            .targets
            .iter()
            .map(|target| Candidate {
                weight: target.weight,
                health: target.record.health(),
                backup: target.backup,
            })
            .collect();
        let chosen = self.choose_eligible(snapshot, &candidates, now);
        self.eligible = chosen
            .iter()
            .filter_map(|&position| places.get(position).copied())
            .collect();
        self.renew_gates(snapshot, &places, now);
        self.seated = places;
        self.renew_picker(snapshot, &chosen, now);
        self.drop_unconfigured()
    }

    /// Has the algorithm weigh the backends anew, and again when the next one has grown.
    fn renew_picker(&mut self, snapshot: &Snapshot, chosen: &[usize], now: u64) {
        let policy = &snapshot.policy;
        let slow_start_ms = if Picker::grows(&policy.algorithm) {
            policy.slow_start_ms
        } else {
            0
        };
        let mut seats: Vec<_> = snapshot.targets.iter().map(seat_of).collect();
        let mut grows_in: Option<u64> = None;
        for &position in chosen {
            let held = self
                .seated
                .get(position)
                .and_then(|place| self.held(*place));
            let seat = held.and_then(|held| seats.get_mut(held.position?));
            let target = snapshot.targets.get(position);
            let (Some(held), Some(seat), Some(target)) = (held, seat, target) else {
                continue;
            };
            let up_for = held.up_for(now);
            let weight = seat.weight + weigh(target.weight, up_for, slow_start_ms);
            seat.weight = weight.min(MAX_WEIGHT);
            seat.load = held.load();
            grows_in = grows_in
                .into_iter()
                .chain(next_step_ms(up_for, slow_start_ms))
                .min();
        }
        let seed = self.random.next_u64();
        self.picker = Picker::new(&policy.algorithm, &seats, &snapshot.maglev, seed);
        let grows_at = grows_in.map(|step_ms| now.saturating_add(step_ms));
        self.gates.look_at = self.gates.look_at.into_iter().chain(grows_at).min();
    }

    /// Gives a backend of the configuration its place, the one that it had if it had one.
    fn seat(&mut self, position: usize, record: &Arc<BackendRecord>, now: u64) -> Place {
        let place = match self.places.get(&record.address) {
            Some(place) => *place,
            None => self.settle(record),
        };
        if let Some(held) = self.held_mut(place) {
            held.configured = true;
            // One that is named twice has one seat, with the weight of both.
            held.position.get_or_insert(position);
            let is_up = held.record.health() == BackendHealth::Up;
            held.up_since = is_up.then(|| held.up_since.unwrap_or(now));
        }
        place
    }

    fn settle(&mut self, record: &Arc<BackendRecord>) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            u32::try_from(self.held.len() - 1).unwrap_or(u32::MAX)
        });
        self.generation = self.generation.wrapping_add(1);
        let place = Place {
            index,
            generation: self.generation,
        };
        if let Some(entry) = self.held.get_mut(index as usize) {
            *entry = Some(Held::new(place, record));
        }
        self.places.insert(record.address, place);
        place
    }

    fn forget(&mut self, place: Place) {
        let entry = self.held.get_mut(place.index as usize);
        let held = entry.and_then(|entry| entry.take_if(|held| held.place == place));
        if let Some(held) = held {
            self.places.remove(&held.record.address);
            self.free.push(place.index);
        }
    }

    fn drop_unconfigured(&mut self) -> Vec<Key> {
        let (mut orphans, mut empty) = (Vec::new(), Vec::new());
        let held = self.held.iter_mut().flatten();
        for held in held.filter(|held| !held.configured) {
            orphans.append(&mut held.idle);
            orphans.extend(held.resting.drain(..).map(|(key, _)| key));
            if held.active == 0 {
                empty.push(held.place);
            }
        }
        for place in empty {
            self.forget(place);
        }
        orphans
    }

    /// Chooses the backend for the next request or session.
    pub fn pick(&mut self, ask: Ask<'_>) -> Option<Place> {
        let view = Seated {
            seated: &self.seated,
            held: &self.held,
            tried: ask.tried,
        };
        let position = self.picker.pick(ask.key, ask.now_us, &view)?;
        self.seated.get(position).copied()
    }

    /// Whether it matters how long backends take to answer.
    #[must_use]
    pub fn measures(&self) -> bool {
        self.picker.measures()
    }

    /// Counts that the backend has begun its answer after `took_us`, or taken the connection of a session.
    pub fn count_answer(&self, place: Place, took_us: u64) {
        if let Some(counters) = self.counters(place) {
            add(&counters.answers, 1);
            add(&counters.answer_us, took_us);
        }
    }

    /// The backend has begun its answer after `took_us`, or taken the connection of a session. An answer that
    /// is a failure says nothing of what good ones take.
    pub fn observe(&mut self, place: Place, took_us: u64, failed: bool, now_us: u64) {
        if !failed {
            self.picker.observe(took_us);
            self.slowest.observe(took_us, now_us);
        }
        if let Some(held) = self.held_mut(place) {
            held.latency.observe(took_us, now_us);
        }
    }

    /// The backend has failed, which counts as a slow answer where those count.
    pub fn penalize(&mut self, place: Place, now_us: u64) {
        let failure_us = self.picker.failure_us(self.slowest, now_us);
        if let (Some(took_us), Some(held)) = (failure_us, self.held_mut(place)) {
            held.latency.observe(took_us, now_us);
        }
    }

    pub(super) fn held(&self, place: Place) -> Option<&Held> {
        held_at(&self.held, place)
    }

    pub(super) fn held_mut(&mut self, place: Place) -> Option<&mut Held> {
        let held = self.held.get_mut(place.index as usize)?.as_mut()?;
        (held.place == place).then_some(held)
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
        self.tell_picker(place);
    }

    fn tell_picker(&mut self, place: Place) {
        if let Some(held) = held_at(&self.held, place)
            && let Some(position) = held.position
        {
            self.picker.set_active(position, held.active);
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
        if held.active == 0 && !held.configured {
            self.forget(place);
        } else {
            self.tell_picker(place);
        }
    }

    /// The idle connection that was used last, whose backend is least likely to have closed it; or one that
    /// has rested for long enough.
    pub fn take_idle(&mut self, place: Place, now: u64) -> Option<Key> {
        let held = self.held_mut(place)?;
        held.idle.pop().or_else(|| {
            let (_, until) = held.resting.front()?;
            let has_rested = *until <= now;
            has_rested.then(|| held.resting.pop_front().map(|(key, _)| key))?
        })
    }

    /// Keeps an idle connection, one that is to rest until `rests_until` at least; false when it is not
    /// wanted and is to be closed.
    pub fn keep_idle(&mut self, place: Place, upstream: Key, rests_until: Option<u64>) -> bool {
        let Some(held) = self.held_mut(place) else {
            return false;
        };
        let is_wanted = held.configured && held.idle.len() + held.resting.len() < IDLE_CONNECTIONS;
        if is_wanted {
            match rests_until {
                Some(until) => held.resting.push_back((upstream, until)),
                None => held.idle.push(upstream),
            }
        }
        is_wanted
    }

    /// Takes so many idle connections at most away from whoever has most of them, the one that was used
    /// least lately first. They are the caller's to close.
    pub fn spare_idle(&mut self, most: usize) -> Vec<Key> {
        let held = self.held.iter_mut().flatten();
        let count = |held: &Held| held.resting.len() + held.idle.len();
        let Some(richest) = held.max_by_key(|held| count(held)) else {
            return Vec::new();
        };
        let resting = most.min(richest.resting.len());
        let idle = (most - resting).min(richest.idle.len());
        let resting = richest.resting.drain(..resting).map(|(key, _)| key);
        resting.chain(richest.idle.drain(..idle)).collect()
    }

    /// An idle connection is no more.
    pub fn forget_idle(&mut self, place: Place, upstream: Key) {
        if let Some(held) = self.held_mut(place) {
            held.idle.retain(|&idle| idle != upstream);
            held.resting.retain(|&(idle, _)| idle != upstream);
        }
    }
}

/// Who has this place, if its backend is still there.
fn held_at(held: &[Option<Held>], place: Place) -> Option<&Held> {
    let held = held.get(place.index as usize)?.as_ref()?;
    (held.place == place).then_some(held)
}

/// A backend as the algorithms know it, as long as it may not take traffic.
fn seat_of(target: &Target) -> Seat {
    Seat {
        identity: identity_of(target.record.address),
        weight: 0,
        backup: target.backup,
        load: Load::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn snapshot(ports: &[u16]) -> Snapshot {
        let targets = ports.iter().map(|&port| {
            let address = SocketAddrV4::new([127, 0, 0, 1].into(), port);
            Target {
                record: Arc::new(BackendRecord::new(address, 1, Instant::now())),
                weight: 1,
                backup: false,
                max_connections: None,
            }
        });
        Snapshot {
            targets: targets.collect(),
            ..Snapshot::empty()
        }
    }

    #[test]
    fn who_takes_the_seat_of_one_that_has_gone_is_not_taken_for_it() {
        let mut backends = Backends::new(0, 1);
        let (old, new) = (snapshot(&[1, 2]), snapshot(&[3, 2]));
        backends.renew(&old, 0);
        let gone = backends.find(&old.targets[0].record).unwrap();
        let stays = backends.find(&old.targets[1].record).unwrap();
        backends.renew(&snapshot(&[2]), 0);
        assert!(backends.record(gone).is_none());
        backends.renew(&new, 0);
        let came = backends.find(&new.targets[0].record).unwrap();
        assert_eq!(came.index, gone.index, "its seat is used again");
        // A request that has tried both of the old ones has not tried the new one.
        let ask = Ask {
            tried: &[gone, stays],
            ..Ask::default()
        };
        assert_eq!(backends.pick(ask), Some(came));
        backends.end(gone, true);
        assert!(backends.record(gone).is_none() && backends.record(came).is_some());
    }
}
