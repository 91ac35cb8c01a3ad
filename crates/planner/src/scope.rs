//! What a plan is about.

use std::collections::BTreeSet;

use model::{InstanceId, Intent, ProjectId, Subject, VmId};

use crate::Standing;

/// How much of everything is looked at.
///
/// Where a plan of everything has come to rest, and then only what concerns some instances changes, a plan of
/// these decides what a plan of everything would. What nobody can tell apart is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// A part of it.
    Part(Part),
}

/// Some instances and projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Instances that were asked for, changed or deleted, or of which something new is seen.
    pub instances: BTreeSet<InstanceId>,
    /// Projects that were made or deleted, or to which ports were given, or taken from them.
    pub projects: BTreeSet<ProjectId>,
}

impl Scope {
    /// Those instances, and nothing besides.
    pub fn of(instances: impl IntoIterator<Item = InstanceId>) -> Self {
        Self::Part(Part {
            instances: instances.into_iter().collect(),
            projects: BTreeSet::new(),
        })
    }

    /// Adds another part.
    #[must_use]
    pub fn and(mut self, other: Part) -> Self {
        if let Self::Part(part) = &mut self {
            part.instances.extend(other.instances);
            part.projects.extend(other.projects);
        }
        self
    }

    /// Adds whose VMs these are; what belongs to nobody may concern anything.
    #[must_use]
    pub fn and_vms(self, standing: &Standing, vms: impl IntoIterator<Item = VmId>) -> Self {
        let vms = vms.into_iter().map(|vm| Some(Subject::Vm(vm)));
        vms.fold(self, |scope, vm| scope.and_subject(standing, vm))
    }

    /// Adds what an effect worked on; `None`, and what belongs to nobody, may concern anything.
    #[must_use]
    pub fn and_subject(self, standing: &Standing, subject: Option<Subject>) -> Self {
        match subject {
            Some(Subject::Project(id)) => self.and(Part {
                projects: BTreeSet::from([id]),
                ..Part::default()
            }),
            Some(Subject::Vm(vm)) => match standing.owner(vm) {
                Some(id) => self.and(Part {
                    instances: BTreeSet::from([id]),
                    ..Part::default()
                }),
                None => Self::All,
            },
            None => Self::All,
        }
    }
}

impl Part {
    /// What users changed. A project's name is part of its instances' names.
    #[must_use]
    pub fn between(before: &Intent, after: &Intent) -> Self {
        let projects: BTreeSet<ProjectId> = before
            .projects
            .keys()
            .chain(after.projects.keys())
            .copied()
            .collect();
        let is_other = |id: &ProjectId| before.projects.get(id) != after.projects.get(id);
        let projects: BTreeSet<ProjectId> = projects.into_iter().filter(is_other).collect();
        let ids = before.instances.keys().chain(after.instances.keys());
        let is_other = |id: &&InstanceId| {
            let (one, other) = (before.instances.get(id), after.instances.get(id));
            let project = other.map(|other| other.project);
            one != other || project.is_some_and(|project| projects.contains(&project))
        };
        let instances = ids.filter(is_other).copied().collect();
        let ports = before.attachments.symmetric_difference(&after.attachments);
        let ports: BTreeSet<ProjectId> = ports.map(|port| port.project).collect();
        Self {
            instances,
            projects: &projects | &ports,
        }
    }
}
