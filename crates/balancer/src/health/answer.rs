//! The answer to a check under HTTP, as far as it has to be read: its head, and of its body as much as
//! it takes to find the expected text. No socket: bytes in, a finding out.
//!
//! ```text
//!            1xx ↺             expected status, and a text to find
//!   begin ──▶ Head ──────────────────────────────────────────────▶ Body ──▶ found, or not there
//!               │                                                    
//!               └─▶ unexpected status, or no text to find: settled
//! ```

use memchr::memmem;
use model::{HealthCheck, StatusRange};

use super::verdict::Finding;
use crate::http::Framing;
use crate::http::body::Body;
use crate::http::chunked::Output;
use crate::http::head::HeadScanner;
use crate::http::response::ResponseHead;

/// Bytes of a body in which the expected text must stand.
pub const LOOKED_AT_BYTES: usize = 64 << 10;
/// Interim answers that are let pass before the final one.
const INTERIM_ANSWERS: usize = 8;

/// What an answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    status: Vec<StatusRange>,
    text: Option<String>,
}

impl From<&HealthCheck> for Expectation {
    fn from(check: &HealthCheck) -> Self {
        Self {
            status: check.expected_status.clone(),
            text: check.expected_body.clone(),
        }
    }
}

impl Expectation {
    /// Whether the status is one of those expected; 200 to 399 where nothing was said.
    fn expects(&self, status: u16) -> bool {
        match self.status.is_empty() {
            true => (200..400).contains(&status),
            false => self.status.iter().any(|range| range.contains(status)),
        }
    }

    /// The expected status in words, where it was said.
    fn status_in_words(&self) -> Option<String> {
        let words: Vec<_> = self.status.iter().map(StatusRange::to_string).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// An answer while it arrives.
#[derive(Debug, Default)]
pub struct Answer {
    head: Vec<u8>,
    scanner: HeadScanner,
    interim: usize,
    /// What is known of it once its head was good, and the text is looked for.
    body: Option<Search>,
}

/// The search for the expected text.
#[derive(Debug)]
struct Search {
    line: Vec<u8>,
    body: Body,
    looked_at: usize,
    /// The end of what was looked at, too short to have all of the text in it.
    carry: Vec<u8>,
}

impl Answer {
    /// Takes bytes that have arrived; returns what they settle.
    pub fn take(&mut self, bytes: &mut [u8], expectation: &Expectation) -> Option<Finding> {
        match (&mut self.body, expectation.text.as_deref()) {
            (Some(search), Some(text)) => search.take(bytes, text.as_bytes()),
            _ => {
                self.head.extend_from_slice(bytes);
                self.read_heads(expectation)
            }
        }
    }

    /// Takes the end of the connection.
    #[must_use]
    pub fn end(&self) -> Finding {
        match &self.body {
            None => Finding::Closed,
            // Nothing but the connection's end ends such a body.
            Some(search) if matches!(search.body, Body::UntilClose) => search.miss(),
            Some(_) => Finding::CutOff,
        }
    }

    /// Reads the heads that are whole, interim ones first.
    fn read_heads(&mut self, expectation: &Expectation) -> Option<Finding> {
        loop {
            let span = match self.scanner.find(&self.head) {
                Ok(span) => span?,
                Err(malformed) => return Some(Finding::Malformed(malformed)),
            };
            let mut fields = Vec::new();
            let bytes = self.head.get(span.start..span.end).unwrap_or_default();
            let head = match ResponseHead::read(bytes, &mut fields) {
                Ok(head) => head,
                Err(malformed) => return Some(Finding::Malformed(malformed)),
            };
            if head.status >= 200 {
                let line = head.status_line.to_vec();
                let (status, framing) = (head.status, head.framing(false));
                let rest = self.head.split_off(span.end);
                return self.judge(status, line, framing, rest, expectation);
            }
            self.interim += 1;
            if self.interim > INTERIM_ANSWERS {
                return Some(Finding::Closed);
            }
            self.head.drain(..span.end);
            self.scanner = HeadScanner::default();
        }
    }

    /// Judges the final head; `rest` is what of the body came with it.
    fn judge(
        &mut self,
        status: u16,
        line: Vec<u8>,
        framing: Framing,
        mut rest: Vec<u8>,
        expectation: &Expectation,
    ) -> Option<Finding> {
        if !expectation.expects(status) {
            let expected = expectation.status_in_words();
            return Some(Finding::Unexpected { line, expected });
        }
        let Some(text) = expectation.text.as_deref() else {
            return Some(Finding::Answered { line });
        };
        let search = self.body.insert(Search {
            line,
            body: Body::new(framing, Output::Data),
            looked_at: 0,
            carry: Vec::new(),
        });
        search.take(&mut rest, text.as_bytes())
    }
}

impl Search {
    fn take(&mut self, bytes: &mut [u8], text: &[u8]) -> Option<Finding> {
        let kept = match self.body.advance(bytes) {
            Ok(advance) => advance.kept,
            Err(malformed) => return Some(Finding::Malformed(malformed)),
        };
        let room = LOOKED_AT_BYTES.saturating_sub(self.looked_at);
        let data = bytes.get(..kept.min(room)).unwrap_or_default();
        self.looked_at += data.len();
        self.carry.extend_from_slice(data);
        if memmem::find(&self.carry, text).is_some() {
            let line = self.line.clone();
            return Some(Finding::Answered { line });
        }
        if self.body.is_done() || self.looked_at == LOOKED_AT_BYTES {
            return Some(self.miss());
        }
        let done_with = (self.carry.len() + 1).saturating_sub(text.len());
        self.carry.drain(..done_with);
        None
    }

    fn miss(&self) -> Finding {
        Finding::WithoutText {
            line: self.line.clone(),
            whole: self.looked_at < LOOKED_AT_BYTES,
        }
    }
}

#[cfg(test)]
mod tests;
