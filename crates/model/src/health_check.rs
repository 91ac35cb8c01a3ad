//! How a backend is asked whether it is well, in the mission's own terms.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most ranges of expected status codes.
pub const MAX_STATUS_RANGES: usize = 32;
/// The smallest status code that can be expected: an interim answer is none.
pub const MIN_STATUS: u16 = 200;
/// The largest.
pub const MAX_STATUS: u16 = 599;
/// The most bytes of the text that is expected in a body.
pub const MAX_EXPECTED_BODY_BYTES: usize = 1_024;

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
    /// The smallest, [`MIN_STATUS`] or more.
    pub from: u16,
    /// The largest, `from` or more, at most [`MAX_STATUS`].
    pub to: u16,
}

impl StatusRange {
    /// Whether the code is in it.
    #[must_use]
    pub fn contains(self, code: u16) -> bool {
        (self.from..=self.to).contains(&code)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => self.from.fmt(f),
            false => write!(f, "{}-{}", self.from, self.to),
        }
    }
}
