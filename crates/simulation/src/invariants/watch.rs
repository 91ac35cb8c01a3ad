//! What may be wrong for a while, and must be put right within a bound.
//!
//! Time counts while the controller is left in peace: while it lives, may store what it decides, sees what is
//! there, and what it begins is done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{InstanceLayout, Intent, Layout};

use super::{Held, hold, names};
use crate::world::World;

/// From a verdict to the fence, and from the end of it to the open ports.
const FENCE_MS: u64 = 20_000;
/// Until DNS names somebody who works, if there is one.
const NAME_MS: u64 = 20_000;
/// Until DNS drops a VM that is dead, if another works.
const DROP_MS: u64 = 60_000;
/// Between two looks: the bounds are many times that.
const LOOK_MS: u64 = 500;
/// A VM that has been well for so long could be known to serve.
const KNOWN_WELL_MS: u64 = 5_000;

/// Since when what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    since_ms: BTreeMap<(&'static str, u64), u64>,
    next_look_ms: u64,
    /// Since when the controller is left in peace.
    pub(crate) peace_since_ms: Option<u64>,
}

/// What is wrong at the moment: the rule, of which VM or instance, and how long it may be.
#[derive(Default)]
struct Wrong(Vec<(&'static str, u64, u64)>);

impl Wrong {
    fn note(&mut self, rule: &'static str, id: u64, bound_ms: u64, is_wrong: bool) {
        if is_wrong {
            self.0.push((rule, id, bound_ms));
        }
    }
}

impl Watch {
    /// Looks at everything, unless it did so just now.
    pub(crate) fn look(&mut self, world: &World, intent: &Intent, stored: &Layout) -> Held {
        if world.now_ms < self.next_look_ms {
            return Ok(());
        }
        self.next_look_ms = world.now_ms + LOOK_MS;
        let mut wrong = Wrong::default();
        for (id, standing) in &stored.instances {
            let Some(asked) = intent.instances.get(id) else {
                continue;
            };
            let named: BTreeSet<_> = names(intent, asked)
                .filter_map(|name| world.dns.zone.records.get(&name))
                .flatten()
                .copied()
                .collect();
            fences(&mut wrong, world, standing);
            let serves = somebody_serves(world, standing);
            let reached = standing.vms.iter().any(|(id, vm)| {
                let machine = world.machines.get(id);
                named.contains(&vm.front.address) && machine.is_some_and(|m| m.serves(world.now_ms))
            });
            let lost = serves && !reached;
            wrong.note("DNS names somebody who works", id.0, NAME_MS, lost);
            if serves && stored.host.breaker_open_since.is_none() {
                dead(&mut wrong, world, standing, &named);
            }
        }
        self.judge(world.now_ms, wrong)
    }

    fn judge(&mut self, now_ms: u64, wrong: Wrong) -> Held {
        let still: BTreeSet<_> = wrong.0.iter().map(|(rule, id, _)| (*rule, *id)).collect();
        self.since_ms.retain(|key, _| still.contains(key));
        for (rule, id, bound_ms) in wrong.0 {
            let since_ms = *self.since_ms.entry((rule, id)).or_insert(now_ms);
            let Some(peace_ms) = self.peace_since_ms else {
                continue;
            };
            let lasts_ms = now_ms.saturating_sub(since_ms.max(peace_ms));
            hold(rule, lasts_ms <= bound_ms, || {
                format!("not so for {lasts_ms} ms, with VM or instance {id}")
            })?;
        }
        Ok(())
    }
}

/// Whether a VM of the instance is held to serve, and has been well for long enough.
fn somebody_serves(world: &World, standing: &InstanceLayout) -> bool {
    standing.vms.iter().any(|(id, vm)| {
        let machine = world.machines.get(id);
        let well_ms = machine.and_then(|m| m.well.holds_for_ms(world.now_ms));
        vm.is_serving() && well_ms >= Some(KNOWN_WELL_MS)
    })
}

/// The host's rules are those that the layout asks for, on every VM that runs.
fn fences(wrong: &mut Wrong, world: &World, standing: &InstanceLayout) {
    for (id, vm) in &standing.vms {
        let machine = world.machines.get(id).filter(|m| m.process.is_some());
        let Some(machine) = machine.filter(|_| vm.leaving.is_none()) else {
            continue;
        };
        let (wanted, is) = (vm.is_fenced(), machine.is_fenced());
        wrong.note("what is set aside is fenced", id.0, FENCE_MS, wanted && !is);
        wrong.note(
            "what is to serve is not fenced",
            id.0,
            FENCE_MS,
            !wanted && is,
        );
    }
}

/// DNS drops the dead when others serve.
fn dead(wrong: &mut Wrong, world: &World, standing: &InstanceLayout, named: &BTreeSet<Ipv4Addr>) {
    for (id, vm) in &standing.vms {
        let machine = world.machines.get(id);
        let is_dead = machine.is_none_or(|m| m.failing.holds_for_ms(world.now_ms).is_some());
        let is_named = named.contains(&vm.front.address);
        wrong.note("DNS drops the dead", id.0, DROP_MS, is_dead && is_named);
    }
}
