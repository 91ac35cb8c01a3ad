//! What the log hands over to be written while it goes on: plain data that changes no more.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::Cell;
use crate::checkpoint::{put_head, put_series};
use crate::coding::{Effort, encode};
use crate::disk::Disk;
use crate::one_series::Series;
use crate::segment::SegmentWriter;
use crate::state::Due;

pub(crate) use crate::checkpoint::Head;

/// A checkpoint's first bytes.
pub(crate) const MARK: &[u8; 8] = b"ekchk 2\n";
/// So much of a checkpoint is put together before it is written.
const PIECE: usize = 256 << 10;

/// All series as they were at one moment.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// The number of the first segment; the others follow, one for each level that is due.
    pub(crate) first_number: u64,
    pub(crate) due: Vec<Due>,
    /// Ascending.
    pub(crate) series: Vec<(u32, Arc<Series>)>,
    /// What a checkpoint has of them, where time began anew after this.
    pub(crate) left: Option<Vec<(u32, Arc<Series>)>>,
    /// How it stands when what is due is in segments.
    pub(crate) head: Head,
}

impl Frozen {
    /// A series as it was.
    pub(crate) fn get(&self, id: u32) -> Option<&Arc<Series>> {
        let place = self.series.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.series.get(place).map(|(_, series)| series)
    }

    /// The cells of a series that are handed over of a level, and not before `first` or after `last`, ascending.
    pub(crate) fn cells(
        &self,
        series: &Series,
        level: usize,
        (first, last): (i64, i64),
    ) -> Vec<(i64, Cell)> {
        let due = self.due.iter().find(|due| due.level == level);
        let track = series.tracks.get(level);
        let cells = due.zip(track).map(|(due, track)| {
            let slots = first.max(due.begin)..=last.min(due.end.saturating_sub(1));
            track.within(&slots).unwrap_or_default()
        });
        cells.unwrap_or_default()
    }

    /// Writes the segment of what is due of a level; `false` if that is nothing.
    pub(crate) fn write_segment(&self, disk: &Disk, path: &Path, due: Due) -> io::Result<bool> {
        let mut writer = SegmentWriter::create(disk, path)?;
        for (id, series) in &self.series {
            let cells = self.cells(series, due.level, (i64::MIN, i64::MAX));
            if let (Some((first, _)), Some((last, _))) = (cells.first(), cells.last()) {
                writer.add(*id, &encode(&cells, Effort::Most), *first, *last)?;
            }
        }
        writer.finish()
    }

    /// Writes the checkpoint that goes with the segments, all but its name, and returns how long it is.
    pub(crate) fn write_checkpoint(&self, disk: &Disk, path: &Path) -> io::Result<u64> {
        let mut file = disk.create(path)?;
        file.write_all(MARK)?;
        let series = self.left.as_ref().unwrap_or(&self.series);
        let (mut sum, mut length) = (crc32fast::Hasher::new(), MARK.len() as u64);
        let mut piece = Vec::with_capacity(PIECE);
        put_head(&mut piece, &self.head, series.len());
        for (id, series) in series {
            put_series(&mut piece, *id, series, &self.head.sealed);
            if piece.len() >= PIECE {
                sum.update(&piece);
                length += piece.len() as u64;
                file.write_all(&piece)?;
                piece.clear();
            }
        }
        sum.update(&piece);
        piece.extend(sum.finalize().to_le_bytes());
        length += piece.len() as u64;
        file.write_all(&piece)?;
        file.sync()?;
        Ok(length)
    }
}
