//! Verdicts over VMs: is it up, suspect, or down?
//!
//! ```text
//!              runs the wanted configuration,
//!              hot path and probe answer            one sign is missing
//!   Starting ───────────────────────────▶ Serving ◀────────────────────▶ Suspect
//!      │                                  │     ▲                           │
//!      │ process ended, no heartbeat, or  │     │ runs the newest           │
//!      │ a hot path that never answers    │     │ configuration, hot path   │
//!      │                                  │     │ and probe answer          │
//!      ▼                                  ▼     │                           │
//!     Down ◀────── process gone; or heartbeat and probe both gone; ─────────┘
//!                  or a heartbeat that reports no progress
//! ```
//!
//! A failing probe alone makes a VM suspect and never replaces it, since the fault may be the checker's. Nor
//! do heartbeats that are missing alone, since the fault may be the channel's. A VM that was down is not
//! believed before it runs the newest configuration and answers, itself and the checkers; what is then done
//! with it is [`crate::failover`]'s.
//!
//! How long silence must last depends on how late things are anyway: a host that is starved hears late, and
//! so do its VMs. The windows grow with the lateness that was seen of late, up to a bound.

use std::borrow::Cow;
use std::sync::Arc;

use model::{
    Generation, Heartbeat, HeartbeatSight, Refusal, Verdict, VmId, VmLayout, VmSight, vm_key,
};

use crate::draft::Draft;
use crate::quorum::{self, Say};
use crate::{Inputs, Windows};

/// Windows grow up to so many times what the operator set, however late things are.
const LONGEST_PATIENCE: u64 = 10;
/// How much longer to wait for each millisecond of lateness that was seen.
const PATIENCE_FOR_LATENESS: u64 = 2;
const UNPROBED: &str = "its heartbeats come; no checker has probed it";
const ALL_IS_WELL: &str = "its heartbeats come and its hot path answers";

/// Takes every VM for one that was never started, when the machine itself was started anew: the VMs are not
/// to blame, and each is made again with the addresses that it had.
pub(crate) fn begin_anew_after_a_restart(inputs: Inputs<'_>, layout: &mut Draft) {
    let seen = &inputs.observed.boot_id;
    let known = &layout.host.boot_id;
    if seen.is_empty() || seen == known {
        return;
    }
    let is_first = known.is_empty();
    layout.host.boot_id.clone_from(seen);
    let instances = layout.instances.values_mut();
    let vms = instances.flat_map(|instance| Arc::make_mut(instance).vms.values_mut());
    let staying = vms.filter(|vm| vm.leaving.is_none() && !is_first);
    for vm in staying {
        vm.verdict = Verdict::Starting;
        vm.since = inputs.now;
        vm.aside = None;
    }
}

/// Brings each VM's verdict up to what is seen of it.
pub(crate) fn judge_vms(inputs: Inputs<'_>, layout: &mut Draft) {
    for instance in layout.instances.values_mut() {
        let wanted = instance.config.generation;
        let judge = |(id, vm): (&VmId, &VmLayout)| {
            let signs = Signs {
                windows: &inputs.settings.windows,
                host_lag_ms: inputs.observed.host_lag_ms,
                sight: inputs.observed.vms.get(id),
                has_lost_nics: has_lost_nics(inputs, *id),
                is_being_made: inputs.observed.in_flight.contains(&vm_key(*id)),
                // Those that cannot look behind a fence have yet to ask again when it opens.
                probe: match vm.aside.is_some() {
                    true => quorum::ask_about_fenced(&inputs.observed.probes, *id),
                    false => quorum::ask(&inputs.observed.probes, *id),
                },
                wanted,
            };
            let (verdict, evidence) = decide_verdict(vm, &signs);
            let is_another = verdict != vm.verdict || evidence != vm.evidence;
            is_another.then(|| (*id, verdict, evidence.into_owned()))
        };
        let judged: Vec<_> = instance.vms.iter().filter_map(judge).collect();
        for (id, verdict, evidence) in judged {
            if let Some(vm) = Arc::make_mut(instance).vms.get_mut(&id) {
                if verdict != vm.verdict {
                    vm.verdict = verdict;
                    vm.since = inputs.now;
                }
                vm.evidence = evidence;
            }
        }
    }
}

/// A verdict, and what it rests on.
type Judgement<'a> = (Verdict, Cow<'a, str>);

/// All that speaks for or against a VM.
struct Signs<'a> {
    windows: &'a Windows,
    host_lag_ms: u64,
    sight: Option<&'a VmSight>,
    has_lost_nics: bool,
    /// Whether a step is under way that makes it, which may try more than one way.
    is_being_made: bool,
    probe: Say<'a>,
    wanted: Generation,
}

impl Signs<'_> {
    /// How long a window of `set_ms` is, when what fills it was late by `late_ms` of late.
    fn patience(&self, set_ms: u64, late_ms: u64) -> u64 {
        let late_ms = late_ms.saturating_add(self.host_lag_ms);
        set_ms
            .saturating_add(late_ms.saturating_mul(PATIENCE_FOR_LATENESS))
            .min(set_ms.saturating_mul(LONGEST_PATIENCE))
    }
}

/// Whether a NIC is gone that cannot be given back to a VM that runs. While a step works on the VM, its NICs
/// may come and go.
fn has_lost_nics(inputs: Inputs<'_>, id: VmId) -> bool {
    let observed = inputs.observed;
    let nics = observed.network.vm_nics.get(&id);
    nics.is_some_and(|nics| nics.lost) && !observed.in_flight.contains(&vm_key(id))
}

/// Decides one verdict and says what it rests on. The evidence names no figure that changes from one
/// round to the next, so that a standing verdict is not written again and again.
fn decide_verdict<'a>(vm: &'a VmLayout, signs: &Signs<'a>) -> Judgement<'a> {
    // Open or not, one that is set aside is judged alike: or to open its fence could be what closes it.
    if vm.verdict == Verdict::Down || vm.aside.is_some() {
        return judge_down(vm, signs);
    }
    let Some(sight) = signs.sight else {
        return match vm.verdict {
            Verdict::Starting => (Verdict::Starting, "it is not made yet".into()),
            _ => (Verdict::Down, "nothing of it is left on the host".into()),
        };
    };
    if sight.pid.is_none() {
        return match (&sight.exit, vm.verdict) {
            (Some(_), Verdict::Starting) if signs.is_being_made => (
                Verdict::Starting,
                "a first attempt to start it came to nothing".into(),
            ),
            (Some(exit), _) => (Verdict::Down, format!("its process ended: {exit}").into()),
            (None, Verdict::Starting) => {
                (Verdict::Starting, "its process is not started yet".into())
            }
            (None, _) => (Verdict::Down, "its process is gone".into()),
        };
    }
    if signs.has_lost_nics {
        let evidence = "a NIC was taken from it, which only a new VM can mend";
        return (Verdict::Down, evidence.into());
    }
    match &sight.heartbeat {
        None => judge_unheard(vm, sight, signs),
        Some(heard) if heard.age_ms > signs.patience(signs.windows.silence_ms, heard.late_ms) => {
            judge_silent(vm, heard, signs)
        }
        Some(heard) => judge_heard(vm, sight, heard, signs),
    }
}

/// Whether a VM's last heartbeat is too old.
fn is_silent(heard: &HeartbeatSight, signs: &Signs<'_>) -> bool {
    heard.age_ms > signs.patience(signs.windows.silence_ms, heard.late_ms)
}

/// A process from which this observer has heard no heartbeat.
fn judge_unheard(vm: &VmLayout, sight: &VmSight, signs: &Signs<'_>) -> Judgement<'static> {
    let windows = signs.windows;
    match vm.verdict {
        Verdict::Starting if sight.watched_ms > windows.boot_ms => {
            let window_s = windows.boot_ms / 1_000;
            (
                Verdict::Down,
                format!("no heartbeat within {window_s} s").into(),
            )
        }
        Verdict::Starting => (
            Verdict::Starting,
            "it runs, and its first heartbeat is awaited".into(),
        ),
        // A controller that begins to watch has not heard it either; only the whole window proves silence.
        standing if sight.watched_ms <= signs.patience(windows.silence_ms, 0) => (
            standing,
            "its heartbeat is awaited by a controller that began just now".into(),
        ),
        _ => judge_silence(signs),
    }
}

/// A process whose last heartbeat is too old.
fn judge_silent(vm: &VmLayout, heard: &HeartbeatSight, signs: &Signs<'_>) -> Judgement<'static> {
    const CEASED: &str = "its heartbeats ceased before it served";
    if vm.verdict != Verdict::Starting {
        return judge_silence(signs);
    }
    // Nobody waits for it, and many may be booting at once: it is given all the patience there is.
    let longest_ms = signs.windows.silence_ms.saturating_mul(LONGEST_PATIENCE);
    match probe_failed(signs.probe) {
        Some(evidence) if heard.age_ms > longest_ms => {
            (Verdict::Down, format!("{CEASED}, and {evidence}").into())
        }
        _ if heard.age_ms > signs.windows.boot_ms => (Verdict::Down, CEASED.into()),
        _ => (Verdict::Starting, CEASED.into()),
    }
}

fn judge_silence(signs: &Signs<'_>) -> Judgement<'static> {
    let window_ms = signs.windows.silence_ms;
    match probe_failed(signs.probe) {
        Some(evidence) => (
            Verdict::Down,
            format!("no heartbeat for {window_ms} ms, and {evidence}").into(),
        ),
        None => (
            Verdict::Suspect,
            format!("no heartbeat for {window_ms} ms").into(),
        ),
    }
}

/// A process whose heartbeats come.
fn judge_heard(
    vm: &VmLayout,
    sight: &VmSight,
    heard: &HeartbeatSight,
    signs: &Signs<'_>,
) -> Judgement<'static> {
    if let Some(evidence) = stalled(sight, heard, signs) {
        return (Verdict::Down, evidence.into());
    }
    let heartbeat = &heard.heartbeat;
    match vm.verdict {
        Verdict::Starting => judge_new(heartbeat, signs),
        _ => judge_established(heartbeat, signs),
    }
}

/// What the heartbeat says against the hot path, if it does. One that has a configuration and has never
/// answered is given as long as a VM that boots, counted from when its balancer began or this observer
/// did, whichever was later: before that nobody may have sent it a configuration.
fn stalled(sight: &VmSight, heard: &HeartbeatSight, signs: &Signs<'_>) -> Option<String> {
    let (windows, heartbeat) = (signs.windows, &heard.heartbeat);
    let late_ms = heard.late_ms.saturating_add(heartbeat.lag_ms);
    let since_start_ms = heartbeat.uptime_ms.min(sight.watched_ms);
    match (heartbeat.progress_age_ms, heartbeat.generation) {
        (Some(age_ms), _) if age_ms > signs.patience(windows.progress_ms, late_ms) => {
            Some(format!(
                "its hot path made no progress for {} ms",
                windows.progress_ms
            ))
        }
        (None, Some(_)) if since_start_ms > windows.boot_ms => Some(format!(
            "its hot path never answered within {} s",
            windows.boot_ms / 1_000
        )),
        _ => None,
    }
}

/// A VM that served before.
fn judge_established(heartbeat: &Heartbeat, signs: &Signs<'_>) -> Judgement<'static> {
    if heartbeat.progress_age_ms.is_none() {
        let evidence = "its balancer began anew and has not answered itself yet";
        return (Verdict::Suspect, evidence.into());
    }
    match probe_failed(signs.probe) {
        Some(evidence) => (
            Verdict::Suspect,
            format!("its heartbeats come, but {evidence}").into(),
        ),
        None if signs.probe == Say::Nothing => (Verdict::Serving, UNPROBED.into()),
        None => (Verdict::Serving, ALL_IS_WELL.into()),
    }
}

/// A VM that was down, or is still set aside. Nobody waits for one that leaves.
fn judge_down<'a>(vm: &'a VmLayout, signs: &Signs<'a>) -> Judgement<'a> {
    if vm.leaving.is_some() {
        return (vm.verdict, vm.evidence.as_str().into());
    }
    let runs = |sight: &&VmSight| sight.pid.is_some() && !signs.has_lost_nics;
    let sight = signs.sight.filter(runs);
    let heard = sight.and_then(|sight| Some((sight, sight.heartbeat.as_ref()?)));
    let heard = heard.filter(|(sight, heard)| {
        !is_silent(heard, signs) && stalled(sight, heard, signs).is_none()
    });
    match heard {
        Some((_, heard)) => judge_returning(&heard.heartbeat, signs),
        None => (Verdict::Down, vm.evidence.as_str().into()),
    }
}

/// A VM that was down and is heard again: held to more than one that never was.
fn judge_returning(heartbeat: &Heartbeat, signs: &Signs<'_>) -> Judgement<'static> {
    let wanted = signs.wanted;
    let down = |evidence: String| (Verdict::Down, evidence.into());
    if heartbeat.generation != Some(wanted) {
        return down(format!(
            "its heartbeats come again; it has yet to take configuration {wanted}"
        ));
    }
    if heartbeat.progress_age_ms.is_none() {
        return down("its heartbeats come again; its hot path has not answered yet".into());
    }
    match signs.probe {
        Say::Answers => (Verdict::Serving, ALL_IS_WELL.into()),
        Say::Nothing => (Verdict::Serving, UNPROBED.into()),
        Say::Doubtful(probe) | Say::Silent(probe) => down(format!(
            "its heartbeats come again; its front address does not answer the checker: {}",
            probe.evidence
        )),
    }
}

/// A VM that is to serve for the first time.
fn judge_new(heartbeat: &Heartbeat, signs: &Signs<'_>) -> Judgement<'static> {
    let wanted = signs.wanted;
    let starting = |evidence: Cow<'static, str>| (Verdict::Starting, evidence);
    if let Some(refusal) = heartbeat
        .refused
        .as_ref()
        .filter(|r| r.generation == wanted)
    {
        return starting(refusal_in_words(refusal).into());
    }
    if heartbeat.generation != Some(wanted) {
        return starting(format!("it has yet to take configuration {wanted}").into());
    }
    if heartbeat.progress_age_ms.is_none() {
        return starting("its hot path has not answered yet".into());
    }
    match signs.probe {
        Say::Answers => (Verdict::Serving, ALL_IS_WELL.into()),
        Say::Doubtful(probe) | Say::Silent(probe) => {
            let what = &probe.evidence;
            starting(format!("its front address does not answer the checker: {what}").into())
        }
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
