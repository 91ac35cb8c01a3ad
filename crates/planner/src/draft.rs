//! What a plan is worked out on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use model::{
    DnsLayout, HostLayout, InstanceId, InstanceLayout, Intent, Layout, Ledger, NetworkLayout,
    PersistentMap, ProjectId, SubnetId,
};

use crate::counts::Counted;
use crate::scope::Scope;
use crate::standing::Standing;
use crate::{Inputs, Part};

/// A layout that is being decided: the parts of it that a plan is about. What comes out as it was is shared with
/// the layout that it was taken from: who decides looks first, and takes a copy only where something changes
/// ([`Arc::make_mut`]).
pub(crate) struct Draft {
    /// The instances that the plan is about, those that are not there yet, or not any more, included.
    pub(crate) ids: BTreeSet<InstanceId>,
    /// The projects that it is about.
    pub(crate) projects: BTreeSet<ProjectId>,
    /// Whether it is about everything.
    pub(crate) is_whole: bool,
    pub(crate) instances: BTreeMap<InstanceId, Arc<InstanceLayout>>,
    pub(crate) networks: BTreeMap<ProjectId, NetworkLayout>,
    pub(crate) dns: DnsLayout,
    pub(crate) ledger: Ledger,
    pub(crate) host: HostLayout,
    /// What is counted over everything, the draft included.
    pub(crate) counted: Counted,
    /// Whether times that were decided may lie ahead of the clock.
    pub(crate) may_be_ahead: bool,
    /// Tenant addresses of VMs that this plan forgets.
    pub(crate) freed: BTreeSet<(SubnetId, Ipv4Addr)>,
}

impl Draft {
    /// What stands, of the instances and projects that the plan is about.
    pub(crate) fn of(inputs: Inputs<'_>, before: &Standing, scope: &Scope) -> Self {
        let (layout, intent) = (before.layout(), inputs.intent);
        let mut draft = Self {
            ids: BTreeSet::new(),
            projects: BTreeSet::new(),
            is_whole: *scope == Scope::All,
            instances: BTreeMap::new(),
            networks: BTreeMap::new(),
            dns: layout.dns.clone(),
            ledger: layout.ledger.clone(),
            host: layout.host.clone(),
            counted: before.counted.clone(),
            may_be_ahead: before.may_be_ahead(inputs.now),
            freed: BTreeSet::new(),
        };
        match scope {
            Scope::All => {
                let (projects, networks) = (intent.projects.keys(), layout.networks.keys());
                draft.add_projects(layout, projects.chain(networks).copied());
                let (asked, standing) = (intent.instances.keys(), layout.instances.keys());
                draft.add_instances(intent, layout, asked.chain(standing).copied());
            }
            Scope::Part(part) => {
                draft.add_projects(layout, part.projects.iter().copied());
                draft.add_instances(intent, layout, part.instances.iter().copied());
            }
        }
        draft
    }

    /// Makes some more instances part of the plan, each with its project.
    pub(crate) fn add_instances(
        &mut self,
        intent: &Intent,
        layout: &Layout,
        ids: impl IntoIterator<Item = InstanceId>,
    ) {
        for id in ids {
            if !self.ids.insert(id) {
                continue;
            }
            let standing = layout.instances.get(&id);
            let asked = intent.instances.get(&id).map(|asked| asked.project);
            let project = standing.map(|standing| standing.project);
            self.add_projects(layout, asked.into_iter().chain(project));
            let shared = standing.map(|standing| (id, Arc::clone(standing)));
            self.instances.extend(shared);
        }
    }

    fn add_projects(&mut self, layout: &Layout, ids: impl IntoIterator<Item = ProjectId>) {
        for id in ids {
            if self.projects.insert(id) {
                let network = layout.networks.get(&id);
                let copy = network.map(|network| (id, NetworkLayout::clone(network)));
                self.networks.extend(copy);
            }
        }
    }

    /// Counts what is asked for. An instance on whose VM's address a backend is found becomes part of the plan.
    pub(crate) fn count_what_is_asked(&mut self, inputs: Inputs<'_>, layout: &Layout) {
        let intent = inputs.intent;
        let mut crowded = Vec::new();
        for id in &self.ids {
            let asked = intent.instances.get(id);
            let standing = self.instances.get(id).map(Arc::as_ref);
            crowded.extend(self.counted.note_asked(intent, *id, asked, standing));
        }
        self.add_instances(intent, layout, crowded);
    }

    /// Counts how many VMs there are to be.
    pub(crate) fn count_what_is_wanted(&mut self, inputs: Inputs<'_>) {
        for id in &self.ids {
            let asked = inputs.intent.instances.get(id);
            let asked = asked.zip(self.instances.get(id).map(Arc::as_ref));
            self.counted.note_wanted(*id, asked);
        }
    }

    /// Counts the VMs.
    pub(crate) fn count_vms(&mut self) {
        for id in &self.ids {
            let standing = self.instances.get(id).map(Arc::as_ref);
            self.counted.note_vms(*id, standing);
        }
    }

    /// Counts the addresses that the zone names.
    pub(crate) fn count_what_is_named(&mut self) {
        for id in &self.ids {
            self.counted.note_named(*id, &self.dns.records);
        }
    }

    /// What the plan was about.
    pub(crate) fn scope(&self) -> Scope {
        match self.is_whole {
            true => Scope::All,
            false => Scope::Part(Part {
                instances: self.ids.clone(),
                projects: self.projects.clone(),
            }),
        }
    }

    /// The layout that was decided, where `before` is the one that the draft was taken from.
    pub(crate) fn into_layout(self, before: &Layout) -> Layout {
        let mut layout = before.clone();
        put_back(&mut layout.instances, &self.ids, self.instances);
        let networks = self.networks.into_iter();
        let networks = networks.map(|(id, network)| (id, Arc::new(network)));
        put_back(&mut layout.networks, &self.projects, networks.collect());
        layout.dns = self.dns;
        layout.ledger = self.ledger;
        layout.host = self.host;
        layout
    }
}

/// Puts what changed into the map, and takes out what is gone.
fn put_back<K: Ord + Copy, V: PartialEq>(
    map: &mut PersistentMap<K, Arc<V>>,
    about: &BTreeSet<K>,
    mut decided: BTreeMap<K, Arc<V>>,
) {
    for id in about {
        let known = map.get(id);
        match decided.remove(id) {
            Some(value) if known.is_some_and(|known| is_same(known, &value)) => {}
            Some(value) => {
                map.insert(*id, value);
            }
            None if known.is_some() => {
                map.remove(id);
            }
            None => {}
        }
    }
}

fn is_same<V: PartialEq>(one: &Arc<V>, other: &Arc<V>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
