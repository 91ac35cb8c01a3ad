//! A file of one level with the chunks of all series in a stretch of time. It is written once, whole, and never
//! changed: it appears under its name when everything in it is on the disk, and goes as a whole.
//!
//! ```text
//!  ┌───────┬───────┬───┬─────────────────────────────┬─────────────────────────────────────────────┐
//!  │ chunk │ chunk │ … │ index: (series, offset) …   │ trailer: slots, series, CRC32 of index and │
//!  │ + CRC │ + CRC │   │ ascending by series         │ trailer, mark                               │
//!  └───────┴───────┴───┴─────────────────────────────┴─────────────────────────────────────────────┘
//! ```
//!
//! The index is not held in memory: a look-up reads some of its entries, by halving.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Cell;
use crate::coding::{Malformed, Reader, decode};
use crate::disk::{Disk, DiskFile};

const MARK: &[u8; 8] = b"ekseg 1\n";
/// Bytes of an entry of the index: the series, and where its chunk begins.
const ENTRY: u64 = 12;
/// Bytes of the trailer.
const TRAILER: u64 = 8 + 8 + 4 + 4 + 8;
/// Bytes in front of a chunk: its checksum and its series.
const CHUNK_HEADER: usize = 8;
/// A chunk is at most so long: an index that says otherwise is damaged.
const MOST_CHUNK: u64 = 256 << 20;

/// A segment that can be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// In which order it was made: what a later one says of a slot counts.
    pub(crate) number: u64,
    /// The first slot in it, and the last.
    pub(crate) slots: (i64, i64),
    /// The highest series in it.
    pub(crate) last_series: u32,
    pub(crate) bytes: u64,
    file: File,
    series: u64,
    index_at: u64,
}

/// A segment that is being written.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    disk: Disk,
    out: BufWriter<DiskFile>,
    written: u64,
    index: Vec<u8>,
    slots: Option<(i64, i64)>,
    series: u32,
}

impl SegmentWriter {
    /// Begins a segment of this name.
    pub(crate) fn create(disk: &Disk, path: &Path) -> io::Result<Self> {
        let file = disk.create(&path.with_extension("new"))?;
        Ok(Self {
            path: path.to_owned(),
            disk: disk.clone(),
            out: BufWriter::new(file),
            written: 0,
            index: Vec::new(),
            slots: None,
            series: 0,
        })
    }

    /// Adds the chunk of a series, which must be higher than the one before, with its first and its last slot.
    pub(crate) fn add(
        &mut self,
        series: u32,
        chunk: &[u8],
        first: i64,
        last: i64,
    ) -> io::Result<()> {
        self.index.extend(series.to_le_bytes());
        self.index.extend(self.written.to_le_bytes());
        let id = series.to_le_bytes();
        self.out.write_all(&checksum(&[&id, chunk]).to_le_bytes())?;
        self.out.write_all(&id)?;
        self.out.write_all(chunk)?;
        self.written += (CHUNK_HEADER + chunk.len()) as u64;
        let (from, to) = self.slots.unwrap_or((first, last));
        self.slots = Some((from.min(first), to.max(last)));
        self.series += 1;
        Ok(())
    }

    /// Makes it durable, and gives it its name. Nothing is made of a segment without series.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        let Some((first, last)) = self.slots else {
            self.disk.remove(self.out.get_ref().path())?;
            return Ok(false);
        };
        let mut end = Vec::new();
        end.extend(first.to_le_bytes());
        end.extend(last.to_le_bytes());
        end.extend(self.series.to_le_bytes());
        let sum = checksum(&[&self.index, &end]);
        self.out.write_all(&self.index)?;
        self.out.write_all(&end)?;
        self.out.write_all(&sum.to_le_bytes())?;
        self.out.write_all(MARK)?;
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync()?;
        self.disk.rename(file.path(), &self.path)?;
        Ok(true)
    }
}

impl Segment {
    /// Opens a segment; `Ok(None)` if it is damaged.
    pub(crate) fn open(disk: &Disk, path: &Path, number: u64) -> io::Result<Option<Self>> {
        let file = disk.read(path)?;
        let bytes = file.metadata()?.len();
        let Some(trailer_at) = bytes.checked_sub(TRAILER) else {
            return Ok(None);
        };
        let trailer = read_at(&file, trailer_at, TRAILER)?;
        let Ok((slots, series, sum)) = trailer_of(&trailer) else {
            return Ok(None);
        };
        let Some(index_at) = trailer_at.checked_sub(u64::from(series) * ENTRY) else {
            return Ok(None);
        };
        let signed = read_at(&file, index_at, trailer_at - index_at + 20)?;
        if crc32fast::hash(&signed) != sum || series == 0 {
            return Ok(None);
        }
        let mut segment = Self {
            path: path.to_owned(),
            number,
            slots,
            last_series: 0,
            bytes,
            file,
            series: u64::from(series),
            index_at,
        };
        let (last_series, _) = segment.entry(segment.series - 1)?;
        segment.last_series = last_series;
        Ok(Some(segment))
    }

    /// The cells of a series: none if it has none here.
    ///
    /// # Errors
    /// If the chunk is damaged or cannot be read.
    pub(crate) fn read(&self, series: u32, most: usize) -> io::Result<Vec<(i64, Cell)>> {
        let Some(place) = self.find(series)? else {
            return Ok(Vec::new());
        };
        let (_, from) = self.entry(place)?;
        let to = if place + 1 == self.series {
            self.index_at
        } else {
            self.entry(place + 1)?.1
        };
        let length = to.checked_sub(from).filter(|length| *length <= MOST_CHUNK);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a chunk is damaged");
        let bytes = read_at(&self.file, from, length.ok_or_else(damaged)?)?;
        chunk_of(&bytes, series, most).map_err(|_| damaged())
    }

    /// Where in the index a series is.
    fn find(&self, series: u32) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (0, self.series);
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, _) = self.entry(middle)?;
            match found.cmp(&series) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn entry(&self, place: u64) -> io::Result<(u32, u64)> {
        let bytes = read_at(&self.file, self.index_at + place * ENTRY, ENTRY)?;
        let mut from = Reader::new(&bytes);
        let entry = (|| {
            let series = u32::from_le_bytes(from.array()?);
            Ok::<_, Malformed>((series, u64::from_le_bytes(from.array()?)))
        })();
        entry.map_err(io::Error::other)
    }
}

fn read_at(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// The slots, how many series there are, and the checksum.
fn trailer_of(bytes: &[u8]) -> Result<((i64, i64), u32, u32), Malformed> {
    let mut from = Reader::new(bytes);
    let slots = (
        i64::from_le_bytes(from.array()?),
        i64::from_le_bytes(from.array()?),
    );
    let series = u32::from_le_bytes(from.array()?);
    let sum = u32::from_le_bytes(from.array()?);
    if from.rest() == MARK {
        Ok((slots, series, sum))
    } else {
        Err(Malformed)
    }
}

fn chunk_of(bytes: &[u8], series: u32, most: usize) -> Result<Vec<(i64, Cell)>, Malformed> {
    let mut from = Reader::new(bytes);
    let sum = u32::from_le_bytes(from.array()?);
    if crc32fast::hash(from.rest()) != sum || u32::from_le_bytes(from.array()?) != series {
        return Err(Malformed);
    }
    decode(from.rest(), most)
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
