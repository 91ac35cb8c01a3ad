//! Telling the other roles how each instance stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use model::{InstanceId, InstanceReport, ProjectId, Report};
use store::status::{REPORT_PREFIX, TROUBLES_KEY, project_report_key, put_trouble, report_key};
use store::{Store, Transaction};

/// Figures that change all the time are told this often; anything else at once.
const FIGURES_INTERVAL: Duration = Duration::from_millis(500);

/// Under which rounds that fail are a trouble.
const FAILURE: &str = "controller/rounds";

/// Writes the report's changes to the status store.
pub(super) struct Reporter {
    status: Store,
    told: BTreeMap<InstanceId, Told>,
    projects: BTreeSet<ProjectId>,
    troubles: Option<Vec<String>>,
    /// What was said of rounds that fail; nothing yet, that none does, or why.
    failure: Option<Option<String>>,
    /// Where an earlier controller told something, until this one has told what it knows. It stands until
    /// then: what has no account counts as gone.
    inherited: BTreeSet<String>,
}

struct Told {
    report: InstanceReport,
    essence: InstanceReport,
    at: Instant,
}

impl Reporter {
    /// Takes over from an earlier controller, whose word is replaced with the first that is published.
    pub(super) fn new(status: Store) -> anyhow::Result<Self> {
        let (_, told) = status.range(REPORT_PREFIX)?;
        Ok(Self {
            status,
            told: BTreeMap::new(),
            projects: BTreeSet::new(),
            troubles: None,
            failure: None,
            inherited: told.into_iter().map(|entry| entry.key).collect(),
        })
    }

    /// Writes what changed since the last time, in one transaction. `projects` are those of which
    /// something is in the world.
    pub(super) fn publish(
        &mut self,
        report: &Report,
        projects: BTreeSet<ProjectId>,
    ) -> anyhow::Result<()> {
        let fresh = self.untold(report);
        let mut changes = Transaction::new();
        for (id, told) in &fresh {
            changes = changes.put_json(report_key(*id), &told.report)?;
        }
        for id in self
            .told
            .keys()
            .filter(|id| !report.instances.contains_key(id))
        {
            changes = changes.delete(report_key(*id));
        }
        for id in projects.difference(&self.projects) {
            changes = changes.put_json(project_report_key(*id), &())?;
        }
        for id in self.projects.difference(&projects) {
            changes = changes.delete(project_report_key(*id));
        }
        if self.troubles.as_ref() != Some(&report.troubles) {
            changes = changes.put_json(TROUBLES_KEY, &report.troubles)?;
        }
        for key in &self.inherited - &keys(report, &projects) {
            changes = changes.delete(key);
        }
        if !changes.is_read_only() {
            self.status.commit(changes)?;
        }
        self.inherited.clear();
        self.told.extend(fresh);
        self.told.retain(|id, _| report.instances.contains_key(id));
        self.projects = projects;
        self.troubles = Some(report.troubles.clone());
        Ok(())
    }

    /// Says why nothing is decided at the moment, or that all is well again. What cannot be told is in the log,
    /// and is tried again after the next round.
    pub(super) fn tell_failure(&mut self, failure: Option<String>) {
        if self.failure.as_ref() == Some(&failure) {
            return;
        }
        let words = failure
            .as_ref()
            .map(|error| format!("nothing is changed at the moment; what serves goes on: {error}"));
        if put_trouble(&self.status, FAILURE, words.as_deref()).is_ok() {
            self.failure = Some(failure);
        }
    }

    fn untold(&self, report: &Report) -> Vec<(InstanceId, Told)> {
        let reports = report
            .instances
            .iter()
            .map(|(id, report)| (*id, report, essence(report)));
        reports
            .filter(|(id, report, essence)| !self.is_told(*id, report, essence))
            .map(|(id, report, essence)| {
                let (report, at) = (report.clone(), Instant::now());
                (
                    id,
                    Told {
                        report,
                        essence,
                        at,
                    },
                )
            })
            .collect()
    }

    fn is_told(&self, id: InstanceId, report: &InstanceReport, essence: &InstanceReport) -> bool {
        self.told.get(&id).is_some_and(|told| {
            told.report == *report
                || (told.essence == *essence && told.at.elapsed() < FIGURES_INTERVAL)
        })
    }
}

/// Where all of it is told.
fn keys(report: &Report, projects: &BTreeSet<ProjectId>) -> BTreeSet<String> {
    let instances = report.instances.keys().map(|id| report_key(*id));
    let projects = projects.iter().map(|id| project_report_key(*id));
    let troubles = [TROUBLES_KEY.to_owned()];
    instances.chain(projects).chain(troubles).collect()
}

/// A report without the figures that change all the time.
fn essence(report: &InstanceReport) -> InstanceReport {
    let mut essence = report.clone();
    for vm in &mut essence.vms {
        vm.requests = 0;
        vm.load = None;
    }
    for backend in &mut essence.backends {
        backend.requests = 0;
        backend.since = None;
        backend.last_check.clear();
    }
    if let Some(scaling) = &mut essence.scaling {
        scaling.rule.clear();
        scaling.metrics.clear();
    }
    essence.waiting_for.clear();
    essence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: &Store) -> Vec<String> {
        let (_, entries) = status.range(REPORT_PREFIX).unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn an_earlier_controllers_word_stands_until_it_is_replaced() {
        let status = Store::in_memory();
        let projects = |ids: &[u64]| ids.iter().map(|id| ProjectId(*id)).collect();
        let mut earlier = Reporter::new(status.clone()).unwrap();
        earlier
            .publish(&Report::default(), projects(&[1, 2]))
            .unwrap();
        let mut later = Reporter::new(status.clone()).unwrap();
        let key = |id| project_report_key(ProjectId(id));
        let troubles = TROUBLES_KEY.to_owned();
        assert_eq!(told(&status), [key(1), key(2), troubles.clone()]);
        later
            .publish(&Report::default(), projects(&[2, 3]))
            .unwrap();
        assert_eq!(told(&status), [key(2), key(3), troubles]);
    }
}
