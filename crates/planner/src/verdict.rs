//! Verdicts over VMs: is it up, suspect, or down?
//!
//! ```text
//!              runs the wanted configuration,
//!              hot path and probe answer            one sign is missing
//!   Starting ───────────────────────────▶ Serving ◀────────────────────▶ Suspect
//!      │                                     │                              │
//!      │ process ended, no heartbeat, or     │ process gone; or heartbeat and probe both gone;
//!      ▼ a hot path that never answers       ▼ or a heartbeat that reports no progress
//!     Down ◀─────────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! Down is final here: a VM that is down is replaced and removed. A failing probe alone makes a VM
//! suspect and never replaces it, since the fault may be the checker's. Nor do heartbeats that are missing
//! alone, since the fault may be the channel's.

use model::{Generation, Heartbeat, HeartbeatSight, Layout, Refusal, Verdict, VmLayout, VmSight};

use crate::quorum::{self, Say};
use crate::{Inputs, Windows};

const UNPROBED: &str = "its heartbeats come; no checker has probed it";
const ALL_IS_WELL: &str = "its heartbeats come and its hot path answers";

/// Brings each VM's verdict up to what is seen of it.
pub(crate) fn judge_vms(inputs: Inputs<'_>, layout: &mut Layout) {
    for instance in layout.instances.values_mut() {
        let wanted = instance.config.generation;
        for (id, vm) in &mut instance.vms {
            let signs = Signs {
                windows: &inputs.settings.windows,
                sight: inputs.observed.vms.get(id),
                probe: quorum::ask(&inputs.observed.probes, *id),
                wanted,
            };
            let (verdict, evidence) = decide_verdict(vm, &signs);
            if verdict != vm.verdict {
                vm.verdict = verdict;
                vm.since = inputs.now;
            }
            vm.evidence = evidence;
        }
    }
}

/// All that speaks for or against a VM.
struct Signs<'a> {
    windows: &'a Windows,
    sight: Option<&'a VmSight>,
    probe: Say<'a>,
    wanted: Generation,
}

/// Decides one verdict and says what it rests on. The evidence names no figure that changes from one
/// round to the next, so that a standing verdict is not written again and again.
fn decide_verdict(vm: &VmLayout, signs: &Signs<'_>) -> (Verdict, String) {
    if vm.verdict == Verdict::Down {
        return (Verdict::Down, vm.evidence.clone());
    }
    let Some(sight) = signs.sight else {
        return match vm.verdict {
            Verdict::Starting => (Verdict::Starting, "it is not made yet".into()),
            _ => (Verdict::Down, "nothing of it is left on the host".into()),
        };
    };
    if sight.pid.is_none() {
        return match (&sight.exit, vm.verdict) {
            (Some(exit), _) => (Verdict::Down, format!("its process ended: {exit}")),
            (None, Verdict::Starting) => {
                (Verdict::Starting, "its process is not started yet".into())
            }
            (None, _) => (Verdict::Down, "its process is gone".into()),
        };
    }
    match &sight.heartbeat {
        None => judge_unheard(vm, sight, signs),
        Some(heard) if heard.age_ms > signs.windows.silence_ms => judge_silent(vm, heard, signs),
        Some(heard) => judge_heard(vm, sight, &heard.heartbeat, signs),
    }
}

/// A process from which this observer has heard no heartbeat.
fn judge_unheard(vm: &VmLayout, sight: &VmSight, signs: &Signs<'_>) -> (Verdict, String) {
    let windows = signs.windows;
    match vm.verdict {
        Verdict::Starting if sight.watched_ms > windows.boot_ms => {
            let window_s = windows.boot_ms / 1_000;
            (Verdict::Down, format!("no heartbeat within {window_s} s"))
        }
        Verdict::Starting => (
            Verdict::Starting,
            "it runs, and its first heartbeat is awaited".into(),
        ),
        // A controller that begins to watch has not heard it either; only the whole window proves silence.
        standing if sight.watched_ms <= windows.silence_ms => (
            standing,
            "its heartbeat is awaited by a controller that began just now".into(),
        ),
        _ => judge_silence(signs),
    }
}

/// A process whose last heartbeat is too old.
fn judge_silent(vm: &VmLayout, heard: &HeartbeatSight, signs: &Signs<'_>) -> (Verdict, String) {
    const CEASED: &str = "its heartbeats ceased before it served";
    if vm.verdict != Verdict::Starting {
        return judge_silence(signs);
    }
    match probe_failed(signs.probe) {
        Some(evidence) => (Verdict::Down, format!("{CEASED}, and {evidence}")),
        None if heard.age_ms > signs.windows.boot_ms => (Verdict::Down, CEASED.into()),
        None => (Verdict::Starting, CEASED.into()),
    }
}

fn judge_silence(signs: &Signs<'_>) -> (Verdict, String) {
    let window_ms = signs.windows.silence_ms;
    match probe_failed(signs.probe) {
        Some(evidence) => (
            Verdict::Down,
            format!("no heartbeat for {window_ms} ms, and {evidence}"),
        ),
        None => (Verdict::Suspect, format!("no heartbeat for {window_ms} ms")),
    }
}

/// A process whose heartbeats come.
fn judge_heard(
    vm: &VmLayout,
    sight: &VmSight,
    heartbeat: &Heartbeat,
    signs: &Signs<'_>,
) -> (Verdict, String) {
    if let Some(evidence) = stalled(sight, heartbeat, signs.windows) {
        return (Verdict::Down, evidence);
    }
    match vm.verdict {
        Verdict::Starting => judge_new(heartbeat, signs),
        _ => judge_established(heartbeat, signs),
    }
}

/// What the heartbeat says against the hot path, if it does. One that has a configuration and has never
/// answered is given as long as a VM that boots, counted from when its balancer began or this observer
/// did, whichever was later: before that nobody may have sent it a configuration.
fn stalled(sight: &VmSight, heartbeat: &Heartbeat, windows: &Windows) -> Option<String> {
    let since_start_ms = heartbeat.uptime_ms.min(sight.watched_ms);
    match (heartbeat.progress_age_ms, heartbeat.generation) {
        (Some(age_ms), _) if age_ms > windows.progress_ms => Some(format!(
            "its hot path made no progress for {} ms",
            windows.progress_ms
        )),
        (None, Some(_)) if since_start_ms > windows.boot_ms => Some(format!(
            "its hot path never answered within {} s",
            windows.boot_ms / 1_000
        )),
        _ => None,
    }
}

/// A VM that served before.
fn judge_established(heartbeat: &Heartbeat, signs: &Signs<'_>) -> (Verdict, String) {
    if heartbeat.progress_age_ms.is_none() {
        let evidence = "its balancer began anew and has not answered itself yet";
        return (Verdict::Suspect, evidence.into());
    }
    match probe_failed(signs.probe) {
        Some(evidence) => (
            Verdict::Suspect,
            format!("its heartbeats come, but {evidence}"),
        ),
        None if signs.probe == Say::Nothing => (Verdict::Serving, UNPROBED.into()),
        None => (Verdict::Serving, ALL_IS_WELL.into()),
    }
}

/// A VM that is to serve for the first time.
fn judge_new(heartbeat: &Heartbeat, signs: &Signs<'_>) -> (Verdict, String) {
    let wanted = signs.wanted;
    let starting = |evidence: String| (Verdict::Starting, evidence);
    if let Some(refusal) = heartbeat
        .refused
        .as_ref()
        .filter(|r| r.generation == wanted)
    {
        return starting(refusal_in_words(refusal));
    }
    if heartbeat.generation != Some(wanted) {
        return starting(format!("it has yet to take configuration {wanted}"));
    }
    if heartbeat.progress_age_ms.is_none() {
        return starting("its hot path has not answered yet".into());
    }
    match signs.probe {
        Say::Answers => (Verdict::Serving, ALL_IS_WELL.into()),
        Say::Doubtful(probe) | Say::Silent(probe) => starting(format!(
            "its front address does not answer the checker: {}",
            probe.evidence
        )),
        Say::Nothing if heartbeat.uptime_ms > signs.windows.unprobed_ms => {
            (Verdict::Serving, UNPROBED.into())
        }
        Say::Nothing => starting("the checker has yet to probe it".into()),
    }
}

/// A refused configuration, as a user reads it.
pub(crate) fn refusal_in_words(refusal: &Refusal) -> String {
    let Refusal {
        generation,
        path,
        message,
    } = refusal;
    format!("it refused configuration {generation}: {path}: {message}")
}

/// What the probes say against the VM, if they do.
fn probe_failed(probe: Say<'_>) -> Option<String> {
    match probe {
        Say::Silent(probe) => Some(format!(
            "its front address does not answer: {}",
            probe.evidence
        )),
        Say::Nothing | Say::Answers | Say::Doubtful(_) => None,
    }
}

#[cfg(test)]
mod tests;
