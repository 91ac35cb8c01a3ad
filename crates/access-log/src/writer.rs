//! One instance's files, as they are written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::missing::Missing;
use crate::piece::{BLOCK_BYTES, PIECE_BYTES, Piece, pieces, write};

/// Bytes of a segment at the most, and at the least.
const SEGMENT_BYTES: [u64; 2] = [64 << 10, 4 << 20];
/// A budget is so many segments, so that what goes at once is little of it.
const SEGMENTS: u64 = 8;

/// A file of blocks.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    /// The number of its first record.
    pub first: u64,
    pub bytes: u64,
}

/// One instance's files.
#[derive(Debug)]
pub(crate) struct Writer {
    directory: PathBuf,
    /// The oldest first.
    segments: Vec<Segment>,
    tail: File,
    /// Bytes of the records in the tail.
    in_tail: usize,
    tail_bytes: u64,
    /// The number of the first record in the tail.
    tail_first: u64,
    /// The number of the first one that is pending.
    next: u64,
    pending: Pending,
    /// Whether something half-written stands at the tail's end.
    is_torn: bool,
    missing: Missing,
    outcome: Outcome,
}

/// Records that came since the last flush.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    records: u64,
    lines: u64,
}

/// What became of an instance's lines, beside those that were never more than said to be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that are in the files.
    pub kept: u64,
    /// Those that could not be written. The files will say so when they can be written.
    pub lost: u64,
}

impl Writer {
    /// Opens the files, or begins them. What was half-written is cut off.
    ///
    /// # Errors
    /// Those of the files.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut segments = list(directory)?;
        let mut next = 0;
        if let Some(last) = segments.last_mut() {
            let bytes = fs::read(&last.path)?;
            let (found, whole) = pieces(&bytes);
            next = found.last().map_or(last.first, |piece| piece.end());
            if whole < bytes.len() {
                let file = OpenOptions::new().write(true).open(&last.path)?;
                file.set_len(whole as u64)?;
                last.bytes = whole as u64;
            }
        }
        let path = tail_of(directory);
        let bytes = fs::read(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let (found, whole) = pieces(&bytes);
        // What made a block before the tail was cut stands in both.
        let found: Vec<_> = found
            .into_iter()
            .filter(|piece| piece.header.first >= next)
            .collect();
        let tail_first = found.first().map_or(next, |piece| piece.header.first);
        let next = found.last().map_or(next, |piece| piece.end());
        let in_tail = found.iter().map(|piece| piece.header.raw as usize).sum();
        let tail = OpenOptions::new().append(true).create(true).open(&path)?;
        let whole = if found.is_empty() { 0 } else { whole as u64 };
        tail.set_len(whole)?;
        Ok(Self {
            directory: directory.to_owned(),
            segments,
            tail,
            in_tail,
            tail_bytes: whole,
            tail_first,
            next,
            pending: Pending::default(),
            is_torn: false,
            missing: Missing::default(),
            outcome: Outcome::default(),
        })
    }

    /// Whether so many bytes more are enough to be written.
    pub fn has_to_write(&self, bytes: usize) -> bool {
        self.pending.bytes.len() + bytes >= BLOCK_BYTES
    }

    /// Adds records, so many, `gaps` of which tell that lines are missing; says whether so much is pending that it had
    /// better be flushed.
    pub fn append(&mut self, records: &[u8], count: u64, gaps: u64) -> bool {
        self.pending.bytes.extend_from_slice(records);
        self.pending.records += count;
        self.pending.lines += count.saturating_sub(gaps);
        self.has_to_write(0)
    }

    /// Takes over what is missing already.
    pub fn miss(&mut self, missing: Missing) {
        self.missing.extend(missing);
    }

    /// What is missing and could not be told yet, which is the caller's to tell from now on.
    pub fn take_missing(&mut self) -> Missing {
        std::mem::take(&mut self.missing)
    }

    /// What became of lines since this was last asked.
    pub fn take_outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }

    /// Writes what is pending, and before it that lines are missing, if some are; removes the oldest segments beyond
    /// the budget.
    ///
    /// # Errors
    /// Those of the files; what could not be written is lost, so that nothing grows while a disk is full.
    pub fn flush(&mut self, budget: u64) -> io::Result<()> {
        if self.pending.bytes.is_empty() && self.missing.is_empty() {
            return Ok(());
        }
        let Pending {
            bytes,
            records,
            lines,
        } = std::mem::take(&mut self.pending);
        let (mut all, gaps) = self.missing.records();
        all.extend_from_slice(&bytes);
        if let Err(error) = self.write(&all, gaps + records, budget) {
            self.missing.add(&bytes);
            self.outcome.lost += lines;
            return Err(error);
        }
        self.missing = Missing::default();
        self.outcome.kept += lines;
        match self.in_tail >= BLOCK_BYTES {
            true => self.make_block(budget),
            false => Ok(()),
        }
    }

    /// Writes records to the tail, all or none.
    fn write(&mut self, records: &[u8], count: u64, budget: u64) -> io::Result<()> {
        if self.in_tail + records.len() > PIECE_BYTES {
            // As many as no piece holds: those before could not be made a block.
            self.make_block(budget)?;
        }
        if self.is_torn {
            self.tail.set_len(self.tail_bytes)?;
            self.is_torn = false;
        }
        let mut piece = Vec::new();
        write(records, self.next, false, &mut piece);
        if let Err(error) = self.tail.write_all(&piece) {
            self.is_torn = self.tail.set_len(self.tail_bytes).is_err();
            return Err(error);
        }
        self.next += count;
        self.tail_bytes += piece.len() as u64;
        self.in_tail += records.len();
        Ok(())
    }

    /// Makes a block of the tail: it stands in the segment before it goes from the tail.
    fn make_block(&mut self, budget: u64) -> io::Result<()> {
        let mut block = Vec::new();
        write(&self.records_in_tail()?, self.tail_first, true, &mut block);
        let [least, most] = SEGMENT_BYTES;
        let room = (budget / SEGMENTS).clamp(least, most);
        let block_bytes = block.len() as u64;
        let begins = self
            .segments
            .last()
            .is_none_or(|last| last.bytes + block_bytes > room);
        if begins {
            self.segments.push(Segment {
                path: self.directory.join(format!("{:016x}.seg", self.tail_first)),
                first: self.tail_first,
                bytes: 0,
            });
        }
        if let Some(last) = self.segments.last_mut() {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&last.path)?;
            if let Err(error) = file.write_all(&block) {
                file.set_len(last.bytes)?;
                return Err(error);
            }
            last.bytes += block_bytes;
        }
        // What stands there is in the segment as well, and has lower numbers than what follows: if this fails, it is
        // passed over.
        self.is_torn = self.tail.set_len(0).is_err();
        self.tail_bytes = 0;
        self.in_tail = 0;
        self.tail_first = self.next;
        while self.bytes() > budget && self.segments.len() > 1 {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// They are read again, so that an instance of which little comes costs no memory.
    fn records_in_tail(&self) -> io::Result<Vec<u8>> {
        let bytes = fs::read(tail_of(&self.directory))?;
        let (found, _) = pieces(&bytes);
        let records = found.iter().filter_map(Piece::records);
        Ok(records.flatten().collect())
    }

    /// Removes the oldest segment. Says whether there was one that is complete.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_oldest(&mut self) -> io::Result<bool> {
        if self.segments.is_empty() {
            return Ok(false);
        }
        let oldest = self.segments.remove(0);
        match fs::remove_file(&oldest.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.tail_bytes
            + self
                .segments
                .iter()
                .map(|segment| segment.bytes)
                .sum::<u64>()
    }

    /// When the oldest segment was last written, for a choice among instances.
    pub fn oldest(&self) -> Option<std::time::SystemTime> {
        let oldest = self.segments.first()?;
        fs::metadata(&oldest.path).ok()?.modified().ok()
    }
}

const _: () = assert!(BLOCK_BYTES * 2 <= PIECE_BYTES);

/// The tail of these files.
pub(crate) fn tail_of(directory: &Path) -> PathBuf {
    directory.join("tail")
}

/// The segments, the oldest first.
///
/// # Errors
/// When the directory cannot be read; one that is not there has none.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        let first = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        if let (Some(first), Ok(metadata)) = (first, entry.metadata()) {
            found.push(Segment {
                path: entry.path(),
                first,
                bytes: metadata.len(),
            });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use model::VmId;
    use model::access::{AccessHead, AccessKind, AccessRecord};

    use super::*;

    const AMPLE: u64 = 1 << 30;

    fn record(kind: AccessKind, vm: u64, at: u64, bytes_in: u64) -> Vec<u8> {
        let head = AccessHead {
            kind,
            vm: VmId(vm),
            ended_us: at,
            bytes_in,
            ..AccessHead::default()
        };
        let mut bytes = Vec::new();
        AccessRecord::write(&head, b"", &mut bytes);
        bytes
    }

    /// Kind, VM, time and bytes of all that is in the tail.
    fn kept(directory: &Path) -> Vec<(AccessKind, u64, u64, u64)> {
        let bytes = fs::read(tail_of(directory)).unwrap();
        let (found, whole) = pieces(&bytes);
        assert_eq!(whole, bytes.len(), "nothing half-written stands there");
        let records = found.iter().flat_map(|piece| piece.records().unwrap());
        let records: Vec<u8> = records.collect();
        let records = AccessRecord::read_all(&records).map(|record| record.head);
        records
            .map(|head| (head.kind, head.vm.0, head.ended_us, head.bytes_in))
            .collect()
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_never_counted_as_kept_and_the_log_says_that_it_is_missing()
    {
        use AccessKind::{Gap, Http};
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(directory.path()).unwrap();
        writer.append(&record(Http, 1, 10, 5), 1, 0);
        assert_eq!(writer.take_outcome(), Outcome::default(), "not written yet");
        writer.flush(AMPLE).unwrap();
        assert_eq!(writer.take_outcome(), Outcome { kept: 1, lost: 0 });

        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let tail = std::mem::replace(&mut writer.tail, full);
        for (vm, at) in [(1, 20), (2, 30), (1, 40)] {
            writer.append(&record(Http, vm, at, 5), 1, 0);
            writer.append(&record(Gap, vm, at, 7), 1, 1);
            assert!(writer.flush(AMPLE).is_err());
        }
        assert_eq!(writer.take_outcome(), Outcome { kept: 0, lost: 3 });
        assert!(writer.flush(AMPLE).is_err(), "nothing new, and full still");

        writer.tail = tail;
        writer.flush(AMPLE).unwrap();
        writer.append(&record(Http, 2, 50, 5), 1, 0);
        writer.flush(AMPLE).unwrap();
        assert_eq!(writer.take_outcome(), Outcome { kept: 1, lost: 0 });
        let expected = [
            (Http, 1, 10, 5),
            (Gap, 1, 40, 16),
            (Gap, 2, 30, 8),
            (Http, 2, 50, 5),
        ];
        assert_eq!(kept(directory.path()), expected);
    }
}
