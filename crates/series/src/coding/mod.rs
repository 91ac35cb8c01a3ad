//! Cells as bytes, and back. No input makes a decoder panic or take more memory than its caller allows.
//!
//! ```text
//!  cells of a series ─▶ columns: slots, counts, sums, lowest, highest ─▶ each in the form that is smallest
//!                                                                              │
//!                    same · integers · decimals · values from a list · XOR ─▶ adaptive range coder ─▶ bytes
//! ```

mod bytes;
mod chunk;
mod column;
mod histograms;
mod number;
mod range;
mod slots;
mod ticks;
mod whole;

pub(crate) use bytes::{Reader, put_bytes, put_signed, put_varint};
pub(crate) use chunk::{Effort, decode, encode};

/// Bytes that do not decode: they were damaged, or are of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no chunk of the monitor log")]
pub struct Malformed;
