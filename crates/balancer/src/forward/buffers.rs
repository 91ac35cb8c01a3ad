//! Memory for bytes that wait. A connection at rest owns none: buffers are lent, and given back when
//! what they held is gone.

use super::pipe::Pipes;

/// A buffer larger than this is freed instead of kept.
const KEPT_BYTES: usize = 64 << 10;
/// Buffers kept for the next borrower.
const KEPT_BUFFERS: usize = 256;

/// Buffers that nobody uses, and how many bytes wait in those that somebody does.
#[derive(Default)]
pub struct Buffers {
    spare: Vec<Vec<u8>>,
    /// Pipes, for bytes that pass without being copied.
    pub pipes: Pipes,
    pub(super) waiting: usize,
    /// Those of them that follow what was sent on before, in pipes and in memory: they wait for whoever is
    /// slow to take them.
    pub(super) following: usize,
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

    /// Bytes that wait, in outboxes and held until more of them comes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Those of them that wait for more of their like or for a backend: heads, and whole requests.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.waiting.saturating_sub(self.following)
    }

    /// A lent buffer with these bytes in it, to be given to [`Self::release`]; no memory when there are none.
    pub fn hold(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut buffer = self.take();
        buffer.extend_from_slice(bytes);
        self.waiting += buffer.len();
        buffer
    }

    /// Takes back what was held.
    pub fn release(&mut self, held: Vec<u8>) {
        self.waiting = self.waiting.saturating_sub(held.len());
        self.give(held);
    }
}
