//! A host's clock that is set.
//!
//! Liveness rests on ages from a monotonic clock, but what spans minutes, and must outlive the
//! controller, is kept by the host's clock. When that is set, forward or back, all such times move along, so
//! that no wait is cut short and none is drawn out. That it was set shows in when it says that the machine
//! was started: by a clock that nobody sets, that is always the same time ago.

use model::{InstanceLayout, Timestamp};

use crate::draft::Draft;
use crate::{Inputs, scaling};

/// What the clock is off by before it counts as set, in milliseconds: less is how a clock is kept right.
const LEAST_JUMP_MS: u64 = 1_000;

/// Moves the times of everything that waits along with the host's clock.
pub(crate) fn follow_the_clock(inputs: Inputs<'_>, layout: &mut Draft) {
    let observed = inputs.observed;
    let uptime = observed.uptime_ms;
    if let Some(started_at) = uptime.map(|ms| Timestamp(inputs.now.0.saturating_sub(ms))) {
        let is_same_start = observed.boot_id == layout.host.boot_id;
        let known = layout.host.started_at.filter(|_| is_same_start);
        let jump = |known: Timestamp| known.0.abs_diff(started_at.0) >= LEAST_JUMP_MS;
        if known.is_none_or(jump) {
            layout.host.started_at = Some(started_at);
        }
        if let Some(known) = known.filter(|known| jump(*known)) {
            shift(layout, |at| {
                let later = at.0.saturating_add(started_at.0);
                *at = Timestamp(later.saturating_sub(known.0));
            });
        }
    }
    bear_what_lies_ahead(inputs, layout);
}

/// Moves every time that something waits by.
fn shift(layout: &mut Draft, by: impl Fn(&mut Timestamp)) {
    for instance in layout.instances.values_mut() {
        each_past(instance, &by);
        scaling::times(&mut instance.scale).for_each(&by);
    }
    each_past_of_host(layout, &by);
    let moved = layout.ledger.resting.iter().map(|(address, at)| {
        let mut at = *at;
        by(&mut at);
        (*address, at)
    });
    layout.ledger.resting = moved.collect();
}

/// Counts every wait that was begun in what is the future by now from now on: a clock that was set back while
/// the machine was off leaves no other trace.
fn bear_what_lies_ahead(inputs: Inputs<'_>, layout: &mut Draft) {
    let now = inputs.now;
    let to_the_present = |at: &mut Timestamp| *at = now.min(*at);
    for (id, instance) in &mut layout.instances {
        let asked = inputs.intent.instances.get(id);
        if let Some(scaling) = asked.and_then(|asked| asked.auto_scaling.by_load()) {
            scaling::bear_what_lies_ahead(scaling, &mut instance.scale, now);
        }
        each_past(instance, &to_the_present);
    }
    each_past_of_host(layout, &to_the_present);
    let longest_rest = Timestamp(now.0.saturating_add(inputs.settings.windows.rest_ms));
    let resting = &mut layout.ledger.resting;
    let ahead = resting
        .iter()
        .filter(|(_, free_at)| **free_at > longest_rest);
    let ahead: Vec<_> = ahead.map(|(address, _)| *address).collect();
    resting.extend(ahead.into_iter().map(|address| (address, longest_rest)));
}

/// The times in an instance at which something was or began.
fn each_past(instance: &mut InstanceLayout, change: &impl Fn(&mut Timestamp)) {
    instance.downs.iter_mut().for_each(change);
    for vm in instance.vms.values_mut() {
        let leaving = vm.leaving.iter_mut().flat_map(|leaving| {
            std::iter::once(&mut leaving.since)
                .chain(leaving.dropped_at.as_mut())
                .chain(leaving.drains_since.as_mut())
        });
        let aside = vm
            .aside
            .iter_mut()
            .flat_map(|aside| std::iter::once(&mut aside.since).chain(aside.open_since.as_mut()));
        let own = [&mut vm.since, &mut vm.created_at];
        let times = own.into_iter().chain(leaving).chain(aside);
        times.for_each(change);
    }
}

fn each_past_of_host(layout: &mut Draft, change: &impl Fn(&mut Timestamp)) {
    let breaker = layout.host.breaker_open_since.iter_mut();
    let set_aside = layout.host.set_aside.iter_mut();
    let set_aside = set_aside.flat_map(|one| [&mut one.found_at, &mut one.at]);
    breaker.chain(set_aside).for_each(change);
}

#[cfg(test)]
mod tests;
