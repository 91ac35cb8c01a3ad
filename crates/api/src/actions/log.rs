//! Telling what became of an instance's requests: reading the files that the monitor writes.
//!
//! The monitor's role may be played by another process. What both share is the directory, and it can be read while
//! it is written ([`access_log::search`]), so nobody has to be asked.

use access_log::{Found, LineDocument, Question, search};
use model::forms::{LogQuestion, ProjectRef, Target};
use model::{InstanceId, Timestamp};
use serde::Serialize;

use super::{Actions, Info};
use crate::failure::Failure;
use crate::orders::find_instance;

/// A part of a log.
#[derive(Debug, Serialize)]
pub(crate) struct LogDocument {
    lines: Vec<LineDocument>,
    /// Where to go on, as `after`.
    after: u64,
    /// Whether there may be more: after these lines or, where the newest were asked for, before them.
    more: bool,
}

impl Actions {
    pub(super) async fn read_log(
        &self,
        user: &str,
        project: Option<&ProjectRef>,
        target: &Target<InstanceId>,
        question: LogQuestion,
    ) -> Result<Info, Failure> {
        let intent = self.intent().await?;
        let instance = find_instance(&intent, user, project, target)?.id;
        let directory = self.access_logs.clone();
        let question = question_of(question);
        let search = move || search(&directory, instance, &question);
        let found = tokio::task::spawn_blocking(search).await??;
        Ok(Info::Log(document(found)))
    }
}

fn question_of(asked: LogQuestion) -> Question {
    let us = |time: Timestamp| time.0.saturating_mul(1000);
    Question {
        from_us: asked.from.map_or(0, us),
        to_us: asked.to.map_or(u64::MAX, us),
        start: asked.after,
        limit: asked.limit,
        failed: asked.failed,
        status: asked.status.map(|(from, to)| from..=to),
        backend: asked.backend,
        path: asked.path,
        request: asked.request,
    }
}

fn document(found: Found) -> LogDocument {
    LogDocument {
        lines: found.lines.into_iter().map(LineDocument::from).collect(),
        after: found.next,
        more: found.more,
    }
}
