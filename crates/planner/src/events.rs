//! What happened between two layouts, in words that a user reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::persistent::Change;
use model::{
    Event, EventKind, InstanceId, InstanceLayout, Layout, Leaving, Verdict, VmId, VmLayout,
};

use crate::draft::Draft;
use crate::{Inputs, Scope, Standing, breaker, removal, scaling};

/// An event, and the instance that it is about; none when it is about the whole installation.
pub type Told = (Option<InstanceId>, Event);

/// What was decided from `before` to `after`, and on what evidence, in the order of the instances. Costs what the
/// changes cost.
#[must_use]
pub fn events(inputs: Inputs<'_>, before: &Standing, after: &Standing) -> Vec<Told> {
    let mut teller = Teller {
        inputs,
        instance: None,
        told: Vec::new(),
    };
    teller.tell_breaker(before.layout(), after);
    let (known, decided) = (&before.layout().instances, &after.layout().instances);
    for Change {
        key,
        before: known,
        after: standing,
    } in known.changes(decided, Arc::ptr_eq)
    {
        let known = known.map(Arc::as_ref);
        teller.instance = Some(*key);
        let Some(standing) = standing else {
            teller.tell_end(known);
            continue;
        };
        teller.tell_configuration(known, standing);
        teller.tell_scaling(*key, known, standing);
        teller.tell_vms(known, standing);
        teller.tell_dns(*key, before.layout(), after);
    }
    teller.told
}

struct Teller<'a> {
    inputs: Inputs<'a>,
    instance: Option<InstanceId>,
    told: Vec<Told>,
}

impl Teller<'_> {
    fn say(&mut self, kind: EventKind, vm: Option<VmId>, text: String) {
        let at = self.inputs.now;
        let event = Event { at, vm, kind, text };
        self.told.push((self.instance, event));
    }

    fn tell_breaker(&mut self, before: &Layout, after: &Standing) {
        let was = before.host.breaker_open_since;
        let is = after.layout().host.breaker_open_since;
        if was.is_some() == is.is_some() {
            return;
        }
        let after = &Draft::of(self.inputs, after, &Scope::All);
        let (found, most) = (
            breaker::found_down(self.inputs, after),
            breaker::most(self.inputs, after),
        );
        match (was, is) {
            (None, Some(_)) => {
                let text = format!(
                    "the breaker opened: {found} VMs were found down, {most} may be; nothing is replaced"
                );
                self.say(EventKind::Breaker, None, text);
            }
            (Some(_), None) => {
                let held = breaker::held(self.inputs, after);
                let text = format!(
                    "the breaker closed: {held} VMs are still down, and at most {most} are replaced at a time"
                );
                self.say(EventKind::Breaker, None, text);
            }
            _ => {}
        }
    }

    fn tell_configuration(&mut self, before: Option<&InstanceLayout>, after: &InstanceLayout) {
        let generation = after.config.generation;
        if before.is_none_or(|before| before.config.generation != generation) {
            let backends = after.config.backends.len();
            let text = format!("configuration {generation}: {backends} backends");
            self.say(EventKind::Configuration, None, text);
        }
    }

    fn tell_scaling(
        &mut self,
        id: InstanceId,
        before: Option<&InstanceLayout>,
        after: &InstanceLayout,
    ) {
        let asked = self.inputs.intent.instances.get(&id);
        let Some(scaling) = asked.and_then(|asked| asked.auto_scaling.by_load()) else {
            return;
        };
        let known = before.and_then(|before| before.scale.decision.as_ref());
        let decided = after.scale.decision.as_ref();
        if decided.is_some_and(|decided| scaling::is_another(known, decided)) {
            let text = scaling::decision_in_words(scaling, &after.scale);
            self.say(EventKind::Scaling, None, text);
        }
    }

    fn tell_vms(&mut self, before: Option<&InstanceLayout>, after: &InstanceLayout) {
        let none = BTreeMap::new();
        let known = before.map_or(&none, |before| &before.vms);
        for (id, vm) in &after.vms {
            match known.get(id) {
                None => {
                    let text = format!("VM {id} is made, with address {}", vm.front.address);
                    self.say(EventKind::Added, Some(*id), text);
                }
                Some(known) => self.tell_vm(*id, known, vm),
            }
        }
        for id in known.keys().filter(|id| !after.vms.contains_key(id)) {
            self.say(EventKind::Gone, Some(*id), format!("VM {id} is gone"));
        }
    }

    /// Nothing of a deleted instance is left.
    fn tell_end(&mut self, before: Option<&InstanceLayout>) {
        for id in before.iter().flat_map(|before| before.vms.keys()) {
            self.say(EventKind::Gone, Some(*id), format!("VM {id} is gone"));
        }
        let text = "nothing is left of the instance".to_owned();
        self.say(EventKind::Gone, None, text);
    }

    fn tell_vm(&mut self, id: VmId, before: &VmLayout, after: &VmLayout) {
        let evidence = &after.evidence;
        if self.ended_as_told(before, after) {
            let reason = after.leaving.as_ref().map_or("", |leaving| &leaving.reason);
            let text = format!("VM {id} has ended, since it was removed: {reason}");
            self.say(EventKind::Leaving, Some(id), text);
        } else if before.verdict != after.verdict {
            let word = match after.verdict {
                Verdict::Starting => "is starting",
                Verdict::Serving => "is well",
                Verdict::Suspect => "is suspect",
                Verdict::Down => "is down",
            };
            let text = format!("VM {id} {word}: {evidence}");
            self.say(EventKind::Verdict, Some(id), text);
        }
        match (&before.aside, &after.aside) {
            (None, Some(_)) => {
                let text =
                    format!("VM {id} is set aside: its ports are closed, and it is replaced");
                self.say(EventKind::SetAside, Some(id), text);
            }
            (Some(was), Some(is)) if was.open_since.is_none() && is.open_since.is_some() => {
                let text = format!("VM {id} came back: its ports are opened: {evidence}");
                self.say(EventKind::Returned, Some(id), text);
            }
            (Some(_), None) => {
                let text = format!("VM {id} serves again: {evidence}");
                self.say(EventKind::PutBack, Some(id), text);
            }
            _ => {}
        }
        self.tell_departure(id, before.leaving.as_ref(), after.leaving.as_ref());
    }

    /// Whether a VM is down because it was removed: its process is killed then, which is no fault of anybody's.
    fn ended_as_told(&self, before: &VmLayout, after: &VmLayout) -> bool {
        let is_found_down = before.verdict != Verdict::Down && after.verdict == Verdict::Down;
        let may_go = |instance| removal::may_be_removed(self.inputs, instance, before);
        is_found_down && self.instance.is_some_and(may_go)
    }

    fn tell_departure(&mut self, id: VmId, before: Option<&Leaving>, after: Option<&Leaving>) {
        let Some(after) = after else {
            return;
        };
        if before.is_none() {
            let text = format!("VM {id} leaves: {}", after.reason);
            self.say(EventKind::Leaving, Some(id), text);
        }
        let drained = before.and_then(|before| before.drains_since);
        if drained.is_none() && after.drains_since.is_some() {
            let drain_s = self.inputs.settings.windows.drain_ms / 1_000;
            let text = format!(
                "VM {id} drains: DNS has dropped it, and its clients have {drain_s} s to go"
            );
            self.say(EventKind::Leaving, Some(id), text);
        }
        let was_let_go = before.and_then(|before| before.let_go.as_ref());
        if let (None, Some(how)) = (was_let_go, &after.let_go) {
            let text = format!("VM {id} is removed: {how}");
            self.say(EventKind::Leaving, Some(id), text);
        }
    }

    fn tell_dns(&mut self, id: InstanceId, before: &Layout, after: &Standing) {
        let Some(name) = after.counted.names(id).first() else {
            return;
        };
        let after = after.layout();
        let (was, is) = (before.dns.records.get(name), after.dns.records.get(name));
        if was != is {
            let addresses = is.into_iter().flatten().map(ToString::to_string);
            let addresses: Vec<_> = addresses.collect();
            let serial = after.dns.serial;
            let text = match addresses.is_empty() {
                true => format!("zone generation {serial} names nothing for {name}"),
                false => format!(
                    "zone generation {serial} names {} for {name}",
                    addresses.join(", ")
                ),
            };
            self.say(EventKind::Dns, None, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Bench, instance};

    /// The kinds of what a plan tells, in its order.
    fn plan(bench: &mut Bench) -> Vec<(EventKind, Option<u64>)> {
        let told = bench.plan_and_tell();
        told.into_iter()
            .map(|(_, event)| (event.kind, event.vm.map(|vm| vm.0)))
            .collect()
    }

    #[test]
    fn a_death_is_told_with_all_that_follows_from_it() {
        let mut bench = Bench::with([instance(1)]);
        let made = [
            (EventKind::Configuration, None),
            (EventKind::Added, Some(1)),
        ];
        assert_eq!(plan(&mut bench), made);
        bench.make_all_serve();
        let serves = [(EventKind::Verdict, Some(1)), (EventKind::Dns, None)];
        assert_eq!(plan(&mut bench), serves);
        bench.publish();
        assert_eq!(plan(&mut bench), []);
        bench.kill(1);
        let dies = [
            (EventKind::Verdict, Some(1)),
            (EventKind::SetAside, Some(1)),
            (EventKind::Added, Some(2)),
        ];
        assert_eq!(plan(&mut bench), dies);
        bench.vanish(1);
        assert_eq!(plan(&mut bench), [(EventKind::Leaving, Some(1))]);
        bench.pass(1);
        assert_eq!(plan(&mut bench), [(EventKind::Gone, Some(1))]);
    }

    #[test]
    fn what_the_load_decides_is_told_once_with_its_cause() {
        let mut asked = instance(1);
        asked.auto_scaling = model::AutoScaling::between(1, 4);
        let mut bench = Bench::serving([asked]);
        let load = model::LoadSight {
            cpu_percent: Some(100.0),
            ..model::LoadSight::default()
        };
        bench.observed.load.insert(VmId(1), load);
        bench.pass(60_000);
        assert_eq!(plan(&mut bench), [], "one sample does not decide");
        bench.pass(1_000);
        let told = bench.plan_and_tell();
        let kinds: Vec<_> = told.iter().map(|(_, event)| event.kind).collect();
        assert_eq!(kinds, [EventKind::Scaling, EventKind::Added]);
        let texts = told.first().map(|(_, event)| event.text.as_str());
        assert_eq!(texts, Some("cpu 100 % over 1 VM, target 60 %: 1 → 2"));
        bench.now.0 -= 30_000;
        assert_eq!(
            plan(&mut bench),
            [],
            "a clock that is set back decides nothing"
        );
    }

    /// What a plan tells of VMs, in words.
    fn plan_in_words(bench: &mut Bench) -> Vec<String> {
        let told = bench.plan_and_tell().into_iter();
        let about_vms = told.filter(|(_, event)| event.vm.is_some());
        about_vms.map(|(_, event)| event.text).collect()
    }

    #[test]
    fn a_vm_that_was_deleted_is_told_to_have_been_removed_and_not_to_have_died() {
        let mut bench = Bench::serving([instance(1)]);
        bench.publish();
        bench.intent.instances.clear();
        bench.pass(1);
        let reason = "the instance was deleted";
        assert_eq!(
            plan_in_words(&mut bench),
            [format!("VM 1 leaves: {reason}")]
        );
        bench.kill(1);
        let ended = format!("VM 1 has ended, since it was removed: {reason}");
        assert_eq!(plan_in_words(&mut bench), [ended]);
        bench.vanish(1);
        bench.pass(60_000);
        let told = bench.plan_and_tell();
        let told: Vec<_> = told
            .iter()
            .map(|(id, event)| (*id, event.text.as_str()))
            .collect();
        let web = Some(InstanceId(1));
        assert_eq!(
            told,
            [
                (web, "VM 1 is gone"),
                (web, "nothing is left of the instance")
            ]
        );
    }

    #[test]
    fn a_vm_that_dies_while_its_clients_leave_is_told_to_be_down() {
        let mut asked = instance(1);
        asked.auto_scaling = model::AutoScaling::between(2, 2);
        let mut bench = Bench::serving([asked]);
        bench.publish();
        bench.asked(1).auto_scaling = model::AutoScaling::between(1, 1);
        bench.pass(1);
        let words = plan_in_words(&mut bench);
        assert_eq!(words, ["VM 2 leaves: fewer VMs are wanted"]);
        bench.kill(2);
        let down = "VM 2 is down: its process ended: killed by signal 9";
        assert_eq!(
            plan_in_words(&mut bench).first().map(String::as_str),
            Some(down)
        );
    }

    #[test]
    fn an_event_says_what_it_rests_on() {
        let mut bench = Bench::serving([instance(1)]);
        bench.kill(1);
        let told = bench.plan_and_tell();
        let (about, event) = told.first().expect("a verdict");
        assert_eq!(*about, Some(InstanceId(1)));
        assert_eq!(event.at, bench.now);
        assert_eq!(
            event.text,
            "VM 1 is down: its process ended: killed by signal 9"
        );
    }
}
