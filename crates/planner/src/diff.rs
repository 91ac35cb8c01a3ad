//! From the difference between what was decided and what is seen, to the steps that close it.

use model::{Effect, Layout, NetworkSight, ProjectId, SubnetId, Verdict};

use crate::{Inputs, placement};

/// The steps that bring the world closer to `layout`, in an order in which they can be begun at once.
///
/// A step that needs another one first is safe to begin: it makes what it needs, or fails and comes
/// again with the next round. What is seen and stands in no layout belongs to nobody and is removed,
/// unless an effect that may be making it is under way.
#[must_use]
pub fn diff(inputs: Inputs<'_>, layout: &Layout) -> Vec<Effect> {
    let mut effects = Vec::new();
    ensure_networks(inputs, layout, &mut effects);
    ensure_vms(inputs, layout, &mut effects);
    remove_vms(inputs, layout, &mut effects);
    remove_networks(inputs, layout, &mut effects);
    effects.retain(|effect| !inputs.observed.in_flight.contains(&effect.key()));
    effects
}

fn ensure_networks(inputs: Inputs<'_>, layout: &Layout, effects: &mut Vec<Effect>) {
    let seen = &inputs.observed.network;
    for (project, network) in &layout.networks {
        if !seen.projects.contains_key(project) {
            effects.push(Effect::EnsureProject { project: *project });
        }
        for (id, subnet) in &network.subnets {
            let ports = ports_seen(seen, *project, *id);
            // The subnet appears with its first VM, which makes it, or with its first port.
            for port in subnet
                .ports
                .iter()
                .filter(|port| !ports.iter().any(|seen| seen == *port))
            {
                effects.push(Effect::EnsurePort {
                    project: *project,
                    subnet: *id,
                    interface: port.clone(),
                });
            }
        }
    }
}

fn ensure_vms(inputs: Inputs<'_>, layout: &Layout, effects: &mut Vec<Effect>) {
    for (instance_id, instance) in &layout.instances {
        for (id, vm) in &instance.vms {
            let sight = inputs.observed.vms.get(id);
            let runs = sight.is_some_and(|sight| sight.pid.is_some());
            if vm.leaving.is_some() || vm.verdict == Verdict::Down {
                continue;
            }
            if !runs {
                effects.push(Effect::EnsureVm {
                    project: instance.project,
                    instance: *instance_id,
                    vm: *id,
                    layout: Box::new(vm.clone()),
                });
                continue;
            }
            let heard = sight.and_then(|sight| sight.heartbeat.as_ref());
            if heard.and_then(|heard| heard.generation()) != Some(instance.config.generation) {
                let config = Box::new(instance.config.clone());
                effects.push(Effect::PushConfig { vm: *id, config });
            }
        }
    }
}

fn remove_vms(inputs: Inputs<'_>, layout: &Layout, effects: &mut Vec<Effect>) {
    let seen = inputs
        .observed
        .vms
        .keys()
        .chain(&inputs.observed.network.vm_nics);
    let mut seen: Vec<_> = seen.copied().collect();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        let owner = layout
            .instances
            .iter()
            .find_map(|(instance, l)| Some((*instance, l.vms.get(&id)?)));
        let remove = match owner {
            None => true,
            Some((instance, vm)) => placement::may_be_removed(inputs, instance, vm),
        };
        if remove {
            effects.push(Effect::RemoveVm { vm: id });
        }
    }
}

/// Networks are taken apart from the inside out: a bridge goes when no VM's NIC is left that may hang on
/// it, a namespace when no bridge is left.
fn remove_networks(inputs: Inputs<'_>, layout: &Layout, effects: &mut Vec<Effect>) {
    for (project, sight) in &inputs.observed.network.projects {
        let network = layout.networks.get(project);
        for (id, ports) in &sight.subnets {
            let wanted = network.and_then(|network| network.subnets.get(id));
            for port in ports
                .iter()
                .filter(|port| wanted.is_none_or(|w| !w.ports.contains(*port)))
            {
                effects.push(Effect::RemovePort {
                    project: *project,
                    subnet: *id,
                    interface: port.clone(),
                });
            }
            let occupied = wanted.is_some_and(|wanted| !wanted.ports.is_empty())
                || layout
                    .instances
                    .values()
                    .any(|i| i.vms.values().any(|vm| vm.subnet == *id));
            if !occupied {
                effects.push(Effect::RemoveSubnet {
                    project: *project,
                    subnet: *id,
                });
            }
        }
        if network.is_none() && sight.subnets.is_empty() {
            effects.push(Effect::RemoveProject { project: *project });
        }
    }
}

fn ports_seen(seen: &NetworkSight, project: ProjectId, subnet: SubnetId) -> Vec<String> {
    let ports = seen
        .projects
        .get(&project)
        .and_then(|project| project.subnets.get(&subnet));
    ports.into_iter().flatten().cloned().collect()
}
