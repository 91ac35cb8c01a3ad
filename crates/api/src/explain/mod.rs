//! Why something is as it is, in plain words: pure functions of what is known.
//!
//! What the controller reports says how an instance stands; the journal, what led there; the access log, what became of
//! requests. Here they are put together for somebody who asks why, with what to do about it where that is known.

mod instance;
mod request;
mod termination;

use model::forms::rfc3339;
use model::{Condition, Event, InstanceId, Timestamp};
use serde::Serialize;

pub(crate) use instance::{EVENTS_MS, Evidence, REQUESTS_MS, explain_instance};
pub(crate) use request::{NEAR_MS, RequestEvidence, explain_request};

/// An explanation.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Explanation {
    pub instance: String,
    pub id: InstanceId,
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// All of it in a sentence.
    pub summary: String,
    /// What it consists of, the weightiest first.
    pub findings: Vec<Finding>,
}

/// One thing that is so, and why.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// What it is about: `VM 7`, `backend 1.1.1.10:8080`, `requests`.
    pub about: String,
    /// What is so.
    pub what: String,
    /// Why, where there is more to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What that rests on, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Finding {
    fn new(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            about: about.into(),
            what: what.into(),
            ..Self::default()
        }
    }

    fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    fn resting_on(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence = evidence.into_iter().collect();
        self
    }

    fn advising(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

/// A line of the journal.
fn dated(event: &Event) -> String {
    format!("{} {}", rfc3339(event.at), event.text)
}

/// How long ago something was, roughly.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.0.saturating_sub(then.0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `1 VM`, `2 VMs`.
fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
