//! A body of either direction, walked to its end.

use super::Framing;
use super::chunked::{Advance, Chunked, Output};
use super::malformed::Malformed;
use crate::bulk::Bulk;

/// A body of which so much is left is a long one. What splice(2) saves is then surely more than its calls
/// cost.
pub const LONG_BYTES: u64 = 128 << 10;

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// So many bytes; 0 when it has ended.
    Left(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection ends: an answer without a length, or a tunnel.
    UntilClose,
}

impl Body {
    /// A body of which nothing has been seen.
    #[must_use]
    pub fn new(framing: Framing, output: Output) -> Self {
        match framing {
            Framing::Empty => Self::Left(0),
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::Chunked(Chunked::new(output)),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Bounds the bytes of data that are still to come.
    ///
    /// # Errors
    /// More are announced already.
    pub fn bound(&mut self, bytes: u64) -> Result<(), Malformed> {
        match self {
            Self::Left(left) if *left > bytes => return Err(Malformed::BodyTooLarge),
            Self::Chunked(chunked) => chunked.bound(bytes),
            Self::Left(_) | Self::UntilClose => {}
        }
        Ok(())
    }

    /// Whether nothing more belongs to it. A body that lasts until the connection's end never says so.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Left(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// How many bytes may pass without being looked at: all that are left where that is known, any number
    /// of a body that lasts until the connection's end, and none of chunks.
    #[must_use]
    pub fn opaque_bytes(&self) -> u64 {
        match self {
            Self::Left(left) => *left,
            Self::UntilClose => u64::MAX,
            Self::Chunked(_) => 0,
        }
    }

    /// Whether what is left is so much that moving it through a pipe costs less than copying it.
    #[must_use]
    pub fn is_long(&self, bulk: Bulk) -> bool {
        match self {
            Self::Left(left) => *left >= LONG_BYTES,
            Self::UntilClose => bulk.is_sustained(),
            Self::Chunked(_) => false,
        }
    }

    /// So many of the opaque bytes have passed.
    pub fn pass(&mut self, count: u64) {
        if let Self::Left(left) = self {
            debug_assert!(count <= *left, "no more passes than was allowed to");
            *left = left.saturating_sub(count);
        }
    }

    /// Walks on through `input`, and stops at the body's end.
    ///
    /// # Errors
    /// Malformed chunks.
    pub fn advance(&mut self, input: &mut [u8]) -> Result<Advance, Malformed> {
        let taken = match self {
            Self::Chunked(chunked) => return chunked.advance(input),
            Self::UntilClose => input.len(),
            Self::Left(left) => {
                let taken = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                taken
            }
        };
        Ok(Advance {
            consumed: taken,
            kept: taken,
        })
    }
}
