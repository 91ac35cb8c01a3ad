//! A controller's round, step by step as `evenkeel`'s own takes them: observe, plan, store, begin. Between any
//! two of them time may pass, another controller may go on, or this one may be killed.

use std::sync::Arc;

use model::{Effect, Layout, Observation};
use planner::{Breaker, Inputs, Part, Scope};
use store::layout::{StoredLayout, Written, read_layout, write_layout};

use crate::bugs::Bug;
use crate::controller::{Agenda, Controller, Decision, Doom};
use crate::invariants::{Held, Violation, plans, vms};
use crate::simulation::{Event, Simulation};

/// After a round that failed.
const FAILURE_PAUSE_MS: u64 = 500;
/// How old the view of the network may be.
const VIEW_AGE_MS: u64 = 2_000;
/// The same while it is stale.
const STALE_VIEW_AGE_MS: u64 = 20_000;
/// Effects under way at a time, for one controller.
const MOST_AT_A_TIME: usize = 32;
/// The longest pause between two steps of a round.
pub(crate) const LONGEST_STEP_MS: u64 = 60;
/// In so many of a hundred rounds, time passes between two steps.
const SLOW_ROUNDS: u64 = 10;
/// One in so many rounds is planned twice, to see that the same inputs give the same plan; and as many of those
/// that change nothing are planned on, to see that it stays so.
const PURITY_CHECKS: u64 = 16;
/// The same for rounds that change something.
const CHANGES_CHECKS: u64 = 3;

/// What becomes of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    Dies,
}

impl Simulation {
    /// Goes on with a controller's round until it is over, is delayed, or the controller dies.
    pub(crate) fn go_on(&mut self, c: &mut Controller) -> Result<Fate, Violation> {
        loop {
            if c.doom == Some(Doom::Now) {
                return Ok(Fate::Dies);
            }
            match std::mem::take(&mut c.agenda) {
                Agenda::Look => {
                    let decision = self.decide(c)?;
                    c.agenda = Agenda::Keep(Box::new(decision));
                }
                Agenda::Keep(_) if c.doom == Some(Doom::BeforeStoring) => return Ok(Fate::Dies),
                Agenda::Keep(decision) => {
                    let Some(decision) = self.keep(c, decision)? else {
                        return Ok(Fate::Lives);
                    };
                    if c.doom == Some(Doom::AfterStoring) && decision.changed.is_some() {
                        return Ok(Fate::Dies);
                    }
                    c.agenda = Agenda::Act(decision);
                }
                Agenda::Act(decision) => return self.act(c, &decision),
            }
            if self.dice.chance(SLOW_ROUNDS) {
                c.wake_ms = self.world.now_ms + 1 + self.dice.roll(LONGEST_STEP_MS);
                return Ok(Fate::Lives);
            }
        }
    }

    fn observe(&mut self, c: &mut Controller) -> Observation {
        let now_ms = self.world.now_ms;
        let mut observed = self.world.observe(c.began_ms);
        let age_ms = match self.stale_views > 0 {
            true => STALE_VIEW_AGE_MS,
            false => VIEW_AGE_MS,
        };
        match &c.view {
            Some((at_ms, view)) if now_ms - at_ms < age_ms => observed.network.clone_from(view),
            _ => c.view = Some((now_ms, observed.network.clone())),
        }
        observed.failures = c.failures(now_ms);
        let own = self.hands.works.values();
        let own = own.filter(|work| work.controller == c.number);
        observed.in_flight = own.map(|work| work.key.clone()).collect();
        observed
    }

    fn decide(&mut self, c: &mut Controller) -> Result<Decision, Violation> {
        self.rounds += 1;
        let mut scope = c.take_scope(self.world.now_ms);
        if self.bug != Some(Bug::DeafToUsers) || c.intent.instances.is_empty() {
            let now = self.world.wall();
            let bug = self.bug;
            let intent = bug.map_or_else(
                || Arc::clone(&self.intent),
                |b| b.bend_intent(&self.intent, now),
            );
            if !Arc::ptr_eq(&intent, &c.intent) {
                scope = scope.and(Part::between(&c.intent, &intent));
                c.intent = intent;
            }
        }
        let mut observed = self.observe(c);
        if let Some(bug) = self.bug {
            bug.bend_sight(&mut observed, &c.standing.layout);
        }
        let inputs = Inputs {
            settings: &self.settings,
            intent: &c.intent,
            observed: &observed,
            now: self.world.wall(),
        };
        let planned = planner::plan(inputs, &c.decided, &scope);
        let looks_again = self.bug.is_none() && self.checks_purity;
        let rounds = match planned.changed {
            Some(_) => CHANGES_CHECKS,
            None => PURITY_CHECKS,
        };
        if looks_again && self.doubts.roll(rounds) == 0 {
            plans::is_fixed_point(inputs, &planned)?;
        }
        if looks_again && self.doubts.roll(PURITY_CHECKS) == 0 {
            plans::is_pure(inputs, &c.decided, &scope, &planned)?;
        }
        let mut decision = Decision {
            now: inputs.now,
            intent: Arc::clone(&c.intent),
            changed: planned.changed,
            observed,
            next: planned.standing,
            scope: planned.scope,
        };
        if let Some(bug) = self.bug {
            let mut bent = decision.next.layout().clone();
            bug.bend_plan(c.decided.layout(), &mut bent);
            if bent != *decision.next.layout() {
                decision.changed = (bent != *c.decided.layout()).then(Part::default);
                decision.next = decision.next.replaced(&c.intent, bent);
            }
        }
        Ok(decision)
    }

    /// Stores what was decided; `None` when the round ends here.
    fn keep(
        &mut self,
        c: &mut Controller,
        decision: Box<Decision>,
    ) -> Result<Option<Box<Decision>>, Violation> {
        if self.bug == Some(Bug::ActsFirst) && decision.changed.is_some() {
            self.begin_all(c, &decision)?;
            if c.doom.is_some() {
                c.doom = Some(Doom::Now);
                c.wake_ms = self.world.now_ms;
                return Ok(None);
            }
        }
        let now_ms = self.world.now_ms;
        if decision.changed.is_some() && self.full_disks > 0 {
            c.wake_ms = now_ms + FAILURE_PAUSE_MS;
            c.look_at_everything();
            return Ok(None);
        }
        if decision.changed.is_none() {
            // What another decided meanwhile is found out before anything is done about what it made.
            if self.bug != Some(Bug::LostUpdate) && !self.is_current(&c.standing) {
                c.take_over(self.read_layout());
                c.wake_ms = now_ms + 1;
                return Ok(None);
            }
            return Ok(Some(decision));
        }
        if self.bug == Some(Bug::LostUpdate) {
            // Whatever stands there meanwhile is taken for what was decided upon.
            let known = c.standing.layout.clone();
            c.standing = self.read_layout();
            c.standing.layout = known;
        }
        let next = decision.next.layout().clone();
        match write_layout(&self.store, &c.standing, next) {
            Ok(Written::Stands(stored)) => {
                let before = std::mem::replace(&mut c.standing, stored);
                self.stored(&decision, &before.layout, &c.standing.layout)?;
                Ok(Some(decision))
            }
            Ok(Written::Overtaken) => {
                self.note(|| format!("controller {} is overtaken", c.number));
                c.take_over(self.read_layout());
                c.wake_ms = now_ms + 1;
                Ok(None)
            }
            Err(error) => Err(Violation {
                rule: "the store takes every layout",
                what: error.to_string(),
            }),
        }
    }

    /// A layout stands.
    fn stored(&mut self, decision: &Decision, before: &Layout, next: &Layout) -> Held {
        self.tell_what_was_decided(before, next);
        let intent = &decision.intent;
        plans::check(intent, before, next)?;
        vms::check(&self.world, before, next)?;
        let breaker = Breaker::default();
        self.tally
            .count(&self.world, intent, &breaker, (before, next))?;
        if before.dns != next.dns {
            let delay_ms = self.dice.between(10, 300);
            self.schedule(delay_ms, Event::Publish);
        }
        self.layout = next.clone();
        Ok(())
    }

    fn act(&mut self, c: &mut Controller, decision: &Decision) -> Result<Fate, Violation> {
        let fate = self.begin_all(c, decision);
        c.decided = decision.next.clone();
        let now_ms = self.world.now_ms;
        match &decision.changed {
            Some(part) => c.stir_for(now_ms + 1, |scope, _| scope.and(part.clone())),
            None => c.rest(now_ms, decision.scope == Scope::All),
        }
        fate
    }

    fn begin_all(&mut self, c: &mut Controller, decision: &Decision) -> Result<Fate, Violation> {
        let layout = decision.next.layout();
        let inputs = Inputs {
            settings: &self.settings,
            intent: &decision.intent,
            observed: &decision.observed,
            now: decision.now,
        };
        let mut effects = planner::diff(inputs, &decision.next, &decision.scope);
        if let Some(bug) = self.bug {
            bug.bend_effects(&mut effects, layout, &decision.observed);
        }
        plans::effects(&effects, &decision.observed.in_flight)?;
        let mut begun = 0;
        for effect in effects {
            if c.doom == Some(Doom::AfterEffects(begun)) {
                return Ok(Fate::Dies);
            }
            begun += u64::from(self.begin(c, effect));
        }
        self.complete_what_is_inherited(c, layout);
        Ok(match c.doom {
            Some(Doom::AfterEffects(_)) if begun > 0 => Fate::Dies,
            _ => Fate::Lives,
        })
    }

    /// Begins an effect, unless one with its key is under way or failed too short a time ago.
    fn begin(&mut self, c: &mut Controller, effect: Effect) -> bool {
        let key = effect.key();
        let own = self.hands.works.values();
        let (mut running, mut busy) = (0, false);
        for work in own.filter(|work| work.controller == c.number) {
            running += 1;
            busy |= work.key == key;
        }
        let now_ms = self.world.now_ms;
        let pushed = self.bug == Some(Bug::PushedOnce) && c.pushed_before(&effect);
        if running >= MOST_AT_A_TIME || busy || pushed || !c.may_begin(&effect, &key, now_ms) {
            return false;
        }
        self.note(|| format!("controller {} begins {}", c.number, in_words(&effect)));
        let (work, delay_ms) = self.hands.begin(c.number, effect, &mut self.dice);
        self.schedule(delay_ms, Event::Work(work));
        true
    }

    fn complete_what_is_inherited(&mut self, c: &mut Controller, layout: &Layout) {
        if c.adopted.is_empty() && c.inherited.is_empty() {
            return;
        }
        for (id, instance) in &layout.instances {
            for (vm, standing) in &instance.vms {
                if !c.adopted.contains(vm) {
                    continue;
                }
                let ensure = || Effect::EnsureVm {
                    project: instance.project,
                    instance: *id,
                    vm: *vm,
                    layout: Box::new(standing.clone()),
                };
                if standing.leaving.is_some() || self.begin(c, ensure()) {
                    c.adopted.remove(vm);
                }
            }
        }
        let projects: Vec<_> = c.inherited.iter().copied().collect();
        for project in projects {
            let stands = layout.networks.contains_key(&project);
            if !stands || self.begin(c, Effect::EnsureProject { project }) {
                c.inherited.remove(&project);
            }
        }
    }

    /// Whether nobody stored a layout since this one.
    fn is_current(&self, standing: &StoredLayout) -> bool {
        // A store in memory does not fail.
        standing.is_current(&self.store).unwrap_or(true)
    }

    pub(crate) fn read_layout(&self) -> StoredLayout {
        // A store in memory does not fail, and what it holds this program wrote.
        read_layout(&self.store).unwrap_or_default()
    }
}

/// An effect as a trace tells it.
pub(crate) fn in_words(effect: &Effect) -> String {
    match effect {
        Effect::EnsureVm { vm, layout, .. } => format!("ensure vm {vm} {}", layout.front.address),
        Effect::RemoveVm { vm } => format!("remove vm {vm}"),
        Effect::SetFence { vm, fenced } => format!("set fence of vm {vm}: {fenced}"),
        Effect::Drain { vm } => format!("drain vm {vm}"),
        Effect::PushConfig { vm, config } => format!("push {} to vm {vm}", config.generation),
        Effect::EnsureFront => "ensure front".into(),
        Effect::EnsureProject { project } => format!("ensure project {project}"),
        Effect::RemoveProject { project } => format!("remove project {project}"),
        Effect::EnsurePort { interface, .. } => format!("ensure port {interface}"),
        Effect::RemovePort { interface, .. } => format!("remove port {interface}"),
        Effect::RemoveSubnet { subnet, .. } => format!("remove subnet {subnet}"),
    }
}
