//! The breaker: when more than a set share of all VMs is found down within a window, the fault is ours.
//!
//! ```text
//!            more than 3 VMs, and more than 30 % of all, were found down within 30 s
//!   closed ──────────────────────────────────────────────────────────────────────────▶ open
//!     ▲ ▲                                                                              │ ▲
//!     │ └───────── they answer again: no more are down than may be ────────────────────┤ │
//!     │                                                   30 s passed in which no       │ │
//!     │                                                   further one was found down    │ │ another
//!     │                                                                                 ▼ │ wave
//!     └───────── a VM that was made since serves ──────────────────────────────── half open
//! ```
//!
//! While it is open no VM is set aside, so none is fenced, none leaves DNS for being down, and none is
//! replaced. Half open it is while as many are down as before: then one VM is set aside in each window, and
//! only when a VM that was made since the breaker opened has come to serve is it shown that new ones would
//! help. What is down when it closes is replaced at a bounded speed: within any window no more are set
//! aside than it takes to open the breaker. So a VM's death costs it nothing, and a fault of the network, of
//! the host or of ours cannot take the service down by healing it.
//!
//! The states are those of a circuit breaker (M. Nygard, Release It!, 2007).

use model::{SetAside, Timestamp, Verdict, VmLayout};

use crate::Inputs;
use crate::draft::Draft;

/// VMs that are set aside in a window while the breaker is half open.
const TRIALS: usize = 1;

/// Opens or closes the breaker by what stands in the layout.
pub(crate) fn watch(inputs: Inputs<'_>, layout: &mut Draft) {
    let memory = &mut layout.host.set_aside;
    memory.retain(|one| is_recent(inputs, one.at));
    let open = match layout.host.breaker_open_since {
        None => is_wave(inputs, layout),
        Some(since) => is_wave(inputs, layout) || !is_over(inputs, layout, since),
    };
    let since = &mut layout.host.breaker_open_since;
    *since = open.then(|| since.unwrap_or(inputs.now));
}

/// How many VMs may still be set aside now. One that was forgotten meanwhile, or came back, was set aside all
/// the same.
pub(crate) fn allowance(inputs: Inputs<'_>, layout: &Draft) -> usize {
    let may = match layout.host.breaker_open_since {
        Some(_) if is_wave(inputs, layout) => 0,
        Some(_) => TRIALS,
        None => most(inputs, layout),
    };
    may.saturating_sub(set_aside(inputs, layout).count())
}

/// Whether more VMs were found down within the window than may be.
pub(crate) fn is_wave(inputs: Inputs<'_>, layout: &Draft) -> bool {
    found_down(inputs, layout) > most(inputs, layout)
}

/// Whether those that were down answer again, or a VM that was made since the breaker opened has come to serve.
fn is_over(inputs: Inputs<'_>, layout: &Draft, since: Timestamp) -> bool {
    let serves = |vm: &VmLayout| vm.verdict == Verdict::Serving && vm.created_at > since;
    // One that is set aside for a trial has not answered.
    let down = held(inputs, layout).saturating_add(set_aside(inputs, layout).count());
    down <= most(inputs, layout) || vms(inputs, layout).any(serves)
}

/// How many VMs may be set aside within one window.
pub(crate) fn most(inputs: Inputs<'_>, layout: &Draft) -> usize {
    let breaker = &inputs.settings.breaker;
    let all = layout.counted.wanted_vms();
    breaker
        .at_least
        .max(all.saturating_mul(breaker.percent) / 100)
}

/// VMs that were found down within the window, set aside by now or not.
pub(crate) fn found_down(inputs: Inputs<'_>, layout: &Draft) -> usize {
    let held = vms(inputs, layout).filter(|vm| is_held(vm));
    let held = held.filter(|vm| is_recent(inputs, vm.since));
    let set_aside = set_aside(inputs, layout);
    let set_aside = set_aside.filter(|one| is_recent(inputs, one.found_at));
    held.count().saturating_add(set_aside.count())
}

/// VMs that are down and have not been set aside.
pub(crate) fn held(inputs: Inputs<'_>, layout: &Draft) -> usize {
    vms(inputs, layout).filter(|vm| is_held(vm)).count()
}

/// Whether a VM is down and stands where it was.
pub(crate) fn is_held(vm: &VmLayout) -> bool {
    vm.is_crew() && vm.verdict == Verdict::Down
}

/// The VMs of the instances that are asked for: what a user deleted says nothing about a fault.
/// An instance of which a VM is held is part of every plan.
fn vms<'a>(inputs: Inputs<'a>, layout: &'a Draft) -> impl Iterator<Item = &'a VmLayout> {
    let instances = layout.instances.iter();
    let asked = instances.filter(|(id, _)| inputs.intent.instances.contains_key(*id));
    asked.flat_map(|(_, instance)| instance.vms.values())
}

/// The VMs of these instances that were set aside within the window.
fn set_aside<'a>(inputs: Inputs<'a>, layout: &'a Draft) -> impl Iterator<Item = &'a SetAside> {
    let memory = layout.host.set_aside.iter();
    memory.filter(move |one| inputs.intent.instances.contains_key(&one.instance))
}

/// Whether a time is within the breaker's window.
pub(crate) fn is_recent(inputs: Inputs<'_>, at: Timestamp) -> bool {
    inputs.now.since_ms(at) < inputs.settings.breaker.window_ms
}
