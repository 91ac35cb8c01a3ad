//! How a VM that leaves while it serves parts from its clients.
//!
//! ```text
//!            DNS drops it             an answer of DNS is kept no longer        no client is left, or
//!   leaving ────────────▶ clients come ───────────────────────▶ draining ──────────────────────────▶ let go
//!                         for the TTL                              │  ▲         the drain is over
//!                                                                  └──┘ whoever comes is served, and told
//!                                                                       to leave with the answer
//! ```
//!
//! It is told to drain only when DNS sends nobody to it any more: a client that was told to leave earlier would
//! come back. Nobody is refused meanwhile, and it takes every configuration.

use std::sync::Arc;

use model::{HeartbeatSight, Leaving, Timestamp, VmId};

use crate::Inputs;
use crate::draft::Draft;
use crate::removal::nobody_is_sent_to;

/// Milliseconds for which no client was seen before none is held to be left: what the last one was given is then
/// out of the VM's hands, and one that asks again and again is seen.
const DESERTED_MS: u64 = 1_000;

/// Takes each VM that leaves, and that clients were sent to, one step on its way.
pub(crate) fn part_from_clients(inputs: Inputs<'_>, layout: &mut Draft) {
    for (instance, standing) in &mut layout.instances {
        if standing.vms.values().all(|vm| vm.leaving.is_none()) {
            continue;
        }
        for (id, vm) in &mut Arc::make_mut(standing).vms {
            if nobody_is_sent_to(inputs, *instance, vm) {
                continue;
            }
            if let Some(leaving) = vm.leaving.as_mut() {
                part(inputs, *id, leaving);
            }
        }
    }
}

fn part(inputs: Inputs<'_>, id: VmId, leaving: &mut Leaving) {
    let (windows, now) = (&inputs.settings.windows, inputs.now);
    if !is_dropped(inputs, leaving) {
        return;
    }
    // Somebody who was away meanwhile cannot know when it did, and gives them all of their time.
    let dropped_at = *leaving.dropped_at.get_or_insert(now);
    let has_come = now.since_ms(dropped_at) >= windows.ttl_ms;
    if leaving.drains_since.is_none() && has_come {
        leaving.drains_since = Some(now);
    }
    if let (Some(since), None) = (leaving.drains_since, &leaving.let_go) {
        leaving.let_go = end_of_drain(inputs, id, since);
    }
}

/// What ends the wait for a VM's clients, if anything does.
fn end_of_drain(inputs: Inputs<'_>, id: VmId, since: Timestamp) -> Option<String> {
    let drain_ms = inputs.settings.windows.drain_ms;
    if is_deserted(inputs, id) {
        return Some("no client is left".into());
    }
    let is_over = inputs.now.since_ms(since) >= drain_ms;
    is_over.then(|| {
        let open = open_in_words(inputs, id);
        format!("its {} s to drain are over, and {open}", drain_ms / 1_000)
    })
}

/// Whether the VM tells its clients to leave, and has seen none for a while. Of one that is silent, or cannot
/// tell, that is not known.
fn is_deserted(inputs: Inputs<'_>, id: VmId) -> bool {
    let windows = &inputs.settings.windows;
    heard(inputs, id).is_some_and(|heard| {
        let heartbeat = &heard.heartbeat;
        let deserted_ms = heartbeat.deserted_ms.unwrap_or_default();
        heard.age_ms <= windows.silence_ms
            && heartbeat.draining == Some(true)
            && deserted_ms >= DESERTED_MS
    })
}

/// Whether a VM is to tell its clients to leave, and does not do so yet. One of a version that cannot says
/// nothing of it.
pub(crate) fn is_to_be_told(inputs: Inputs<'_>, id: VmId, leaving: &Leaving) -> bool {
    let says_no = |heard: &HeartbeatSight| heard.heartbeat.draining == Some(false);
    leaving.drains_since.is_some() && heard(inputs, id).is_some_and(says_no)
}

/// What a VM that leaves waits for; nothing once it is let go.
pub(crate) fn waits_for(inputs: Inputs<'_>, id: VmId, leaving: &Leaving) -> Option<String> {
    if leaving.let_go.is_some() {
        return None;
    }
    let Some(dropped_at) = leaving.dropped_at else {
        return Some("DNS has yet to drop it".into());
    };
    let windows = &inputs.settings.windows;
    let left_s = |since, span_ms: u64| {
        let left_ms = span_ms.saturating_sub(inputs.now.since_ms(since));
        left_ms.div_ceil(1_000)
    };
    Some(match leaving.drains_since {
        None => format!(
            "clients may know it from DNS for {} s more",
            left_s(dropped_at, windows.ttl_ms)
        ),
        Some(since) => format!(
            "{}, for at most {} s more",
            open_in_words(inputs, id),
            left_s(since, windows.drain_ms)
        ),
    })
}

/// How many connections of clients are open.
fn open_in_words(inputs: Inputs<'_>, id: VmId) -> String {
    let open = heard(inputs, id).map(|heard| heard.heartbeat.counters.open_connections);
    match open {
        None => "it does not tell how many connections are still open".into(),
        Some(0) => "its last client was there only just now".into(),
        Some(1) => "1 connection is still open".into(),
        Some(open) => format!("{open} connections are still open"),
    }
}

fn heard<'a>(inputs: Inputs<'a>, id: VmId) -> Option<&'a HeartbeatSight> {
    let sight = inputs.observed.vms.get(&id)?;
    sight.heartbeat.as_ref()
}

/// Whether the published zone is one without the VM. Zero stands for a generation that is not decided.
fn is_dropped(inputs: Inputs<'_>, leaving: &Leaving) -> bool {
    let published = inputs.observed.dns_serial;
    leaving.dns_serial != 0 && published.is_some_and(|serial| serial >= leaving.dns_serial)
}

#[cfg(test)]
mod tests;
