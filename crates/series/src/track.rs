//! One series at one level: what is not in a segment yet.
//!
//! ```text
//!  settled cells ─▶ part of a slot ─▶ some whole slots ─▶ blocks, compressed ─▶ a chunk of a segment
//! ```
//!
//! Each level rolls up what comes to it as it comes, so there is nothing to do later. What was handed over to be written
//! to a segment is not taken out at once: whoever reads says from which slot on he means, and whole blocks of before go
//! when the next one is made. So to hand over costs nothing for each cell, and what is handed over shares its memory.

use std::ops::RangeInclusive;

use crate::blocks::Blocks;
use crate::coding::{Malformed, decode};
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
    pub(crate) blocks: Blocks,
}

impl Track {
    /// Takes a settled cell of the finest level, and returns how many cells had to be dropped for it. What lies before
    /// `first` was handed over.
    pub(crate) fn push(
        &mut self,
        level: &Level,
        finest: u32,
        first: i64,
        (slot, cell): (i64, &Cell),
    ) -> usize {
        let slot = slot.div_euclid(i64::from(level.step / finest.max(1)));
        let mut dropped = 0;
        match &mut self.part {
            Some((part, held)) if *part == slot => {
                held.merge(cell);
                return 0;
            }
            Some((part, _)) if *part > slot => {
                // A clock was set back, and what was there could not be handed over.
                dropped += self.len();
                *self = Self::default();
            }
            _ => {}
        }
        let ended = self.part.replace((slot, cell.clone()));
        self.cells.extend(ended);
        if self.cells.len() < BLOCK {
            return dropped;
        }
        self.blocks.forget(first);
        self.blocks.push(&self.cells);
        self.cells.clear();
        let most = MOST_SEGMENTS_HELD * level.slots().div_ceil(BLOCK) + 1;
        let surplus = self.blocks.count().saturating_sub(most);
        dropped + self.blocks.forget_first(surplus)
    }

    /// Cells that are held.
    pub(crate) fn len(&self) -> usize {
        self.blocks.cells() + self.cells.len() + usize::from(self.part.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.part.is_none() && self.cells.is_empty() && self.blocks.count() == 0
    }

    /// The cells of these slots, ascending, with the one that is not over. Blocks that lie before or after them stay
    /// compressed, but for one.
    ///
    /// # Errors
    /// Never of what this log has written.
    pub(crate) fn within(
        &self,
        slots: &RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Cell)>, Malformed> {
        let mut cells = Vec::new();
        let is_meant = |(slot, _): &(i64, Cell)| slots.contains(slot);
        for block in self.blocks.iter() {
            if block.last < *slots.start() {
                continue;
            }
            let block = decode(block.bytes, BLOCK)?;
            if block.first().is_some_and(|(slot, _)| slot > slots.end()) {
                return Ok(cells);
            }
            cells.extend(block.into_iter().filter(is_meant));
        }
        let newest = self.cells.iter().chain(&self.part);
        cells.extend(newest.filter(|cell| is_meant(cell)).cloned());
        Ok(cells)
    }

    /// Forgets what lies before `first`, but for blocks that do so in part.
    pub(crate) fn forget(&mut self, first: i64) {
        self.blocks.forget(first);
        self.cells.retain(|(slot, _)| *slot >= first);
        self.part.take_if(|(slot, _)| *slot < first);
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
            track.push(
                &level,
                1,
                i64::MIN,
                (slot, &Cell::Figures(Bucket::of(slot as f64))),
            );
        }
        let all = track.within(&(i64::MIN..=i64::MAX)).unwrap();
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
