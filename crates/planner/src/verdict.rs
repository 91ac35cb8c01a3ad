//! Verdicts over VMs: is it up, suspect, or down?
//!
//! ```text
//!              runs the wanted configuration,
//!              hot path and probe answer            one sign is missing
//!   Starting ───────────────────────────▶ Serving ◀────────────────────▶ Suspect
//!      │                                     │                              │
//!      │ process ended, or never a heartbeat │ process gone; or heartbeat and probe both gone;
//!      ▼                                     ▼ or a heartbeat that reports no progress
//!     Down ◀─────────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! Down is final here: a VM that is down is replaced and removed. A failing probe alone makes a VM
//! suspect and never replaces it, since the fault may be the checker's.

use model::{Generation, HeartbeatSight, Layout, ProbeSight, Verdict, VmLayout, VmSight};

use crate::{Inputs, Windows};

/// Failed probes in a row that count as a sign that a VM is gone.
const FAILED_PROBES: u32 = 2;

/// Brings each VM's verdict up to what is seen of it.
pub(crate) fn judge_vms(inputs: Inputs<'_>, layout: &mut Layout) {
    for instance in layout.instances.values_mut() {
        let wanted = instance.config.generation;
        for (id, vm) in &mut instance.vms {
            let signs = Signs {
                windows: &inputs.settings.windows,
                sight: inputs.observed.vms.get(id),
                probe: inputs.observed.probes.get(id),
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
    probe: Option<&'a ProbeSight>,
    wanted: Generation,
}

/// Decides one verdict and says what it rests on. The evidence names no figure that changes from one
/// round to the next, so that a standing verdict is not written again and again.
fn decide_verdict(vm: &VmLayout, signs: &Signs<'_>) -> (Verdict, String) {
    if vm.verdict == Verdict::Down {
        return (Verdict::Down, vm.evidence.clone());
    }
    let starting = vm.verdict == Verdict::Starting;
    match signs.sight {
        None if starting => (Verdict::Starting, "it is not made yet".into()),
        None => (Verdict::Down, "nothing of it is left on the host".into()),
        Some(VmSight {
            pid: None,
            exit: Some(exit),
            ..
        }) => (Verdict::Down, format!("its process ended: {exit}")),
        Some(VmSight { pid: None, .. }) if starting => {
            (Verdict::Starting, "its process is not started yet".into())
        }
        Some(VmSight { pid: None, .. }) => (Verdict::Down, "its process is gone".into()),
        Some(sight) => match &sight.heartbeat {
            None => judge_unheard(starting, sight, signs),
            Some(heard) if heard.age_ms > signs.windows.silence_ms => judge_silent(vm, signs),
            Some(heard) => judge_heard(starting, heard, signs),
        },
    }
}

/// A process from which this observer has heard no heartbeat.
fn judge_unheard(starting: bool, sight: &VmSight, signs: &Signs<'_>) -> (Verdict, String) {
    let windows = signs.windows;
    if sight.watched_ms > windows.boot_ms {
        let window_s = windows.boot_ms / 1_000;
        return (Verdict::Down, format!("no heartbeat within {window_s} s"));
    }
    match starting {
        true => (
            Verdict::Starting,
            "it runs, and its first heartbeat is awaited".into(),
        ),
        // A controller that begins to watch has not heard it either; only the whole window proves silence.
        false if sight.watched_ms <= windows.silence_ms => (
            Verdict::Serving,
            "its heartbeat is awaited by a controller that began just now".into(),
        ),
        false => judge_silence(signs),
    }
}

/// A process whose last heartbeat is too old.
fn judge_silent(vm: &VmLayout, signs: &Signs<'_>) -> (Verdict, String) {
    match vm.verdict {
        Verdict::Starting => match probe_failed(signs.probe) {
            Some(evidence) => (
                Verdict::Down,
                format!("its heartbeats ceased before it served, and {evidence}"),
            ),
            None => (
                Verdict::Starting,
                "its heartbeats ceased before it served".into(),
            ),
        },
        _ => judge_silence(signs),
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
fn judge_heard(starting: bool, heard: &HeartbeatSight, signs: &Signs<'_>) -> (Verdict, String) {
    let heartbeat = &heard.heartbeat;
    let progress = heartbeat.progress_age_ms;
    if progress.is_some_and(|age_ms| age_ms > signs.windows.progress_ms) {
        let window_ms = signs.windows.progress_ms;
        return (
            Verdict::Down,
            format!("its hot path made no progress for {window_ms} ms"),
        );
    }
    if !starting {
        return match (progress, probe_failed(signs.probe)) {
            (None, _) => (
                Verdict::Suspect,
                "its balancer began anew and has not answered itself yet".into(),
            ),
            (Some(_), Some(evidence)) => (
                Verdict::Suspect,
                format!("its heartbeats come, but {evidence}"),
            ),
            (Some(_), None) => (
                Verdict::Serving,
                "its heartbeats come and its hot path answers".into(),
            ),
        };
    }
    if let Some(refusal) = &heartbeat.refused {
        return (
            Verdict::Starting,
            format!(
                "it refused configuration {}: {}: {}",
                refusal.generation, refusal.path, refusal.message
            ),
        );
    }
    if heartbeat.generation != Some(signs.wanted) {
        return (
            Verdict::Starting,
            format!("it has yet to take configuration {}", signs.wanted),
        );
    }
    match (progress, signs.probe) {
        (None, _) => (
            Verdict::Starting,
            "its hot path has not answered yet".into(),
        ),
        (Some(_), Some(probe)) if probe.answered => (
            Verdict::Serving,
            "its heartbeats come and its hot path answers".into(),
        ),
        (Some(_), Some(probe)) => (
            Verdict::Starting,
            format!(
                "its front address does not answer the checker: {}",
                probe.evidence
            ),
        ),
        (Some(_), None) if heartbeat.uptime_ms > signs.windows.unprobed_ms => (
            Verdict::Serving,
            "its heartbeats come; no checker has probed it".into(),
        ),
        (Some(_), None) => (Verdict::Starting, "the checker has yet to probe it".into()),
    }
}

/// What the probe says against the VM, if it does.
fn probe_failed(probe: Option<&ProbeSight>) -> Option<String> {
    probe
        .filter(|probe| !probe.answered && probe.streak >= FAILED_PROBES)
        .map(|probe| format!("its front address does not answer: {}", probe.evidence))
}

#[cfg(test)]
mod tests;
