//! How each VM stands, and what keeps the wanted number of them from serving the newest configuration.

use model::{
    Instance, InstanceId, InstanceLayout, LoadSample, LoadSight, Timestamp, Verdict, VmId,
    VmLayout, VmReport, Waiting, vm_key,
};

use super::waiting;
use crate::counts::Counted;
use crate::deaths::replacement_due;
use crate::scaling::wanted_vms;
use crate::verdict::refusal_in_words;
use crate::{Inputs, departure, removal};

/// One report for each VM, oldest first.
pub(super) fn vm_reports(
    inputs: Inputs<'_>,
    instance: InstanceId,
    standing: &InstanceLayout,
) -> Vec<VmReport> {
    let report = |(id, vm): (&VmId, &VmLayout)| {
        let sight = inputs.observed.vms.get(id);
        let heard = sight.and_then(|sight| sight.heartbeat.as_ref());
        let running = sight.filter(|sight| sight.pid.is_some());
        VmReport {
            id: *id,
            state: vm.verdict,
            since: vm.since,
            evidence: vm.evidence.clone(),
            aside: aside_in_words(inputs, vm),
            leaving: leaving_in_words(inputs, instance, *id, vm),
            driver: vm.driver,
            accelerator: running.map(|sight| sight.accelerator.clone()),
            pid: sight.and_then(|sight| sight.pid),
            address: vm.front.address,
            tenant_address: vm.tenant.address,
            configuration: heard.and_then(|heard| heard.generation()),
            requests: heard.map_or(0, |heard| heard.heartbeat.counters.requests),
            // What was last heard of one that is dead is no load.
            load: (vm.verdict != Verdict::Down)
                .then(|| inputs.observed.load.get(id).map(in_whole_numbers))
                .flatten(),
        }
    };
    standing.vms.iter().map(report).collect()
}

/// A load as it is told: in whole percents, connections, requests and seconds, so that the report of a VM that has
/// little to do does not change with each look. For the same reason the newest sample is not told.
fn in_whole_numbers(load: &LoadSight) -> LoadSight {
    LoadSight {
        cpu_percent: load.cpu_percent.map(f64::round),
        connections: load.connections.map(f64::round),
        requests_per_second: load.requests_per_second.map(f64::round),
        newest: LoadSample::default(),
        age_ms: load.age_ms / 1_000 * 1_000,
    }
}

/// What keeps the wanted number of VMs from serving the newest configuration.
pub(super) fn vm_waiting(
    inputs: Inputs<'_>,
    asked: &Instance,
    standing: &InstanceLayout,
    counted: &Counted,
) -> Vec<Waiting> {
    let crew = standing.vms.iter().filter(|(_, vm)| vm.is_crew());
    let mut found = Vec::new();
    let mut fit = 0;
    for (id, vm) in crew {
        let crowded = counted.is_backend(asked.project, vm.tenant.address);
        fit += usize::from(!crowded);
        let why = match crowded {
            true => Some(format!(
                "a backend has its tenant address {}, so it is to be replaced",
                vm.tenant.address
            )),
            false => why_not_serving(inputs, standing, *id, vm),
        };
        found.extend(why.map(|why| waiting(format!("VM {id}"), why)));
    }
    found.extend(missing_vms(inputs, asked, standing, fit));
    found
}

/// Why a VM could not be made or removed, where the last attempt failed.
pub(super) fn failure_of(inputs: Inputs<'_>, vm: VmId) -> Option<String> {
    let failure = inputs.observed.failures.get(&vm_key(vm))?;
    let times = match failure.attempts {
        0 | 1 => "once".into(),
        attempts => format!("{attempts} times"),
    };
    Some(format!("{} (tried {times})", failure.message))
}

fn leaving_in_words(
    inputs: Inputs<'_>,
    instance: InstanceId,
    id: VmId,
    vm: &VmLayout,
) -> Option<String> {
    let leaving = vm.leaving.as_ref()?;
    let reason = &leaving.reason;
    if let Some(failure) = failure_of(inputs, id) {
        return Some(format!("{reason}; its removal fails: {failure}"));
    }
    let is_on_its_way = removal::nobody_is_sent_to(inputs, instance, vm);
    let waits_for = departure::waits_for(inputs, id, leaving).filter(|_| !is_on_its_way);
    Some(match waits_for {
        Some(what) => format!("{reason}; {what}"),
        None => reason.clone(),
    })
}

fn aside_in_words(inputs: Inputs<'_>, vm: &VmLayout) -> Option<String> {
    let aside = vm.aside.as_ref().filter(|_| vm.leaving.is_none())?;
    let grace_s = inputs.settings.windows.grace_ms / 1_000;
    Some(match aside.open_since {
        None => format!(
            "found down: {}; its ports are closed, and it is removed unless it is well within {grace_s} s",
            aside.reason
        ),
        Some(_) => format!(
            "it was found down ({}) and came back: its ports are open, and it checks its backends",
            aside.reason
        ),
    })
}

fn missing_vms(
    inputs: Inputs<'_>,
    asked: &Instance,
    standing: &InstanceLayout,
    fit: usize,
) -> Option<Waiting> {
    let wanted = wanted_vms(asked, standing);
    if fit >= wanted {
        return None;
    }
    let why = match replacement_due(standing, wanted).filter(|due| *due > inputs.now) {
        Some(due) => held_back(inputs, standing, due),
        None => format!(
            "the front network {} or subnet {} has no free address",
            inputs.settings.front.trunc(),
            asked.subnet
        ),
    };
    let why = format!("{fit} of {wanted} are there: {why}");
    Some(waiting("more VMs".into(), why))
}

fn held_back(inputs: Inputs<'_>, standing: &InstanceLayout, due: Timestamp) -> String {
    let cause = standing.last_down.as_ref();
    let cause = cause.map_or_else(String::new, |cause| format!(" (the last one: {cause})"));
    format!(
        "{} VMs were found down within {} s, so the next one is held back for {} s more{cause}",
        standing.downs.len(),
        inputs.settings.windows.downs_ms / 1_000,
        due.since_ms(inputs.now).div_ceil(1_000)
    )
}

fn why_not_serving(
    inputs: Inputs<'_>,
    standing: &InstanceLayout,
    id: VmId,
    vm: &VmLayout,
) -> Option<String> {
    let sight = inputs.observed.vms.get(&id);
    let heard = sight.and_then(|sight| sight.heartbeat.as_ref());
    let wanted = standing.config.generation;
    match vm.verdict {
        Verdict::Starting => Some(why_starting(inputs, id, vm)),
        Verdict::Suspect => Some(vm.evidence.clone()),
        Verdict::Down => Some(format!("{}; the breaker holds its place", vm.evidence)),
        Verdict::Serving => {
            // What it runs is not known before it is heard, so nothing that waits for it may go on.
            let Some(heard) = heard else {
                return Some(vm.evidence.clone());
            };
            let heartbeat =
                Some(&heard.heartbeat).filter(|beat| beat.generation != Some(wanted))?;
            let refusal = heartbeat
                .refused
                .as_ref()
                .filter(|r| r.generation == wanted);
            Some(refusal.map_or_else(
                || format!("it has yet to take configuration {wanted}"),
                refusal_in_words,
            ))
        }
    }
}

fn why_starting(inputs: Inputs<'_>, id: VmId, vm: &VmLayout) -> String {
    failure_of(inputs, id)
        .or_else(|| inputs.observed.compute_trouble.clone())
        .unwrap_or_else(|| vm.evidence.clone())
}
