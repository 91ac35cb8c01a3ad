//! What `evenkeel logs` asks for.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Info, Request, View, request};
use crate::cli::arguments::Logs;

/// The request for the newest lines as of `now`.
pub(super) fn plan(logs: Logs, now: SystemTime) -> Request {
    let from = logs.since.and_then(|age| now.checked_sub(*age));
    let from = from.map(|from| humantime::format_rfc3339_millis(from).to_string());
    let info = Info::default()
        .set("instance", logs.which.name)
        .set("id", logs.which.id)
        .set("from", from)
        .set("failed", logs.failed.then_some(true))
        .set("status", logs.status)
        .set("backend", logs.backend)
        .set("path", logs.path)
        .set("request", logs.request)
        .set("limit", logs.limit)
        .place(logs.place);
    request("info", "log", info, View::Log)
}

impl Request {
    /// The same question of a log, from this place on.
    #[must_use]
    pub fn at_place(&self, after: u64) -> Self {
        let mut body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        if let Some(info) = body.get_mut("info").and_then(Value::as_object_mut) {
            info.insert("after".to_owned(), json!(after));
        }
        Self {
            body: body.to_string(),
            ..self.clone()
        }
    }
}
