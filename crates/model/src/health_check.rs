//! How a backend is asked whether it is well, in the mission's own terms.

use serde::{Deserialize, Serialize};

/// How a health check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthProtocol {
    /// `GET request-path`; an answer with an expected status and body is good.
    #[serde(rename = "HTTP")]
    Http,
    /// A connection that is accepted is good.
    #[serde(rename = "TCP")]
    Tcp,
}

/// When to ask, and when to believe the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Milliseconds from one check's start to the next.
    pub interval_ms: u64,
    /// Milliseconds after which a check without an answer has failed.
    pub timeout_ms: u64,
    /// Good checks in a row that bring a backend up. Its very first check decides by itself.
    pub health_threshold: u32,
    /// Failed checks in a row that take a backend down.
    pub unhealth_threshold: u32,
}

impl Default for Criteria {
    fn default() -> Self {
        Self {
            interval_ms: 5_000,
            timeout_ms: 5_000,
            health_threshold: 2,
            unhealth_threshold: 2,
        }
    }
}

/// An instance's health check as the user asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How to ask.
    pub protocol: HealthProtocol,
    /// The port to ask; each backend's own when absent.
    pub port: Option<u16>,
    /// What to ask for, under HTTP.
    pub request_path: String,
    /// The `Host` to ask with, under HTTP; the backend's address and port when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Which answers are good, under HTTP; 200 to 399 when empty.
    #[serde(default)]
    pub expected_status: Vec<StatusRange>,
    /// A text that the first 64 KiB of a good answer's body have in them, under HTTP.
    #[serde(default)]
    pub expected_body: Option<String>,
    /// When to ask and when to believe the answers.
    pub criteria: Criteria,
}

/// A range of status codes, both ends within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRange {
    /// The smallest, 100 or more.
    pub from: u16,
    /// The largest, `from` or more, at most 599.
    pub to: u16,
}
