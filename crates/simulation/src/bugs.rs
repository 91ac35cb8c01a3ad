//! Planted bugs: what the simulation must find, or it proves nothing.
//!
//! Each is of a kind that controllers of load balancers really had, put at the seam between the planner and
//! the simulated controller: the planner's own code is what runs in the field, and is left alone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use clap::ValueEnum;
use model::{
    AutoScaling, Effect, InstanceId, InstanceLayout, Intent, Layout, Observation, PersistentMap,
    Timestamp, VmId,
};
use planner::Settings;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Bug {
    /// A new VM gets the front address of another.
    DoubleOwner,
    /// Addresses are used again at once.
    NoRest,
    /// An interface that is detached stays on its bridge.
    LeakedPort,
    /// A bridge that nobody needs stays.
    LeakedBridge,
    /// A VM that belongs to nobody stays.
    LeakedVm,
    /// Everything that is found down is replaced at once, be it everything there is.
    MassFailover,
    /// The DNS role publishes a zone that it read earlier.
    StaleZone,
    /// Records change under the same serial.
    SilentZoneChange,
    /// An instance's name is dropped while none of its VMs serves.
    EmptyZone,
    /// A controller writes what it decided over what another decided meanwhile.
    LostUpdate,
    /// A change of the intent does not reach a controller that has begun.
    DeafToUsers,
    /// What is sent to a VM is not sent again when it was lost.
    PushedOnce,
    /// What leaves is removed before DNS has dropped it.
    RemovedInUse,
    /// A VM's heartbeats are taken for those of the newest configuration.
    ZombieBelieved,
    /// What is set aside is not fenced.
    NoFence,
    /// What comes back stays fenced.
    FenceForEver,
    /// An effect that failed is never tried again.
    NoRetry,
    /// One checker's failing probe is enough.
    OneProbeKills,
    /// A controller that begins takes what it has not heard yet for silence.
    RestartKills,
    /// A controller that begins knows nothing of what was decided.
    Amnesia,
    /// Effects are begun before the layout is stored.
    ActsFirst,
    /// A VM too many is added and taken away, again and again.
    Flapping,
    /// What died is never replaced.
    NoReplacement,
    /// Damage by hand is not repaired.
    NoRepair,
}

impl Bug {
    /// What the controller sees.
    pub(crate) fn bend_sight(self, observed: &mut Observation, layout: &Layout) {
        match self {
            Self::ZombieBelieved => believe(observed, layout),
            Self::OneProbeKills => {
                let failing: BTreeSet<VmId> = observed
                    .probes
                    .values()
                    .flatten()
                    .filter(|(_, sight)| !sight.answered && sight.streak >= 3)
                    .map(|(id, _)| *id)
                    .collect();
                for id in failing {
                    observed.vms.entry(id).and_modify(|sight| sight.pid = None);
                }
            }
            Self::RestartKills => {
                for sight in observed.vms.values_mut().filter(|s| s.heartbeat.is_none()) {
                    if sight.watched_ms < 300 {
                        sight.pid = None;
                    }
                }
            }
            _ => {}
        }
    }

    /// What the operator set.
    pub(crate) fn bend_settings(self, settings: &mut Settings) {
        if self == Self::MassFailover {
            settings.breaker.at_least = usize::MAX;
        }
    }

    /// What users asked for: every other minute, those that have bounds are given a VM more.
    pub(crate) fn bend_intent(self, intent: &Arc<Intent>, now: Timestamp) -> Arc<Intent> {
        if self != Self::Flapping || (now.0 / 60_000).is_multiple_of(2) {
            return Arc::clone(intent);
        }
        let mut bent = Intent::clone(intent);
        for asked in bent.instances.values_mut() {
            if let AutoScaling::Between(scaling) = &mut asked.auto_scaling {
                scaling.min = (scaling.min + 1).min(scaling.max);
            }
        }
        Arc::new(bent)
    }

    /// What was decided, after `before`.
    pub(crate) fn bend_plan(self, before: &Layout, next: &mut Layout) {
        match self {
            Self::DoubleOwner => share_addresses(before, next),
            Self::NoRest => next.ledger.resting = PersistentMap::default(),
            Self::SilentZoneChange => next.dns.serial = before.dns.serial.max(1),
            Self::EmptyZone => drop_the_unserved(next),
            Self::NoReplacement => {
                alter(next, |id, instance| {
                    let old = before.instances.get(&id);
                    let known = |vm: &VmId| old.is_none_or(|old| old.vms.contains_key(vm));
                    instance.vms.retain(|vm, _| known(vm));
                });
                let stand = next.instances.values().flat_map(|i| i.vms.keys().copied());
                next.ledger.last_vm = stand.fold(before.ledger.last_vm, VmId::max);
            }
            _ => {}
        }
    }

    /// What is to be done.
    pub(crate) fn bend_effects(
        self,
        effects: &mut Vec<Effect>,
        layout: &Layout,
        observed: &Observation,
    ) {
        let stands = |vm: &VmId| layout.instances.values().any(|i| i.vms.contains_key(vm));
        let runs = |vm: &VmId| {
            observed
                .vms
                .get(vm)
                .is_some_and(|sight| sight.pid.is_some())
        };
        effects.retain(|effect| match (self, effect) {
            (Self::LeakedPort, Effect::RemovePort { .. })
            | (Self::LeakedBridge, Effect::RemoveSubnet { .. })
            | (Self::NoFence, Effect::SetFence { fenced: true, .. })
            | (Self::FenceForEver, Effect::SetFence { fenced: false, .. }) => false,
            (Self::LeakedVm, Effect::RemoveVm { vm }) => stands(vm),
            (Self::NoRepair, Effect::EnsureVm { vm, .. }) => !runs(vm),
            _ => true,
        });
        if self == Self::RemovedInUse {
            remove_what_leaves(effects, layout, observed);
        }
    }
}

fn believe(observed: &mut Observation, layout: &Layout) {
    for instance in layout.instances.values() {
        for id in instance.vms.keys() {
            let sight = observed.vms.get_mut(id);
            if let Some(heard) = sight.and_then(|sight| sight.heartbeat.as_mut()) {
                let heartbeat = &mut heard.heartbeat;
                heartbeat.generation = heartbeat.generation.map(|_| instance.config.generation);
            }
        }
    }
}

fn share_addresses(before: &Layout, next: &mut Layout) {
    let mut instances = before.instances.values().flat_map(|i| i.vms.values());
    let Some(front) = instances.next().map(|vm| vm.front.address) else {
        return;
    };
    alter(next, |id, instance| {
        let old = before.instances.get(&id);
        let known = |vm: &VmId| old.is_some_and(|old| old.vms.contains_key(vm));
        for (_, vm) in instance.vms.iter_mut().filter(|(id, _)| !known(id)) {
            vm.front.address = front;
        }
    });
}

/// Changes every instance of a layout.
pub(crate) fn alter(layout: &mut Layout, change: impl Fn(InstanceId, &mut InstanceLayout)) {
    let instances = layout.instances.iter().map(|(id, instance)| {
        let mut instance = InstanceLayout::clone(instance);
        change(*id, &mut instance);
        (*id, Arc::new(instance))
    });
    layout.instances = instances.collect();
}

fn drop_the_unserved(next: &mut Layout) {
    let vms = next.instances.values().flat_map(|i| i.vms.values());
    let serving: BTreeSet<Ipv4Addr> = vms
        .filter(|vm| vm.is_serving())
        .map(|vm| vm.front.address)
        .collect();
    let records = next.dns.records.len();
    let serves = |addresses: &BTreeSet<Ipv4Addr>| !addresses.is_disjoint(&serving);
    next.dns.records.retain(|_, addresses| serves(addresses));
    next.dns.serial += u32::from(next.dns.records.len() != records);
}

fn remove_what_leaves(effects: &mut Vec<Effect>, layout: &Layout, observed: &Observation) {
    let vms = layout.instances.values().flat_map(|i| &i.vms);
    for (id, _) in vms.filter(|(_, vm)| vm.leaving.is_some()) {
        let effect = Effect::RemoveVm { vm: *id };
        let key = effect.key();
        let doubled = effects.iter().any(|known| known.key() == key);
        if !doubled && !observed.in_flight.contains(&key) && observed.vms.contains_key(id) {
            effects.push(effect);
        }
    }
}
