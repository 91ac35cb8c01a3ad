//! `expected-status`: which answers to a health check are good.

use serde_json::Value;

use super::entity::narrow;
use super::error::{Code, FormError, quoted};
use super::fields::Field;
use crate::{MAX_STATUS, MAX_STATUS_RANGES, MIN_STATUS, StatusRange};

/// A list of codes and ranges: `[200, "204-299"]`. One alone needs no list.
pub(super) fn statuses(field: &Field<'_>) -> Result<Vec<StatusRange>, FormError> {
    match field.value {
        Value::Array(_) => field.items(MAX_STATUS_RANGES)?.iter().map(range).collect(),
        _ => range(field).map(|range| vec![range]),
    }
}

/// A code or a range as it is shown.
pub(super) fn show(range: &StatusRange) -> Value {
    match range.from == range.to {
        true => range.from.into(),
        false => range.to_string().into(),
    }
}

fn range(field: &Field<'_>) -> Result<StatusRange, FormError> {
    let (from, to) = match field.value {
        Value::Number(_) => {
            let code = narrow(field.integer(MIN_STATUS.into(), MAX_STATUS.into())?);
            (Some(code), Some(code))
        }
        Value::String(text) => {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            (code(from), code(to))
        }
        _ => {
            return Err(
                field.wrong_type("a status code such as 200 or a range such as \"200-299\"")
            );
        }
    };
    match (from, to) {
        (Some(from), Some(to)) if from <= to => Ok(StatusRange { from, to }),
        _ => Err(FormError::new(
            Code::OutOfRange,
            &field.path,
            format!(
                "{} is no range of status codes",
                quoted(&field.value.to_string())
            ),
            format!(
                "give two codes from {MIN_STATUS} to {MAX_STATUS}, the smaller first: \"200-299\""
            ),
        )),
    }
}

fn code(text: &str) -> Option<u16> {
    let is_number = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let code = text.parse().ok().filter(|_| is_number)?;
    (MIN_STATUS..=MAX_STATUS).contains(&code).then_some(code)
}
