//! A host's clock that is set.
//!
//! Liveness rests on ages from a monotonic clock, but what spans minutes, and must outlive the
//! controller, is kept by the host's clock. When that is set, forward or back, all such times move along, so
//! that no wait is cut short and none is drawn out. That it was set shows in when it says that the machine
//! was started: by a clock that nobody sets, that is always the same time ago.

use std::sync::Arc;

use model::{HostLayout, InstanceLayout, Timestamp};

use crate::draft::Draft;
use crate::{Inputs, scaling};

/// What the clock is off by before it counts as set, in milliseconds: less is how a clock is kept right.
const LEAST_JUMP_MS: u64 = 1_000;

/// Moves the times of everything that waits along with the host's clock.
pub(crate) fn follow_the_clock(inputs: Inputs<'_>, layout: &mut Draft) {
    match jump(inputs, &layout.host) {
        Some((Some(known), started_at)) => {
            layout.host.started_at = Some(started_at);
            layout.may_be_ahead = true;
            shift(layout, |at| {
                let later = at.0.saturating_add(started_at.0);
                *at = Timestamp(later.saturating_sub(known.0));
            });
        }
        Some((None, started_at)) => begin_with_the_machine(inputs, layout, started_at),
        None => {}
    }
    if layout.may_be_ahead {
        bear_what_lies_ahead(inputs, layout);
    }
    bear_windows(inputs, layout);
}

/// Whether the clock was set since the layout was decided, so that every time moves.
pub(crate) fn is_set(inputs: Inputs<'_>, host: &HostLayout) -> bool {
    matches!(jump(inputs, host), Some((Some(_), _)))
}

/// When the machine was started, as it was known and by the clock now, where these are not the same.
fn jump(inputs: Inputs<'_>, host: &HostLayout) -> Option<(Option<Timestamp>, Timestamp)> {
    let observed = inputs.observed;
    let started_at = Timestamp(inputs.now.0.saturating_sub(observed.uptime_ms?));
    let is_same_start = observed.boot_id == host.boot_id;
    let known = host.started_at.filter(|_| is_same_start);
    let is_other = |known: Timestamp| known.0.abs_diff(started_at.0) >= LEAST_JUMP_MS;
    known.is_none_or(is_other).then_some((known, started_at))
}

/// Moves every time that something waits by.
fn shift(layout: &mut Draft, by: impl Fn(&mut Timestamp)) {
    for instance in layout.instances.values_mut() {
        let instance = Arc::make_mut(instance);
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
    for instance in layout.instances.values_mut() {
        each_past(Arc::make_mut(instance), &to_the_present);
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

/// The same of what the load asks for. Users change how far ahead that may look, so it is always done.
fn bear_windows(inputs: Inputs<'_>, layout: &mut Draft) {
    for (id, instance) in &mut layout.instances {
        let asked = inputs.intent.instances.get(id);
        let Some(scaling) = asked.and_then(|asked| asked.auto_scaling.by_load()) else {
            continue;
        };
        if scaling::lies_ahead(scaling, &instance.scale, inputs.now) {
            let scale = &mut Arc::make_mut(instance).scale;
            scaling::bear_what_lies_ahead(scaling, scale, inputs.now);
        }
    }
}

/// Takes note that the machine was started, and has every address that rests do so for the whole time from then on.
/// The clock may have been set while the machine was off, so nobody knows how long that was, and an address that is
/// given away too early leads clients to a stranger.
fn begin_with_the_machine(inputs: Inputs<'_>, layout: &mut Draft, started_at: Timestamp) {
    let is_first = layout.host.started_at.replace(started_at).is_none();
    if is_first {
        return;
    }
    let free_at = Timestamp(started_at.0.saturating_add(inputs.settings.windows.rest_ms));
    let resting = &mut layout.ledger.resting;
    let early = resting.iter().filter(|(_, at)| **at < free_at);
    let early: Vec<_> = early.map(|(address, _)| *address).collect();
    resting.extend(early.into_iter().map(|address| (address, free_at)));
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
