//! Telling about the whole installation: what `evenkeel status` shows.

use std::collections::BTreeMap;

use model::forms::{EventDocument, InstanceBrief};
use model::{InstanceReport, ProjectId, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::status;

use super::Actions;
use super::info::instances_in;
use crate::failure::Failure;

/// Everything in short.
#[derive(Debug, Serialize)]
pub(crate) struct SystemDocument {
    zone: String,
    projects: Vec<ProjectLine>,
    vms: VmCounts,
    troubles: Vec<String>,
    events: Vec<EventDocument>,
    checkers: Vec<String>,
    /// Packets of figures that the monitor refused since it began, by whose they were and why.
    refused: BTreeMap<String, BTreeMap<String, u64>>,
    roles: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize)]
struct ProjectLine {
    name: String,
    id: ProjectId,
    user: String,
    instances: Vec<InstanceBrief>,
}

/// How many VMs are in each state, those that are leaving among them.
#[derive(Debug, Default, Serialize)]
struct VmCounts {
    starting: usize,
    serving: usize,
    suspect: usize,
    down: usize,
}

impl Actions {
    pub(super) async fn read_system(&self) -> Result<SystemDocument, Failure> {
        let intent = self.intent().await?;
        let mut projects = Vec::with_capacity(intent.projects.len());
        for project in intent.projects.values() {
            let briefs = instances_in(&intent, project).map(|placed| self.brief(&placed));
            projects.push(ProjectLine {
                name: project.name.clone(),
                id: project.id,
                user: project.user.clone(),
                instances: briefs.collect(),
            });
        }
        Ok(SystemDocument {
            zone: self.zone.clone(),
            projects,
            vms: self.count_vms()?,
            troubles: self.troubles()?,
            events: self.events(None).iter().map(EventDocument::from).collect(),
            checkers: self.checkers()?,
            refused: self.told(status::REFUSED_PREFIX)?,
            roles: self.told(status::ROLE_PREFIX)?,
        })
    }

    fn count_vms(&self) -> Result<VmCounts, Failure> {
        let prefix = status::INSTANCE_REPORT_PREFIX;
        let (_, reports) = self.status.range_json::<InstanceReport>(prefix)?;
        let mut counts = VmCounts::default();
        for vm in reports.iter().flat_map(|entry| &entry.value.vms) {
            let count = match vm.state {
                Verdict::Starting => &mut counts.starting,
                Verdict::Serving => &mut counts.serving,
                Verdict::Suspect => &mut counts.suspect,
                Verdict::Down => &mut counts.down,
            };
            *count += 1;
        }
        Ok(counts)
    }

    /// What the controller says, and what each role says of itself.
    pub(super) fn troubles(&self) -> Result<Vec<String>, Failure> {
        let reported = self.status.get_json::<Vec<String>>(status::TROUBLES_KEY)?;
        let mut troubles = reported.map_or_else(Vec::new, |entry| entry.value);
        troubles.extend(status::troubles(&self.status)?);
        Ok(troubles)
    }

    /// The names of the checkers that are alive.
    fn checkers(&self) -> Result<Vec<String>, Failure> {
        let (_, entries) = self.status.range(status::SIGHT_PREFIX)?;
        let names = entries.iter().map(|entry| &entry.key);
        let names = names.filter_map(|key| key.strip_prefix(status::SIGHT_PREFIX));
        Ok(names.map(str::to_owned).collect())
    }

    /// What stands under a prefix, by the rest of each key.
    pub(super) fn told<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<BTreeMap<String, T>, Failure> {
        let (_, entries) = self.status.range_json::<T>(prefix)?;
        let name = |key: &str| key.strip_prefix(prefix).unwrap_or(key).to_owned();
        let named = entries.into_iter();
        Ok(named.map(|entry| (name(&entry.key), entry.value)).collect())
    }
}
