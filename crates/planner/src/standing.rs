//! What stands: the layout, what was said of it, and what is counted over all of it.

use std::sync::Arc;

use model::{
    Instance, InstanceId, InstanceLayout, Intent, Layout, PersistentMap, Report, Timestamp, VmId,
    VmLayout,
};

use crate::counts::Counted;
use crate::draft::Draft;
use crate::scaling::wanted_vms;
use crate::scope::{Part, Scope};
use crate::{Inputs, breaker, clock, removal, report};

/// A layout with all that a plan of a part of it has to know of the rest. A copy costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    layout: Layout,
    report: Report,
    pub(crate) counted: Counted,
    /// Instances on which others may have an effect, or that wait for the zone: part of every plan.
    restless: PersistentMap<InstanceId, ()>,
    /// When it was planned; nothing for a layout from elsewhere, which is planned whole first.
    planned_at: Option<Timestamp>,
}

impl Standing {
    /// A layout from elsewhere, and what was asked for when it was decided, as far as that is known.
    #[must_use]
    pub fn of(intent: &Intent, layout: Layout) -> Self {
        Self {
            counted: Counted::of(intent, &layout),
            layout,
            ..Self::default()
        }
    }

    /// What a plan decided.
    pub(crate) fn decided(inputs: Inputs<'_>, before: &Self, draft: Draft) -> Self {
        let report = report::account(inputs, before, &draft);
        let mut restless = before.restless.clone();
        for id in &draft.ids {
            let standing = draft.instances.get(id);
            let asked = inputs.intent.instances.get(id);
            match standing.is_some_and(|standing| is_restless(inputs, &draft, asked, standing)) {
                true => restless.insert(*id, ()),
                false => restless.remove(id),
            };
        }
        Self {
            report,
            restless,
            planned_at: Some(inputs.now),
            counted: draft.counted.clone(),
            layout: draft.into_layout(&before.layout),
        }
    }

    /// The same with another layout, planned whole next.
    #[must_use]
    pub fn replaced(&self, intent: &Intent, layout: Layout) -> Self {
        Self {
            report: self.report.clone(),
            ..Self::of(intent, layout)
        }
    }

    /// Every decision that stands.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What was last said of each instance.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whose a VM is.
    #[must_use]
    pub fn owner(&self, vm: VmId) -> Option<InstanceId> {
        self.counted.owner(vm)
    }

    /// Whether times in the layout may lie ahead of the clock: it comes from elsewhere, or the clock was set back.
    pub(crate) fn may_be_ahead(&self, now: Timestamp) -> bool {
        self.planned_at.is_none_or(|at| now < at)
    }

    /// Whether what is counted is what would be counted anew.
    #[must_use]
    pub fn is_counted_right(&self, intent: &Intent) -> bool {
        let anew = Counted::of(intent, &self.layout);
        self.counted.clone().without_hints() == anew.without_hints()
    }

    /// What differs from what stood before this was decided.
    pub(crate) fn changed_since(&self, before: &Self) -> Option<Part> {
        let (one, other) = (&before.layout, &self.layout);
        let instances = one.instances.changes(&other.instances, Arc::ptr_eq);
        let projects = one.networks.changes(&other.networks, Arc::ptr_eq);
        let part = Part {
            instances: instances.iter().map(|change| *change.key).collect(),
            projects: projects.iter().map(|change| *change.key).collect(),
        };
        let rest = |layout: &Layout| (layout.dns.serial, layout.host.clone());
        let is_same =
            part == Part::default() && rest(one) == rest(other) && one.ledger == other.ledger;
        (!is_same).then_some(part)
    }

    /// What a plan has to be about, where its caller knows of some changes: at least those, and the restless.
    /// Times, the machine's last start and an open breaker concern everything.
    pub(crate) fn widened(&self, inputs: Inputs<'_>, scope: &Scope) -> Scope {
        let Scope::Part(part) = scope else {
            return Scope::All;
        };
        let boot_id = &inputs.observed.boot_id;
        let is_anew = !boot_id.is_empty() && *boot_id != self.layout.host.boot_id;
        let is_anew = is_anew || self.may_be_ahead(inputs.now);
        let host = &self.layout.host;
        if is_anew || clock::is_set(inputs, host) || host.breaker_open_since.is_some() {
            return Scope::All;
        }
        let mut part = part.clone();
        part.instances.extend(self.restless.keys());
        Scope::Part(part)
    }
}

/// Whether what becomes of an instance may depend on more than what is seen of itself: the breaker holds VMs of
/// it, VMs are missing or too many, a backend of another has a VM's address, or a generation of the zone is
/// awaited.
fn is_restless(
    inputs: Inputs<'_>,
    draft: &Draft,
    asked: Option<&Instance>,
    standing: &InstanceLayout,
) -> bool {
    // Zero stands for a generation of the zone that is not decided.
    let mut leaving = standing.vms.values().filter_map(|vm| vm.leaving.as_ref());
    if leaving.any(|leaving| leaving.dns_serial == 0) {
        return true;
    }
    let Some(asked) = asked else {
        return false;
    };
    let published = inputs.observed.dns_serial;
    let awaits_dns = published.is_none_or(|published| published < standing.zone_serial);
    let crew = || standing.vms.values().filter(|vm| vm.is_crew());
    let crowded = |vm: &VmLayout| draft.counted.is_backend(asked.project, vm.tenant.address);
    let parts =
        |vm: &VmLayout| vm.leaving.is_some() && !removal::may_be_removed(inputs, asked.id, vm);
    awaits_dns
        || crew().count() != wanted_vms(asked, standing)
        || crew().any(|vm| breaker::is_held(vm) || crowded(vm))
        || standing.vms.values().any(parts)
}

#[cfg(test)]
mod tests;
