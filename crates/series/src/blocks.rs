//! Compressed cells that are in memory, one block behind the other in one buffer.
//!
//! ```text
//!  ┌──────────────────────┬───────┬────────┬─────────┐┌──────
//!  │ last slot, from base │ cells │ length │ cells … ││
//!  └──────────────────────┴───────┴────────┴─────────┘└──────
//! ```
//!
//! What is written to a file meanwhile has the same buffer and takes no room of its own: it is copied when something is
//! appended to it, which is a few kilobytes, and not a piece for each block.

use std::sync::Arc;

use crate::Cell;
use crate::coding::{Effort, Malformed, Reader, encode, put_bytes, put_signed, put_varint};
use crate::track::BLOCK;

/// A buffer that is full grows by one part in so many, so that little of it is empty.
const GROWTH: usize = 8;

/// Blocks in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Blocks {
    /// None as long as there are no blocks.
    bytes: Option<Arc<Vec<u8>>>,
    count: u32,
    /// From where the blocks' last slots are told.
    base: i64,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) last: i64,
    pub(crate) cells: usize,
    /// To be decoded.
    pub(crate) bytes: &'a [u8],
}

impl Blocks {
    /// Appends cells that come after all that is there, at most [`BLOCK`].
    pub(crate) fn push(&mut self, cells: &[(i64, Cell)]) {
        let Some((last, _)) = cells.last() else {
            return;
        };
        if self.bytes.is_none() {
            self.base = *last;
        }
        let mut block = Vec::new();
        put_varint(&mut block, last.wrapping_sub(self.base) as u64);
        block.push(cells.len() as u8);
        put_bytes(&mut block, &encode(cells, Effort::Little));
        let bytes = Arc::make_mut(self.bytes.get_or_insert_default());
        if bytes.capacity() - bytes.len() < block.len() {
            bytes.reserve_exact(block.len().max(bytes.len() / GROWTH));
        }
        bytes.extend_from_slice(&block);
        self.count = self.count.saturating_add(1);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Block<'_>> {
        let (mut from, base) = (self.reader(), self.base);
        std::iter::from_fn(move || block(&mut from, base).ok())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Cells in all of them.
    pub(crate) fn cells(&self) -> usize {
        self.iter().map(|block| block.cells).sum()
    }

    /// Forgets the blocks that lie before `end` as a whole. No other is touched.
    pub(crate) fn forget(&mut self, end: i64) {
        let gone = self.iter().take_while(|block| block.last < end).count();
        self.forget_first(gone);
    }

    /// Forgets so many blocks, the oldest, and returns how many cells they had.
    pub(crate) fn forget_first(&mut self, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let (mut from, mut cells) = (self.reader(), 0);
        for _ in 0..count {
            let gone = block(&mut from, self.base);
            cells += gone.map_or(0, |block| block.cells);
        }
        let rest = from.rest().to_vec();
        self.count = self.count.saturating_sub(count as u32);
        self.bytes = (!rest.is_empty()).then(|| Arc::new(rest));
        cells
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(self.bytes.as_deref().map_or(&[][..], Vec::as_slice))
    }

    /// Appends those that do not lie before `first` as a whole.
    pub(crate) fn put(&self, out: &mut Vec<u8>, first: i64) {
        let mut from = self.reader();
        let mut kept = from.rest();
        while block(&mut from, self.base).is_ok_and(|block| block.last < first) {
            kept = from.rest();
        }
        put_signed(out, self.base);
        put_bytes(out, kept);
    }

    /// Reads what [`Self::put`] wrote.
    ///
    /// # Errors
    /// If it is anything else.
    pub(crate) fn read(from: &mut Reader) -> Result<Self, Malformed> {
        let (base, bytes) = (from.signed()?, from.bytes()?);
        let (mut rest, mut count) = (Reader::new(bytes), 0u32);
        while !rest.is_empty() {
            block(&mut rest, base)?;
            count = count.saturating_add(1);
        }
        let bytes = (!bytes.is_empty()).then(|| Arc::new(bytes.to_vec()));
        Ok(Self { bytes, count, base })
    }
}

fn block<'a>(from: &mut Reader<'a>, base: i64) -> Result<Block<'a>, Malformed> {
    let last = base.wrapping_add(from.varint()? as i64);
    let cells = usize::from(from.byte()?);
    if cells > BLOCK {
        return Err(Malformed);
    }
    let bytes = from.bytes()?;
    Ok(Block { last, cells, bytes })
}
