//! Bytes on their way to a socket that has not taken them yet.

use rustix::io::Errno;

use super::buffers::Buffers;
use super::pipe::Pipe;
use super::wire::Wire;

/// Bytes on their way to a socket that has not taken them yet, in memory or in a pipe.
#[derive(Debug, Default)]
pub struct Outbox {
    stock: Stock,
    sent: usize,
}

#[derive(Debug)]
enum Stock {
    /// All of the bytes, those that were sent among them.
    Bytes(Vec<u8>),
    /// The same, of bytes that follow what was sent on before.
    Following(Vec<u8>),
    /// Those that were not sent.
    Pipe(Box<Pipe>),
}

impl Default for Stock {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Outbox {
    /// An outbox of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>, buffers: &mut Buffers) -> Self {
        buffers.waiting += bytes.len();
        let stock = Stock::Bytes(bytes);
        Self { stock, sent: 0 }
    }

    /// Whether all was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.stock {
            Stock::Bytes(bytes) | Stock::Following(bytes) => self.sent >= bytes.len(),
            Stock::Pipe(pipe) => pipe.held() == 0,
        }
    }

    /// Sends what the socket takes; returns how many bytes, which may be none.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, wire: &mut Wire) -> Result<usize, Errno> {
        let count = match &mut self.stock {
            Stock::Bytes(bytes) | Stock::Following(bytes) => {
                let rest = bytes.get(self.sent..).unwrap_or_default();
                wire.send([rest, b""], false)?
            }
            Stock::Pipe(pipe) => wire.splice_out(pipe)?,
        };
        self.sent += count;
        Ok(count)
    }

    /// Gives the memory back if all was sent, so that nothing can be sent again.
    pub fn forget_if_sent(&mut self, buffers: &mut Buffers) {
        if self.is_empty() {
            self.clear(buffers);
        }
    }

    /// Begins again: nothing was sent. What was in a pipe is gone, so this is for bytes in memory.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Replaces what was sent by what is to be sent next. No memory is used for no bytes.
    pub fn refill(&mut self, parts: [&[u8]; 2], buffers: &mut Buffers) {
        self.clear(buffers);
        if parts.iter().any(|part| !part.is_empty()) {
            let mut bytes = buffers.take();
            for part in parts {
                bytes.extend_from_slice(part);
            }
            buffers.waiting += bytes.len();
            buffers.following += bytes.len();
            self.stock = Stock::Following(bytes);
        }
    }

    /// Replaces what was sent by what is in the pipe. An empty one goes back at once.
    pub fn refill_with_pipe(&mut self, pipe: Box<Pipe>, buffers: &mut Buffers) {
        self.clear(buffers);
        if pipe.held() == 0 {
            buffers.pipes.give(pipe);
        } else {
            buffers.waiting += pipe.held();
            buffers.following += pipe.held();
            self.stock = Stock::Pipe(pipe);
        }
    }

    /// Gives the memory back.
    pub fn clear(&mut self, buffers: &mut Buffers) {
        let waited = match std::mem::take(&mut self.stock) {
            Stock::Bytes(bytes) => {
                let waited = bytes.len();
                buffers.give(bytes);
                waited
            }
            Stock::Following(bytes) => {
                let waited = bytes.len();
                buffers.following = buffers.following.saturating_sub(waited);
                buffers.give(bytes);
                waited
            }
            Stock::Pipe(pipe) => {
                let waited = self.sent + pipe.held();
                buffers.following = buffers.following.saturating_sub(waited);
                buffers.pipes.give(pipe);
                waited
            }
        };
        buffers.waiting = buffers.waiting.saturating_sub(waited);
        self.sent = 0;
    }
}
