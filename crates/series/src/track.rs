//! One series at one level: what is not in a segment yet.
//!
//! ```text
//!  settled cells ─▶ part of a slot ─▶ some whole slots ─▶ blocks, compressed ─▶ a chunk of a segment
//! ```
//!
//! Each level rolls up what comes to it as it comes, so there is nothing to do later.

use std::ops::RangeInclusive;

use crate::coding::{Effort, Malformed, decode, encode};
use crate::{Cell, Level};

/// Cells that are kept as they are before they are compressed to a block: so many stand together in a checkpoint or a
/// step at most.
pub(crate) const BLOCK: usize = 16;
/// Segments' worth of cells that are kept while no segment can be written.
const MOST_SEGMENTS_HELD: usize = 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Track {
    /// The slot that is not over yet.
    pub(crate) part: Option<(i64, Cell)>,
    pub(crate) cells: Vec<(i64, Cell)>,
    pub(crate) blocks: Vec<Box<[u8]>>,
}

impl Track {
    /// Takes a settled cell of the finest level, and returns how many cells had to be dropped for it.
    pub(crate) fn push(&mut self, level: &Level, finest: u32, slot: i64, cell: &Cell) -> usize {
        let slot = slot.div_euclid(i64::from(level.step / finest.max(1)));
        let mut dropped = 0;
        match &mut self.part {
            Some((part, held)) if *part == slot => {
                held.merge(cell);
                return 0;
            }
            Some((part, _)) if *part > slot => {
                // A clock was set back, and what was there could not be written.
                dropped += self.len();
                *self = Self::default();
            }
            _ => {}
        }
        let ended = self.part.replace((slot, cell.clone()));
        self.cells.extend(ended);
        if self.cells.len() >= BLOCK {
            self.blocks.push(encode(&self.cells, Effort::Little).into());
            self.cells.clear();
        }
        let most = MOST_SEGMENTS_HELD * level.slots().div_ceil(BLOCK) + 1;
        if self.blocks.len() > most {
            self.blocks.remove(0);
            dropped += BLOCK;
        }
        dropped
    }

    fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.cells.len() + usize::from(self.part.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All cells, ascending, with the slot that is not over.
    ///
    /// # Errors
    /// Never of what this log has written.
    pub(crate) fn read(&self) -> Result<Vec<(i64, Cell)>, Malformed> {
        let mut cells = Vec::with_capacity(self.len());
        for block in &self.blocks {
            cells.extend(decode(block, BLOCK)?);
        }
        cells.extend(self.cells.iter().cloned());
        cells.extend(self.part.clone());
        Ok(cells)
    }

    /// The cells of these slots, ascending, with the one that is not over. Blocks that lie after them stay compressed.
    ///
    /// # Errors
    /// Never of what this log has written.
    pub(crate) fn within(
        &self,
        slots: &RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Cell)>, Malformed> {
        let mut cells = Vec::new();
        let is_meant = |(slot, _): &(i64, Cell)| slots.contains(slot);
        for block in &self.blocks {
            let block = decode(block, BLOCK)?;
            if block.first().is_some_and(|(slot, _)| slot > slots.end()) {
                return Ok(cells);
            }
            cells.extend(block.into_iter().filter(is_meant));
        }
        let newest = self.cells.iter().chain(&self.part);
        cells.extend(newest.filter(|cell| is_meant(cell)).cloned());
        Ok(cells)
    }

    /// The cells of the slots before `end`.
    pub(crate) fn before(&self, end: i64) -> Result<Vec<(i64, Cell)>, Malformed> {
        let mut cells = self.read()?;
        cells.truncate(cells.partition_point(|(slot, _)| *slot < end));
        Ok(cells)
    }

    /// Forgets the slots before `end`.
    pub(crate) fn forget(&mut self, end: i64) {
        let mut cells = self.read().unwrap_or_default();
        cells.drain(..cells.partition_point(|(slot, _)| *slot < end));
        *self = Self {
            part: cells.pop(),
            ..Self::default()
        };
        for block in cells.chunks(BLOCK) {
            if block.len() == BLOCK {
                self.blocks.push(encode(block, Effort::Little).into());
            } else {
                self.cells = block.to_vec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bucket;

    #[test]
    fn of_a_span_all_cells_are_read_wherever_it_begins_and_ends() {
        let level = Level {
            step: 1,
            segment: 600,
            keep: 3_600,
        };
        let mut track = Track::default();
        // With a gap within a block, another between two, and some cells after the last block.
        let slots = (0..BLOCK as i64 * 3).map(|slot| slot + 5 * (slot / 10));
        for slot in slots {
            track.push(&level, 1, slot, &Cell::Figures(Bucket::of(slot as f64)));
        }
        let all = track.read().unwrap();
        let (first, last) = (all[0].0 - 1, all[all.len() - 1].0 + 1);
        for from in first..=last {
            for to in from..=last {
                let span = from..=to;
                let expected: Vec<_> = all.iter().filter(|(slot, _)| span.contains(slot)).collect();
                let read = track.within(&span).unwrap();
                assert_eq!(read.iter().collect::<Vec<_>>(), expected, "{span:?}");
            }
        }
    }
}
