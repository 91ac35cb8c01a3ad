//! A request on its way to a backend: what of it waits, and how much of it a backend may have seen.
//!
//! ```text
//!   whole piece held ── sent in parts ──▶ sent, still held ──▶ let go    (the answer has begun)
//!          ▲                                   │      └──────▶ streamed  (more of the body follows)
//!          └───────────── rewound ─────────────┘
//! ```
//!
//! The first piece, the head and what came with it, is held after it was sent, so that it can be sent again.
//! Nobody holds what was let go or followed by more. Two things hang on this and nowhere else: whether a
//! request may be sent once more, and whether a backend's connection may carry another one.

use rustix::io::Errno;

use super::buffers::Buffers;
use super::outbox::Outbox;
use super::pipe::Pipe;
use super::wire::Wire;
use crate::http::exchange::Sent;

/// A request on its way to a backend.
pub struct Upload {
    outbox: Outbox,
    /// Whether a byte was given to any backend.
    seen: bool,
    /// Whether bytes were given to a backend that nobody holds any more.
    gone: bool,
    /// The backend's connection does not take any more.
    refused: bool,
}

impl Upload {
    /// A request's first piece.
    #[must_use]
    pub fn new(bytes: Vec<u8>, buffers: &mut Buffers) -> Self {
        Self {
            outbox: Outbox::new(bytes, buffers),
            seen: false,
            gone: false,
            refused: false,
        }
    }

    /// How much of the request a backend may have seen.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match (self.seen, self.gone) {
            (_, true) => Sent::Gone,
            (true, false) => Sent::Held,
            (false, false) => Sent::Nothing,
        }
    }

    /// Whether bytes wait for the backend.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether the backend's connection does not take any more.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether the backend was given all that has come of the request. If not, its connection can carry no
    /// other.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        !self.refused && !self.waits()
    }

    /// Sends what waits, as much as the backend takes. A connection that is broken is taken to refuse all
    /// else.
    pub fn send(&mut self, wire: &mut Wire) {
        let sent = self.outbox.send(wire);
        self.take_note(sent);
    }

    /// Sends bytes of the body that follow what was sent; what the backend does not take waits.
    pub fn follow(&mut self, bytes: &[u8], wire: Option<&mut Wire>, buffers: &mut Buffers) {
        self.let_go(buffers);
        if bytes.is_empty() {
            return;
        }
        let sent = wire.map_or(Ok(0), |wire| wire.send([bytes, b""], false));
        let rest = match sent {
            Ok(count) => bytes.get(count..).unwrap_or_default(),
            Err(_) => b"",
        };
        self.outbox.refill([rest, b""], buffers);
        self.take_note(sent);
    }

    /// The same with bytes in a pipe.
    pub fn follow_through(
        &mut self,
        mut pipe: Box<Pipe>,
        wire: Option<&mut Wire>,
        buffers: &mut Buffers,
    ) {
        self.let_go(buffers);
        let sent = wire.map_or(Ok(0), |wire| wire.splice_out(&mut pipe));
        self.outbox.refill_with_pipe(pipe, buffers);
        self.take_note(sent);
    }

    fn take_note(&mut self, sent: Result<usize, Errno>) {
        match sent {
            Ok(count) => self.seen |= count > 0,
            Err(_) => self.refused = true,
        }
    }

    /// Gives the memory of what was sent back: it will not be sent again. What still waits is kept.
    pub fn let_go(&mut self, buffers: &mut Buffers) {
        if !self.waits() {
            self.gone |= self.seen;
            self.outbox.clear(buffers);
        }
    }

    /// Begins again, for another connection. Not for what is [`Sent::Gone`].
    pub fn rewind(&mut self) {
        debug_assert!(!self.gone, "what nobody holds cannot be sent again");
        self.outbox.rewind();
        self.refused = false;
    }

    /// Gives the memory back, at the exchange's end.
    pub fn clear(&mut self, buffers: &mut Buffers) {
        self.outbox.clear(buffers);
    }
}

#[cfg(test)]
mod tests;
