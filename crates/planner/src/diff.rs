//! From the difference between what was decided and what is seen, to the steps that close it.

use std::collections::BTreeSet;

use model::{
    BalancerConfig, Effect, InstanceId, InstanceLayout, Layout, NetworkLayout, ProjectId,
    ProjectSight, SubnetId, Verdict, VmId, VmLayout,
};

use crate::{Inputs, Scope, Standing, departure, removal};

/// The steps that bring the world closer to `layout`, in an order in which they can be begun at once;
/// no two of them have the same key.
///
/// A step that needs another one first is safe to begin: it makes what it needs, or fails and comes
/// again with the next round. What is seen and stands in no layout belongs to nobody and is removed,
/// unless an effect that may be making it is under way.
///
/// Of a part of everything, the steps for that part: what belongs to nobody is found only where everything is
/// looked at.
#[must_use]
pub fn diff(inputs: Inputs<'_>, standing: &Standing, scope: &Scope) -> Vec<Effect> {
    let layout = standing.layout();
    let seen = &inputs.observed.network.projects;
    let mut effects = Vec::new();
    if !inputs.observed.network.front {
        effects.push(Effect::EnsureFront);
    }
    match scope {
        Scope::All => {
            for (project, network) in &layout.networks {
                ensure_network(inputs, *project, network, &mut effects);
            }
            for (id, instance) in &layout.instances {
                ensure_vms(inputs, *id, instance, &mut effects);
            }
            let vms = inputs.observed.vms.keys();
            let vms = vms.chain(inputs.observed.network.vm_nics.keys()).copied();
            remove_vms(inputs, standing, vms.collect(), &mut effects);
            for (project, sight) in seen {
                remove_ports(*project, sight, layout, &mut effects);
                remove_networks(inputs, *project, sight, layout, &mut effects);
            }
        }
        Scope::Part(part) => {
            let networks = part.projects.iter();
            let networks = networks.filter_map(|id| Some((id, layout.networks.get(id)?)));
            for (project, network) in networks {
                ensure_network(inputs, *project, network, &mut effects);
            }
            let instances = part.instances.iter();
            let instances = instances.filter_map(|id| Some((id, layout.instances.get(id)?)));
            for (id, instance) in instances.clone() {
                ensure_vms(inputs, *id, instance, &mut effects);
            }
            let vms = instances.flat_map(|(_, instance)| instance.vms.keys().copied());
            remove_vms(inputs, standing, vms.collect(), &mut effects);
            for project in &part.projects {
                if let Some(sight) = seen.get(project) {
                    remove_ports(*project, sight, layout, &mut effects);
                    remove_networks(inputs, *project, sight, layout, &mut effects);
                }
            }
        }
    }
    effects.retain(|effect| !inputs.observed.in_flight.contains(&effect.key()));
    effects.sort_by_cached_key(|effect| urgency(layout, effect));
    effects
}

/// What comes first where not everything can be begun at once: what heals goes before what is new.
fn urgency(layout: &Layout, effect: &Effect) -> u8 {
    match effect {
        Effect::EnsureFront | Effect::SetFence { .. } => 0,
        Effect::EnsureVm { instance, .. } => {
            let standing = layout.instances.get(instance);
            let mut vms = standing.into_iter().flat_map(|s| s.vms.values());
            let is_new = |vm: &VmLayout| vm.is_crew() && vm.verdict == Verdict::Starting;
            match vms.all(is_new) {
                true => 2,
                false => 1,
            }
        }
        _ => 1,
    }
}

/// A subnet's bridge is no step of its own: it comes with the first VM or port, whose step makes it.
fn ensure_network(
    inputs: Inputs<'_>,
    project: ProjectId,
    network: &NetworkLayout,
    effects: &mut Vec<Effect>,
) {
    let sight = inputs.observed.network.projects.get(&project);
    if sight.is_none() {
        effects.push(Effect::EnsureProject { project });
    }
    // A port that hangs on another subnet is taken from there first.
    let mut attached: BTreeSet<&String> = sight
        .into_iter()
        .flat_map(|s| s.subnets.values().flatten())
        .collect();
    for (id, subnet) in &network.subnets {
        for port in subnet.ports.iter().filter(|port| attached.insert(port)) {
            effects.push(Effect::EnsurePort {
                project,
                subnet: *id,
                interface: port.clone(),
            });
        }
    }
}

fn ensure_vms(
    inputs: Inputs<'_>,
    instance_id: InstanceId,
    instance: &InstanceLayout,
    effects: &mut Vec<Effect>,
) {
    for (id, vm) in &instance.vms {
        let sight = inputs.observed.vms.get(id);
        let runs = sight.is_some_and(|sight| sight.pid.is_some());
        if vm.leaving.is_some() {
            if runs && !removal::may_be_removed(inputs, instance_id, vm) {
                serve_on(inputs, *id, vm, &instance.config, effects);
            }
            continue;
        }
        if runs {
            set_fence(inputs, *id, vm, effects);
        }
        // One that is down is not started again, for it has its replacement; while it runs it is mended, for
        // it could not be seen to come back otherwise.
        let is_to_start = !runs && vm.verdict != Verdict::Down;
        if is_to_start || (runs && can_be_mended(inputs, *id)) {
            effects.push(Effect::EnsureVm {
                project: instance.project,
                instance: instance_id,
                vm: *id,
                layout: Box::new(vm.clone()),
            });
        }
        if runs {
            push_config(inputs, *id, &instance.config, effects);
        }
    }
}

fn push_config(inputs: Inputs<'_>, id: VmId, config: &BalancerConfig, effects: &mut Vec<Effect>) {
    let sight = inputs.observed.vms.get(&id);
    let heard = sight.and_then(|sight| sight.heartbeat.as_ref());
    let running = heard.and_then(|heard| heard.generation());
    if running != Some(config.generation) {
        let config = Box::new(config.clone());
        effects.push(Effect::PushConfig { vm: id, config });
    }
}

/// One that leaves serves its clients, as everybody does, until it is removed: with the newest configuration, for
/// a backend that was taken out must get nothing from it either.
fn serve_on(
    inputs: Inputs<'_>,
    id: VmId,
    vm: &VmLayout,
    config: &BalancerConfig,
    effects: &mut Vec<Effect>,
) {
    push_config(inputs, id, config, effects);
    let leaving = vm.leaving.as_ref();
    if leaving.is_some_and(|leaving| departure::is_to_be_told(inputs, id, leaving)) {
        effects.push(Effect::Drain { vm: id });
    }
}

/// Whether a NIC of a VM that runs is not as it should be, and can be: somebody else changed it. The front comes
/// first, since every VM's NIC hangs on it.
fn can_be_mended(inputs: Inputs<'_>, id: VmId) -> bool {
    let network = &inputs.observed.network;
    let nics = network.vm_nics.get(&id).copied().unwrap_or_default();
    network.front && !nics.is_whole() && !nics.lost
}

/// Closes the ports of a VM that is set aside, and opens those of any other. A VM without a process says
/// nothing, and has no ports when it was a machine.
fn set_fence(inputs: Inputs<'_>, id: VmId, vm: &VmLayout, effects: &mut Vec<Effect>) {
    let nics = inputs.observed.network.vm_nics.get(&id);
    let fenced = vm.is_fenced();
    // A NIC that is to serve is first made whole.
    let is_there = nics.is_some_and(|nics| fenced || nics.is_whole());
    if is_there && nics.is_some_and(|nics| nics.fenced != Some(fenced)) {
        effects.push(Effect::SetFence { vm: id, fenced });
    }
}

/// Of these VMs, those that are seen and are to go, or belong to nobody.
fn remove_vms(
    inputs: Inputs<'_>,
    standing: &Standing,
    vms: BTreeSet<VmId>,
    effects: &mut Vec<Effect>,
) {
    let observed = inputs.observed;
    for vm in vms {
        let owner = standing.owner(vm);
        let owner = owner.and_then(|id| Some((id, standing.layout().instances.get(&id)?)));
        let known = owner.and_then(|(id, instance)| Some((id, instance.vms.get(&vm)?)));
        let is_seen = observed.vms.contains_key(&vm) || observed.network.vm_nics.contains_key(&vm);
        let goes = known.is_none_or(|(id, layout)| removal::may_be_removed(inputs, id, layout));
        if is_seen && goes {
            effects.push(Effect::RemoveVm { vm });
        }
    }
}

fn remove_ports(
    project: ProjectId,
    sight: &ProjectSight,
    layout: &Layout,
    effects: &mut Vec<Effect>,
) {
    for (id, ports) in &sight.subnets {
        let wanted = layout
            .networks
            .get(&project)
            .and_then(|network| network.subnets.get(id));
        for port in ports
            .iter()
            .filter(|port| wanted.is_none_or(|w| !w.ports.contains(*port)))
        {
            effects.push(Effect::RemovePort {
                project,
                subnet: *id,
                interface: port.clone(),
            });
        }
    }
}

/// Networks are taken apart from the inside out: a bridge goes when it is decided no more and no port
/// is left on it, a namespace when no bridge is left, and either only while nothing in the project is
/// under way, for that may hang on it in a moment.
///
/// A bridge that stands in the layout stays even while it has neither VM nor port, since a VM may be
/// decided for it while its removal is under way; one that was dropped is never used again.
fn remove_networks(
    inputs: Inputs<'_>,
    project: ProjectId,
    sight: &ProjectSight,
    layout: &Layout,
    effects: &mut Vec<Effect>,
) {
    let inside = Effect::EnsureProject { project }.key() + "/";
    if inputs
        .observed
        .in_flight
        .iter()
        .any(|key| key.starts_with(&inside))
    {
        return;
    }
    let network = layout.networks.get(&project);
    let is_decided = |id: &SubnetId| network.is_some_and(|n| n.subnets.contains_key(id));
    for (id, ports) in &sight.subnets {
        if !is_decided(id) && ports.is_empty() {
            effects.push(Effect::RemoveSubnet {
                project,
                subnet: *id,
            });
        }
    }
    if network.is_none() && sight.subnets.is_empty() {
        effects.push(Effect::RemoveProject { project });
    }
}

#[cfg(test)]
mod tests;
