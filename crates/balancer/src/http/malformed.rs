//! What can be wrong with a message.

/// Why a message is refused. Of a request it decides the status with which the client is answered; an
/// answer that is malformed is always a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The request's line is longer than it may be.
    #[error("the first line is too long")]
    LineTooLong,
    /// The head is larger than it may be, or has more than [`super::head::FIELDS`] fields.
    #[error("the head is too large")]
    HeadTooLarge,
    /// The body is larger than it may be.
    #[error("the body is too large")]
    BodyTooLarge,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not known")]
    UnknownCoding,
    /// `CONNECT`, which makes a proxy of a balancer.
    #[error("the method is not offered")]
    MethodNotOffered,
    /// Well-formed, but neither HTTP/1.0 nor HTTP/1.1.
    #[error("the HTTP version is not offered")]
    VersionNotOffered,
    /// Anything else; the text says what.
    #[error("{0}")]
    Bad(&'static str),
}

impl Malformed {
    /// The status of the answer to a request that is malformed in this way.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::LineTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::UnknownCoding | Self::MethodNotOffered => 501,
            Self::VersionNotOffered => 505,
            Self::Bad(_) => 400,
        }
    }
}
