//! What each instance's balancers are to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{
    BackendConfig, BackendHost, BalancerConfig, Generation, Instance, InstanceLayout, ResolvedName,
    ScaleLayout,
};

use crate::Inputs;
use crate::draft::Draft;

/// Brings each instance's configuration up to what its user asked for and its host names resolve to.
/// The generation rises only when something in it changed.
pub(crate) fn plan_configs(inputs: Inputs<'_>, layout: &mut Draft) {
    for (id, instance) in &inputs.intent.instances {
        let before = layout.instances.get(id);
        let known = before.map(|before| &before.resolved);
        let resolved = keep_last_answers(instance, known, &inputs.observed.resolved);
        let generation = before.map_or(Generation(1), |before| before.config.generation);
        let config = balancer_config(instance, &resolved, generation);
        match layout.instances.get_mut(id) {
            None => {
                let vms = BTreeMap::new();
                let made = InstanceLayout {
                    project: instance.project,
                    config,
                    resolved,
                    vms,
                    downs: Vec::new(),
                    scale: ScaleLayout::default(),
                    last_down: None,
                };
                layout.instances.insert(*id, made);
            }
            Some(standing) => {
                if standing.config != config {
                    standing.config = BalancerConfig {
                        generation: generation.next(),
                        ..config
                    };
                }
                standing.resolved = resolved;
            }
        }
    }
}

/// The last good answer for each host name of an instance.
fn keep_last_answers(
    instance: &Instance,
    known: Option<&BTreeMap<String, Vec<Ipv4Addr>>>,
    seen: &BTreeMap<String, ResolvedName>,
) -> BTreeMap<String, Vec<Ipv4Addr>> {
    let answer = |name: &String| -> Option<Vec<Ipv4Addr>> {
        let fresh = seen
            .get(name)
            .map(|seen| &seen.addresses)
            .filter(|fresh| !fresh.is_empty());
        fresh.or_else(|| known?.get(name)).cloned()
    };
    instance
        .backends
        .iter()
        .filter_map(|backend| match &backend.host {
            BackendHost::Name(name) => Some((name.clone(), answer(name)?)),
            BackendHost::Address(_) => None,
        })
        .collect()
}

/// The configuration that an instance's intent and its names' addresses give. A server that is named
/// twice stands there once, with the weight of the first. An address outside the subnet cannot be
/// reached and is left out; the report says so.
fn balancer_config(
    instance: &Instance,
    resolved: &BTreeMap<String, Vec<Ipv4Addr>>,
    generation: Generation,
) -> BalancerConfig {
    let mut seen = BTreeSet::new();
    let mut backends = Vec::new();
    for backend in &instance.backends {
        for address in backend_addresses(&backend.host, resolved) {
            if instance.subnet.contains(&address) && seen.insert((address, backend.port)) {
                backends.push(BackendConfig {
                    address,
                    port: backend.port,
                    weight: backend.weight,
                    backup: backend.backup,
                    max_connections: backend.max_connections,
                });
            }
        }
    }
    BalancerConfig {
        generation,
        instance: instance.name.clone(),
        traffic: instance.traffic,
        port: instance.port,
        backends,
        health_check: instance.health_check.clone(),
        timeouts: instance.timeouts.clone(),
        policy: instance.policy.clone(),
    }
}

/// The addresses of one backend, none while its name has no answer.
pub(crate) fn backend_addresses(
    host: &BackendHost,
    resolved: &BTreeMap<String, Vec<Ipv4Addr>>,
) -> Vec<Ipv4Addr> {
    match host {
        BackendHost::Address(address) => vec![*address],
        BackendHost::Name(name) => resolved.get(name).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
