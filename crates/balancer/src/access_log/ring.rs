//! One forwarding thread's records on their way to the sender: a ring of words with one writer and one reader.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use model::access::{AccessHead, HEAD_WORDS, WORD_BYTES};
use rustix::event::{EventfdFlags, eventfd};

/// Words of a ring: 256 KiB, or some 1,700 requests. At more than half of it the sender is woken.
pub const RING_WORDS: usize = 32 << 10;

/// The word with the time.
const TIME: usize = 1;

/// A number on a cache line of its own, since one thread writes it and another one reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(AtomicU64);

/// Records of one thread. Positions only ever grow; a word's place is its position in the ring's size.
#[derive(Debug)]
pub struct Ring {
    words: Box<[AtomicU64]>,
    /// Where the writer is.
    head: Apart,
    /// Where the reader is.
    tail: Apart,
    /// Records for which there was no room.
    dropped: Apart,
    wake: OwnedFd,
}

impl Ring {
    /// A ring of [`RING_WORDS`].
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            words: (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect(),
            head: Apart::default(),
            tail: Apart::default(),
            dropped: Apart::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Becomes readable when the reader had better not wait.
    #[must_use]
    pub fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    /// Records that were dropped since the beginning.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.0.load(Ordering::Relaxed)
    }

    /// So many places from a position on: those up to the ring's end, and then those at its beginning.
    fn places(&self, position: u64, count: usize) -> impl Iterator<Item = &AtomicU64> {
        let begin = place_of(position);
        let first = count.min(RING_WORDS - begin);
        let first_places = self.words.get(begin..begin + first).unwrap_or_default();
        let others = self.words.get(..count - first).unwrap_or_default();
        first_places.iter().chain(others)
    }

    fn word(&self, position: u64) -> u64 {
        let place = self.words.get(place_of(position));
        place.map_or(0, |place| place.load(Ordering::Relaxed))
    }

    /// Has the reader look again.
    pub fn acknowledge(&self) {
        let mut count = [0; 8];
        let _none = rustix::io::read(&self.wake, &mut count);
    }
}

fn place_of(position: u64) -> usize {
    position as usize % RING_WORDS
}

/// The writer's side, which only its thread has.
#[derive(Debug, Default)]
pub struct Writer {
    head: u64,
    /// Where the reader was when it was last looked at.
    tail: u64,
    woke: bool,
}

impl Writer {
    /// Writes a record, or drops and counts it.
    pub fn write(&mut self, ring: &Ring, head: &AccessHead, text: &[u8]) {
        let size = head.words_in_all() as u64;
        if !self.has_room(ring, size) {
            let dropped = ring.dropped.0.load(Ordering::Relaxed);
            ring.dropped.0.store(dropped + 1, Ordering::Relaxed);
            return;
        }
        let mut places = ring.places(self.head, size as usize);
        let mut put = |word: u64| {
            if let Some(place) = places.next() {
                place.store(word, Ordering::Relaxed);
            }
        };
        head.to_words().into_iter().for_each(&mut put);
        let (whole, rest) = text.as_chunks::<WORD_BYTES>();
        for bytes in whole {
            put(u64::from_le_bytes(*bytes));
        }
        if !rest.is_empty() {
            let mut last = [0; WORD_BYTES];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            put(u64::from_le_bytes(last));
        }
        self.head += size;
        ring.head.0.store(self.head, Ordering::Release);
        self.wake_at_half(ring);
    }

    fn has_room(&mut self, ring: &Ring, size: u64) -> bool {
        if self.head + size <= self.tail + RING_WORDS as u64 {
            return true;
        }
        self.tail = ring.tail.0.load(Ordering::Acquire);
        self.head + size <= self.tail + RING_WORDS as u64
    }

    fn wake_at_half(&mut self, ring: &Ring) {
        const HALF: u64 = RING_WORDS as u64 / 2;
        if self.head - self.tail < HALF {
            self.woke = false;
            return;
        }
        self.tail = ring.tail.0.load(Ordering::Acquire);
        if self.head - self.tail >= HALF && !std::mem::replace(&mut self.woke, true) {
            // It fails only when the reader was already woken 2^64 times.
            let _ = rustix::io::write(&ring.wake, &1u64.to_ne_bytes());
        }
    }
}

/// The reader's side, which only the sender has.
#[derive(Debug, Default)]
pub struct Reader {
    tail: u64,
}

impl Reader {
    /// Takes the oldest record's bytes to the end of `out`, if there is one and it has no more than `room` bytes;
    /// says whether. `later_us` is added to the time in it.
    pub fn take(&mut self, ring: &Ring, room: usize, later_us: u64, out: &mut Vec<u8>) -> bool {
        let head = ring.head.0.load(Ordering::Acquire);
        if head == self.tail {
            return false;
        }
        let size = (ring.word(self.tail) & 0xffff).clamp(HEAD_WORDS as u64, head - self.tail);
        if size as usize * WORD_BYTES > room {
            return false;
        }
        let begin = out.len();
        out.resize(begin + size as usize * WORD_BYTES, 0);
        let (places, _) = out
            .get_mut(begin..)
            .unwrap_or_default()
            .as_chunks_mut::<WORD_BYTES>();
        let words = ring.places(self.tail, size as usize);
        places
            .iter_mut()
            .zip(words)
            .for_each(|(to, word)| *to = word.load(Ordering::Relaxed).to_le_bytes());
        if let Some(time) = places.get_mut(TIME) {
            *time = u64::from_le_bytes(*time)
                .wrapping_add(later_us)
                .to_le_bytes();
        }
        self.tail += size;
        ring.tail.0.store(self.tail, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::access::{AccessLengths, AccessRecord};

    fn head(path: usize) -> AccessHead {
        AccessHead {
            ended_us: 5,
            lengths: AccessLengths {
                path: path as u16,
                ..AccessLengths::default()
            },
            ..AccessHead::default()
        }
    }

    #[test]
    fn records_come_out_in_order_and_whole_however_they_lie() {
        let (ring, mut writer) = (Ring::new().unwrap(), Writer::default());
        let mut reader = Reader::default();
        for round in 0..20_000usize {
            let text: Vec<u8> = (0..round % 200).map(|at| at as u8 | 1).collect();
            writer.write(&ring, &head(text.len()), &text);
            let mut bytes = Vec::new();
            assert!(reader.take(&ring, 4096, 100, &mut bytes), "round {round}");
            let (record, rest) = AccessRecord::read(&bytes).unwrap();
            assert_eq!((record.head.ended_us, record.path()), (105, &*text));
            assert!(rest.is_empty());
        }
        assert!(!reader.take(&ring, 4096, 0, &mut Vec::new()));
        assert_eq!(ring.dropped(), 0);
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted_and_what_was_there_stays() {
        let (ring, mut writer) = (Ring::new().unwrap(), Writer::default());
        let fit = RING_WORDS / HEAD_WORDS;
        for _ in 0..fit + 7 {
            writer.write(&ring, &head(0), b"");
        }
        assert_eq!(ring.dropped(), 7);
        let mut reader = Reader::default();
        let mut bytes = Vec::new();
        while reader.take(&ring, usize::MAX, 0, &mut bytes) {}
        assert_eq!(bytes.len(), fit * HEAD_WORDS * WORD_BYTES);
        writer.write(&ring, &head(0), b"");
        assert_eq!(ring.dropped(), 7, "there is room again");
    }
}
