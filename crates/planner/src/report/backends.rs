//! How each backend stands, over all VMs that check it.

use std::net::Ipv4Addr;

use model::{
    Backend, BackendConfig, BackendHealth, BackendReport, BackendStatus, Instance, InstanceLayout,
    MAX_BACKENDS, Timestamp, TrafficType, Verdict, Waiting,
};

use super::waiting;
use crate::{Inputs, traffic};

/// One report for each backend in the user's order, and for a host name one for each address.
pub(super) fn backend_reports(
    inputs: Inputs<'_>,
    instance: &Instance,
    standing: &InstanceLayout,
) -> Vec<BackendReport> {
    let mut reports = Vec::new();
    for backend in &instance.backends {
        let known = reports.len();
        for address in traffic::backend_addresses(&backend.host, Some(&standing.resolved)) {
            reports.push(if !instance.subnet.contains(&address) {
                out_of_reach(instance, backend, address)
            } else if is_surplus(standing, address, backend.port) {
                surplus(backend, address)
            } else {
                reached(inputs, standing, backend, address)
            });
        }
        if reports.len() == known {
            reports.push(unresolved(inputs, backend));
        }
    }
    reports
}

/// That no backend can be up for any VM, and what the first of them came to. One of which VMs do not say the same is up
/// for some, and one that was not asked yet is given traffic while no other is up.
pub(super) fn lack(asked: &Instance, backends: &[BackendReport]) -> Option<Waiting> {
    let may_serve = |it: &BackendReport| it.address.is_some() && it.health != BackendHealth::Down;
    if backends.iter().any(may_serve) {
        return None;
    }
    let so = match asked.traffic {
        TrafficType::Http => "so every request is answered with 503",
        TrafficType::Tcp => "so every session is reset",
    };
    let why = match backends.first() {
        Some(first) => format!("none is up, {so}; {}: {}", first.entity, first.last_check),
        None => format!("none was given, {so}"),
    };
    Some(waiting("backends".into(), why))
}

/// What keeps a backend from taking traffic, if something does.
pub(super) fn backend_waiting(backend: &BackendReport) -> Option<Waiting> {
    match backend.health {
        BackendHealth::Up => None,
        BackendHealth::Down | BackendHealth::Unknown => Some(waiting(
            format!("backend {}", backend.entity),
            backend.last_check.clone(),
        )),
    }
}

/// While no backend is up and not all were asked, it is not known whether the URL serves.
pub(super) fn first_checks_waiting(
    inputs: Inputs<'_>,
    standing: &InstanceLayout,
    backends: &[BackendReport],
) -> Option<Waiting> {
    let is_up = |backend: &BackendReport| backend.health == BackendHealth::Up;
    let mut unasked = standing
        .vms
        .iter()
        .filter(|(_, vm)| vm.is_serving())
        .filter_map(|(id, _)| inputs.observed.vms.get(id)?.heartbeat.as_ref())
        .flat_map(|heard| &heard.heartbeat.backends)
        .filter(|status| status.last_check.is_none());
    if backends.iter().any(is_up) || unasked.next().is_none() {
        return None;
    }
    let why = "their first health checks are under way";
    Some(waiting("backends".into(), why.into()))
}

/// A backend whose name has never had an answer.
fn unresolved(inputs: Inputs<'_>, backend: &Backend) -> BackendReport {
    let seen = inputs.observed.resolved.get(&backend.host.to_string());
    let why = match seen.and_then(|seen| seen.error.as_ref()) {
        Some(error) => format!("its name does not resolve: {error}"),
        None => "its name is being looked up".into(),
    };
    blank(backend, None, BackendHealth::Unknown, why)
}

fn out_of_reach(instance: &Instance, backend: &Backend, address: Ipv4Addr) -> BackendReport {
    let subnet = instance.subnet;
    let why = format!("{address} is not in subnet {subnet} and cannot be reached");
    blank(backend, Some(address), BackendHealth::Down, why)
}

/// Whether a server was left out because there are too many.
fn is_surplus(standing: &InstanceLayout, address: Ipv4Addr, port: u16) -> bool {
    let taken = &standing.config.backends;
    let is_it = |taken: &BackendConfig| taken.address == address && taken.port == port;
    taken.len() >= MAX_BACKENDS && !taken.iter().any(is_it)
}

fn surplus(backend: &Backend, address: Ipv4Addr) -> BackendReport {
    let why = format!(
        "the instance has {MAX_BACKENDS} servers without it, which is the most; name fewer, or one that stands for fewer"
    );
    blank(backend, Some(address), BackendHealth::Down, why)
}

fn reached(
    inputs: Inputs<'_>,
    standing: &InstanceLayout,
    backend: &Backend,
    address: Ipv4Addr,
) -> BackendReport {
    let seen = statuses(inputs, standing, address, backend.port);
    let (health, last_check) = judge_backend(&seen);
    let youngest_ms = seen
        .iter()
        .map(|(status, age_ms)| status.health_age_ms.saturating_add(*age_ms))
        .min();
    BackendReport {
        since: youngest_ms.map(|age_ms| Timestamp(inputs.now.0.saturating_sub(age_ms))),
        requests: seen.iter().map(|(status, _)| status.requests).sum(),
        ..blank(backend, Some(address), health, last_check)
    }
}

fn blank(
    backend: &Backend,
    address: Option<Ipv4Addr>,
    health: BackendHealth,
    last_check: String,
) -> BackendReport {
    BackendReport {
        entity: backend.to_string(),
        address,
        port: backend.port,
        weight: backend.weight,
        backup: backend.backup,
        health,
        since: None,
        last_check,
        requests: 0,
    }
}

/// What each VM that is not dead says about one backend, with the age of its saying in milliseconds.
fn statuses<'a>(
    inputs: Inputs<'a>,
    standing: &InstanceLayout,
    address: Ipv4Addr,
    port: u16,
) -> Vec<(&'a BackendStatus, u64)> {
    let alive = standing
        .vms
        .iter()
        .filter(|(_, vm)| vm.verdict != Verdict::Down);
    alive
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

/// One backend's health over all VMs, and the last check's result in words. Where they see it
/// differently, one that finds it down speaks.
fn judge_backend(seen: &[(&BackendStatus, u64)]) -> (BackendHealth, String) {
    let Some((first, _)) = seen.first() else {
        return (BackendHealth::Unknown, "no VM has checked it yet".into());
    };
    let unanimous = seen.iter().all(|(status, _)| status.health == first.health);
    let down = seen
        .iter()
        .find(|(status, _)| status.health == BackendHealth::Down);
    let speaker = down.map_or(*first, |(status, _)| *status);
    let words = speaker
        .last_check
        .as_deref()
        .unwrap_or("no check has ended yet");
    match unanimous {
        true => (first.health, words.into()),
        false => (
            BackendHealth::Unknown,
            format!("its VMs see it differently; one of them: {words}"),
        ),
    }
}
