//! What is asked of an instance's access log.

use std::net::Ipv4Addr;

use super::error::{Code, FormError, quoted};
use super::fields::{Field, Fields};
use crate::Timestamp;

/// Lines of one answer at the most, and where the request does not say.
pub const LOG_LINES: [usize; 2] = [1000, 100];

/// Fields of `info`.
pub(super) const FIELDS: [&str; 14] = [
    "type", "user", "project", "instance", "id", "from", "to", "after", "limit", "failed",
    "status", "backend", "path", "request",
];

/// Which lines of a log are asked for: those of which all of this holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuestion {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time.
    pub to: Option<Timestamp>,
    /// From this place on; the newest lines when absent.
    pub after: Option<u64>,
    /// How many lines at the most.
    pub limit: usize,
    /// Only what failed.
    pub failed: bool,
    /// With a status from the first to the second.
    pub status: Option<(u16, u16)>,
    /// Of this backend, whatever its port where none is named.
    pub backend: Option<(Ipv4Addr, Option<u16>)>,
    /// Whose path begins so.
    pub path: Option<String>,
    /// The request with this id, or of this trace.
    pub request: Option<String>,
}

impl LogQuestion {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, FormError> {
        let [most, usual] = LOG_LINES.map(|lines| lines as u64);
        let number = |name: &str, least, most| {
            let read = |field: Field<'_>| field.integer(least, most);
            fields.given(name).map(read).transpose()
        };
        let text = |name: &str| {
            let read = |field: Field<'_>| field.text().map(str::to_owned);
            fields.given(name).map(read).transpose()
        };
        let time = |name: &str| fields.given(name).map(|field| field.moment()).transpose();
        Ok(Self {
            from: time("from")?,
            to: time("to")?,
            after: number("after", 0, u64::MAX)?,
            limit: usize::try_from(number("limit", 1, most)?.unwrap_or(usual))
                .unwrap_or(LOG_LINES[1]),
            failed: fields
                .given("failed")
                .map(|field| field.flag())
                .transpose()?
                .unwrap_or(false),
            status: fields
                .given("status")
                .map(|field| status(&field))
                .transpose()?,
            backend: fields
                .given("backend")
                .map(|field| backend(&field))
                .transpose()?,
            path: text("path")?,
            request: text("request")?,
        })
    }
}

/// `503`, `"503"` or `"500-599"`.
fn status(field: &Field<'_>) -> Result<(u16, u16), FormError> {
    if field.value.is_number() {
        let status = field.integer(0, 599)? as u16;
        return Ok((status, status));
    }
    let text = field.text()?;
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to && to <= 599 => Ok((from, to)),
        _ => Err(unreadable(field, "status", "500-599")),
    }
}

/// `"1.1.1.10"` or `"1.1.1.10:8080"`.
fn backend(field: &Field<'_>) -> Result<(Ipv4Addr, Option<u16>), FormError> {
    let text = field.text()?;
    let parsed = match text.split_once(':') {
        Some((address, port)) => address.parse().ok().zip(port.parse().ok().map(Some)),
        None => text.parse().ok().map(|address| (address, None)),
    };
    parsed.ok_or_else(|| unreadable(field, "backend", "1.1.1.10:8080"))
}

fn unreadable(field: &Field<'_>, what: &str, example: &str) -> FormError {
    FormError::new(
        Code::UnknownValue,
        &field.path,
        format!("`{}` is no {what}", quoted(&field.value.to_string())),
        format!("write it as {example}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::forms::{Order, read_request};

    fn asked(info: Value) -> Result<LogQuestion, FormError> {
        let request = json!({"action": "info", "type": "log", "info": info});
        let (.., outcome) = read_request(request.to_string().as_bytes());
        outcome.map(|request| match request.order {
            Order::ReadLog { question, .. } => question,
            other => panic!("it was taken for {other:?}"),
        })
    }

    #[test]
    fn each_field_says_which_lines() {
        let question = asked(json!({
            "instance": "web", "from": "1970-01-01T00:00:01Z", "to": "1970-01-01T00:00:02.5Z", "after": 7, "limit": 9,
            "failed": true, "status": "500-599", "backend": "1.1.1.10:80", "path": "/a", "request": "x",
        }));
        let expected = LogQuestion {
            from: Some(Timestamp(1000)),
            to: Some(Timestamp(2500)),
            after: Some(7),
            limit: 9,
            failed: true,
            status: Some((500, 599)),
            backend: Some((Ipv4Addr::new(1, 1, 1, 10), Some(80))),
            path: Some("/a".to_owned()),
            request: Some("x".to_owned()),
        };
        assert_eq!(question.unwrap(), expected);
        let bare = asked(json!({"id": 3, "status": 404, "backend": "1.1.1.10"})).unwrap();
        assert_eq!((bare.status, bare.limit), (Some((404, 404)), 100));
        assert_eq!(bare.backend, Some((Ipv4Addr::new(1, 1, 1, 10), None)));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (field, value) in [
            ("from", json!("yesterday")),
            ("status", json!("599-500")),
            ("status", json!(600)),
            ("backend", json!("1.1.1.10:x")),
            ("limit", json!(1001)),
            ("failed", json!("yes")),
            ("after", json!(-1)),
        ] {
            let mut info = json!({"instance": "web"});
            info[field] = value;
            let error = asked(info).unwrap_err();
            assert_eq!(error.path, format!("info.{field}"));
        }
        assert_eq!(asked(json!({})).unwrap_err().path, "info.instance");
    }
}
