//! One controller, as far as it remembers anything: what `evenkeel`'s own keeps between two rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use model::{
    Effect, Failure, Generation, Intent, NetworkSight, Observation, ProjectId, Timestamp, VmId,
};
use planner::{Part, Scope, Standing};
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
/// The world of so many instances is observed in a millisecond.
const INSTANCES_SEEN_IN_A_MS: u64 = 100;
/// So many are looked at whole in a millisecond, the world's part in it included.
const INSTANCES_PLANNED_IN_A_MS: u64 = 10;

/// A controller.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) number: u32,
    pub(crate) began_ms: u64,
    pub(crate) standing: StoredLayout,
    /// The same, with what is counted over all of it.
    pub(crate) decided: Standing,
    pub(crate) intent: Arc<Intent>,
    /// When it goes on.
    pub(crate) wake_ms: u64,
    tick_ms: u64,
    /// When it looks at everything.
    whole_ms: u64,
    /// When it is done with its last round.
    free_ms: u64,
    /// What it looks at before.
    scope: Scope,
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
    pub(crate) next: Standing,
    pub(crate) scope: Scope,
    /// Whose layout changes in this round, if it does.
    pub(crate) changed: Option<Part>,
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
            decided: Standing::of(&intent, standing.layout.clone()),
            standing,
            intent,
            whole_ms: now_ms,
            free_ms: now_ms,
            scope: Scope::All,
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
        self.stir_for(at_ms, |_, _| Scope::All);
    }

    /// The same, where it is known what that concerns. Everything is looked at soon after, as the real one does
    /// all the time: silence is no event.
    pub(crate) fn stir_for(&mut self, at_ms: u64, add: impl FnOnce(Scope, &Standing) -> Scope) {
        let at_ms = at_ms.max(self.free_ms);
        self.wake_ms = self.wake_ms.min(at_ms);
        self.tick_ms = SHORTEST_TICK_MS;
        self.whole_ms = self.whole_ms.min(at_ms + SHORTEST_TICK_MS);
        let scope = std::mem::replace(&mut self.scope, Scope::All);
        self.scope = add(scope, &self.decided);
    }

    /// The next round is about everything.
    pub(crate) fn look_at_everything(&mut self) {
        self.scope = Scope::All;
    }

    /// What the round that begins now is about.
    pub(crate) fn take_scope(&mut self, now_ms: u64) -> Scope {
        // As long as a round takes: not worth a word where there are few instances.
        let instances = self.intent.instances.len() as u64;
        self.free_ms = now_ms + instances / INSTANCES_SEEN_IN_A_MS;
        let scope = std::mem::replace(&mut self.scope, Scope::of([]));
        if now_ms < self.whole_ms {
            return scope;
        }
        self.whole_ms = now_ms + SHORTEST_TICK_MS.max(instances / INSTANCES_PLANNED_IN_A_MS);
        Scope::All
    }

    /// Another controller decided: its layout stands.
    pub(crate) fn take_over(&mut self, standing: StoredLayout) {
        self.decided = Standing::of(&self.intent, standing.layout.clone());
        self.standing = standing;
        self.look_at_everything();
    }

    /// Sleeps until everything is to be looked at again: shorter when something is to be tried again before.
    pub(crate) fn rest(&mut self, now_ms: u64, was_whole: bool) {
        if was_whole {
            let again_ms = self.failed.values().map(|failed| failed.again_ms);
            let again_ms = again_ms.filter(|ms| *ms > now_ms).min();
            let tick_ms = now_ms + self.tick_ms;
            self.whole_ms = again_ms.map_or(tick_ms, |ms| ms.min(tick_ms));
            self.tick_ms = (self.tick_ms * 2).min(LONGEST_TICK_MS);
        }
        self.wake_ms = self.whole_ms.max(now_ms + 1);
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
            lacks_room: false,
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
