//! What is planned for a run from its beginning: what users do, what befalls the world, and when it is looked
//! at whether all came to rest.

use super::{Event, Simulation};
use crate::Scenario;
use crate::controller::{Controller, Doom};
use crate::dice::Dice;
use crate::faults::Fault;
use crate::invariants::{Held, hold, plans, rest};
use crate::users::Action;

pub(super) const MINUTE_MS: u64 = 60_000;
/// After users have asked for the most of it, changes and faults begin.
const CALM_BEGINNING_MS: u64 = MINUTE_MS;
/// All faults have ended.
pub(super) const CEASE_MS: u64 = 40 * MINUTE_MS;
/// All is as asked: after the longest pauses between attempts and replacements.
const AS_ASKED_MS: u64 = 45 * MINUTE_MS;
/// What had only just changed at that time is in effect after this.
const CHANGE_MS: u64 = 2_000;
/// All is well: after the scale-in window, the grace period and the rest of addresses.
const WELL_MS: u64 = 66 * MINUTE_MS;
const DELETE_MS: u64 = 69 * MINUTE_MS;
/// Nothing is left: after the rest of addresses.
const GONE_MS: u64 = 84 * MINUTE_MS;
/// Points of time in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Milestone {
    Cease,
    AsAsked,
    AsAskedSoon,
    Well,
    Delete,
    Gone,
}

impl Simulation {
    /// All that users will do and faults will befall.
    pub(super) fn write_the_script(&mut self, scenario: &Scenario, dice: &mut Dice) {
        for _ in 0..scenario.projects() {
            self.plan_action(0, Action::CreateProject);
        }
        for _ in 0..scenario.instances {
            let at_ms = 1 + dice.roll(CALM_BEGINNING_MS / 2);
            self.plan_action(at_ms, Action::CreateInstance(dice.next()));
        }
        for _ in 0..scenario.changes {
            let at_ms = dice.between(CALM_BEGINNING_MS, CEASE_MS - MINUTE_MS);
            let action = Action::random(dice);
            self.plan_action(at_ms, action);
        }
        for number in 0..scenario.faults {
            let fault = Fault::random(dice, CALM_BEGINNING_MS, CEASE_MS - MINUTE_MS);
            self.faults.push(fault);
            self.struck.push(None);
            self.schedule(fault.at_ms, Event::Fault(number));
        }
        for (at_ms, milestone) in [
            (CEASE_MS, Milestone::Cease),
            (AS_ASKED_MS, Milestone::AsAsked),
            (WELL_MS, Milestone::Well),
            (DELETE_MS, Milestone::Delete),
            (GONE_MS, Milestone::Gone),
        ] {
            self.schedule(at_ms, Event::Milestone(milestone));
        }
        self.schedule(0, Event::Begin);
    }

    fn plan_action(&mut self, at_ms: u64, action: Action) {
        self.schedule(at_ms, Event::User(self.actions.len()));
        self.actions.push(action);
    }

    /// A point of time has come.
    pub(super) fn pass(&mut self, milestone: Milestone) -> Held {
        self.note(|| format!("milestone {milestone:?}"));
        let report = self.controllers.first().map(|c| c.decided.report().clone());
        let report = report.unwrap_or_default();
        match milestone {
            Milestone::Cease => {
                self.world.load_stands_at_ms = Some(self.world.now_ms);
                self.doom_all_but_one();
                Ok(())
            }
            Milestone::AsAsked => {
                let held = rest::as_asked(&self.world, &self.intent, &self.layout, &report);
                // The load may still fall, and the number of VMs with it: just now, for example.
                if held.is_err() {
                    self.schedule(CHANGE_MS, Event::Milestone(Milestone::AsAskedSoon));
                }
                Ok(())
            }
            Milestone::AsAskedSoon => {
                rest::as_asked(&self.world, &self.intent, &self.layout, &report)
            }
            Milestone::Well => {
                rest::as_asked(&self.world, &self.intent, &self.layout, &report)?;
                rest::as_decided(&self.world, &self.layout)?;
                self.well = Some(plans::but_for_figures(&self.layout));
                self.controllers.iter_mut().for_each(Controller::look_often);
                Ok(())
            }
            Milestone::Delete => {
                let known = self.well.take().unwrap_or_default();
                let next = plans::but_for_figures(&self.layout);
                hold("what is at rest stands still", known == next, || {
                    plans::difference(&known, &next)
                })?;
                hold(
                    "at rest nothing is under way",
                    self.hands.works.is_empty(),
                    || format!("{:?}", self.hands.works),
                )?;
                self.act_for_user(Action::DeleteEverything);
                Ok(())
            }
            Milestone::Gone => {
                self.is_over = true;
                rest::is_gone(&self.world, &self.layout)
            }
        }
    }

    /// Controllers that were to die some day live on; of several, one.
    fn doom_all_but_one(&mut self) {
        for (n, c) in self.controllers.iter_mut().enumerate() {
            c.doom = (n > 0).then_some(Doom::Now);
        }
    }
}
