//! Telling the other roles how each instance stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::{InstanceId, InstanceReport, Report};
use store::status::{REPORT_PREFIX, TROUBLES_KEY, report_key, troubles};
use store::{Store, Transaction};

/// Figures that change all the time are told this often; anything else at once.
const FIGURES_INTERVAL: Duration = Duration::from_millis(500);

/// Writes the report's changes to the status store.
pub(super) struct Reporter {
    status: Store,
    told: BTreeMap<InstanceId, Told>,
    troubles: Option<Vec<String>>,
}

struct Told {
    report: InstanceReport,
    essence: InstanceReport,
    at: Instant,
}

impl Reporter {
    /// Forgets what an earlier controller told, which nobody vouches for any more.
    pub(super) fn new(status: Store) -> anyhow::Result<Self> {
        status.commit(Transaction::new().delete_range(REPORT_PREFIX))?;
        Ok(Self {
            status,
            told: BTreeMap::new(),
            troubles: None,
        })
    }

    /// Writes what changed since the last time, in one transaction.
    pub(super) fn publish(&mut self, report: &Report) -> anyhow::Result<()> {
        let mut transaction = Transaction::new();
        let mut fresh = Vec::new();
        for (id, report) in &report.instances {
            let essence = essence(report);
            if !self.is_told(*id, report, &essence) {
                transaction = transaction.put_json(report_key(*id), report)?;
                fresh.push((
                    *id,
                    Told {
                        report: report.clone(),
                        essence,
                        at: Instant::now(),
                    },
                ));
            }
        }
        let gone: Vec<_> = self
            .told
            .keys()
            .filter(|id| !report.instances.contains_key(id))
            .copied()
            .collect();
        for id in &gone {
            transaction = transaction.delete(report_key(*id));
        }
        let mut all = report.troubles.clone();
        all.extend(troubles(&self.status)?);
        let troubles_changed = self.troubles.as_ref() != Some(&all);
        if troubles_changed {
            transaction = transaction.put_json(TROUBLES_KEY, &all)?;
        }
        if troubles_changed || !fresh.is_empty() || !gone.is_empty() {
            self.status.commit(transaction)?;
        }
        self.troubles = Some(all);
        self.told.extend(fresh);
        self.told.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    fn is_told(&self, id: InstanceId, report: &InstanceReport, essence: &InstanceReport) -> bool {
        self.told.get(&id).is_some_and(|told| {
            told.report == *report
                || (told.essence == *essence && told.at.elapsed() < FIGURES_INTERVAL)
        })
    }
}

/// A report without the figures that change all the time.
fn essence(report: &InstanceReport) -> InstanceReport {
    let mut essence = report.clone();
    for vm in &mut essence.vms {
        vm.requests = 0;
    }
    for backend in &mut essence.backends {
        backend.requests = 0;
        backend.since = None;
        backend.last_check.clear();
    }
    essence.waiting_for.clear();
    essence
}
