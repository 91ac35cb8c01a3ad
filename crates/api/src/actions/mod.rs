//! Requests carried out: the order is applied to the intent in one transaction, then its outcome is
//! waited for where it takes time, then the answer is written from what the controller reports.

mod asked;
mod events;
mod explain;
mod figures;
mod info;
mod lately;
mod log;
mod settle;
mod system;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use model::forms::{
    At, FormError, InstanceBrief, InstanceDocument, NewProject, Order, ProjectBrief,
    ProjectDocument, ProjectRef, Request, Target, Wait,
};
use model::{Condition, Event, InstanceId, InstanceReport, Intent, ProjectId, Timestamp, Waiting};
use serde::Serialize;
use store::intent::{IntentDraft, edit_intent_at, read_intent};
use store::journal::Journal;
use store::{Revision, Store, StoreError, status};
use tokio::sync::{Mutex, Semaphore};

use crate::ApiConfig;
use crate::explain::Explanation;
use crate::failure::Failure;
use crate::orders::{self, Placed, SubnetDocument, Terms};
use crate::serve::MAX_CONNECTIONS;
use crate::stopping::Stopping;
use asked::Scribe;
use figures::FiguresDocument;
use lately::Lately;
use system::SystemDocument;

/// The most requests that wait for their outcome at once; a further one is answered at once, as if it
/// had said `"wait": false`.
const MAX_WAITING: usize = MAX_CONNECTIONS / 2;

/// What requests are carried out with.
pub(crate) struct Actions {
    pub intent: Store,
    pub status: Store,
    pub zone: String,
    pub front: Ipv4Net,
    /// Where the monitor keeps access logs.
    pub access_logs: PathBuf,
    /// By whom it is noted what users ask.
    pub scribe: Scribe,
    /// The journal's file.
    pub journal: PathBuf,
    /// How long to wait where the request does not say.
    pub wait: Duration,
    /// Where the monitor is asked.
    pub monitor: PathBuf,
    /// When the server is to end, whoever waits answers with what there is.
    pub stopping: Stopping,
    /// Edits of this process take turns, in the order in which they came. The store would sort them
    /// out by itself, by having all but one decide anew each time.
    turn: Arc<Mutex<()>>,
    /// Room for those who wait. Fewer than there may be connections: those who wait never keep out
    /// those who do not.
    waiting: Semaphore,
}

/// The `info` of a successful answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Info {
    ProjectBrief(ProjectBrief),
    Project(ProjectDocument),
    Projects { projects: Vec<ProjectDocument> },
    Instance(Box<InstanceDocument>),
    Instances { instances: Vec<InstanceBrief> },
    Subnet(SubnetDocument),
    Subnets { subnets: Vec<SubnetDocument> },
    System(SystemDocument),
    Log(log::LogDocument),
    Figures(FiguresDocument),
    Events(events::EventsDocument),
    Explanation(Explanation),
    DeletedProject(Deleted<ProjectId>),
    DeletedInstance(Deleted<InstanceId>),
}

/// What became of an object that was deleted.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted<I> {
    name: String,
    id: I,
    condition: DeletedCondition,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum DeletedCondition {
    /// Nothing of it is left in the world.
    Deleted,
    /// It is being taken apart.
    Deleting,
}

impl Actions {
    pub fn new(config: ApiConfig, intent: Store, status: Store, stopping: Stopping) -> Self {
        let scribe = Scribe(Journal::begin(config.journal.clone()));
        Self {
            intent,
            status,
            zone: config.zone,
            front: config.front,
            access_logs: config.access_logs,
            scribe,
            journal: config.journal,
            wait: config.wait,
            monitor: config.monitor,
            stopping,
            turn: Arc::default(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Carries out the request of the user, who is the one that it names or else the caller.
    ///
    /// # Errors
    /// [`Failure`]; nothing was changed then.
    pub async fn perform(&self, request: Request, user: String) -> Result<Info, Failure> {
        let wait = match request.wait {
            Wait::Default => self.wait,
            Wait::AtMost(bound) => bound,
        };
        let terms = Terms {
            user,
            front: self.front,
            now: now(),
        };
        match request.order {
            Order::CreateProject(order) => self.create_project(terms, order, wait).await,
            Order::ReadProjects(target) => {
                let asker = (terms.user.as_str(), terms.now);
                self.read_projects(asker, target.as_ref()).await
            }
            Order::UpdateProject { target, new_name } => {
                self.update_project(terms, target, new_name).await
            }
            Order::DeleteProject { target, cascade } => {
                self.delete_project(terms, target, cascade, wait).await
            }
            Order::CreateInstance(new) => {
                let asker = terms.asker();
                let made = self.edit(
                    move |draft| orders::create_instance(draft, &terms, &new),
                    move |scribe, placed| scribe.note_created(&asker, placed),
                );
                let placed = made.await?;
                self.settled_document(placed, wait).await
            }
            Order::ReadInstances { project, target } => {
                self.read_instances(&terms.user, project.as_ref(), target.as_ref())
                    .await
            }
            Order::UpdateInstance(change) => {
                let asker = terms.asker();
                let made = self.edit(
                    move |draft| orders::update_instance(draft, &terms, &change),
                    move |scribe, placed| scribe.note_updated(&asker, placed, &request.names),
                );
                let placed = made.await?;
                self.settled_document(placed, wait).await
            }
            Order::DeleteInstance { project, target } => {
                self.delete_instance(terms, project, target, wait).await
            }
            Order::ReadSubnet { project, subnet } => {
                self.read_subnets(&terms.user, project.as_ref(), subnet)
                    .await
            }
            Order::UpdateSubnet(change) => {
                let asker = terms.asker();
                let words = asked::subnet_change_in_words(&change);
                let made = self.edit(
                    move |draft| orders::update_subnet(draft, &terms, &change),
                    move |scribe, made| scribe.note_about_project(&asker, made.project_id, words),
                );
                Ok(Info::Subnet(made.await?))
            }
            Order::ReadLog {
                project,
                target,
                question,
            } => {
                self.read_log(&terms.user, project.as_ref(), &target, question)
                    .await
            }
            Order::ReadFigures(request) => {
                let told = self.read_figures(&terms.user, &request, terms.now).await;
                Ok(Info::Figures(told?))
            }
            Order::ReadEvents(request) => {
                let told = self.read_events(&terms.user, *request).await;
                Ok(Info::Events(told?))
            }
            Order::Explain {
                project,
                target,
                request,
            } => {
                let asker = (terms.user.as_str(), terms.now);
                let told = self
                    .explain(asker, project.as_ref(), &target, request)
                    .await;
                Ok(Info::Explanation(told?))
            }
            Order::ReadSystem => Ok(Info::System(self.read_system().await?)),
        }
    }

    async fn create_project(
        &self,
        terms: Terms,
        order: NewProject,
        wait: Duration,
    ) -> Result<Info, Failure> {
        let asker = terms.asker();
        let made = self.edit(
            move |draft| orders::create_project(draft, &terms, &order),
            move |scribe, (project, instances)| {
                let words = format!("asked for the project {}", project.name);
                scribe.note_about_project(&asker, project.id, words);
                let made = instances.iter();
                made.for_each(|placed| scribe.note_created(&asker, placed));
            },
        );
        let (project, instances) = made.await?;
        self.settle(&instances, wait).await;
        let briefs = instances.iter().map(|placed| self.brief(placed));
        Ok(Info::ProjectBrief(ProjectBrief {
            name: project.name.clone(),
            id: project.id,
            instances: briefs.collect(),
        }))
    }

    async fn update_project(
        &self,
        terms: Terms,
        target: Target<ProjectId>,
        new_name: Option<At<String>>,
    ) -> Result<Info, Failure> {
        let asker = terms.asker();
        let edit = move |draft: &mut IntentDraft| {
            let project = orders::update_project(draft, &terms, &target, new_name.as_ref())?;
            Ok((project, draft.intent().clone()))
        };
        let made = self.edit(edit, move |scribe, (project, _)| {
            let words = format!("asked to call the project {}", project.name);
            scribe.note_about_project(&asker, project.id, words);
        });
        let (project, intent) = made.await?;
        let document = self.project_document(&intent, &project, &Lately::default());
        Ok(Info::Project(document))
    }

    async fn delete_project(
        &self,
        terms: Terms,
        target: Target<ProjectId>,
        cascade: bool,
        wait: Duration,
    ) -> Result<Info, Failure> {
        let asker = terms.asker();
        let edit =
            move |draft: &mut IntentDraft| orders::delete_project(draft, &terms, &target, cascade);
        let made = self.edit_at(edit, move |scribe, (project, instances)| {
            let words = format!("asked to delete the project {}", project.name);
            scribe.note_about_project(&asker, project.id, words);
            let deleted = instances.iter();
            deleted.for_each(|placed| scribe.note_deleted(&asker, placed));
        });
        let ((project, instances), revision) = made.await?;
        let left = self
            .settle_deleted(Some(project.id), &instances, revision, wait)
            .await;
        let deleted = deleted(project.name, project.id, left);
        Ok(Info::DeletedProject(deleted))
    }

    async fn delete_instance(
        &self,
        terms: Terms,
        project: Option<ProjectRef>,
        target: Target<InstanceId>,
        wait: Duration,
    ) -> Result<Info, Failure> {
        let asker = terms.asker();
        let edit = move |draft: &mut IntentDraft| {
            orders::delete_instance(draft, &terms, project.as_ref(), &target)
        };
        let made = self.edit_at(edit, move |scribe, placed| {
            scribe.note_deleted(&asker, placed);
        });
        let (placed, revision) = made.await?;
        let left = self
            .settle_deleted(None, std::slice::from_ref(&placed), revision, wait)
            .await;
        let deleted = deleted(placed.instance.name, placed.instance.id, left);
        Ok(Info::DeletedInstance(deleted))
    }

    async fn settled_document(&self, placed: Placed, wait: Duration) -> Result<Info, Failure> {
        self.settle(std::slice::from_ref(&placed), wait).await;
        Ok(self.instance_info(&placed))
    }

    /// Applies a decision to the intent in one transaction, off the threads that answer requests: the
    /// commit waits for the disk. What was stored is noted there as well, since whoever asked may have gone; what
    /// changes nothing is not.
    async fn edit<T: Send + 'static>(
        &self,
        decide: impl FnMut(&mut IntentDraft) -> Result<T, FormError> + Send + 'static,
        note: impl FnOnce(&Scribe, &T) + Send + 'static,
    ) -> Result<T, Failure> {
        let made = self.edit_at(decide, note).await?;
        Ok(made.0)
    }

    /// As [`Self::edit`]; also gives the revision that it made, if it changed anything.
    async fn edit_at<T: Send + 'static>(
        &self,
        mut decide: impl FnMut(&mut IntentDraft) -> Result<T, FormError> + Send + 'static,
        note: impl FnOnce(&Scribe, &T) + Send + 'static,
    ) -> Result<(T, Option<Revision>), Failure> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let store = self.intent.clone();
        let scribe = self.scribe.clone();
        let edit = tokio::task::spawn_blocking(move || {
            let decide = |draft: &mut IntentDraft| Ok((decide(draft)?, draft.is_changed()));
            let outcome = edit_intent_at(&store, decide);
            if let Ok(((made, true), _)) = &outcome {
                note(&scribe, made);
            }
            drop(turn);
            outcome.map(|((made, _), revision)| (made, revision))
        });
        Ok(edit.await??)
    }

    async fn intent(&self) -> Result<Intent, Failure> {
        let store = self.intent.clone();
        let read = tokio::task::spawn_blocking(move || read_intent(&store));
        let (_, intent) = read.await??;
        Ok(intent)
    }

    /// The controller's account of an instance. One that cannot be read is as good as none: the order
    /// is stored, and its answer is successful.
    fn report(&self, id: InstanceId) -> Option<InstanceReport> {
        self.read_report(id).unwrap_or_else(|error| {
            tracing::warn!(instance = %id, %error, "the report cannot be read");
            None
        })
    }

    fn read_report(&self, id: InstanceId) -> Result<Option<InstanceReport>, StoreError> {
        let entry = self.status.get_json(&status::report_key(id))?;
        Ok(entry.map(|entry| entry.value))
    }

    /// What the controller did and why, oldest first. What cannot be read is left out.
    fn events(&self, id: Option<InstanceId>) -> Vec<Event> {
        let read = self.status.get_json(&status::events_key(id));
        let entry = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "events cannot be read");
            None
        });
        entry.map_or_else(Vec::new, |entry| entry.value)
    }

    fn brief(&self, placed: &Placed) -> InstanceBrief {
        let Placed { instance, project } = placed;
        let report = self.report(instance.id);
        InstanceBrief::new(instance, project, &self.zone, report.as_ref())
    }

    fn instance_info(&self, placed: &Placed) -> Info {
        let Placed { instance, project } = placed;
        let report = self.report(instance.id);
        let events = self.events(Some(instance.id));
        let document =
            InstanceDocument::new(instance, project, &self.zone, report.as_ref(), &events);
        Info::Instance(Box::new(document))
    }
}

fn deleted<I>(name: String, id: I, left: Vec<Option<InstanceReport>>) -> Deleted<I> {
    let condition = match left.is_empty() {
        true => DeletedCondition::Deleted,
        false => DeletedCondition::Deleting,
    };
    let count = left.len();
    let readable = left.into_iter().flatten();
    let deleting: Vec<_> = readable
        .filter(|report| report.condition == Condition::Deleting)
        .collect();
    let mut waiting_for = Vec::new();
    if deleting.len() < count {
        waiting_for.push(Waiting {
            what: "controller".into(),
            why: "it has not taken up the deletion yet".into(),
        });
    }
    waiting_for.extend(deleting.into_iter().flat_map(|report| report.waiting_for));
    Deleted {
        name,
        id,
        condition,
        waiting_for,
    }
}

/// The host's clock, read once for each request.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
