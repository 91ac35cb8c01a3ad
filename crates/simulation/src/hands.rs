//! Effects under way: they take their time, in two steps where the real ones do, and they fail, are lost,
//! are delayed, are done twice, or stop half-way.

use std::collections::BTreeMap;

use model::{Effect, VmId};

use crate::dice::Dice;
use crate::world::World;

/// What befalls effects at present: so many of a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepFaults {
    pub(crate) failing: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) slow: u64,
}

/// The slowest step.
const SLOWEST_MS: u64 = 20_000;
/// The latest that an effect is done a second time.
const LATEST_DOUBLE_MS: u64 = 30_000;
/// How long a VM may take to boot.
const BOOT_MS: (u64, u64) = (250, 1_500);

/// An effect that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The controller that began it; it may be dead by now.
    pub(crate) controller: u32,
    pub(crate) key: String,
    pub(crate) effect: Effect,
    step: Step,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    First,
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    /// It fails before the given step.
    FailsAt(Step),
    /// It is told to be done and was not.
    Lost,
}

/// How a step went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// It goes on after so many milliseconds.
    On(u64),
    Done,
    Failed(String),
}

/// All effects under way, by number.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    pub(crate) works: BTreeMap<u64, Work>,
    pub(crate) faults: StepFaults,
    last: u64,
}

impl Hands {
    /// Takes an effect on. Returns its number, and after how long its first step is done.
    pub(crate) fn begin(&mut self, controller: u32, effect: Effect, dice: &mut Dice) -> (u64, u64) {
        let fate = match dice.roll(100) {
            n if n < self.faults.failing / 2 => Fate::FailsAt(Step::First),
            n if n < self.faults.failing => Fate::FailsAt(Step::Second),
            n if n < self.faults.failing + self.faults.lost => Fate::Lost,
            _ => Fate::Good,
        };
        let work = Work {
            controller,
            key: effect.key(),
            effect,
            step: Step::First,
            fate,
        };
        let delay_ms = self.delay_ms(&work, dice);
        (self.take(work), delay_ms)
    }

    /// The effect is done again, by nobody's order: a message that was delivered twice. Returns its number,
    /// and after how long.
    pub(crate) fn double(&mut self, work: &Work, dice: &mut Dice) -> Option<(u64, u64)> {
        let again = Work {
            controller: u32::MAX,
            step: Step::First,
            fate: Fate::Good,
            ..work.clone()
        };
        let doubled = work.controller != u32::MAX && dice.chance(self.faults.doubled);
        doubled.then(|| (self.take(again), dice.roll(LATEST_DOUBLE_MS)))
    }

    pub(crate) fn go_on(&mut self, work: Work, delay_ms: u64, dice: &mut Dice) -> (u64, u64) {
        let slow_ms = match dice.chance(self.faults.slow) {
            true => dice.roll(SLOWEST_MS),
            false => 0,
        };
        (self.take(work), delay_ms + slow_ms)
    }

    /// Effects of a controller that died: some end where they are, others come to their end.
    pub(crate) fn orphan(&mut self, controller: u32, dice: &mut Dice) {
        self.works
            .retain(|_, work| work.controller != controller || dice.chance(50));
    }

    fn take(&mut self, work: Work) -> u64 {
        self.last += 1;
        self.works.insert(self.last, work);
        self.last
    }

    fn delay_ms(&self, work: &Work, dice: &mut Dice) -> u64 {
        let usual_ms = match &work.effect {
            Effect::EnsureVm { .. } | Effect::RemoveVm { .. } => dice.between(20, 400),
            Effect::PushConfig { .. } | Effect::Drain { .. } => dice.between(1, 20),
            _ => dice.between(5, 60),
        };
        match dice.chance(self.faults.slow) {
            true => usual_ms + dice.roll(SLOWEST_MS),
            false => usual_ms,
        }
    }
}

impl Work {
    /// Does what is next of it.
    pub(crate) fn carry_on(&mut self, world: &mut World, rest_ms: u64, dice: &mut Dice) -> Went {
        if self.fate == Fate::Lost {
            return Went::Done;
        }
        if self.fate == Fate::FailsAt(self.step) {
            return Went::Failed("it was not to be".into());
        }
        let is_last = match self.step {
            Step::First => self.first(world, rest_ms),
            Step::Second => match self.second(world, dice) {
                Ok(()) => true,
                Err(why) => return Went::Failed(why),
            },
        };
        if is_last {
            return match self.fate {
                // An effect of one step that was to fail in its second was done, and says that it was not.
                Fate::FailsAt(_) => Went::Failed("it was done, and nobody heard of it".into()),
                _ => Went::Done,
            };
        }
        self.step = Step::Second;
        Went::On(dice.between(20, 300))
    }

    /// Whether the next step kills a VM's process.
    pub(crate) fn kills(&self) -> Option<VmId> {
        match &self.effect {
            Effect::RemoveVm { vm } if self.step == Step::First && self.fate != Fate::Lost => {
                (self.fate != Fate::FailsAt(Step::First)).then_some(*vm)
            }
            _ => None,
        }
    }

    /// True when all of it is done.
    fn first(&self, world: &mut World, rest_ms: u64) -> bool {
        match &self.effect {
            Effect::EnsureFront => world.set_front(false),
            Effect::EnsureProject { project } => {
                world.networks.entry(*project).or_default();
            }
            Effect::EnsurePort {
                project, subnet, ..
            } => {
                world.bridge(*project, *subnet);
                return false;
            }
            Effect::EnsureVm {
                project,
                instance,
                vm,
                layout,
            } => {
                world.make_nics(*vm, (*project, *instance), layout, rest_ms);
                return false;
            }
            Effect::SetFence { vm, fenced } => set_fence(world, *vm, *fenced),
            Effect::PushConfig { vm, config } => world.befall(*vm, |machine, _| {
                let known = machine.host_config.as_ref().map(|known| known.generation);
                if known <= Some(config.generation) {
                    machine.host_config = Some((**config).clone());
                }
            }),
            Effect::Drain { vm } => world.befall(*vm, |machine, now_ms| {
                let process = machine.process.as_mut();
                let heard = process.filter(|process| process.is_heard(now_ms));
                heard.into_iter().for_each(|process| {
                    process.drained_ms.get_or_insert(now_ms);
                });
            }),
            Effect::RemoveVm { vm } => {
                world.befall(*vm, |machine, _| {
                    machine.process = None;
                    machine.is_made = false;
                });
                // Of one without NICs nothing is left that anybody could see.
                if world
                    .machines
                    .get(vm)
                    .is_some_and(|machine| machine.nics.is_none())
                {
                    world.take_away(*vm);
                }
                return false;
            }
            Effect::RemovePort {
                project,
                subnet,
                interface,
            } => {
                if let Some(bridge) = world.networks.get_mut(project)
                    && let Some(ports) = bridge.get_mut(subnet)
                {
                    ports.remove(interface);
                }
            }
            Effect::RemoveSubnet { project, subnet } => world.remove_bridge(*project, *subnet),
            Effect::RemoveProject { project } => {
                let subnets = world.networks.get(project);
                if subnets.is_some_and(|subnets| !subnets.is_empty()) {
                    let what = format!("namespace {project} is removed with bridges in it");
                    world.breaks("networks are taken apart from the inside out", what);
                }
                world.networks.remove(project);
            }
        }
        true
    }

    fn second(&self, world: &mut World, dice: &mut Dice) -> Result<(), String> {
        match &self.effect {
            Effect::EnsurePort {
                project,
                subnet,
                interface,
            } => {
                let mut bridges = world.networks.values().flat_map(|p| p.iter());
                let elsewhere =
                    bridges.any(|(id, ports)| id != subnet && ports.contains(interface));
                if elsewhere {
                    return Err(format!("{interface} is on another bridge"));
                }
                world.bridge(*project, *subnet).insert(interface.clone());
            }
            Effect::EnsureVm { vm, .. } => {
                if let Some(trouble) = &world.compute_trouble {
                    return Err(trouble.clone());
                }
                world.start(*vm, dice.between(BOOT_MS.0, BOOT_MS.1));
            }
            Effect::RemoveVm { vm } => world.take_away(*vm),
            _ => {}
        }
        Ok(())
    }
}

fn set_fence(world: &mut World, vm: VmId, fenced: bool) {
    world.befall(vm, |machine, _| {
        if let Some(nics) = &mut machine.nics {
            nics.fenced = Some(fenced);
        }
    });
}
