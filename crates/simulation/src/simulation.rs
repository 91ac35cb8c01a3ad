//! One world with its users and controllers, from its beginning to its end.
//!
//! ```text
//!   0 min        1 min                     40 min        45 min        66 min       69 min       84 min
//!   users ask    users change their minds, all faults    all is as     all is well, all is       nothing
//!   for much     faults come and go        have ended    asked         at rest      deleted      is left
//! ```
//!
//! Time is virtual and jumps from one event to the next. The same [`Scenario`] gives the same run, event by
//! event, on every machine.

mod script;
mod strikes;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use model::{Driver, Intent, Layout, VmId, VmShape};
use planner::{Breaker, Settings, Windows};
use store::intent::read_intent;
use store::layout::read_dns_layout;
use store::{ManualClock, Store};

use crate::Scenario;
use crate::bugs::Bug;
use crate::checker::Checker;
use crate::controller::Controller;
use crate::curve::Curve;
use crate::dice::Dice;
use crate::faults::Fault;
use crate::hands::{Hands, Went};
use crate::invariants::{Held, Violation, vms, watch, zone};
use crate::round::Fate;
use crate::trace::{self, Trace};
use crate::users::{self, Action};
use crate::world::{CAPACITY, World};
use script::Milestone;

/// What begins at once with others begins within this time.
const JITTER_MS: u64 = 20;
/// Effects that end within so many milliseconds are looked at together.
const TOGETHER_MS: u64 = 20;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    User(usize),
    Fault(usize),
    Mend(usize),
    Work(u64),
    Publish,
    /// A machine may have booted to its end.
    Boot,
    /// A checker's lease may be over.
    Lease,
    Begin,
    Milestone(Milestone),
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The first rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Rounds of controllers.
    pub rounds: u64,
    /// Faults that befell the world.
    pub faults: usize,
    /// The most instances that stood at a time.
    pub instances: usize,
    /// The last steps, where a trace was asked for.
    pub trace: Vec<String>,
}

/// One run.
pub(crate) struct Simulation {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) hands: Hands,
    pub(crate) store: Store,
    pub(crate) intent: Arc<Intent>,
    /// The layout that stands in the store.
    pub(crate) layout: Layout,
    pub(crate) dice: Dice,
    /// When a plan is looked at twice.
    pub(crate) doubts: Dice,
    pub(crate) bug: Option<Bug>,
    pub(crate) tally: vms::Tally,
    pub(crate) rounds: u64,
    pub(crate) stale_views: u32,
    pub(crate) full_disks: u32,
    pub(crate) checks_purity: bool,
    controllers: Vec<Controller>,
    last_controller: u32,
    watch: watch::Watch,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    last_event: u64,
    actions: Vec<Action>,
    faults: Vec<Fault>,
    struck: Vec<Option<VmId>>,
    active: u32,
    peace_from_ms: u64,
    instances: usize,
    well: Option<Layout>,
    trace: Trace,
    is_over: bool,
}

impl Simulation {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut dice = Dice::new(scenario.seed);
        let mut made = dice.fork();
        let names = ["local", "east", "west"];
        let checkers = [1, 3, 3, 2].get(made.roll(4) as usize).copied();
        let checkers = names.iter().take(checkers.unwrap_or(1));
        let world = World::with(checkers.map(|name| Checker::named(name)).collect());
        let mut simulation = Self {
            settings: settings(scenario),
            world,
            hands: Hands::default(),
            store: Store::in_memory_with_clock(ManualClock::default()),
            intent: Arc::default(),
            layout: Layout::default(),
            dice: dice.fork(),
            doubts: dice.fork(),
            bug: scenario.bug,
            tally: vms::Tally::default(),
            rounds: 0,
            stale_views: 0,
            full_disks: 0,
            checks_purity: true,
            controllers: Vec::new(),
            last_controller: 0,
            watch: watch::Watch::default(),
            queue: BinaryHeap::new(),
            last_event: 0,
            actions: Vec::new(),
            faults: Vec::new(),
            struck: Vec::new(),
            active: 0,
            peace_from_ms: 0,
            instances: 0,
            well: None,
            trace: Trace::new(scenario.trace, scenario.tells_all),
            is_over: false,
        };
        simulation.write_the_script(scenario, &mut dice.fork());
        simulation
    }

    /// Has something happen after a while.
    pub(crate) fn schedule(&mut self, after_ms: u64, event: Event) {
        self.last_event += 1;
        let at_ms = self.world.now_ms + after_ms;
        self.queue.push(Reverse((at_ms, self.last_event, event)));
    }

    /// Lets everything happen until the end, or until a rule is broken.
    pub(crate) fn run(mut self) -> Outcome {
        let mut violation = None;
        while violation.is_none() && !self.is_over {
            violation = self.step().err();
        }
        if let Some(violation) = &violation {
            self.note(|| format!("VIOLATION {violation}"));
        }
        Outcome {
            violation,
            virtual_ms: self.world.now_ms,
            rounds: self.rounds,
            faults: self.faults.len(),
            instances: self.instances,
            trace: self.trace.into_lines(),
        }
    }

    fn step(&mut self) -> Held {
        let next = self.queue.peek().map(|Reverse((at_ms, ..))| *at_ms);
        let next_ms = next.unwrap_or(u64::MAX);
        let controllers = self.controllers.iter().enumerate();
        let first = controllers.min_by_key(|(_, c)| c.wake_ms);
        match first.map(|(n, c)| (n, c.wake_ms)) {
            Some((n, wake_ms)) if wake_ms < next_ms => {
                self.world.now_ms = self.world.now_ms.max(wake_ms);
                self.wake(n)?;
            }
            _ => {
                let Some(Reverse((at_ms, _, event))) = self.queue.pop() else {
                    self.is_over = true;
                    return Ok(());
                };
                self.world.now_ms = at_ms;
                self.happen(event)?;
            }
        }
        for at_ms in std::mem::take(&mut self.world.boots) {
            let after_ms = at_ms.saturating_sub(self.world.now_ms);
            self.schedule(after_ms, Event::Boot);
        }
        let touched = self.world.settle();
        if touched.all {
            self.stir();
        } else if !touched.vms.is_empty() {
            self.stir_for(&touched.vms);
        }
        let broken = self.world.broken.take();
        broken.map_or(Ok(()), Err)?;
        self.watch.peace_since_ms = self.peace_since_ms();
        self.watch.look(&self.world, &self.intent, &self.layout)
    }

    fn peace_since_ms(&self) -> Option<u64> {
        let peace = self.active == 0 && self.controllers.len() == 1;
        peace.then_some(self.peace_from_ms)
    }

    /// Every controller may see something new.
    fn stir(&mut self) {
        let jitter_ms = 1 + self.dice.roll(JITTER_MS);
        let at_ms = self.world.now_ms + jitter_ms;
        self.controllers.iter_mut().for_each(|c| c.stir(at_ms));
    }

    /// The same of these VMs alone; of none, where what changed is awaited by whom it concerns.
    fn stir_for(&mut self, vms: &BTreeSet<VmId>) {
        let jitter_ms = 1 + self.dice.roll(JITTER_MS);
        let at_ms = self.world.now_ms + jitter_ms;
        for c in &mut self.controllers {
            c.stir_for(at_ms, |scope, standing| {
                scope.and_vms(standing, vms.iter().copied())
            });
        }
    }

    fn wake(&mut self, n: usize) -> Held {
        let mut controller = self.controllers.swap_remove(n);
        match self.go_on(&mut controller)? {
            Fate::Lives => self.controllers.push(controller),
            Fate::Dies => self.bury(&controller),
        }
        self.controllers.sort_by_key(|c| c.number);
        Ok(())
    }

    fn bury(&mut self, controller: &Controller) {
        self.note(|| format!("controller {} is killed", controller.number));
        self.hands.orphan(controller.number, &mut self.dice);
        self.peace_from_ms = self.world.now_ms;
        if self.controllers.is_empty() {
            let after_ms = self.dice.between(100, 20_000);
            self.schedule(after_ms, Event::Begin);
        }
    }

    fn happen(&mut self, event: Event) -> Held {
        match event {
            Event::User(n) => {
                let action = self.actions.get(n).copied();
                action
                    .into_iter()
                    .for_each(|action| self.act_for_user(action));
            }
            Event::Fault(n) => self.strike(n),
            Event::Mend(n) => self.mend(n),
            Event::Work(number) => return self.work(number),
            Event::Publish => return self.publish(),
            Event::Boot => {
                let (now_ms, world) = (self.world.now_ms, &mut self.world);
                let booted = world.machines.iter().filter(|(_, m)| {
                    let process = m.process.as_ref();
                    process.is_some_and(|p| p.up_ms == now_ms)
                });
                let booted: Vec<_> = booted.map(|(id, _)| *id).collect();
                booted
                    .into_iter()
                    .for_each(|id| world.befall(id, |_, _| ()));
            }
            // One checker less is alive: what the others get may be enough to hold a VM to be down, and rightly so.
            Event::Lease => self.world.touch_all(),
            Event::Begin => self.begin_controller(),
            Event::Milestone(milestone) => return self.pass(milestone),
        }
        Ok(())
    }

    fn act_for_user(&mut self, action: Action) {
        self.note(|| format!("a user asks: {action:?}"));
        // Nobody else edits the intent of a store in memory, which does not fail.
        let done = users::act(&self.store, action, self.world.wall());
        let read = read_intent(&self.store);
        if let (Ok(()), Ok((_, intent))) = (done, read) {
            for id in intent.instances.keys() {
                let mut dice = Dice::new(self.dice.next());
                let curve = || Curve::random(&mut dice, CAPACITY, script::CEASE_MS);
                self.world.curves.entry(*id).or_insert_with(curve);
            }
            self.instances = self.instances.max(intent.instances.len());
            self.intent = Arc::new(intent);
        }
        let at_ms = self.world.now_ms + 1 + self.dice.roll(JITTER_MS);
        for c in &mut self.controllers {
            c.stir_for(at_ms, |scope, _| scope);
        }
    }

    fn begin_controller(&mut self) {
        self.last_controller += 1;
        let number = self.last_controller;
        self.note(|| format!("controller {number} begins"));
        let mut standing = self.read_layout();
        if self.bug == Some(Bug::Amnesia) {
            standing.layout = Layout::default();
        }
        let intent = Arc::clone(&self.intent);
        let controller = Controller::new(number, self.world.now_ms, standing, intent);
        self.controllers.push(controller);
        self.peace_from_ms = self.world.now_ms;
    }

    fn work(&mut self, number: u64) -> Held {
        let Some(mut work) = self.hands.works.remove(&number) else {
            return Ok(());
        };
        if let Some(vm) = work.kills() {
            let (world, windows) = (&self.world, &self.settings.windows);
            vms::removal(world, &self.intent, &self.layout, windows, vm)?;
        }
        let rest_ms = self.settings.windows.rest_ms;
        let went = work.carry_on(&mut self.world, rest_ms, &mut self.dice);
        self.note(|| format!("{} of controller {}: {went:?}", work.key, work.controller));
        let failure = match went {
            Went::On(delay_ms) => {
                let (number, delay_ms) = self.hands.go_on(work, delay_ms, &mut self.dice);
                self.schedule(delay_ms, Event::Work(number));
                return Ok(());
            }
            Went::Done => None,
            Went::Failed(why) => Some(why),
        };
        if let Some((again, delay_ms)) = self.hands.double(&work, &mut self.dice) {
            self.schedule(delay_ms, Event::Work(again));
        }
        let (now, now_ms) = (self.world.wall(), self.world.now_ms);
        let never_again = self.bug == Some(Bug::NoRetry) && failure.is_some();
        let mut controllers = self.controllers.iter_mut();
        if let Some(c) = controllers.find(|c| c.number == work.controller) {
            c.note(&work.key, failure, now, now_ms);
            if never_again {
                c.give_up(&work.key);
            }
            c.stir_for(now_ms + TOGETHER_MS, |scope, standing| {
                scope.and_subject(standing, work.effect.subject())
            });
        }
        Ok(())
    }

    fn publish(&mut self) -> Held {
        if self.world.dns.stands_still {
            return Ok(());
        }
        // A store in memory does not fail.
        let mut next = read_dns_layout(&self.store).unwrap_or_default();
        if self.bug == Some(Bug::StaleZone) && self.dice.chance(20) {
            next = self.world.dns.zone.clone();
            next.serial = next.serial.saturating_sub(1);
        }
        zone::check(&self.world, &self.intent, &self.layout, &next)?;
        if next != self.world.dns.zone {
            self.note(|| format!("DNS publishes {}: {:?}", next.serial, next.records));
            let now_ms = self.world.now_ms;
            self.world.dns.publish(next, now_ms);
            let known: Vec<_> = zone::own_names(&self.world, &self.intent, &self.layout).collect();
            self.world.dns.known.extend(known);
            self.stir_for(&BTreeSet::new());
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.world.now_ms, line);
    }

    pub(crate) fn tell_what_was_decided(&mut self, before: &Layout, next: &Layout) {
        if self.trace.is_wanted() {
            let changes = trace::changes(before, next);
            changes.into_iter().for_each(|line| self.note(|| line));
        }
    }
}

fn settings(scenario: &Scenario) -> Settings {
    let front = match scenario.instances {
        0..=100 => "10.200.0.1/22",
        _ => "10.200.0.1/15",
    };
    let mut settings = Settings {
        mac_salt: [1, 2],
        front: front.parse().expect("it is a CIDR"),
        driver: Driver::Process,
        shape: VmShape::default(),
        windows: Windows::default(),
        breaker: Breaker::default(),
    };
    let bug = scenario.bug.into_iter();
    bug.for_each(|bug| bug.bend_settings(&mut settings));
    settings
}
