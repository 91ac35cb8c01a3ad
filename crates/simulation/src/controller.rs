//! One controller, as far as it remembers anything: what `evenkeel`'s own keeps between two rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use model::{
    Effect, Failure, Generation, Intent, Layout, NetworkSight, Observation, ProjectId, Report,
    Timestamp, VmId,
};
use store::layout::StoredLayout;

/// The pause after a first failure; it doubles with each one that follows.
const FIRST_PAUSE_MS: u64 = 200;
/// The longest pause between two attempts.
const LONGEST_PAUSE_MS: u64 = 10_000;
/// Between the beginnings of one effect.
const REPEAT_PAUSE_MS: u64 = 200;
/// The shortest and the longest time between two rounds in which nothing was to be done. The real controller
/// looks every quarter of a second; one that looks less often has to get by, too, and an hour is soon over.
pub(crate) const SHORTEST_TICK_MS: u64 = 250;
const LONGEST_TICK_MS: u64 = 16_000;

/// A controller.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) number: u32,
    pub(crate) began_ms: u64,
    pub(crate) standing: StoredLayout,
    pub(crate) intent: Arc<Intent>,
    pub(crate) report: Report,
    /// When it goes on.
    pub(crate) wake_ms: u64,
    tick_ms: u64,
    pub(crate) agenda: Agenda,
    /// Where in its round it will be killed.
    pub(crate) doom: Option<Doom>,
    pub(crate) failed: BTreeMap<String, Failed>,
    begun: BTreeMap<String, (Kind, u64)>,
    pushed: BTreeSet<(VmId, Generation)>,
    /// VMs and namespaces that an earlier controller left, each ensured once.
    pub(crate) adopted: BTreeSet<VmId>,
    pub(crate) inherited: BTreeSet<ProjectId>,
    /// The network as it last looked, and when that was.
    pub(crate) view: Option<(u64, NetworkSight)>,
}

/// What is begun again too soon: an effect of the same kind, with the same configuration.
type Kind = (Discriminant<Effect>, Option<Generation>);

/// What comes next in a round.
#[derive(Debug, Default)]
pub(crate) enum Agenda {
    /// Observe and plan.
    #[default]
    Look,
    /// Store what was planned.
    Keep(Box<Decision>),
    /// Begin what is to be done.
    Act(Box<Decision>),
}

/// What a round has come to so far.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) observed: Observation,
    pub(crate) intent: Arc<Intent>,
    pub(crate) now: Timestamp,
    pub(crate) next: Layout,
    pub(crate) report: Report,
    /// Whether the layout was written in this round.
    pub(crate) changed: bool,
}

/// Where a controller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Now,
    BeforeStoring,
    AfterStoring,
    /// After so many effects of a round were begun.
    AfterEffects(u64),
}

/// An effect whose last attempt failed.
#[derive(Debug)]
pub(crate) struct Failed {
    failure: Failure,
    again_ms: u64,
}

impl Controller {
    pub(crate) fn new(
        number: u32,
        now_ms: u64,
        standing: StoredLayout,
        intent: Arc<Intent>,
    ) -> Self {
        let instances = standing.layout.instances.values();
        let vms = instances.flat_map(|i| &i.vms);
        let staying = vms.filter(|(_, vm)| vm.leaving.is_none());
        Self {
            adopted: staying.map(|(id, _)| *id).collect(),
            inherited: standing.layout.networks.keys().copied().collect(),
            number,
            began_ms: now_ms,
            standing,
            intent,
            report: Report::default(),
            wake_ms: now_ms,
            tick_ms: SHORTEST_TICK_MS,
            agenda: Agenda::Look,
            doom: None,
            failed: BTreeMap::new(),
            begun: BTreeMap::new(),
            pushed: BTreeSet::new(),
            view: None,
        }
    }

    /// Something changed that it may see: it looks soon, and often for a while.
    pub(crate) fn stir(&mut self, at_ms: u64) {
        self.wake_ms = self.wake_ms.min(at_ms);
        self.tick_ms = SHORTEST_TICK_MS;
    }

    /// Sleeps until the next round: shorter when something is to be tried again before.
    pub(crate) fn rest(&mut self, now_ms: u64) {
        let again_ms = self.failed.values().map(|failed| failed.again_ms);
        let again_ms = again_ms.filter(|ms| *ms > now_ms).min();
        let tick_ms = now_ms + self.tick_ms;
        self.wake_ms = again_ms.map_or(tick_ms, |ms| ms.min(tick_ms));
        self.tick_ms = (self.tick_ms * 2).min(LONGEST_TICK_MS);
    }

    /// Whether an effect has to wait, since it failed or was begun too short a time ago; else it begins.
    pub(crate) fn may_begin(&mut self, effect: &Effect, key: &str, now_ms: u64) -> bool {
        let generation = match effect {
            Effect::PushConfig { config, .. } => Some(config.generation),
            _ => None,
        };
        let kind = (discriminant(effect), generation);
        let failed = self.failed.get(key).is_some_and(|f| f.again_ms > now_ms);
        let begun = self.begun.get(key).filter(|(known, _)| *known == kind);
        let repeats = begun.is_some_and(|(_, at_ms)| at_ms + REPEAT_PAUSE_MS > now_ms);
        if failed || repeats {
            return false;
        }
        self.begun.insert(key.to_owned(), (kind, now_ms));
        true
    }

    /// An effect of its own ended.
    pub(crate) fn note(&mut self, key: &str, failure: Option<String>, now: Timestamp, now_ms: u64) {
        self.view = None;
        let earlier = self.failed.remove(key).map(|failed| failed.failure);
        let Some(message) = failure else {
            return;
        };
        let attempts = earlier.as_ref().map_or(1, |f| f.attempts.saturating_add(1));
        let failure = Failure {
            message,
            since: earlier.map_or(now, |earlier| earlier.since),
            attempts,
        };
        let pause_ms = (FIRST_PAUSE_MS << (attempts - 1).min(16)).min(LONGEST_PAUSE_MS);
        let again_ms = now_ms + pause_ms;
        self.failed
            .insert(key.to_owned(), Failed { failure, again_ms });
    }

    /// The effects that failed. One that is no longer asked for is forgotten in time.
    pub(crate) fn failures(&mut self, now_ms: u64) -> BTreeMap<String, Failure> {
        self.begun
            .retain(|_, (_, at_ms)| *at_ms + REPEAT_PAUSE_MS > now_ms);
        self.failed
            .retain(|_, failed| failed.again_ms + 2 * LONGEST_PAUSE_MS > now_ms);
        let failed = self.failed.iter();
        failed
            .map(|(key, failed)| (key.clone(), failed.failure.clone()))
            .collect()
    }

    /// Whether it sent that configuration to that VM before: a planted bug's memory.
    pub(crate) fn pushed_before(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::PushConfig { vm, config } => !self.pushed.insert((*vm, config.generation)),
            _ => false,
        }
    }

    /// Never tries an effect again: a planted bug.
    pub(crate) fn give_up(&mut self, key: &str) {
        if let Some(failed) = self.failed.get_mut(key) {
            failed.again_ms = u64::MAX / 2;
        }
    }

    /// Looks as often as the real one, though nothing changes.
    pub(crate) fn look_often(&mut self) {
        self.tick_ms = SHORTEST_TICK_MS;
    }
}
