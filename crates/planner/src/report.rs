//! How each instance stands, what is waited for, and why.

use model::{
    BackendHealth, BackendReport, BackendStatus, Condition, Instance, InstanceId, InstanceLayout,
    InstanceReport, Layout, Report, Timestamp, Verdict, VmId, VmLayout, VmReport, Waiting, vm_key,
};

use crate::{Inputs, placement, traffic, zone};

/// One account of everything, from the layout that was just decided.
pub(crate) fn account(inputs: Inputs<'_>, layout: &Layout) -> Report {
    let asked = inputs.intent.instances.iter().map(|(id, instance)| {
        let standing = layout.instances.get(id);
        (
            *id,
            standing.map_or_else(
                || unplanned(instance),
                |s| instance_report(inputs, layout, instance, s),
            ),
        )
    });
    let deleted = layout
        .instances
        .iter()
        .filter(|(id, _)| !inputs.intent.instances.contains_key(id))
        .map(|(id, standing)| (*id, deleting_report(inputs, *id, standing)));
    Report {
        instances: asked.chain(deleted).collect(),
        troubles: inputs.observed.compute_trouble.iter().cloned().collect(),
    }
}

fn unplanned(instance: &Instance) -> InstanceReport {
    InstanceReport {
        generation: instance.generation,
        condition: Condition::Pending,
        in_effect: false,
        addresses: Vec::new(),
        vms: Vec::new(),
        backends: Vec::new(),
        waiting_for: vec![waiting("the controller", "nothing is decided yet".into())],
    }
}

fn deleting_report(
    inputs: Inputs<'_>,
    id: InstanceId,
    standing: &InstanceLayout,
) -> InstanceReport {
    let vms = vm_reports(inputs, standing);
    let waiting_for = standing
        .vms
        .keys()
        .map(|vm| {
            waiting(
                &format!("VM {vm}"),
                failure_of(inputs, *vm).unwrap_or_else(|| {
                    format!("instance {id} was deleted and its VM is being removed")
                }),
            )
        })
        .collect();
    InstanceReport {
        generation: standing.config.generation,
        condition: Condition::Deleting,
        in_effect: false,
        addresses: Vec::new(),
        vms,
        backends: Vec::new(),
        waiting_for,
    }
}

fn instance_report(
    inputs: Inputs<'_>,
    layout: &Layout,
    instance: &Instance,
    standing: &InstanceLayout,
) -> InstanceReport {
    let name = zone::names(inputs, instance)
        .into_iter()
        .next()
        .unwrap_or_default();
    let addresses: Vec<_> = layout
        .dns
        .records
        .get(&name)
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let mut waiting_for = vm_waiting(inputs, instance, standing);
    waiting_for.extend(port_waiting(inputs, layout, instance));
    waiting_for.extend(dns_waiting(inputs, layout));
    let in_effect = waiting_for.is_empty();
    let backends = backend_reports(inputs, instance, standing);
    waiting_for.extend(backends.iter().filter_map(backend_waiting));
    let serving = standing.vms.values().any(VmLayout::is_serving);
    let condition = match (waiting_for.is_empty(), serving, addresses.is_empty()) {
        (true, ..) => Condition::Serving,
        (false, true, _) => Condition::Degraded,
        (false, false, true) => Condition::Pending,
        (false, false, false) => Condition::Failing,
    };
    InstanceReport {
        generation: instance.generation,
        condition,
        in_effect,
        addresses,
        vms: vm_reports(inputs, standing),
        backends,
        waiting_for,
    }
}

/// What keeps the wanted number of VMs from serving the newest configuration.
fn vm_waiting(inputs: Inputs<'_>, instance: &Instance, standing: &InstanceLayout) -> Vec<Waiting> {
    let mut found = Vec::new();
    let staying: Vec<_> = standing
        .vms
        .iter()
        .filter(|(_, vm)| vm.leaving.is_none())
        .collect();
    let wanted = usize::try_from(instance.auto_scaling.min()).unwrap_or(usize::MAX);
    if staying.len() < wanted {
        let why = match placement::replacement_due(standing, wanted).filter(|due| *due > inputs.now)
        {
            Some(_) => format!(
                "{} VMs were found down in a row, so the next one is held back for a while",
                standing.downs.len()
            ),
            None => format!(
                "the front network or subnet {} has no free address",
                instance.subnet
            ),
        };
        found.push(waiting(
            "more VMs",
            format!("{wanted} are wanted, {} are there: {why}", staying.len()),
        ));
    }
    for (id, vm) in staying {
        let heard = inputs
            .observed
            .vms
            .get(id)
            .and_then(|sight| sight.heartbeat.as_ref());
        let runs = heard.and_then(|heard| heard.generation());
        let refused = heard.and_then(|heard| heard.heartbeat.refused.as_ref());
        let why = match (vm.verdict, refused) {
            (Verdict::Serving, Some(refusal)) => Some(format!(
                "it refused configuration {}: {}: {}",
                refusal.generation, refusal.path, refusal.message
            )),
            // One heartbeat's lag after a restart of the controller is no news.
            (Verdict::Serving, None)
                if runs.is_none() || runs == Some(standing.config.generation) =>
            {
                None
            }
            (Verdict::Serving, None) => Some(format!(
                "it has yet to take configuration {}",
                standing.config.generation
            )),
            _ => Some(starting_reason(inputs, *id, vm)),
        };
        found.extend(why.map(|why| waiting(&format!("VM {id}"), why)));
    }
    found
}

fn starting_reason(inputs: Inputs<'_>, id: VmId, vm: &VmLayout) -> String {
    let trouble = inputs
        .observed
        .compute_trouble
        .clone()
        .filter(|_| vm.verdict == Verdict::Starting);
    failure_of(inputs, id)
        .or(trouble)
        .unwrap_or_else(|| vm.evidence.clone())
}

fn failure_of(inputs: Inputs<'_>, vm: VmId) -> Option<String> {
    let failure = inputs.observed.failures.get(&vm_key(vm))?;
    Some(format!(
        "{} (tried {} times)",
        failure.message, failure.attempts
    ))
}

/// Ports of the instance's subnet that could not be attached.
fn port_waiting(inputs: Inputs<'_>, layout: &Layout, instance: &Instance) -> Vec<Waiting> {
    let prefix = format!("project/{}/port/", instance.project);
    let network = layout.networks.get(&instance.project);
    network
        .into_iter()
        .flat_map(|network| network.subnets.values())
        .filter(|subnet| subnet.cidr == instance.subnet)
        .flat_map(|subnet| &subnet.ports)
        .filter_map(|port| {
            let failure = inputs.observed.failures.get(&format!("{prefix}{port}"))?;
            Some(waiting(
                &format!("interface {port}"),
                failure.message.clone(),
            ))
        })
        .collect()
}

fn dns_waiting(inputs: Inputs<'_>, layout: &Layout) -> Option<Waiting> {
    let wanted = layout.dns.serial;
    match inputs.observed.dns_serial {
        Some(serial) if serial >= wanted => None,
        Some(serial) => Some(waiting(
            "DNS",
            format!("zone generation {wanted} is decided, {serial} is published"),
        )),
        None => Some(waiting(
            "DNS",
            "no DNS server has published the zone yet".into(),
        )),
    }
}

fn backend_waiting(backend: &BackendReport) -> Option<Waiting> {
    match backend.health {
        BackendHealth::Up => None,
        BackendHealth::Down | BackendHealth::Unknown => Some(waiting(
            &format!("backend {}", backend.entity),
            backend.last_check.clone(),
        )),
    }
}

fn vm_reports(inputs: Inputs<'_>, standing: &InstanceLayout) -> Vec<VmReport> {
    let report = |(id, vm): (&VmId, &VmLayout)| {
        let sight = inputs.observed.vms.get(id);
        let heard = sight.and_then(|sight| sight.heartbeat.as_ref());
        VmReport {
            id: *id,
            state: vm.verdict,
            since: vm.since,
            evidence: vm.evidence.clone(),
            leaving: vm.leaving.as_ref().map(|leaving| leaving.reason.clone()),
            driver: vm.driver,
            accelerator: sight
                .filter(|s| s.pid.is_some())
                .map(|sight| sight.accelerator.clone()),
            pid: sight.and_then(|sight| sight.pid),
            address: vm.front.address,
            tenant_address: vm.tenant.address,
            generation: heard.and_then(|heard| heard.generation()),
            requests: heard.map_or(0, |heard| heard.heartbeat.counters.requests),
        }
    };
    standing.vms.iter().map(report).collect()
}

fn backend_reports(
    inputs: Inputs<'_>,
    instance: &Instance,
    standing: &InstanceLayout,
) -> Vec<BackendReport> {
    let mut reports = Vec::new();
    for backend in &instance.backends {
        let report = |address, health, since, last_check, requests| BackendReport {
            entity: backend.to_string(),
            address,
            port: backend.port,
            weight: backend.weight,
            health,
            since,
            last_check,
            requests,
        };
        let addresses = traffic::backend_addresses(&backend.host, &standing.resolved);
        if addresses.is_empty() {
            let name = backend.host.to_string();
            let error = inputs
                .observed
                .resolved
                .get(&name)
                .and_then(|name| name.error.clone());
            let why = error.unwrap_or_else(|| "its name is being looked up".into());
            reports.push(report(None, BackendHealth::Unknown, None, why, 0));
        }
        for address in addresses {
            if !instance.subnet.contains(&address) {
                let why = format!(
                    "{address} is not in subnet {} and cannot be reached",
                    instance.subnet
                );
                reports.push(report(Some(address), BackendHealth::Down, None, why, 0));
                continue;
            }
            let seen = statuses(inputs, standing, address, backend.port);
            let (health, since, words) = judge_backend(inputs.now, &seen);
            let requests = seen.iter().map(|(status, _)| status.requests).sum();
            reports.push(report(Some(address), health, since, words, requests));
        }
    }
    reports
}

/// What each VM that runs says about one backend, with the age of its saying.
fn statuses<'a>(
    inputs: Inputs<'a>,
    standing: &InstanceLayout,
    address: std::net::Ipv4Addr,
    port: u16,
) -> Vec<(&'a BackendStatus, u64)> {
    standing
        .vms
        .iter()
        .filter(|(_, vm)| vm.verdict != Verdict::Down)
        .filter_map(|(id, _)| inputs.observed.vms.get(id)?.heartbeat.as_ref())
        .flat_map(|heard| {
            heard
                .heartbeat
                .backends
                .iter()
                .map(|status| (status, heard.age_ms))
        })
        .filter(|(status, _)| status.address == address && status.port == port)
        .collect()
}

/// One backend's health over all VMs: they may see it differently, and then the one in doubt speaks.
fn judge_backend(
    now: Timestamp,
    seen: &[(&BackendStatus, u64)],
) -> (BackendHealth, Option<Timestamp>, String) {
    let Some((first, _)) = seen.first() else {
        return (
            BackendHealth::Unknown,
            None,
            "no VM has checked it yet".into(),
        );
    };
    let health = match seen.iter().all(|(status, _)| status.health == first.health) {
        true => first.health,
        false => BackendHealth::Unknown,
    };
    let doubting = seen
        .iter()
        .find(|(s, _)| s.health == BackendHealth::Down)
        .or(seen.first());
    let words = doubting.and_then(|(status, _)| status.last_check.clone());
    let youngest = seen
        .iter()
        .map(|(s, age_ms)| s.health_age_ms.saturating_add(*age_ms))
        .min();
    let since = youngest.map(|age_ms| Timestamp(now.0.saturating_sub(age_ms)));
    (
        health,
        since,
        words.unwrap_or_else(|| "no check has ended yet".into()),
    )
}

fn waiting(what: &str, why: String) -> Waiting {
    Waiting {
        what: what.into(),
        why,
    }
}
