//! Reading the collected log to tell how projects have fared of late: the mission's `update_info` for one project, and
//! `update_info_all` for all of a user's.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use model::forms::LastMinute;
use model::{
    FigureAnswer, FigureName, FigureQuery, Instance, InstanceId, Intent, Project, Timestamp,
    Unanswered,
};
use monitor::ask_monitor;
use tokio::time::{Instant, timeout_at};

use super::Actions;

/// What was measured, by instance. What could not be told is not there.
pub(super) type Lately = BTreeMap<InstanceId, LastMinute>;

/// Instances that are asked for in one answer; the others are told without figures.
const MOST_ASKED: usize = 256;
/// Questions that the monitor has at once.
const AT_ONCE: usize = 8;
/// How long an answer is held up by all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is newer, in seconds, is still on its way.
const ON_ITS_WAY_S: i64 = 2;
const MINUTE_S: i64 = 60;

impl Actions {
    /// Asks for the last whole minute of the projects' instances. Where the monitor does not answer, how they stand
    /// is told all the same.
    pub(super) async fn lately(
        &self,
        intent: &Intent,
        projects: &[&Project],
        now: Timestamp,
    ) -> Lately {
        let now_s = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
        let to = (now_s - ON_ITS_WAY_S) / MINUTE_S * MINUTE_S;
        let wanted = intent.instances.values();
        let wanted = wanted.filter(|it| projects.iter().any(|project| project.id == it.project));
        let queries: Vec<_> = wanted.take(MOST_ASKED).map(|it| query(it, to)).collect();
        let questions = queries.into_iter().map(|query| {
            let monitor = self.monitor.clone();
            async move { (query.instance, ask_monitor(&monitor, &query).await) }
        });
        let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
        let deadline = Instant::now() + PATIENCE;
        let mut lately = Lately::new();
        while let Ok(Some((id, answer))) = timeout_at(deadline, answers.next()).await {
            match answer {
                Ok(answer) => {
                    lately.extend(told(&answer).map(|minute| (id, minute)));
                }
                Err(Unanswered::Unavailable(_)) => break,
                Err(_) => {}
            }
        }
        lately
    }
}

/// The minute that ends at `to`, in one step.
fn query(instance: &Instance, to: i64) -> FigureQuery {
    FigureQuery {
        project: instance.project,
        instance: instance.id,
        figures: vec![
            FigureName::Requests,
            FigureName::Errors,
            FigureName::Latency,
            FigureName::Connections,
            FigureName::Cpu,
        ],
        from: to - MINUTE_S,
        to,
        step: Some(60),
        by: None,
        hosts: Vec::new(),
    }
}

/// The one value of each figure; nothing where nothing is known.
fn told(answer: &FigureAnswer) -> Option<LastMinute> {
    let value = |name: FigureName, part: Option<&str>| {
        let figure = answer.figures.iter().find(|it| it.figure == name)?;
        let mut rows = figure.rows.iter();
        let row = rows.find(|row| row.part.as_deref() == part)?;
        row.values.first().copied().flatten()
    };
    let minute = LastMinute {
        requests_per_second: value(FigureName::Requests, None),
        errors_per_second: value(FigureName::Errors, None),
        p99_ms: value(FigureName::Latency, Some("p99")),
        connections: value(FigureName::Connections, None),
        cpu_percent: value(FigureName::Cpu, None),
    };
    (minute != LastMinute::default()).then_some(minute)
}
