//! One series: what it is called, and what of it is in memory.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::track::Track;
use crate::window::Window;
use crate::{Cell, Kind, Level};

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) owner: u64,
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// When it was written to last, in seconds of the log's clock.
    pub(crate) written: i64,
    /// Whether it takes one of the places for series that are written to.
    pub(crate) is_live: bool,
    /// The number of the first segment that may tell of it.
    pub(crate) first_segment: u64,
    /// The number of the newest segment that tells of it.
    pub(crate) newest_segment: Option<u64>,
    pub(crate) window: Window,
    /// As many as there are levels.
    pub(crate) tracks: Vec<Track>,
}

impl Series {
    /// Whether anything is known of it, if the oldest segment has this number.
    pub(crate) fn has_past(&self, oldest: u64) -> bool {
        let is_in_memory =
            !self.window.open.is_empty() || self.tracks.iter().any(|track| !track.is_empty());
        is_in_memory || self.newest_segment.is_some_and(|newest| newest >= oldest)
    }

    /// Whether the segment of this number may tell of it.
    pub(crate) fn is_in(&self, number: u64) -> bool {
        let newest = self.newest_segment;
        number >= self.first_segment && newest.is_some_and(|newest| number <= newest)
    }

    /// Brings the slots before `first` to the levels, of which what lies before `sealed` was handed over; returns how many
    /// cells had to be dropped.
    pub(crate) fn settle(&mut self, levels: &[Level], sealed: &[i64], first: i64) -> u64 {
        let finest = levels.first().map_or(1, |level| level.step);
        let mut dropped = 0;
        while let Some((slot, cell)) = self.window.settle(first) {
            let Some(cell) = cell else { continue };
            for ((level, track), sealed) in levels.iter().zip(&mut self.tracks).zip(sealed) {
                dropped += track.push(level, finest, *sealed, (slot, &cell));
            }
        }
        dropped as u64
    }

    /// Whether there are open slots before `first`.
    pub(crate) fn is_unsettled(&self, first: i64) -> bool {
        let oldest = self.window.open.front();
        oldest.is_some_and(|open| open.slot < first)
    }

    /// The cells of these slots that are in memory of a level, ascending, those of open slots among them.
    pub(crate) fn cells(
        &self,
        levels: &[Level],
        level: usize,
        slots: &RangeInclusive<i64>,
    ) -> Vec<(i64, Cell)> {
        let (Some(finest), Some(of), Some(track)) =
            (levels.first(), levels.get(level), self.tracks.get(level))
        else {
            return Vec::new();
        };
        let mut cells = track.within(slots).unwrap_or_default();
        let ratio = i64::from(of.step / finest.step.max(1));
        for (slot, cell) in self.window.cells() {
            let slot = slot.div_euclid(ratio);
            match cells.binary_search_by_key(&slot, |(slot, _)| *slot) {
                Ok(at) => cells
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|(_, held)| held.merge(&cell)),
                Err(at) if slots.contains(&slot) => cells.insert(at, (slot, cell)),
                Err(_) => {}
            }
        }
        cells
    }
}
