//! What must hold of a layout that is stored, by what is true of the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{InstanceId, Intent, Layout, Verdict, VmId, VmLayout};
use planner::{Breaker, Windows};

use super::plans::{bounds, serves, vms};
use super::{Held, hold};
use crate::dns::TTL_MS;
use crate::machine::Machine;
use crate::round::LONGEST_STEP_MS;
use crate::world::{CLOCK_STRAYS_MS, World};

/// What was true so many milliseconds ago may still be believed: a decision takes its time.
const MEMORY_MS: u64 = 5_000;

/// When VMs were taken out of service because they were down, and whose they were.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(u64, InstanceId)>);

/// Holds what a plan made of the machines.
pub(crate) fn check(world: &World, before: &Layout, next: &Layout) -> Held {
    let old: BTreeMap<_, _> = vms(before).collect();
    for (id, vm) in vms(next) {
        if let Some(old) = old.get(id) {
            verdict(world, *id, old, vm)?;
        }
    }
    newcomers(world, before, next)
}

/// A VM that served is found down only when its process is gone, its hot path stands still, or neither its
/// heartbeats come nor most of the checkers get an answer: not for a probe, a channel or a controller alone.
fn verdict(world: &World, id: VmId, old: &VmLayout, vm: &VmLayout) -> Held {
    let is_found = old.verdict != Verdict::Down && vm.verdict == Verdict::Down;
    // One that comes back is held to more: a newer configuration is enough to doubt it again.
    if !is_found || old.verdict == Verdict::Starting || old.aside.is_some() {
        return Ok(());
    }
    let machine = world.machines.get(&id);
    // Whoever stood still tells so when it wakes, though no checker may have missed it.
    let stood_still = |m: &Machine| {
        m.process
            .as_ref()
            .is_some_and(|p| p.stood_still(world.now_ms))
    };
    let rightly =
        machine.is_none_or(|m| m.failing.held_within(MEMORY_MS, world.now_ms) || stood_still(m));
    hold("a VM that works is not held to be down", rightly, || {
        format!("VM {id}: {}", vm.evidence)
    })
}

/// What enters the zone runs the newest configuration: a VM that came back is not believed before.
fn newcomers(world: &World, before: &Layout, next: &Layout) -> Held {
    const RULE: &str = "only what runs the newest configuration enters DNS";
    if before.dns.serial == next.dns.serial {
        return Ok(());
    }
    let named = |layout: &Layout| -> BTreeSet<Ipv4Addr> {
        layout.dns.records.values().flatten().copied().collect()
    };
    let known = named(before);
    let new: BTreeSet<Ipv4Addr> = named(next).difference(&known).copied().collect();
    for instance in next.instances.values() {
        let wanted = instance.config.generation;
        let entered = instance.vms.iter();
        for (id, _) in entered.filter(|(_, vm)| new.contains(&vm.front.address)) {
            let runs = world.generation(*id);
            let machine = world.machines.get(id);
            let broke = machine.is_none_or(|m| m.failing.held_within(MEMORY_MS, world.now_ms));
            hold(RULE, runs == Some(wanted) || broke, || {
                format!("VM {id} runs {runs:?} of {wanted}")
            })?;
        }
    }
    Ok(())
}

impl Tally {
    /// Holds that at most the breaker's share of all VMs is taken out of service within its window.
    pub(crate) fn count(
        &mut self,
        world: &World,
        intent: &Intent,
        breaker: &Breaker,
        (before, next): (&Layout, &Layout),
    ) -> Held {
        let now_ms = world.now_ms;
        let (mut found, mut all) = (0, 0);
        for (id, asked) in &intent.instances {
            let old = before.instances.get(id).map(|old| &old.vms);
            let crew = old.map_or(0, |vms| vms.values().filter(|vm| vm.is_crew()).count());
            let (min, max) = bounds(asked);
            let standing = next.instances.get(id);
            let wish = standing.map_or(0, |standing| standing.scale.wish as usize);
            all += crew.max(min).max(wish.min(max));
            let now = next.instances.get(id).into_iter().flat_map(|i| &i.vms);
            // What goes since fewer are wanted is not replaced.
            let serving = now.clone().filter(|(_, vm)| vm.is_crew() && serves(vm));
            if serving.count() >= bounds(asked).0 {
                continue;
            }
            let served = |id| {
                old.and_then(|old| old.get(id))
                    .is_some_and(VmLayout::is_serving)
            };
            let taken = now.filter(|(_, vm)| !vm.is_crew() && vm.verdict == Verdict::Down);
            let taken = taken.filter(|(id, _)| served(id)).count();
            self.0.extend(std::iter::repeat_n((now_ms, *id), taken));
            found += taken;
        }
        // It was decided a moment ago.
        let oldest_ms = (now_ms + 2 * LONGEST_STEP_MS).saturating_sub(breaker.window_ms);
        let counts = |id: &InstanceId| intent.instances.contains_key(id);
        self.0
            .retain(|(at_ms, id)| *at_ms >= oldest_ms && counts(id));
        let most = breaker.at_least.max(all * breaker.percent / 100);
        let count = self.0.len();
        let within = found == 0 || count <= most;
        hold("at most the breaker's share is replaced", within, || {
            let window_ms = breaker.window_ms;
            format!("{count} VMs within {window_ms} ms, of which {most} may be")
        })
    }
}

/// Holds that a VM's process is not ended while clients are sent to it and it serves them.
pub(crate) fn removal(
    world: &World,
    intent: &Intent,
    stored: &Layout,
    windows: &Windows,
    vm: VmId,
) -> Held {
    const RULE: &str = "no VM is removed while clients are sent to it";
    let Some(machine) = world.machines.get(&vm) else {
        return Ok(());
    };
    let asked = machine
        .instance
        .filter(|id| intent.instances.contains_key(id));
    let well_ms = machine.well.holds_for_ms(world.now_ms).unwrap_or_default();
    let (Some(owner), Some(front)) = (asked, machine.front) else {
        return Ok(());
    };
    if well_ms < MEMORY_MS {
        return Ok(());
    }
    let layout = stored.instances.get(&owner).and_then(|i| i.vms.get(&vm));
    let is_sent_away = layout.is_none_or(|layout| layout.leaving.is_some());
    hold(RULE, is_sent_away, || format!("VM {vm} was to stay"))?;
    hold(RULE, !world.dns.leads_to(front, world.now_ms), || {
        format!("VM {vm} is named by DNS, or was {TTL_MS} ms ago")
    })?;
    let named_ms = world.dns.last_named_ms(front, world.now_ms);
    let alone_ms = named_ms.map_or(u64::MAX, |ms| world.now_ms - ms);
    let ttl_ms = windows.ttl_ms.saturating_sub(CLOCK_STRAYS_MS);
    let drained = alone_ms >= ttl_ms.min(well_ms);
    hold("what leaves is drained first", drained, || {
        format!("VM {vm} was dropped from DNS only {alone_ms} ms ago")
    })?;
    let process = machine.process.as_ref();
    let has_clients = process.is_some_and(|process| process.has_clients(world.now_ms));
    let bound_ms = windows.ttl_ms.saturating_add(windows.drain_ms);
    let bound_ms = bound_ms.saturating_sub(CLOCK_STRAYS_MS);
    let is_over = !has_clients || alone_ms >= bound_ms.min(well_ms);
    hold(
        "no VM is removed under a client that has time left",
        is_over,
        || format!("VM {vm} was dropped from DNS only {alone_ms} ms ago, and a client is on it"),
    )
}
