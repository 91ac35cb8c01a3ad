//! Telling what was measured of an instance, which the monitor knows.

use std::net::Ipv4Addr;

use model::forms::{Code, FiguresRequest, FormError, rfc3339};
use model::{
    FigureName, FigureQuery, FigureRow, FigureRows, InstanceId, InstanceReport, Timestamp,
    Unanswered,
};
use monitor::ask_monitor;
use serde::Serialize;
use store::status::report_key;

use super::Actions;
use crate::failure::Failure;
use crate::orders::find_instance;

/// What was measured of an instance, one value for each step.
#[derive(Debug, Serialize)]
pub(crate) struct FiguresDocument {
    instance: String,
    id: InstanceId,
    /// When the first step begins.
    from: String,
    /// When the last one ends.
    to: String,
    step: u32,
    resolution: u32,
    /// Series of the project that were forgotten and may have told something of this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<u64>,
    figures: Vec<FigureRows>,
}

impl Actions {
    pub(super) async fn read_figures(
        &self,
        user: &str,
        request: &FiguresRequest,
        now: Timestamp,
    ) -> Result<FiguresDocument, Failure> {
        let intent = self.intent().await?;
        let project = request.project.as_ref();
        let instance = find_instance(&intent, user, project, &request.instance)?;
        let (from, to) = request.span(now)?;
        let query = FigureQuery {
            project: instance.project,
            instance: instance.id,
            figures: request.figures.clone(),
            from,
            to,
            step: request.step,
            by: request.by,
            hosts: self.hosts_of(instance.id)?,
        };
        let mut told = ask_monitor(&self.monitor, &query).await.map_err(refusal)?;
        if request.figures == FigureName::usual(request.by) {
            // Nobody has asked for them, and most have no collectd on their backends' hosts.
            told.figures
                .retain(|of| !(of.figure.is_of_hosts() && of.rows.is_empty()));
        }
        let steps = told.figures.iter().flat_map(|figure| &figure.rows);
        let steps = steps.map(|row: &FigureRow| row.values.len()).max();
        let steps = steps.and_then(|steps| i64::try_from(steps).ok());
        let ended = steps.map_or(to, |steps| {
            told.from
                .saturating_add(steps.saturating_mul(i64::from(told.step)))
        });
        Ok(FiguresDocument {
            instance: instance.name.clone(),
            id: instance.id,
            from: shown(told.from),
            to: shown(ended),
            step: told.step,
            resolution: told.resolution,
            forgotten: (told.forgotten > 0).then_some(told.forgotten),
            figures: told.figures,
        })
    }
}

impl Actions {
    /// Where the backends of an instance are, as far as that is known.
    fn hosts_of(&self, instance: InstanceId) -> Result<Vec<Ipv4Addr>, Failure> {
        let key = report_key(instance);
        let report = self.status.get_json::<InstanceReport>(&key)?;
        let backends = report.map_or_else(Vec::new, |entry| entry.value.backends);
        Ok(backends
            .iter()
            .filter_map(|backend| backend.address)
            .collect())
    }
}

fn shown(seconds: i64) -> String {
    rfc3339(Timestamp(
        u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000),
    ))
}

fn refusal(unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::TooMuch(why) => FormError::new(
            Code::TooMany,
            "info.step",
            why,
            "take a longer `step`, or leave it out; or a shorter span",
        )
        .into(),
        Unanswered::Unavailable(why) => Failure::Monitor(why),
    }
}
