//! What one check found, and how that is said.

use rustix::io::Errno;

use crate::http::malformed::Malformed;

/// Bytes of a backend's own words that are repeated.
const QUOTED_BYTES: usize = 64;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The connection was accepted, which is all that was asked.
    Connected,
    /// An answer with this status; its code and reason as the backend wrote them.
    Answered {
        /// The status code.
        status: u16,
        /// Code and reason.
        line: Vec<u8>,
    },
    /// No answer in time.
    Silent,
    /// The connection ended before a whole head had come.
    Closed,
    /// An answer that cannot be understood.
    Malformed(Malformed),
    /// The system's error.
    Failed(Errno),
}

impl Finding {
    /// Whether it speaks for the backend: accepted, or 2xx or 3xx.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Connected => true,
            Self::Answered { status, .. } => (200..400).contains(status),
            _ => false,
        }
    }

    /// In words; `took_ms` is how long the check took, `timeout_ms` how long it was allowed to.
    #[must_use]
    pub fn words(&self, took_ms: u64, timeout_ms: u64) -> String {
        match self {
            Self::Connected => format!("connected in {took_ms} ms"),
            Self::Answered { line, .. } if self.is_good() => {
                format!("{} in {took_ms} ms", quoted(line))
            }
            Self::Answered { line, .. } => quoted(line),
            Self::Silent => format!("no answer within {timeout_ms} ms"),
            Self::Closed => "connection closed without an answer".to_owned(),
            Self::Malformed(malformed) => format!("malformed answer: {malformed}"),
            Self::Failed(Errno::CONNREFUSED) => "connection refused".to_owned(),
            Self::Failed(Errno::CONNRESET) => "connection reset".to_owned(),
            Self::Failed(Errno::HOSTUNREACH) => "no route to host".to_owned(),
            Self::Failed(Errno::NETUNREACH) => "network unreachable".to_owned(),
            Self::Failed(Errno::TIMEDOUT) => format!("no answer within {timeout_ms} ms"),
            Self::Failed(error) => error.to_string(),
        }
    }
}

/// A backend's words, so that they can stand in a log: printable, and not too many.
fn quoted(line: &[u8]) -> String {
    let printable = |&byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(byte)
        } else {
            ' '
        }
    };
    let text: String = line.iter().take(QUOTED_BYTES).map(printable).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, line: &str) -> Finding {
        Finding::Answered {
            status,
            line: line.as_bytes().to_vec(),
        }
    }

    #[test]
    fn findings_are_said_in_words() {
        for (finding, good, words) in [
            (answered(200, "200 OK"), true, "200 OK in 3 ms"),
            (answered(302, "302 Found"), true, "302 Found in 3 ms"),
            (
                answered(503, "503 Service Unavailable"),
                false,
                "503 Service Unavailable",
            ),
            (answered(404, "404 \x1b[31mred"), false, "404  [31mred"),
            (Finding::Connected, true, "connected in 3 ms"),
            (Finding::Silent, false, "no answer within 5000 ms"),
            (
                Finding::Closed,
                false,
                "connection closed without an answer",
            ),
            (
                Finding::Failed(Errno::CONNREFUSED),
                false,
                "connection refused",
            ),
        ] {
            assert_eq!(finding.words(3, 5_000), words);
            assert_eq!(finding.is_good(), good, "{words}");
        }
    }
}
