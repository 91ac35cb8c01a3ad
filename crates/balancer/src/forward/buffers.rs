//! Memory for bytes that wait. A connection at rest owns none: buffers are lent, and given back when
//! what they held is gone.

/// A buffer larger than this is freed instead of kept.
const KEPT_BYTES: usize = 64 << 10;
/// Buffers kept for the next borrower.
const KEPT_BUFFERS: usize = 256;

/// Buffers that nobody uses, and how many bytes wait in those that are used as outboxes.
#[derive(Default)]
pub struct Buffers {
    spare: Vec<Vec<u8>>,
    waiting: usize,
}

impl Buffers {
    /// Lends an empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let worth_keeping = (1..=KEPT_BYTES).contains(&buffer.capacity());
        if worth_keeping && self.spare.len() < KEPT_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Bytes that wait in outboxes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// A lent buffer with these bytes in it; no memory when there are none.
    pub fn hold(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut buffer = self.take();
        buffer.extend_from_slice(bytes);
        buffer
    }
}

/// Bytes on their way to a socket that has not taken them yet.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// An outbox of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>, buffers: &mut Buffers) -> Self {
        buffers.waiting += bytes.len();
        Self { bytes, sent: 0 }
    }

    /// What is still to be sent.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Whether all was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent >= self.bytes.len()
    }

    /// Whether any byte was sent.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.sent > 0
    }

    /// The first `count` bytes of the rest were sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// Gives the memory back if all was sent, so that nothing can be sent again.
    pub fn forget_if_sent(&mut self, buffers: &mut Buffers) {
        if self.is_empty() {
            self.clear(buffers);
        }
    }

    /// Begins again: nothing was sent.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Replaces what was sent by what is to be sent next. No memory is used for no bytes.
    pub fn refill(&mut self, parts: [&[u8]; 2], buffers: &mut Buffers) {
        self.clear(buffers);
        if parts.iter().any(|part| !part.is_empty()) {
            self.bytes = buffers.take();
            for part in parts {
                self.bytes.extend_from_slice(part);
            }
            buffers.waiting += self.bytes.len();
        }
    }

    /// Gives the memory back.
    pub fn clear(&mut self, buffers: &mut Buffers) {
        buffers.waiting = buffers.waiting.saturating_sub(self.bytes.len());
        buffers.give(std::mem::take(&mut self.bytes));
        self.sent = 0;
    }
}
