//! How much one direction moves at a time, and so whether splice(2) pays.
//!
//! Moving bytes through a pipe saves both copies, but costs more calls: below some tens of kibibytes it
//! loses. One large read says little, since a large message may be the only one. So it takes two in a row
//! to begin, and one small one to stop.

/// A read of so many bytes is one that a pipe would have served better.
pub const LARGE_BYTES: usize = 64 << 10;
/// A read of fewer is one that copying would have served better. It is lower, since bytes that are taken
/// faster gather less.
pub const SMALL_BYTES: usize = 16 << 10;
/// Large reads in a row that begin it.
const LARGE_READS: u8 = 2;

/// How much one direction moves at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    large_reads: u8,
}

impl Bulk {
    /// So many bytes were read at once.
    pub fn note(&mut self, count: usize) {
        if count >= LARGE_BYTES {
            self.large_reads = (self.large_reads + 1).min(LARGE_READS);
        } else if count < SMALL_BYTES || !self.is_sustained() {
            self.large_reads = 0;
        }
    }

    /// Whether reads are large again and again.
    #[must_use]
    pub fn is_sustained(self) -> bool {
        self.large_reads >= LARGE_READS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counts: &[usize]) -> bool {
        let mut bulk = Bulk::default();
        for &count in counts {
            bulk.note(count);
        }
        bulk.is_sustained()
    }

    #[test]
    fn it_takes_two_large_reads_in_a_row() {
        assert!(!after(&[LARGE_BYTES]));
        assert!(!after(&[LARGE_BYTES, LARGE_BYTES - 1, LARGE_BYTES]));
        assert!(after(&[1, LARGE_BYTES, LARGE_BYTES]));
    }

    #[test]
    fn one_small_read_ends_it_and_a_middling_one_does_not() {
        let begun = [LARGE_BYTES, LARGE_BYTES];
        assert!(after(&[begun[0], begun[1], SMALL_BYTES]));
        assert!(!after(&[begun[0], begun[1], SMALL_BYTES - 1]));
        assert!(!after(&[begun[0], begun[1], SMALL_BYTES - 1, LARGE_BYTES]));
    }
}
