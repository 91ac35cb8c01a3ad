//! HTTP/1.1 as plain data: bytes in, decisions and bytes out. No socket, no clock, no allocation on the
//! common path; the whole of it is tested without a network.
//!
//! [`head`] finds and reads the lines of a message's head, strictly; [`request`] and [`response`] say
//! what a head means for its message's framing; [`body`] walks a body to its end; [`rewrite`] turns a
//! head into the one that is sent on; [`exchange`] puts them together for one request and its answer.
//! [`reply`] writes the answers that the balancer gives itself; [`key`] hashes what a request says of where it
//! belongs.
//!
//! A message of which two readers could think differently where it ends is refused, never repaired:
//! that is what keeps one client's bytes out of another's request (RFC 9112, sections 6.3 and 11.2).

pub mod body;
pub mod chunked;
pub mod date;
pub mod exchange;
mod extension;
pub mod field;
pub mod grammar;
pub mod head;
pub mod key;
pub mod malformed;
pub mod pace;
pub mod provenance;
pub mod reply;
pub mod request;
pub mod response;
pub mod rewrite;
pub mod trace;

#[cfg(test)]
mod tests;

/// A version that the balancer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunks, and one exchange on a connection unless both sides say otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a message's body is known (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes follow the head; never 0.
    Length(u64),
    /// Chunks follow, the last of size 0.
    Chunked,
    /// The connection's end is the body's end. Of answers only.
    UntilClose,
}
