//! A piece of a file: some records in a row, compressed or not, with all that is needed to find that it is whole.

use model::access::AccessRecord;

/// Bytes of records that make a block. One that is read is taken apart whole, so it is not to be much.
pub(crate) const BLOCK_BYTES: usize = 128 << 10;
/// Bytes of records in one piece at the most.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 48;

/// How a piece begins.
const MARK: u32 = 0x6b65_316c;

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes that follow.
    pub stored: u32,
    /// Bytes of the records.
    pub raw: u32,
    /// How many there are.
    pub count: u32,
    /// The number of the first.
    pub first: u64,
    /// The earliest and the latest time in them, in microseconds of Unix time.
    pub times: [u64; 2],
    sum: u32,
}

/// A piece as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub header: Header,
    stored: &'a [u8],
}

/// Writes a piece of these records to the end of `out`, compressed where that is wanted.
pub(crate) fn write(records: &[u8], first: u64, compress: bool, out: &mut Vec<u8>) {
    let compressed = compress.then(|| lz4_flex::block::compress(records));
    let stored = compressed.as_deref().filter(|it| it.len() < records.len());
    let stored = stored.unwrap_or(records);
    let (mut count, mut times) = (0u32, [u64::MAX, 0]);
    for record in AccessRecord::read_all(records) {
        count += 1;
        let [earliest, latest] = times;
        let at = record.head.ended_us;
        times = [earliest.min(at), latest.max(at)];
    }
    let begin = out.len();
    for word in [MARK, stored.len() as u32, records.len() as u32, count] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for word in [first, times[0], times[1]] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let mut sum = crc32fast::Hasher::new();
    sum.update(out.get(begin..).unwrap_or_default());
    sum.update(stored);
    out.extend_from_slice(&sum.finalize().to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(stored);
}

impl<'a> Piece<'a> {
    /// Reads the piece at the beginning of `bytes`; returns it and what follows. Nothing when none is there whole.
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, behind) = bytes.split_at_checked(HEADER_BYTES)?;
        let small = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let large = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let header = Header {
            stored: small(4)?,
            raw: small(8)?,
            count: small(12)?,
            first: large(16)?,
            times: [large(24)?, large(32)?],
            sum: small(40)?,
        };
        let is_sound = small(0)? == MARK && header.raw as usize <= PIECE_BYTES;
        let (stored, rest) = behind.split_at_checked(header.stored as usize)?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(head.get(..40)?);
        sum.update(stored);
        (is_sound && sum.finalize() == header.sum).then_some((Self { header, stored }, rest))
    }

    /// The records.
    pub fn records(&self) -> Option<Vec<u8>> {
        if self.header.stored == self.header.raw {
            return Some(self.stored.to_vec());
        }
        lz4_flex::block::decompress(self.stored, self.header.raw as usize).ok()
    }

    /// The number after the last record's.
    pub fn end(&self) -> u64 {
        self.header.first + u64::from(self.header.count)
    }
}

/// The pieces of a file, up to the first that is not whole; and how many bytes they are.
pub(crate) fn pieces(bytes: &[u8]) -> (Vec<Piece<'_>>, usize) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((piece, more)) = Piece::read(rest) {
        found.push(piece);
        rest = more;
    }
    (found, bytes.len() - rest.len())
}
