//! Gathering what an explanation rests on.

use access_log::{Found, Question as LogQuestion, search};
use model::forms::{ProjectRef, Target};
use model::{Event, Instance, InstanceId, Timestamp};
use store::journal::{Of, Question};

use super::Actions;
use crate::explain::{
    EVENTS_MS, Evidence, Explanation, NEAR_MS, REQUESTS_MS, RequestEvidence, explain_instance,
    explain_request,
};
use crate::failure::Failure;
use crate::orders::{find_instance, project_of};

/// Events that are looked at.
const MOST_EVENTS: usize = 500;
/// Failed requests that are looked at.
const MOST_FAILED: usize = 1000;
/// Requests of one trace that are told.
const MOST_OF_TRACE: usize = 20;
/// All there are.
const ROLES: [&str; 5] = ["api", "checker", "controller", "dns", "monitor"];

impl Actions {
    pub(super) async fn explain(
        &self,
        (user, now): (&str, Timestamp),
        project: Option<&ProjectRef>,
        target: &Target<InstanceId>,
        request: Option<String>,
    ) -> Result<Explanation, Failure> {
        let intent = self.intent().await?;
        let instance = find_instance(&intent, user, project, target)?;
        let project = project_of(&intent, instance)?;
        let url = instance.url(&project.label, &self.zone);
        match request {
            Some(request) => self.explain_request(instance, url, &request).await,
            None => self.explain_instance(instance, url, now).await,
        }
    }

    async fn explain_instance(
        &self,
        instance: &Instance,
        url: String,
        now: Timestamp,
    ) -> Result<Explanation, Failure> {
        let report = self.report(instance.id);
        let since = Timestamp(now.0.saturating_sub(EVENTS_MS));
        let events = self.events_of(instance.id, Some(since), None).await;
        let unread = events.as_ref().err().map(ToString::to_string);
        let roles = self.told::<serde_json::Value>(store::status::ROLE_PREFIX)?;
        let absent_roles = ROLES.into_iter().filter(|role| !roles.contains_key(*role));
        let failed = LogQuestion {
            from_us: now.0.saturating_sub(REQUESTS_MS).saturating_mul(1000),
            failed: true,
            limit: MOST_FAILED,
            ..LogQuestion::default()
        };
        // What the log cannot tell is left out: the rest is worth hearing.
        let failed = self.search_log(instance.id, failed).await.ok();
        Ok(explain_instance(&Evidence {
            instance,
            url,
            report: report.as_ref(),
            events: &events.unwrap_or_default(),
            unread: unread.as_deref(),
            troubles: &self.troubles()?,
            absent_roles: &absent_roles.collect::<Vec<_>>(),
            failed: failed.as_ref(),
            now,
        }))
    }

    async fn explain_request(
        &self,
        instance: &Instance,
        url: String,
        request: &str,
    ) -> Result<Explanation, Failure> {
        let question = LogQuestion {
            request: Some(request.to_owned()),
            limit: MOST_OF_TRACE,
            ..LogQuestion::default()
        };
        let found = self.search_log(instance.id, question).await?;
        let times = || found.lines.iter().map(|line| line.head.ended_us / 1000);
        let events = match (times().min(), times().max()) {
            (Some(first), Some(last)) => {
                let from = Timestamp(first.saturating_sub(NEAR_MS));
                let to = Timestamp(last.saturating_add(NEAR_MS));
                // The line is worth telling without them.
                let events = self.events_of(instance.id, Some(from), Some(to)).await;
                events.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        Ok(explain_request(&RequestEvidence {
            instance,
            url,
            request,
            lines: &found.lines,
            looked_at_all: !found.more,
            events: &events,
        }))
    }

    async fn search_log(&self, id: InstanceId, question: LogQuestion) -> Result<Found, Failure> {
        let directory = self.access_logs.clone();
        let look = move || search(&directory, id, &question);
        Ok(tokio::task::spawn_blocking(look).await??)
    }

    async fn events_of(
        &self,
        id: InstanceId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Vec<Event>, Failure> {
        let found = self.ask_journal(Question {
            of: Of::Instance(id),
            from,
            to,
            kinds: Vec::new(),
            vm: None,
            after: None,
            limit: MOST_EVENTS,
        });
        let found = found.await?.events.into_iter();
        Ok(found.map(|kept| kept.event).collect())
    }
}
