//! What each instance's balancers are to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{
    BackendConfig, BackendHost, BalancerConfig, Generation, Instance, InstanceLayout, MAX_BACKENDS,
    ResolvedName, ScaleLayout, checker_address,
};

use crate::Inputs;
use crate::draft::Draft;

/// Brings each instance's configuration up to what its user asked for and its host names resolve to.
/// The generation rises only when something in it changed.
pub(crate) fn plan_configs(inputs: Inputs<'_>, layout: &mut Draft) {
    let checker = checker_address(inputs.settings.front);
    for id in &layout.ids {
        let Some(instance) = inputs.intent.instances.get(id) else {
            continue;
        };
        let before = layout.instances.get(id);
        let known = before.map(|before| &before.resolved);
        let resolved = keep_last_answers(instance, known, &inputs.observed.resolved);
        let generation = before.map_or(Generation(1), |before| before.config.generation);
        let backends = backend_configs(instance, &resolved);
        match layout.instances.get_mut(id) {
            None => {
                let vms = BTreeMap::new();
                let config = balancer_config(instance, backends, checker, generation);
                let made = InstanceLayout {
                    project: instance.project,
                    config,
                    resolved,
                    vms,
                    downs: Vec::new(),
                    scale: ScaleLayout::default(),
                    last_down: None,
                    staffed: 0,
                    zone_serial: 0,
                };
                layout.instances.insert(*id, Arc::new(made));
            }
            Some(standing) => {
                if !is_current(&standing.config, instance, &backends, checker) {
                    let config = balancer_config(instance, backends, checker, generation.next());
                    Arc::make_mut(standing).config = config;
                }
                if standing.resolved != resolved {
                    Arc::make_mut(standing).resolved = resolved;
                }
            }
        }
    }
}

/// The last good answer for each host name of an instance: of all together at most twice [`MAX_BACKENDS`]
/// addresses, one of each name among them.
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
    let mut kept: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
    let mut room = MAX_BACKENDS;
    for backend in &instance.backends {
        let BackendHost::Name(name) = &backend.host else {
            continue;
        };
        if let Some(addresses) = answer(name).filter(|_| !kept.contains_key(name)) {
            let addresses = fit(instance, addresses, room.max(1));
            room = room.saturating_sub(addresses.len());
            kept.insert(name.clone(), addresses);
        }
    }
    kept
}

/// As many of a name's addresses as there is room for, those that can be reached before others. Answers come in
/// ascending order, so they are the same each time.
fn fit(instance: &Instance, addresses: Vec<Ipv4Addr>, room: usize) -> Vec<Ipv4Addr> {
    if addresses.len() <= room {
        return addresses;
    }
    let is_inside = |address: &Ipv4Addr| instance.subnet.contains(address);
    let (mut kept, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_inside);
    kept.extend(others);
    kept.truncate(room);
    kept
}

/// The servers that an instance's intent and its names' addresses give. One that is named
/// twice stands there once, with the weight of the first. An address outside the subnet cannot be
/// reached and is left out, and so is what is more than [`MAX_BACKENDS`]; the report says so.
fn backend_configs(
    instance: &Instance,
    resolved: &BTreeMap<String, Vec<Ipv4Addr>>,
) -> Vec<BackendConfig> {
    let mut seen = BTreeSet::new();
    let mut backends = Vec::new();
    for backend in &instance.backends {
        for address in backend_addresses(&backend.host, Some(resolved)) {
            let is_fit = backends.len() < MAX_BACKENDS && instance.subnet.contains(&address);
            if is_fit && seen.insert((address, backend.port)) {
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
    backends
}

/// The configuration with these servers that an instance's intent gives.
fn balancer_config(
    instance: &Instance,
    backends: Vec<BackendConfig>,
    checker: Option<Ipv4Addr>,
    generation: Generation,
) -> BalancerConfig {
    BalancerConfig {
        generation,
        instance: instance.name.clone(),
        traffic: instance.traffic,
        port: instance.port,
        backends,
        health_check: instance.health_check.clone(),
        timeouts: instance.timeouts.clone(),
        policy: instance.policy.clone(),
        checker,
    }
}

/// Whether a configuration is that one, whatever its generation.
fn is_current(
    config: &BalancerConfig,
    asked: &Instance,
    servers: &[BackendConfig],
    checker: Option<Ipv4Addr>,
) -> bool {
    // Named one by one, so that none is forgotten that is added.
    let BalancerConfig {
        generation: _,
        instance,
        traffic,
        port,
        backends,
        health_check,
        timeouts,
        policy,
        checker: asking_from,
    } = config;
    *instance == asked.name
        && *traffic == asked.traffic
        && *port == asked.port
        && backends == servers
        && *health_check == asked.health_check
        && *timeouts == asked.timeouts
        && *policy == asked.policy
        && *asking_from == checker
}

/// The addresses of one backend, none while its name has no answer.
pub(crate) fn backend_addresses<'a>(
    host: &'a BackendHost,
    resolved: Option<&'a BTreeMap<String, Vec<Ipv4Addr>>>,
) -> impl Iterator<Item = Ipv4Addr> + 'a {
    let addresses = match host {
        BackendHost::Address(address) => std::slice::from_ref(address),
        BackendHost::Name(name) => {
            let answer = resolved.and_then(|resolved| resolved.get(name));
            answer.map_or(&[][..], Vec::as_slice)
        }
    };
    addresses.iter().copied()
}

#[cfg(test)]
mod tests;
