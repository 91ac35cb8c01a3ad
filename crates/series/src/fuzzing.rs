//! The decoders of what lies on the disk, for the fuzzer and for tests. No part of what the crate offers.

use crate::coding::{Effort, Reader, decode, encode};
use crate::{Cell, Options, checkpoint, step};

/// The cells of a chunk, if the bytes are one of at most `most`.
#[must_use]
pub fn decode_cells(bytes: &[u8], most: usize) -> Option<Vec<(i64, Cell)>> {
    decode(bytes, most).ok()
}

/// A chunk of cells, as it is written in memory and as it is written to a file.
#[must_use]
pub fn encode_cells(cells: &[(i64, Cell)]) -> [Vec<u8>; 2] {
    [Effort::Little, Effort::Most].map(|effort| encode(cells, effort))
}

/// Reads the bytes as what a checkpoint holds, and as a batch of the write-ahead log, for the sake of reading.
pub fn read_whole(bytes: &[u8]) {
    let _ = checkpoint::read_state(bytes, &Options::default());
    let mut from = Reader::new(bytes);
    while !from.is_empty() && step::step(&mut from, 0).is_ok() {}
}
