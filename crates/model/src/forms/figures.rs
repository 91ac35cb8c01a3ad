//! The question about figures: `info` of type `figures`.

use serde_json::Value;

use super::error::{Code, FormError};
use super::fields::{At, Field, Fields};
use super::request::{ProjectRef, Target, instance_target, project};
use crate::{By, FigureName, InstanceId, Timestamp};

pub(super) const FIELDS: [&str; 11] = [
    "type", "user", "project", "instance", "id", "figure", "from", "to", "last", "step", "by",
];

/// The span where none is named.
const USUAL_SPAN_S: u64 = 600;
/// The longest span: as far as anything is kept.
const LONGEST_SPAN_S: u64 = 91 * 86_400;
/// Figures in one question.
const MOST_FIGURES: usize = 16;
/// What is newer than this is still on its way, and is not told unless it is asked for.
const ON_ITS_WAY_MS: u64 = 2_000;

/// A question about an instance's past.
#[derive(Clone, Debug, PartialEq)]
pub struct FiguresRequest {
    /// Where to look.
    pub project: Option<ProjectRef>,
    /// Which instance.
    pub instance: Target<InstanceId>,
    /// What of it.
    pub figures: Vec<FigureName>,
    /// By what it is taken apart.
    pub by: Option<By>,
    /// Seconds of a step; chosen by the span if there are none.
    pub step: Option<u32>,
    from: Option<At<Timestamp>>,
    to: Option<Timestamp>,
    last_s: u64,
}

impl FiguresRequest {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let by = fields.given("by");
        let by = by
            .map(|field| field.choice(&[("vm", By::Vm), ("backend", By::Backend)]))
            .transpose()?;
        let (from, last) = (fields.given("from"), fields.given("last"));
        if let (Some(_), Some(last)) = (&from, &last) {
            return Err(FormError::new(
                Code::ConflictingFields,
                &last.path,
                "`from` and `last` both say when it begins",
                "give one of them",
            ));
        }
        let step = fields.given("step");
        let step = step
            .map(|field| field.integer(1, 86_400))
            .transpose()?
            .and_then(|step| u32::try_from(step).ok());
        Ok(Self {
            project: project(fields)?,
            instance: instance_target(fields)?,
            figures: figures(fields, by)?,
            by,
            step,
            from: from
                .map(|field| Ok(At::new(&field.path, field.moment()?)))
                .transpose()?,
            to: fields.given("to").map(|field| field.moment()).transpose()?,
            last_s: last.map_or(Ok(USUAL_SPAN_S), |field| field.integer(1, LONGEST_SPAN_S))?,
        })
    }

    /// From which second to which it asks, since the Unix epoch.
    ///
    /// # Errors
    /// If it begins after it ends, or is longer than anything is kept.
    pub fn span(&self, now: Timestamp) -> Result<(i64, i64), FormError> {
        let usual_end = Timestamp(now.0.saturating_sub(ON_ITS_WAY_MS));
        let to = self.to.unwrap_or(usual_end).0.div_ceil(1_000);
        let Some(from) = &self.from else {
            return Ok((seconds(to.saturating_sub(self.last_s)), seconds(to)));
        };
        let begins = from.value.0 / 1_000;
        let refuse = |message: &str, hint: &str| {
            Err(FormError::new(Code::OutOfRange, &from.path, message, hint))
        };
        match to.checked_sub(begins) {
            None | Some(0) => refuse(
                "the span ends before it begins",
                "give a `from` before `to`, which is now where it is left out",
            ),
            Some(span) if span > LONGEST_SPAN_S => refuse(
                "the span is longer than anything is kept",
                "give at most 91 days",
            ),
            Some(_) => Ok((seconds(begins), seconds(to))),
        }
    }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// One word or several; where there is none, what is usually looked at.
fn figures(fields: &Fields<'_>, by: Option<By>) -> Result<Vec<FigureName>, FormError> {
    let Some(field) = fields.given("figure") else {
        return Ok(FigureName::usual(by).to_vec());
    };
    let words = match field.value {
        Value::Array(_) => field.items(MOST_FIGURES)?,
        _ => vec![field],
    };
    let read = |word: &Field<'_>| {
        let name = word.choice(&FigureName::ALL)?;
        if name.can_be_told(by) {
            return Ok(name);
        }
        let (message, hint) = match by {
            Some(By::Backend) => (
                "is not told of backends",
                "leave `by` out, or ask for requests, errors, latency, connections, health or what begins with host-",
            ),
            _ => ("is told of backends alone", "add \"by\": \"backend\""),
        };
        Err(FormError::new(
            Code::ConflictingFields,
            &word.path,
            format!("`{}` {message}", name.word()),
            hint,
        ))
    };
    words.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Order, read_request};
    use super::*;

    fn read(info: &str) -> Result<FiguresRequest, FormError> {
        let text = format!(r#"{{"action":"info","type":"figures","info":{info}}}"#);
        match read_request(text.as_bytes()).2?.order {
            Order::ReadFigures(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_span_is_the_last_ten_minutes_or_what_is_asked_for() {
        let now = Timestamp(1_795_369_892_500);
        let to = 1_795_369_891;
        for (info, expected) in [
            (r#"{"instance":"web"}"#, (to - 600, to)),
            (r#"{"id":1,"last":60}"#, (to - 60, to)),
            (
                r#"{"id":1,"from":"2026-11-22T17:00:00Z","to":"2026-11-22T17:51:32Z"}"#,
                (1_795_366_800, 1_795_369_892),
            ),
        ] {
            assert_eq!(read(info).unwrap().span(now), Ok(expected), "{info}");
        }
        let reversed = read(r#"{"id":1,"from":"2036-11-22T17:00:00Z"}"#).unwrap();
        let refused = reversed.span(now).unwrap_err();
        assert_eq!(
            (refused.code, &*refused.path),
            (Code::OutOfRange, "info.from")
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        for (info, code, path) in [
            ("{}", Code::MissingField, "info.instance"),
            (
                r#"{"instance":"web","figure":"request"}"#,
                Code::UnknownValue,
                "info.figure",
            ),
            (
                r#"{"instance":"web","figure":["cpu","x"]}"#,
                Code::UnknownValue,
                "info.figure[1]",
            ),
            (
                r#"{"instance":"web","figure":"health"}"#,
                Code::ConflictingFields,
                "info.figure",
            ),
            (
                r#"{"instance":"web","figure":"cpu","by":"backend"}"#,
                Code::ConflictingFields,
                "info.figure",
            ),
            (
                r#"{"instance":"web","by":"host"}"#,
                Code::UnknownValue,
                "info.by",
            ),
            (
                r#"{"instance":"web","from":"yesterday"}"#,
                Code::BadTime,
                "info.from",
            ),
            (
                r#"{"instance":"web","last":0}"#,
                Code::OutOfRange,
                "info.last",
            ),
            (
                r#"{"instance":"web","step":0}"#,
                Code::OutOfRange,
                "info.step",
            ),
            (
                r#"{"instance":"web","last":1,"from":"2026-11-22T17:00:00Z"}"#,
                Code::ConflictingFields,
                "info.last",
            ),
        ] {
            let refused = read(info).unwrap_err();
            assert_eq!((refused.code, &*refused.path), (code, path), "{info}");
        }
    }
}
