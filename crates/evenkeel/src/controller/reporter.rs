//! Telling the other roles how each instance stands.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{BackendReport, InstanceId, InstanceReport, ProjectId, Report, Timestamp};
use planner::{Known, Scope};
use store::status::{
    INSTANCE_REPORT_PREFIX, INTENT_KEY, REPORT_PREFIX, TROUBLES_KEY, project_report_key,
    put_trouble, report_key,
};
use store::{Revision, Store, Transaction};

/// Figures that change all the time are told this often; anything else at once.
const FIGURES_INTERVAL: Duration = Duration::from_millis(500);

/// By how much two accounts of the same moment may differ: it is counted back from an age that was told, on its way.
const JITTER_MS: u64 = 1_000;

/// Reports that are written in one transaction. The first account of many thousands is cut into these.
const MOST_AT_ONCE: usize = 1_000;

/// Under which rounds that fail are a trouble.
const FAILURE: &str = "controller/rounds";

/// Writes the report's changes to the status store.
pub(super) struct Reporter {
    status: Store,
    told: BTreeMap<InstanceId, Told>,
    turned: BTreeMap<InstanceId, Turned>,
    projects: BTreeSet<ProjectId>,
    troubles: Option<Vec<String>>,
    intent: Option<Revision>,
    /// What was said of rounds that fail; nothing yet, that none does, or why.
    failure: Option<Option<String>>,
    /// Where an earlier controller told something, until this one has told what it knows. It stands until
    /// then: what has no account counts as gone.
    inherited: BTreeSet<String>,
}

/// Of what the last turn was told.
struct Turned {
    report: Arc<InstanceReport>,
    known: Known,
}

struct Told {
    report: Arc<InstanceReport>,
    essence: InstanceReport,
    at: Instant,
}

impl Reporter {
    /// Takes over from an earlier controller, whose word is replaced with the first that is published.
    pub(super) fn new(status: Store) -> anyhow::Result<Self> {
        let (_, told) = status.range(REPORT_PREFIX)?;
        Ok(Self {
            turned: turned_before(&status),
            status,
            told: BTreeMap::new(),
            projects: BTreeSet::new(),
            troubles: None,
            intent: None,
            failure: None,
            inherited: told.into_iter().map(|entry| entry.key).collect(),
        })
    }

    /// What is another since the last time, of what is in the scope, in words.
    pub(super) fn turns(
        &mut self,
        report: &Report,
        scope: &Scope,
        now: Timestamp,
    ) -> Vec<planner::Told> {
        let gone = match scope {
            Scope::All => self.turned.keys().copied().collect(),
            Scope::Part(part) => part.instances.clone(),
        };
        let gone = gone.into_iter();
        for id in gone.filter(|id| !report.instances.contains_key(id)) {
            self.turned.remove(&id);
        }
        let reports: Vec<_> = match scope {
            Scope::All => report.instances.iter().collect(),
            Scope::Part(part) => {
                let ids = part.instances.iter();
                ids.filter_map(|id| Some((id, report.instances.get(id)?)))
                    .collect()
            }
        };
        let mut told = Vec::new();
        for (id, report) in reports {
            let events = self.turn(*id, report, now);
            told.extend(events.into_iter().map(|event| (Some(*id), event)));
        }
        told
    }

    fn turn(
        &mut self,
        id: InstanceId,
        report: &Arc<InstanceReport>,
        now: Timestamp,
    ) -> Vec<model::Event> {
        match self.turned.entry(id) {
            Entry::Vacant(place) => {
                let mut known = Known::default();
                let events = known.turn(report, now);
                let report = Arc::clone(report);
                place.insert(Turned { report, known });
                events
            }
            Entry::Occupied(turned) => {
                let turned = turned.into_mut();
                let holds_back = turned.known.holds_back();
                if Arc::ptr_eq(&turned.report, report) && !holds_back {
                    return Vec::new();
                }
                let may_turn = holds_back || Known::may_turn(&turned.report, report);
                turned.report = Arc::clone(report);
                match may_turn {
                    true => turned.known.turn(report, now),
                    false => Vec::new(),
                }
            }
        }
    }

    /// Writes what changed since the last time of what is in the scope. Each report is written whole; of very many,
    /// some stand before others. `intent` is the revision that the report goes by; `projects` are those in the scope of
    /// which something is in the world.
    ///
    /// # Errors
    /// Those of the status store. What was written until then counts as told.
    pub(super) fn publish(
        &mut self,
        report: &Report,
        scope: &Scope,
        intent: Revision,
        projects: BTreeSet<ProjectId>,
    ) -> anyhow::Result<()> {
        let mut fresh = self.untold(report, scope);
        while fresh.len() > MOST_AT_ONCE {
            let part = fresh.split_off(fresh.len() - MOST_AT_ONCE);
            self.status.commit(put_reports(&part)?)?;
            self.told.extend(part);
        }
        let gone = self.gone(report, scope);
        let left = match scope {
            Scope::All => &self.projects - &projects,
            Scope::Part(part) => &(&part.projects & &self.projects) - &projects,
        };
        let mut changes = put_reports(&fresh)?;
        for id in &gone {
            changes = changes.delete(report_key(*id));
        }
        for id in projects.difference(&self.projects) {
            changes = changes.put_json(project_report_key(*id), &())?;
        }
        for id in &left {
            changes = changes.delete(project_report_key(*id));
        }
        if self.troubles.as_ref() != Some(&report.troubles) {
            changes = changes.put_json(TROUBLES_KEY, &report.troubles)?;
        }
        if self.intent != Some(intent) {
            changes = changes.put_json(INTENT_KEY, &intent.get())?;
        }
        // An earlier controller's word is replaced when everything is told.
        let inherits = *scope == Scope::All && !self.inherited.is_empty();
        if inherits {
            for key in &self.inherited - &keys(report, &projects) {
                changes = changes.delete(key);
            }
        }
        if !changes.is_read_only() {
            self.status.commit(changes)?;
        }
        if inherits {
            self.inherited.clear();
        }
        self.told.extend(fresh);
        gone.iter().for_each(|id| drop(self.told.remove(id)));
        self.projects.extend(projects);
        self.projects.retain(|id| !left.contains(id));
        self.troubles = Some(report.troubles.clone());
        self.intent = Some(intent);
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

    fn untold(&self, report: &Report, scope: &Scope) -> Vec<(InstanceId, Told)> {
        let untold = |(id, report): (&InstanceId, &Arc<InstanceReport>)| {
            let at = Instant::now();
            let told = self.told.get(id);
            if told.is_some_and(|told| Arc::ptr_eq(&told.report, report)) {
                return None;
            }
            let essence = essence(report);
            let is_new = !self.is_told(*id, report, &essence);
            let report = Arc::clone(report);
            is_new.then_some((
                *id,
                Told {
                    report,
                    essence,
                    at,
                },
            ))
        };
        match scope {
            Scope::All => report.instances.iter().filter_map(untold).collect(),
            Scope::Part(part) => {
                let reports = part.instances.iter();
                let reports = reports.filter_map(|id| Some((id, report.instances.get(id)?)));
                reports.filter_map(untold).collect()
            }
        }
    }

    /// What was told of and is not there any more.
    fn gone(&self, report: &Report, scope: &Scope) -> Vec<InstanceId> {
        let is_gone = |id: &&InstanceId| !report.instances.contains_key(*id);
        match scope {
            Scope::All => self.told.keys().filter(is_gone).copied().collect(),
            Scope::Part(part) => {
                let told = part
                    .instances
                    .iter()
                    .filter(|id| self.told.contains_key(id));
                told.filter(is_gone).copied().collect()
            }
        }
    }

    fn is_told(&self, id: InstanceId, report: &InstanceReport, essence: &InstanceReport) -> bool {
        self.told.get(&id).is_some_and(|told| {
            is_same(&told.report, report)
                || (told.essence == *essence && told.at.elapsed() < FIGURES_INTERVAL)
        })
    }
}

/// What an earlier controller told. What cannot be read is told again.
fn turned_before(status: &Store) -> BTreeMap<InstanceId, Turned> {
    let reports = status.range_json::<InstanceReport>(INSTANCE_REPORT_PREFIX);
    let (_, reports) = reports.unwrap_or_default();
    let turned = reports.into_iter().filter_map(|entry| {
        let id = entry.key.strip_prefix(INSTANCE_REPORT_PREFIX)?.parse();
        let known = Known::of(&entry.value);
        let report = Arc::new(entry.value);
        Some((InstanceId(id.ok()?), Turned { report, known }))
    });
    turned.collect()
}

fn put_reports(reports: &[(InstanceId, Told)]) -> anyhow::Result<Transaction> {
    let mut changes = Transaction::new();
    for (id, told) in reports {
        changes = changes.put_json(report_key(*id), told.report.as_ref())?;
    }
    Ok(changes)
}

/// Whether two reports say the same, but for the jitter of moments that are counted back.
fn is_same(told: &InstanceReport, report: &InstanceReport) -> bool {
    if *told == *report {
        return true;
    }
    let is_near = |one: &BackendReport, other: &BackendReport| match (one.since, other.since) {
        (Some(one), Some(other)) => one.0.abs_diff(other.0) < JITTER_MS,
        (one, other) => one == other,
    };
    let mut pairs = told.backends.iter().zip(&report.backends);
    if !pairs.all(|(one, other)| is_near(one, other)) {
        return false;
    }
    let mut steady = report.clone();
    for (backend, told) in steady.backends.iter_mut().zip(&told.backends) {
        backend.since = told.since;
    }
    *told == steady
}

/// Where all of it is told.
fn keys(report: &Report, projects: &BTreeSet<ProjectId>) -> BTreeSet<String> {
    let instances = report.instances.keys().map(|id| report_key(*id));
    let projects = projects.iter().map(|id| project_report_key(*id));
    let whole = [TROUBLES_KEY.to_owned(), INTENT_KEY.to_owned()];
    instances.chain(projects).chain(whole).collect()
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
            .publish(
                &Report::default(),
                &Scope::All,
                Revision::ZERO,
                projects(&[1, 2]),
            )
            .unwrap();
        let mut later = Reporter::new(status.clone()).unwrap();
        let key = |id| project_report_key(ProjectId(id));
        let (intent, troubles) = (INTENT_KEY.to_owned(), TROUBLES_KEY.to_owned());
        assert_eq!(
            told(&status),
            [intent.clone(), key(1), key(2), troubles.clone()]
        );
        later
            .publish(
                &Report::default(),
                &Scope::All,
                Revision::ZERO,
                projects(&[2, 3]),
            )
            .unwrap();
        assert_eq!(told(&status), [intent, key(2), key(3), troubles]);
    }

    fn reports(ids: std::ops::Range<u64>, since: u64) -> Report {
        let report = |id| {
            let backend = BackendReport {
                entity: "10.1.0.10".to_owned(),
                address: None,
                port: 80,
                weight: 1,
                backup: false,
                health: model::BackendHealth::Up,
                since: Some(Timestamp(since)),
                last_check: String::new(),
                requests: 0,
            };
            let report = InstanceReport {
                generation: model::Generation(1),
                condition: model::Condition::Serving,
                in_effect: true,
                configuration: model::Generation(1),
                addresses: Vec::new(),
                vms: Vec::new(),
                backends: vec![backend],
                scaling: None,
                waiting_for: Vec::new(),
            };
            (InstanceId(id), Arc::new(report))
        };
        Report {
            instances: ids.map(report).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn the_first_account_of_very_many_is_written_in_pieces_and_is_whole() {
        let status = Store::in_memory();
        let mut reporter = Reporter::new(status.clone()).unwrap();
        let most = MOST_AT_ONCE as u64;
        for (ids, transactions) in [(1..most + 1, 1), (1..3 * most + 2, 3)] {
            let (before, _) = status.range(REPORT_PREFIX).unwrap();
            let count = ids.end;
            let publish = reporter.publish(
                &reports(ids, 0),
                &Scope::All,
                Revision::ZERO,
                BTreeSet::new(),
            );
            publish.unwrap();
            let (after, _) = status.range(REPORT_PREFIX).unwrap();
            assert_eq!(after.get() - before.get(), transactions);
            let whole = told(&status).len() as u64 - 1;
            assert_eq!(whole, count, "with the troubles, and by which intent");
        }
    }

    #[test]
    fn what_stays_missing_is_told_though_its_account_does_not_change() {
        let mut reporter = Reporter::new(Store::in_memory()).unwrap();
        reporter.turns(&reports(1..2, 0), &Scope::All, Timestamp(0));
        let mut behind = reports(1..2, 0);
        let account = behind.instances.get(&InstanceId(1)).unwrap();
        let account = InstanceReport {
            condition: model::Condition::Degraded,
            in_effect: false,
            ..InstanceReport::clone(account)
        };
        behind.instances.insert(InstanceId(1), Arc::new(account));
        let told = [1_000, 1_100, 1_250, 1_500].map(|at| {
            let told = reporter.turns(&behind, &Scope::All, Timestamp(at));
            told.len()
        });
        assert_eq!(told, [0, 0, 1, 0]);
    }

    #[test]
    fn a_moment_that_is_counted_back_anew_is_not_written_again() {
        let status = Store::in_memory();
        let mut reporter = Reporter::new(status.clone()).unwrap();
        let mut changes = |since| {
            let (before, _) = status.range(REPORT_PREFIX).unwrap();
            for told in reporter.told.values_mut() {
                told.at -= FIGURES_INTERVAL;
            }
            let publish = reporter.publish(
                &reports(1..3, since),
                &Scope::All,
                Revision::ZERO,
                BTreeSet::new(),
            );
            publish.unwrap();
            status.range(REPORT_PREFIX).unwrap().0 != before
        };
        let told: Vec<_> = [10_000, 10_003, 9_500, 11_000, 11_000]
            .map(&mut changes)
            .into();
        assert_eq!(told, [true, false, false, true, false]);
    }
}
