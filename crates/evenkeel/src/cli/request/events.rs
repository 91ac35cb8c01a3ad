//! What `evenkeel events` and `evenkeel explain` ask for.

use std::time::SystemTime;

use serde_json::json;

use super::{Info, Request, View, request};
use crate::cli::arguments::{Events, Explain};

/// The request for the newest events as of `now`.
pub(super) fn plan(events: Events, now: SystemTime) -> Request {
    let from = events.since.and_then(|age| now.checked_sub(*age));
    let from = from.map(|from| humantime::format_rfc3339_millis(from).to_string());
    let kinds = (!events.kind.is_empty()).then(|| json!(events.kind));
    let info = Info::default()
        .set("instance", events.name)
        .set("id", events.id)
        .set("kind", kinds)
        .set("vm", events.vm)
        .set("from", from)
        .set("limit", events.limit)
        .place(events.place);
    request("info", "events", info, View::Events)
}

/// The request for an explanation.
pub(super) fn plan_explanation(explain: Explain) -> Request {
    let info = Info::default()
        .set("instance", explain.which.name)
        .set("id", explain.which.id)
        .set("request", explain.request)
        .place(explain.place);
    request("info", "explain", info, View::Explanation)
}
