//! What one check found, and how that is said.

use rustix::io::Errno;

use crate::http::malformed::Malformed;

/// Bytes of a backend's own words, and of a user's, that are repeated.
const QUOTED_BYTES: usize = 64;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The connection was accepted, which is all that was asked.
    Connected,
    /// The answer that was expected; its code and reason as the backend wrote them.
    Answered {
        /// Code and reason.
        line: Vec<u8>,
    },
    /// An answer with another status.
    Unexpected {
        /// Code and reason.
        line: Vec<u8>,
        /// The expected ones in words, where they are not the usual ones.
        expected: Option<String>,
    },
    /// An answer with the expected status, and without the expected text.
    WithoutText {
        /// Code and reason.
        line: Vec<u8>,
        /// Whether all of its body was looked at.
        whole: bool,
    },
    /// No answer in time.
    Silent,
    /// The connection ended before a whole head had come.
    Closed,
    /// The connection ended before the body's end, and the text had not come.
    CutOff,
    /// An answer that cannot be understood.
    Malformed(Malformed),
    /// The system's error.
    Failed(Errno),
}

impl Finding {
    /// Whether it speaks for the backend.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Connected | Self::Answered { .. })
    }

    /// Whether it says nothing about the backend: the balancer's own machine had no means to ask.
    #[must_use]
    pub fn is_our_own(&self) -> bool {
        matches!(self, Self::Failed(error) if is_our_own(*error))
    }

    /// In words; `took_ms` is how long the check took, `timeout_ms` how long it was allowed to, `text`
    /// what was expected in the body.
    #[must_use]
    pub fn words(&self, took_ms: u64, timeout_ms: u64, text: Option<&str>) -> String {
        let text = || quoted(text.unwrap_or_default().as_bytes());
        match self {
            Self::Connected => format!("connected in {took_ms} ms"),
            Self::Answered { line } => format!("{} in {took_ms} ms", quoted(line)),
            Self::Unexpected { line, expected } => match expected {
                Some(expected) => format!("{}, where {expected} is expected", quoted(line)),
                None => quoted(line),
            },
            Self::WithoutText { line, whole: true } => {
                let line = quoted(line);
                format!("{line}, but its body does not have \"{}\" in it", text())
            }
            Self::WithoutText { line, whole: false } => format!(
                "{}, but the first 64 KiB of its body do not have \"{}\" in them",
                quoted(line),
                text()
            ),
            Self::Silent => format!("no answer within {timeout_ms} ms"),
            Self::Closed => "connection closed without an answer".to_owned(),
            Self::CutOff => "connection closed in the middle of the answer".to_owned(),
            Self::Malformed(malformed) => format!("malformed answer: {malformed}"),
            Self::Failed(error) if self.is_our_own() => format!("it could not be asked: {error}"),
            Self::Failed(Errno::CONNREFUSED) => "connection refused".to_owned(),
            Self::Failed(Errno::CONNRESET) => "connection reset".to_owned(),
            Self::Failed(Errno::HOSTUNREACH) => "no route to host".to_owned(),
            Self::Failed(Errno::NETUNREACH) => "network unreachable".to_owned(),
            Self::Failed(Errno::TIMEDOUT) => format!("no answer within {timeout_ms} ms"),
            Self::Failed(error) => error.to_string(),
        }
    }
}

/// Whether an error is for want of something of this process's own, and says nothing of whom it asked.
#[must_use]
pub fn is_our_own(error: Errno) -> bool {
    [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
    ]
    .contains(&error)
}

/// Somebody's words, so that they can stand in a log: printable, and not too many.
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

    #[test]
    fn findings_are_said_in_words() {
        let answered = |line: &str| Finding::Answered { line: line.into() };
        let unexpected = |line: &str| Finding::Unexpected {
            line: line.into(),
            expected: None,
        };
        for (finding, good, words) in [
            (answered("200 OK"), true, "200 OK in 3 ms"),
            (answered("302 Found"), true, "302 Found in 3 ms"),
            (
                unexpected("503 Service Unavailable"),
                false,
                "503 Service Unavailable",
            ),
            (unexpected("404 \x1b[31mred"), false, "404  [31mred"),
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
            assert_eq!(finding.words(3, 5_000, None), words);
            assert_eq!(finding.is_good(), good, "{words}");
        }
    }

    #[test]
    fn what_the_balancer_lacks_says_nothing_about_a_backend() {
        assert!(Finding::Failed(Errno::MFILE).is_our_own());
        assert!(!Finding::Failed(Errno::CONNREFUSED).is_our_own());
        assert!(!Finding::Silent.is_our_own());
    }
}
