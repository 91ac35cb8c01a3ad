//! Whom each backend lets in: bounds on its connections, open circuits, and draining, as one thread sees
//! them. All of it is worked out when the view is renewed; a pick looks at one backend's [`Gate`].

use std::sync::Arc;

use balancing::{Candidate, Circuit, eligible};

use super::backends::{Backends, Held, Place};
use crate::snapshot::{BackendRecord, Snapshot, Target};
use crate::standing::Standing;

/// Whom one backend lets in.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Connections that it takes at once.
    pub bound: Option<u32>,
    /// Whether what this thread has under way there is counted among them.
    counted: bool,
    /// Whether its circuit is half-open, so that one request at a time is tried.
    pub guarded: bool,
    /// Whether it is among those that take new traffic.
    takes_new: bool,
    /// Since when it takes no new traffic, by configuration.
    draining_since: Option<u64>,
    /// Whether what was left was cut off.
    cut: bool,
}

impl Gate {
    /// Whether it lets everybody in.
    pub fn is_open(&self) -> bool {
        self.bound.is_none() && !self.guarded
    }

    /// Whether it lets one more in, as far as can be told without asking for it.
    pub fn lets_in(&self, standing: &Standing) -> bool {
        !self.bound.is_some_and(|bound| standing.is_full(bound))
            && (!self.guarded || standing.would_admit(u64::MAX))
    }

    /// Takes a bound in, or its absence. What is under way is counted from when there is one.
    fn renew_bound(&mut self, target: &Target, active: u32) {
        self.bound = target.max_connections;
        let counts = self.bound.is_some();
        match (self.counted, counts) {
            (false, true) => target.record.standing.count_in(active),
            (true, false) => target.record.standing.count_out(active),
            _ => {}
        }
        self.counted = counts;
    }

    fn renew_draining(&mut self, drains: bool, now: u64) {
        if drains {
            self.draining_since.get_or_insert(now);
        } else {
            self.draining_since = None;
            self.cut = false;
        }
    }
}

/// Why no backend takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The connections of those that could take it are all in use.
    Full,
    /// Circuits are open, and no other is up.
    Open,
    /// None is left that is up.
    Nobody,
}

/// What the gates together come to.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Whether anything is made of how requests end.
    pub watches: bool,
    /// When the view has to be renewed without any news.
    pub look_at: Option<u64>,
    /// Backends that would take traffic if their circuits were not open.
    open: usize,
    drain_ms: u64,
}

/// A connection of a backend with a bound.
pub(super) struct Slot {
    pub record: Arc<BackendRecord>,
    pub bound: u32,
    /// Whether it may be given to another.
    pub takes_new: bool,
}

impl Backends {
    /// Which of the targets may take new traffic, by position: first those that are not ejected; those that
    /// are where there are no others, since a backend that fails some requests is better than none. One
    /// whose circuit is open takes none.
    pub(super) fn choose_eligible(
        &mut self,
        snapshot: &Snapshot,
        candidates: &[Candidate],
        now: u64,
    ) -> Vec<usize> {
        let policy = &snapshot.policy;
        let ejected = |target: &Target| {
            policy.outlier_ejection.is_some() && target.record.standing.ejected_until(now).is_some()
        };
        let open = |target: &Target| {
            policy.circuit_breaker.is_some()
                && matches!(target.record.standing.circuit(), Circuit::Open { until } if now < until)
        };
        self.gates.watches = policy.outlier_ejection.is_some() || policy.circuit_breaker.is_some();
        if !self.gates.watches {
            self.gates.open = 0;
            return eligible(candidates);
        }
        let without = |barred: &dyn Fn(&Target) -> bool| {
            let left: Vec<_> = candidates
                .iter()
                .zip(&snapshot.targets)
                .map(|(candidate, target)| Candidate {
                    weight: if barred(target) { 0 } else { candidate.weight },
                    ..*candidate
                })
                .collect();
            eligible(&left)
        };
        self.gates.open = eligible(candidates)
            .iter()
            .filter_map(|&position| snapshot.targets.get(position))
            .filter(|target| open(target))
            .count();
        let chosen = without(&|target| ejected(target) || open(target));
        if chosen.is_empty() {
            without(&open)
        } else {
            chosen
        }
    }

    /// Takes in what a snapshot says of each backend, and works out when to look again.
    pub(super) fn renew_gates(&mut self, snapshot: &Snapshot, places: &[Place], now: u64) {
        self.gates.drain_ms = snapshot.policy.drain_ms;
        for held in self.held.iter_mut().flatten() {
            held.gate.takes_new = false;
            if !held.configured {
                held.gate.renew_draining(true, now);
            }
        }
        for (target, place) in snapshot.targets.iter().zip(places) {
            if let Some(held) = self.held_mut(*place) {
                let active = held.active;
                held.gate.renew_bound(target, active);
                held.gate.renew_draining(target.weight == 0, now);
                let circuit = target.record.standing.circuit();
                held.gate.guarded =
                    snapshot.policy.circuit_breaker.is_some() && circuit != Circuit::Closed;
            }
        }
        for index in 0..self.eligible.len() {
            let place = self.eligible.get(index).copied();
            if let Some(held) = place.and_then(|place| self.held_mut(place)) {
                held.gate.takes_new = true;
            }
        }
        self.gates.look_at = self.next_look(snapshot, now);
    }

    /// The next time at which something changes by itself.
    fn next_look(&self, snapshot: &Snapshot, now: u64) -> Option<u64> {
        let standings = snapshot
            .targets
            .iter()
            .map(|target| &target.record.standing);
        let returns = standings.flat_map(|standing| {
            let half_open = match standing.circuit() {
                Circuit::Open { until } if now < until => Some(until),
                _ => None,
            };
            [standing.ejected_until(now), half_open]
        });
        let returns = returns.flatten().filter(|_| self.gates.watches);
        let drains = self.held.iter().flatten().filter_map(|held| {
            let since = held.gate.draining_since?;
            let waits = held.active > 0 && !held.gate.cut;
            waits.then(|| since.saturating_add(self.gates.drain_ms))
        });
        returns.chain(drains).min()
    }

    /// When the view has to be renewed without any news, in milliseconds of the process's clock.
    #[must_use]
    pub fn look_at(&self) -> Option<u64> {
        self.gates.look_at
    }

    /// Backends that were to be drained by now and still have something under way. Each is told once.
    pub fn take_overdue(&mut self, now: u64) -> Vec<Place> {
        let drain_ms = self.gates.drain_ms;
        let overdue = |held: &mut Held| {
            let since = held.gate.draining_since?;
            let is_due = now >= since.saturating_add(drain_ms);
            (is_due && held.active > 0 && !std::mem::replace(&mut held.gate.cut, true))
                .then_some(held.place)
        };
        let held = self.held.iter_mut().flatten();
        held.filter_map(overdue).collect()
    }

    /// Why a pick that left out `tried` found nobody.
    #[must_use]
    pub fn lack(&self, tried: &[Place]) -> Lack {
        let left = self
            .eligible
            .iter()
            .filter(|place| !tried.contains(place))
            .filter_map(|place| self.held(*place));
        let (mut full, mut guarded) = (false, false);
        for held in left {
            full |= !held.gate.guarded;
            guarded |= held.gate.guarded;
        }
        match (full, guarded || self.gates.open > 0) {
            (true, _) => Lack::Full,
            (false, true) => Lack::Open,
            (false, false) => Lack::Nobody,
        }
    }

    /// Whether anything is made of how requests end.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.gates.watches
    }

    /// Whether the backend does not let everybody in, or did not lately.
    #[must_use]
    pub fn is_gated(&self, place: Place) -> bool {
        self.held(place)
            .is_some_and(|held| !held.gate.is_open() || held.gate.counted)
    }

    /// Whether the backend's circuit is half-open.
    #[must_use]
    pub fn is_guarded(&self, place: Place) -> bool {
        self.held(place).is_some_and(|held| held.gate.guarded)
    }

    /// Whether anybody at all takes new traffic.
    #[must_use]
    pub fn has_eligible(&self) -> bool {
        !self.eligible.is_empty()
    }

    /// Whether a request that has tried these is right to wait in the line: each backend that is left has
    /// a bound.
    #[must_use]
    pub fn is_right_to_wait(&self, tried: &[Place]) -> bool {
        let mut left = self
            .eligible
            .iter()
            .filter(|place| !tried.contains(place))
            .filter_map(|place| self.held(*place))
            .peekable();
        left.peek().is_some() && left.all(|held| held.gate.bound.is_some())
    }

    /// Backends with bounds that take new traffic.
    pub(super) fn bounded(&self) -> impl Iterator<Item = Slot> {
        self.eligible.iter().filter_map(|place| self.slot(*place))
    }

    /// The slot that a request has at a backend with a bound.
    pub(super) fn slot(&self, place: Place) -> Option<Slot> {
        let held = self.held(place)?;
        let bound = held.gate.bound.filter(|_| held.gate.counted)?;
        Some(Slot {
            record: Arc::clone(&held.record),
            bound,
            takes_new: held.gate.takes_new,
        })
    }

    /// The place of a backend.
    pub(super) fn find(&self, record: &Arc<BackendRecord>) -> Option<Place> {
        let mut held = self.held.iter().flatten();
        let held = held.find(|held| Arc::ptr_eq(&held.record, record))?;
        Some(held.place)
    }
}
