//! What becomes of a VM that is down.
//!
//! ```text
//!   serving ──▶ down ──▶ set aside: fenced, out of DNS, replaced ──▶ the grace period is over ──▶ removed
//!      ▲          │            │                     ▲
//!      │       held by the     │ well for a moment,  │ down again
//!      │       breaker         ▼ runs the newest     │
//!      └──────────────────── fence lifted ───────────┘
//!         its backends are
//!         checked; the youngest
//!         VM too many leaves
//! ```
//!
//! A VM that dies before it has ever served is removed at once: there is nothing to come back to.

use std::sync::Arc;

use model::{
    Aside, BackendHealth, BackendStatus, Instance, InstanceId, InstanceLayout, Layout, Leaving,
    SetAside, Timestamp, Verdict, VmId, VmLayout,
};

use crate::deaths::remember_deaths;
use crate::draft::Draft;
use crate::quorum::{self, Say};
use crate::removal::is_gone;
use crate::{Inputs, breaker};

/// VMs of one instance that are kept though they are down. Of more, the oldest go before their time.
const MOST_ASIDE: usize = 4;
/// What a VM that came back may take beyond the time that its health checks need.
const CHECKS_MARGIN_MS: u64 = 5_000;

/// Sends away VMs that died before they ever served, as `before` knows them.
pub(crate) fn send_away_the_unborn(inputs: Inputs<'_>, before: &Layout, layout: &mut Draft) {
    for (id, standing) in &mut layout.instances {
        let known = before.instances.get(id);
        let mut found = Vec::new();
        for (vm_id, vm) in held(standing) {
            let served = known
                .and_then(|known| known.vms.get(&vm_id))
                .is_some_and(|known| known.verdict != Verdict::Starting);
            if !served {
                vm.leaving = Some(leaving(inputs, format!("it is down: {}", vm.evidence)));
                found.push(vm.evidence.clone());
            }
        }
        remember_deaths(inputs, standing, found);
    }
}

/// Lifts the fence of VMs that are well again, and puts them back when they have something to serve with.
/// Comes before the breaker, which counts those that are down.
pub(crate) fn take_back_what_returned(inputs: Inputs<'_>, layout: &mut Draft) {
    for (id, standing) in &mut layout.instances {
        let asked = inputs.intent.instances.get(id);
        if let Some(asked) = asked.filter(|_| has_aside(standing)) {
            take_back(inputs, asked, Arc::make_mut(standing));
        }
    }
}

/// Sets aside what is down, as far as the breaker allows, and gives up what did not come back.
pub(crate) fn set_aside_what_is_down(inputs: Inputs<'_>, layout: &mut Draft) {
    let mut allowance = breaker::allowance(inputs, layout);
    for (id, standing) in &mut layout.instances {
        // What a user deleted goes anyway.
        if inputs.intent.instances.contains_key(id) {
            let memory = &mut layout.host.set_aside;
            allowance -= set_aside(inputs, *id, standing, memory, allowance);
            if has_aside(standing) {
                give_up(inputs, Arc::make_mut(standing));
            }
        }
    }
}

/// Sets aside what is down in an instance, at most so many VMs. Returns how many, and remembers them.
fn set_aside(
    inputs: Inputs<'_>,
    id: InstanceId,
    standing: &mut Arc<InstanceLayout>,
    memory: &mut Vec<SetAside>,
    most: usize,
) -> usize {
    let mut found = Vec::new();
    for (_, vm) in held(standing).take(most) {
        let at = inputs.now;
        let found_at = vm.since;
        vm.aside = Some(Aside {
            since: at,
            reason: vm.evidence.clone(),
            open_since: None,
        });
        memory.push(SetAside {
            instance: id,
            found_at,
            at,
        });
        found.push(vm.evidence.clone());
    }
    let count = found.len();
    remember_deaths(inputs, standing, found);
    count
}

fn take_back(inputs: Inputs<'_>, asked: &Instance, standing: &mut InstanceLayout) {
    for (id, vm) in staying(standing) {
        let Some(aside) = &mut vm.aside else {
            continue;
        };
        // One that is down again has yet to be believed again.
        if vm.verdict != Verdict::Serving {
            aside.open_since = None;
            continue;
        }
        let is_steady = inputs.now.since_ms(vm.since) >= inputs.settings.windows.steady_ms;
        if aside.open_since.is_none() && is_steady {
            aside.open_since = Some(inputs.now);
        }
        let open_since = aside.open_since;
        if open_since.is_some_and(|since| can_serve_again(inputs, asked, id, since)) {
            vm.aside = None;
            vm.since = inputs.now;
        }
    }
}

/// Whether the host has opened the VM's ports, most checkers find nothing wrong with it, and its balancer had the time
/// to check its backends again, which were out of its reach.
fn can_serve_again(inputs: Inputs<'_>, asked: &Instance, id: VmId, since: Timestamp) -> bool {
    let observed = inputs.observed;
    let nics = observed.network.vm_nics.get(&id);
    if nics.is_none_or(|nics| nics.fenced != Some(false)) {
        return false;
    }
    if !matches!(
        quorum::ask(&observed.probes, id),
        Say::Answers | Say::Nothing
    ) {
        return false;
    }
    let heard = observed.vms.get(&id).and_then(|s| s.heartbeat.as_ref());
    let backends = heard.map_or(&[][..], |heard| &heard.heartbeat.backends);
    let open_ms = inputs.now.since_ms(since);
    let heard_ms = heard.map_or(0, |heard| heard.age_ms);
    // What it says of a backend that it has not checked since then is from before it was down.
    let is_up = |backend: &BackendStatus| {
        let checked_ms = backend.last_check_age_ms;
        let is_fresh = checked_ms.is_some_and(|ms| ms.saturating_add(heard_ms) <= open_ms);
        backend.health == BackendHealth::Up && is_fresh
    };
    let check = &asked.health_check.criteria;
    let checks_ms = check
        .interval_ms
        .saturating_add(check.timeout_ms)
        .saturating_mul(u64::from(check.health_threshold))
        .saturating_add(CHECKS_MARGIN_MS);
    backends.is_empty() || backends.iter().any(is_up) || open_ms >= checks_ms
}

/// Sends away what has been down for the whole grace period, and what is more than is kept.
fn give_up(inputs: Inputs<'_>, standing: &mut InstanceLayout) {
    let grace_ms = inputs.settings.windows.grace_ms;
    let kept = staying(standing).filter(|(_, vm)| vm.aside.is_some());
    let mut surplus = kept.count().saturating_sub(MOST_ASIDE);
    for (id, vm) in staying(standing) {
        let Some(aside) = &vm.aside else {
            continue;
        };
        let reason = &aside.reason;
        let is_gone = is_gone(inputs, id);
        let is_over = inputs.now.since_ms(aside.since) >= grace_ms && vm.verdict == Verdict::Down;
        let words = match (is_gone, is_over) {
            (true, _) => format!("it is down, and nothing of it is left: {reason}"),
            (false, true) => format!(
                "it did not come back within {} s: {reason}",
                grace_ms / 1_000
            ),
            (false, false) if surplus > 0 => {
                format!("it is down, and so are many after it: {reason}")
            }
            (false, false) => continue,
        };
        vm.leaving = Some(leaving(inputs, words));
        // One that has begun to come back comes too late: whoever leaves is believed no more.
        if vm.verdict != Verdict::Down {
            vm.verdict = Verdict::Down;
            vm.since = inputs.now;
        }
        surplus = surplus.saturating_sub(1);
    }
}

/// The VMs that are down and stand where they were.
fn held(standing: &mut Arc<InstanceLayout>) -> impl Iterator<Item = (VmId, &mut VmLayout)> {
    let any = standing.vms.values().any(breaker::is_held);
    let standing = any.then(|| Arc::make_mut(standing));
    let vms = standing.into_iter().flat_map(staying);
    vms.filter(|(_, vm)| breaker::is_held(vm))
}

/// Whether VMs are kept though they were found down.
fn has_aside(standing: &InstanceLayout) -> bool {
    let is_kept = |vm: &VmLayout| vm.aside.is_some() && vm.leaving.is_none();
    standing.vms.values().any(is_kept)
}

/// The VMs that were not sent away.
pub(crate) fn staying(
    standing: &mut InstanceLayout,
) -> impl Iterator<Item = (VmId, &mut VmLayout)> {
    let vms = standing.vms.iter_mut().map(|(id, vm)| (*id, vm));
    vms.filter(|(_, vm)| vm.leaving.is_none())
}

/// The zone generation is filled in when the zone is planned.
pub(crate) fn leaving(inputs: Inputs<'_>, reason: String) -> Leaving {
    Leaving {
        since: inputs.now,
        reason,
        dns_serial: 0,
        dropped_at: None,
        drains_since: None,
        let_go: None,
    }
}

#[cfg(test)]
mod tests;
