//! Answers that the balancer gives itself.

use std::io::Write;

use super::Version;
use super::date::Date;
use super::exchange::Closing;
use super::malformed::Malformed;
use super::rewrite::{write_connection, write_field};

/// Why the balancer answers itself. In words in the field `Evenkeel-Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request is malformed; nothing of it was passed on.
    Rejected(Malformed),
    /// The client's network is not served.
    NotAllowed,
    /// The client took too long to send its request.
    RequestTimeout,
    /// No backend may take traffic.
    NoHealthyBackend,
    /// Every backend that was tried refused the connection.
    ConnectRefused,
    /// No connection to a backend came about in time.
    ConnectTimeout,
    /// No connection to a backend came about for another reason.
    ConnectFailed,
    /// The backend ended the connection before it answered.
    BackendClosed,
    /// The backend did not begin its answer in time.
    ResponseTimeout,
    /// The backend's answer cannot be understood in one way only.
    MalformedResponse,
    /// All backends' connections are in use, and too many wait already.
    QueueFull,
    /// All backends' connections were in use for too long.
    QueueTimeout,
    /// The circuits of all backends that are up are open.
    CircuitOpen,
    /// The request took too long in all.
    TotalTimeout,
    /// The backend was taken out, and the time for what it had under way is over.
    Drained,
    /// The request was to go no further than here.
    LastHop,
    /// The balancer's own request through its listener.
    Progress,
}

impl Reason {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Rejected(malformed) => malformed.status(),
            Self::NotAllowed => 403,
            Self::RequestTimeout => 408,
            Self::NoHealthyBackend | Self::QueueFull | Self::QueueTimeout | Self::CircuitOpen => {
                503
            }
            Self::ConnectTimeout | Self::ResponseTimeout | Self::TotalTimeout => 504,
            Self::ConnectRefused
            | Self::ConnectFailed
            | Self::BackendClosed
            | Self::Drained
            | Self::MalformedResponse => 502,
            Self::LastHop | Self::Progress => 200,
        }
    }

    /// In a word, as in the field `Evenkeel-Reason`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rejected(_) => "malformed-request",
            Self::NotAllowed => "client-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::NoHealthyBackend => "no-healthy-backend",
            Self::ConnectRefused => "connect-refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::ConnectFailed => "connect-failed",
            Self::BackendClosed => "backend-closed",
            Self::ResponseTimeout => "response-timeout",
            Self::MalformedResponse => "malformed-response",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::CircuitOpen => "circuit-open",
            Self::TotalTimeout => "total-timeout",
            Self::Drained => "drained",
            Self::LastHop => "last-hop",
            Self::Progress => "progress",
        }
    }

    fn write_sentence(self, out: &mut Vec<u8>) {
        let sentence = match self {
            Self::Rejected(malformed) => {
                let _ = writeln!(out, "The request was refused: {malformed}.");
                return;
            }
            Self::NotAllowed => "This client is not served here.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::NoHealthyBackend => "No backend is up.",
            Self::ConnectRefused => "The backend refused the connection.",
            Self::ConnectTimeout => "The backend did not accept the connection in time.",
            Self::ConnectFailed => "The backend could not be reached.",
            Self::BackendClosed => "The backend closed the connection without an answer.",
            Self::ResponseTimeout => "The backend did not answer in time.",
            Self::MalformedResponse => "The backend's answer was malformed.",
            Self::QueueFull => "All backends are busy, and too many requests wait.",
            Self::QueueTimeout => "All backends were busy for too long.",
            Self::CircuitOpen => "The backends fail too often to be tried now.",
            Self::TotalTimeout => "The request took too long.",
            Self::Drained => "The backend was taken out before it answered.",
            Self::LastHop | Self::Progress => "The balancer answers.",
        };
        let _ = writeln!(out, "{sentence}");
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// To whom an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The client's version.
    pub version: Version,
    /// Whether it asked for the head alone.
    pub to_head: bool,
    /// What becomes of its connection.
    pub closing: Closing,
}

impl Recipient {
    /// A client whose request was not understood.
    pub const UNKNOWN: Self = Self {
        version: Version::Http11,
        to_head: false,
        closing: Closing::Closes,
    };
}

/// Writes a whole answer.
pub fn write_reply(reason: Reason, to: Recipient, date: Date, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(96);
    reason.write_sentence(&mut body);
    let status = reason.status();
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nEvenkeel-Reason: {}\r\n",
        phrase(status),
        body.len(),
        reason.word(),
    );
    write_field(out, b"Date", &date);
    write_connection(to.version, to.closing, out);
    out.extend_from_slice(b"\r\n");
    if !to.to_head {
        out.extend_from_slice(&body);
    }
}
