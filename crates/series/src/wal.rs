//! The write-ahead log: what happened since a checkpoint, in batches with a checksum each.
//!
//! ```text
//!  ┌────────┬───────┬─────────┐┌────────┬───────┬─────────┐┌────────┬──
//!  │ length │ CRC32 │ steps … ││ length │ CRC32 │ steps … ││ length │ torn: cut off when it is opened
//!  └────────┴───────┴─────────┘└────────┴───────┴─────────┘└────────┴──
//! ```
//!
//! A batch is written whole with one call and handed to the kernel, so a process that is killed loses what was not
//! flushed yet and no more. It is not synced: a machine that loses power loses what the kernel had not written.

use std::io::{self, Write};
use std::path::Path;

use crate::LogError;
use crate::coding::Reader;
use crate::disk::{Disk, DiskFile};
use crate::step::{Step, step};

/// What waits is written before its time when it is more than this.
const EARLY_FLUSH: usize = 64 << 10;
/// What waits for a flush is at most so much; beyond it waits for the next checkpoint in memory alone.
const MOST_PENDING: usize = 4 << 20;
/// A batch is at most so long: a length beyond it is damage.
const MOST_BATCH: usize = MOST_PENDING + (1 << 20);
const HEADER: usize = 8;
/// Bytes that are read at most, some of them often, to find whole batches behind damage.
const MOST_SEARCHED: usize = 256 << 20;

#[derive(Debug)]
pub(crate) struct Wal {
    file: DiskFile,
    /// Up to here the file is whole.
    length: u64,
    is_torn: bool,
    pending: Vec<u8>,
    /// How much waited when it could last not be written.
    refused_at: usize,
    /// Whether something was never written, so that only a checkpoint can make good.
    has_hole: bool,
}

impl Wal {
    /// Opens the log for what comes, or makes it, with what it has up to `length`: the rest is torn, and cut off.
    pub(crate) fn open(disk: &Disk, path: &Path, length: u64) -> Result<Self, LogError> {
        let fault = |source| LogError::of(path, source);
        let file = disk.append_to(path).map_err(fault)?;
        file.cut(length).map_err(fault)?;
        Ok(Self {
            file,
            length,
            is_torn: false,
            pending: Vec::new(),
            refused_at: 0,
            has_hole: false,
        })
    }

    /// What waits to be flushed: steps are appended to it.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        if self.pending.len() > MOST_PENDING {
            self.pending.clear();
            self.refused_at = 0;
            self.has_hole = true;
        }
        &mut self.pending
    }

    /// Whether so much more waits than could last not be written that it should be tried before its time.
    pub(crate) fn is_urgent(&self) -> bool {
        self.pending.len() > self.refused_at + EARLY_FLUSH
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn has_hole(&self) -> bool {
        self.has_hole
    }

    /// Writes what waits. If that fails it goes on waiting, within bounds.
    pub(crate) fn flush(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() || self.has_hole {
            self.pending.clear();
            return Ok(());
        }
        self.write().map_err(|source| {
            self.refused_at = self.pending.len();
            LogError::of(self.file.path(), source)
        })
    }

    fn write(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.cut(self.length)?;
            self.is_torn = false;
        }
        let length = u32::try_from(self.pending.len()).map_err(io::Error::other)?;
        let mut batch = Vec::with_capacity(HEADER + self.pending.len());
        batch.extend(length.to_le_bytes());
        batch.extend(crc32fast::hash(&self.pending).to_le_bytes());
        batch.extend_from_slice(&self.pending);
        self.is_torn = true;
        self.file.write_all(&batch)?;
        self.is_torn = false;
        self.length += batch.len() as u64;
        self.pending.clear();
        self.refused_at = 0;
        Ok(())
    }
}

/// The batches of a log that are whole, from the first. None of a file that is not there.
pub(crate) struct Batches {
    bytes: Vec<u8>,
    /// How long they are together.
    length: usize,
}

impl Batches {
    pub(crate) fn read(path: &Path) -> Result<Self, LogError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|source| LogError::of(path, source))?,
        };
        let lengths = whole(&bytes).map(|batch| HEADER + batch.len());
        let length = lengths.sum();
        Ok(Self { bytes, length })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        whole(&self.bytes)
    }

    /// How long they are together.
    pub(crate) fn length(&self) -> u64 {
        self.length as u64
    }

    /// What is behind them.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.length..).unwrap_or_default()
    }

    /// Samples in batches that are whole but behind one that is not. They cannot be done again, for they tell times by what
    /// was there.
    pub(crate) fn samples_behind_damage(&self) -> u64 {
        let mut rest = self.rest();
        let (mut samples, mut searched) = (0, 0);
        while searched < MOST_SEARCHED {
            let mut from = Reader::new(rest);
            let found = batch(&mut from);
            searched += 1 + rest.len() - from.rest().len();
            if let Some(batch) = found {
                samples += samples_in(batch);
                rest = from.rest();
            } else if let Some((_, next)) = rest.split_first() {
                rest = next;
            } else {
                break;
            }
        }
        samples
    }
}

/// Whole batches, up to the first that is not.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = Reader::new(bytes);
    std::iter::from_fn(move || batch(&mut from))
}

fn samples_in(batch: &[u8]) -> u64 {
    let mut from = Reader::new(batch);
    let steps = std::iter::from_fn(|| step(&mut from, 0).ok());
    steps
        .filter(|step| matches!(step, Step::Add { .. }))
        .count() as u64
}

fn batch<'a>(from: &mut Reader<'a>) -> Option<&'a [u8]> {
    let size = u32::from_le_bytes(from.array().ok()?) as usize;
    let checksum = u32::from_le_bytes(from.array().ok()?);
    if size > MOST_BATCH {
        return None;
    }
    let batch = from.take(size).ok()?;
    (crc32fast::hash(batch) == checksum).then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Wal, Vec<Vec<u8>>) {
        let batches = Batches::read(path).unwrap();
        let wal = Wal::open(&Disk::default(), path, batches.length()).unwrap();
        (wal, batches.iter().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn a_torn_or_damaged_end_is_cut_off_and_what_is_before_it_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wal");
        let (mut wal, _) = open(&path);
        for batch in [b"first".as_slice(), b"second", b"third"] {
            wal.pending().extend_from_slice(batch);
            wal.flush().unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            for damage in [false, true] {
                let mut bytes = whole[..cut].to_vec();
                if damage {
                    bytes = whole.clone();
                    bytes[cut] ^= 0x40;
                }
                std::fs::write(&path, &bytes).unwrap();
                let (mut wal, batches) = open(&path);
                let expected = [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()];
                assert!(batches.len() < 3 && expected.starts_with(&batches), "{cut}");
                wal.pending().extend_from_slice(b"next");
                wal.flush().unwrap();
                let (_, after) = open(&path);
                assert_eq!(
                    after.len(),
                    batches.len() + 1,
                    "{cut}: one goes on behind what is whole"
                );
            }
        }
    }

    #[test]
    fn what_was_written_in_part_is_cut_off_before_more_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wal");
        let (mut wal, _) = open(&path);
        wal.pending().extend_from_slice(b"first");
        wal.flush().unwrap();
        // As a disk that is full in the middle of a batch leaves it.
        wal.file.write_all(&[200, 0, 0, 0, 1]).unwrap();
        wal.is_torn = true;
        wal.pending().extend_from_slice(b"second");
        wal.flush().unwrap();
        let (_, batches) = open(&path);
        assert_eq!(batches, [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn what_waits_is_bounded_and_a_hole_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (mut wal, _) = open(&directory.path().join("wal"));
        for _ in 0..MOST_PENDING / 1_000 + 2 {
            assert!(wal.pending.len() <= MOST_PENDING + 1_000);
            wal.pending().extend_from_slice(&[0; 1_000]);
        }
        assert!(wal.has_hole());
    }
}
