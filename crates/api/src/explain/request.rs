//! What became of a request.

use model::access::AccessKind;
use model::forms::rfc3339;
use model::{Event, Instance, Timestamp};

use super::termination::meaning;
use super::{Explanation, Finding, counted, dated};

/// How long before and after a request what happened may have to do with it, in milliseconds.
pub(crate) const NEAR_MS: u64 = 30_000;
/// Events that are told with one request.
const MOST_EVENTS: usize = 6;

/// What is known of a request.
pub(crate) struct RequestEvidence<'e> {
    pub instance: &'e Instance,
    pub url: String,
    /// What was asked for.
    pub request: &'e str,
    /// The lines of the access log that it has.
    pub lines: &'e [access_log::Line],
    /// Whether all lines were looked at, and not the newest alone.
    pub looked_at_all: bool,
    /// What happened around that time, the oldest first.
    pub events: &'e [Event],
}

/// Why a request ended as it did.
pub(crate) fn explain_request(known: &RequestEvidence<'_>) -> Explanation {
    let findings: Vec<_> = known.lines.iter().map(|line| told(known, line)).collect();
    let summary = match (known.lines.len(), findings.first()) {
        (0, _) => not_found(known),
        (1, Some(first)) => format!("{}: {}", first.what, first.why),
        (count, _) => format!("{} have this id or trace", counted(count, "request")),
    };
    Explanation {
        instance: known.instance.name.clone(),
        id: known.instance.id,
        url: known.url.clone(),
        condition: None,
        summary,
        findings,
    }
}

fn not_found(known: &RequestEvidence<'_>) -> String {
    let Instance { policy, name, .. } = known.instance;
    if !policy.access_log {
        return format!(
            "{name} keeps no access log: set `access-log` to true, and ask of later requests"
        );
    }
    let reach = match known.looked_at_all {
        true => "in the access log",
        false => "among the newest lines of the access log",
    };
    format!(
        "there is no request `{}` {reach} of {name}: lines come about a second after their requests ended, the \
         oldest go first when the log is full, and a request has an id where `forwarding.request-id` is set or its \
         client sent a `traceparent`, of which the second part is asked for",
        known.request
    )
}

fn told(known: &RequestEvidence<'_>, line: &access_log::Line) -> Finding {
    let head = &line.head;
    let at = Timestamp(head.ended_us / 1000);
    let asked = match head.kind {
        AccessKind::Tcp => format!("a session of {}", head.client),
        _ => format!(
            "{} {}{} of {}",
            line.method, line.host, line.path, head.client
        ),
    };
    let ended = match head.status {
        0 => "ended without an answer".to_owned(),
        status => format!("was answered {status}"),
    };
    let what = format!("{asked} {ended} at {}", rfc3339(at));
    let (mut why, advice) = meaning(head.termination, &known.instance.timeouts);
    if head.termination == model::Termination::Complete && head.status >= 500 {
        why = format!("{why}: the backend itself gave this answer");
    }
    if !line.detail.is_empty() {
        why = format!("{why} ({})", line.detail);
    }
    let advice = match head.termination {
        model::Termination::NoHealthyBackend => format!(
            "see what the health checks say of the backends: `evenkeel explain {}`",
            known.instance.name
        ),
        _ => advice.to_owned(),
    };
    let near = |event: &&Event| event.at.0.abs_diff(at.0) <= NEAR_MS;
    let events: Vec<_> = known.events.iter().filter(near).collect();
    // What was before has caused it rather than what came after.
    let before = events.partition_point(|event| event.at <= at);
    let end = events.len().min(before.max(MOST_EVENTS));
    let events = events.get(end.saturating_sub(MOST_EVENTS)..end);
    let events = events.into_iter().flatten().copied().map(dated);
    let evidence = [times(head)].into_iter().chain(events);
    Finding::new("request", what)
        .because(why)
        .resting_on(evidence)
        .advising(advice)
}

/// Where the time went, and what it went to.
fn times(head: &model::access::AccessHead) -> String {
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
    let mut parts = vec![format!("VM {}", head.vm)];
    if head.backend.port() > 0 {
        parts.push(format!("backend {}", head.backend));
    }
    if head.further_tries > 0 {
        parts.push(format!("tried {} times", head.tries()));
    }
    if head.queue_us > 0 {
        parts.push(format!("waited {} for a backend", ms(head.queue_us.into())));
    }
    match (head.connect_us, head.backend.port()) {
        (0, 0) => {}
        (0, _) => parts.push("over a connection that was open".to_owned()),
        (after_us, _) => parts.push(format!("connected after {}", ms(after_us.into()))),
    }
    if head.first_byte_us > 0 {
        parts.push(format!(
            "answer began after {}",
            ms(head.first_byte_us.into())
        ));
    }
    parts.push(format!("{} in all", ms(head.total_us)));
    parts.join(", ")
}
