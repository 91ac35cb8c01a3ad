//! Telling what happened, from the journal.

use model::forms::{Code, EventsRequest, ProjectRef, Target, rfc3339};
use model::{EventKind, InstanceId, Intent, ProjectId, VmId};
use serde::Serialize;
use store::journal::{Found, Kept, Of, Question, find_subject, look_up};

use super::Actions;
use crate::failure::Failure;
use crate::orders::{find_instance, find_project_ref};

/// A part of the journal.
#[derive(Debug, Serialize)]
pub(crate) struct EventsDocument {
    events: Vec<EventLine>,
    /// Where to go on, as `after`.
    after: u64,
    /// Whether there are more: after these events or, where the newest were asked for, before them.
    more: bool,
}

/// One event. What it is not about is left out.
#[derive(Debug, Serialize)]
struct EventLine {
    at: String,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<InstanceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<VmId>,
    kind: EventKind,
    text: String,
}

impl Actions {
    pub(super) async fn read_events(
        &self,
        user: &str,
        request: EventsRequest,
    ) -> Result<EventsDocument, Failure> {
        let intent = self.intent().await?;
        let (project, target) = (request.project.as_ref(), request.target.as_ref());
        let of = self.whose(&intent, user, project, target).await?;
        let question = Question {
            of,
            from: request.from,
            to: request.to,
            kinds: request.kinds,
            vm: request.vm,
            after: request.after,
            limit: request.limit,
        };
        self.ask_journal(question).await.map(document)
    }

    /// Asks off the threads that answer requests.
    pub(super) async fn ask_journal(&self, question: Question) -> Result<Found, Failure> {
        let path = self.journal.clone();
        let ask = move || look_up(&path, &question);
        let found = tokio::task::spawn_blocking(ask).await?;
        found.map_err(Failure::Journal)
    }

    /// Whose events are meant. An instance that was deleted is found as well.
    async fn whose(
        &self,
        intent: &Intent,
        user: &str,
        project: Option<&ProjectRef>,
        target: Option<&Target<InstanceId>>,
    ) -> Result<Of, Failure> {
        let Some(target) = target else {
            return Ok(match project {
                Some(project) => Of::Project(find_project_ref(intent, user, project)?.id),
                None => Of::User(user.to_owned()),
            });
        };
        let refused = match find_instance(intent, user, project, target) {
            Ok(instance) => return Ok(Of::Instance(instance.id)),
            Err(refused) => refused,
        };
        if refused.code == Code::NotFound {
            let name = target.name.as_ref().map(|at| at.value.clone());
            let id = target.id.as_ref().map(|at| at.value);
            let project = match project {
                Some(ProjectRef::Id(at)) => Some(at.value),
                Some(project) => Some(find_project_ref(intent, user, project)?.id),
                None => None,
            };
            let (path, user) = (self.journal.clone(), user.to_owned());
            let find = move || find_subject(&path, &user, name.as_deref(), id, project);
            let gone = tokio::task::spawn_blocking(find).await?;
            if let Some(gone) = gone.map_err(Failure::Journal)? {
                return Ok(Of::Instance(gone));
            }
        }
        Err(refused.into())
    }
}

fn document(found: Found) -> EventsDocument {
    EventsDocument {
        events: found.events.into_iter().map(line).collect(),
        after: found.after,
        more: found.more,
    }
}

fn line(kept: Kept) -> EventLine {
    EventLine {
        at: rfc3339(kept.event.at),
        number: kept.number,
        user: kept.about.user,
        project: kept.about.project,
        instance: kept.name,
        id: kept.about.instance,
        vm: kept.event.vm,
        kind: kept.event.kind,
        text: kept.event.text,
    }
}
