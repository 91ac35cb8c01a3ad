//! Waiting until the world is as it was asked for, or for as long as the request allows.
//!
//! The controller's reports are watched; nothing is held while waiting, so requests that wait do
//! not hold up others. Once an order is stored, nothing that goes wrong here may make a failure of it.

use std::time::Duration;

use model::{Condition, InstanceReport, ProjectId};
use store::{Revision, status};
use tokio::time::{Instant, timeout_at};

use super::Actions;
use crate::orders::Placed;

impl Actions {
    /// Waits until each instance is in effect as it stands here, or something newer is.
    pub(super) async fn settle(&self, instances: &[Placed], bound: Duration) {
        let is_settled = |placed: &Placed| {
            let report = self.report(placed.instance.id);
            report.is_some_and(|report| is_settled(&report, placed))
        };
        self.watch_until(bound, || instances.iter().all(is_settled))
            .await;
    }

    /// Waits until nothing is left of the deleted instances and, where one was deleted, of the project.
    /// Gives the accounts of what is left, `None` for one that cannot be read or that there is none of yet: what was
    /// asked for a moment ago may be about to be made, until the controller's accounts go by the revision of the delete.
    pub(super) async fn settle_deleted(
        &self,
        project: Option<ProjectId>,
        instances: &[Placed],
        deleted_at: Option<Revision>,
        bound: Duration,
    ) -> Vec<Option<InstanceReport>> {
        let left = || {
            if !self.is_known(deleted_at) {
                let accounts = instances.iter().map(|p| self.report(p.instance.id));
                return accounts.chain(project.map(|_| None)).collect();
            }
            let accounts = instances.iter().map(|p| self.read_report(p.instance.id));
            let is_left = |account: Result<Option<InstanceReport>, _>| match account {
                Ok(None) => None,
                account => Some(account.ok().flatten()),
            };
            let namespace = project
                .filter(|project| self.has_namespace(*project))
                .map(|_| None);
            accounts
                .filter_map(is_left)
                .chain(namespace)
                .collect::<Vec<_>>()
        };
        self.watch_until(bound, || left().is_empty()).await;
        left()
    }

    /// Whether the controller's accounts go by what was stored at this revision. They do where there are none at all:
    /// nobody has begun to make anything.
    fn is_known(&self, revision: Option<Revision>) -> bool {
        let told = self.status.get_json::<u64>(status::INTENT_KEY);
        let told = told.ok().flatten().map(|entry| entry.value);
        match (told, revision) {
            (Some(told), Some(revision)) => told >= revision.get(),
            _ => true,
        }
    }

    /// Whether something of a project is in the world, as far as can be read.
    fn has_namespace(&self, project: ProjectId) -> bool {
        let account = self.status.get(&status::project_report_key(project));
        !matches!(account, Ok(None))
    }

    async fn watch_until(&self, bound: Duration, is_done: impl Fn() -> bool) {
        let Ok(_room) = self.waiting.try_acquire() else {
            return;
        };
        let deadline = Instant::now() + bound;
        let mut watch = self.status.watch(status::REPORT_PREFIX);
        let mut stopping = self.stopping.clone();
        while !is_done() {
            let change = async {
                tokio::select! {
                    () = watch.changed() => true,
                    () = stopping.heard() => false,
                }
            };
            if !timeout_at(deadline, change).await.unwrap_or(false) {
                break;
            }
        }
    }
}

fn is_settled(report: &InstanceReport, placed: &Placed) -> bool {
    let is_in_effect = report.generation >= placed.instance.generation && report.in_effect;
    is_in_effect || report.condition == Condition::Deleting
}

#[cfg(test)]
mod tests {
    use store::Store;
    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::*;
    use crate::stopping::Stop;

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_its_bound_and_where_there_is_no_room_it_does_not_begin() {
        let (_stop, stopping) = Stop::new();
        let bound = Duration::from_secs(60);
        let config = crate::ApiConfig {
            listen: Vec::new(),
            metrics_listen: Vec::new(),
            otlp: None,
            socket: "none".into(),
            monitor: "none".into(),
            zone: "test".into(),
            front: "10.200.0.0/16".parse().expect("a network"),
            access_logs: "none".into(),
            journal: "none".into(),
            wait: bound,
        };
        let (intent, status) = (Store::in_memory(), Store::in_memory());
        let mut actions = Actions::new(config, intent, status, stopping);
        let begin = Instant::now();
        actions.watch_until(bound, || false).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
        actions.waiting = Semaphore::new(0);
        let begin = Instant::now();
        actions.watch_until(bound, || false).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
