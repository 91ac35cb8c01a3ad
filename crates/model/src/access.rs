//! One line of an access log: what became of one HTTP request or TCP session, and the bytes in which a balancer
//! tells its host of it.
//!
//! A record is [`HEAD_WORDS`] little-endian words of 64 bits and then its text, filled up to a whole word, so that
//! a forwarding thread can write it word by word. Whoever reads takes nothing on trust: a VM is not believed.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::{Termination, VmId};

/// Words before a record's text.
pub const HEAD_WORDS: usize = 10;
/// Bytes of a word.
pub const WORD_BYTES: usize = 8;
/// Bytes of a method at the most.
pub const METHOD_BYTES: usize = 32;
/// Bytes of a host at the most.
pub const HOST_BYTES: usize = 128;
/// Bytes of a path at the most.
pub const PATH_BYTES: usize = 256;
/// Bytes of a request's id at the most.
pub const ID_BYTES: usize = 128;
/// Bytes of a `traceparent` at the most (W3C Trace Context, section 3.2: 55 in version 00).
pub const TRACE_BYTES: usize = 64;
/// Bytes of what was malformed, in words.
pub const DETAIL_BYTES: usize = 96;
/// Bytes of a whole text at the most.
pub const TEXT_BYTES: usize =
    METHOD_BYTES + HOST_BYTES + PATH_BYTES + ID_BYTES + TRACE_BYTES + DETAIL_BYTES;
/// Bytes of a record at the most.
pub const RECORD_BYTES: usize = HEAD_WORDS * WORD_BYTES + TEXT_BYTES;

/// Bytes of a frame at the most: what a pipe takes whole or not at all, whoever else writes into it (pipe(7)).
pub const FRAME_BYTES: usize = 4096;
/// How a frame begins; the number of bytes that follow comes next, as a word. No text that a client can choose
/// has a zero in it, so none looks like a frame.
pub const MAGIC: [u8; WORD_BYTES] = *b"\x01ek\0log\x02";

/// What a record is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessKind {
    /// An HTTP request.
    #[default]
    Http,
    /// A TCP session.
    Tcp,
    /// Records that are missing here, since there was no room for them; `bytes_in` is their number.
    Gap,
}

/// How long each part of a text is, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLengths {
    /// The method.
    pub method: u8,
    /// The host that was asked for.
    pub host: u8,
    /// The path and the query.
    pub path: u16,
    /// The request's id.
    pub id: u8,
    /// The `traceparent`.
    pub trace: u8,
    /// What was malformed.
    pub detail: u8,
}

impl AccessLengths {
    /// The whole text's length.
    #[must_use]
    pub fn sum(self) -> usize {
        usize::from(self.path)
            + [self.method, self.host, self.id, self.trace, self.detail]
                .into_iter()
                .map(usize::from)
                .sum::<usize>()
    }
}

/// All of a record but its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessHead {
    /// What it is of.
    pub kind: AccessKind,
    /// Why it ended.
    pub termination: Termination,
    /// The status that the client was told; 0 for none.
    pub status: u16,
    /// How often another try was made after the first at a backend, at the same or at another. Each counts here, those
    /// too that are no retries, since the backend had not seen the request ([`crate::Counters::retries`]).
    pub further_tries: u8,
    /// Whether the path was longer.
    pub path_cut: bool,
    /// Whether the host was longer.
    pub host_cut: bool,
    /// When it ended, in microseconds: of the balancer's own clock until it leaves the balancer, of Unix time after.
    pub ended_us: u64,
    /// Who asked.
    pub client: SocketAddrV4,
    /// The last backend; port 0 for none.
    pub backend: SocketAddrV4,
    /// Microseconds in the line for a backend, or until one was back.
    pub queue_us: u32,
    /// Microseconds until the backend's connection had come about; 0 where one was there.
    pub connect_us: u32,
    /// Microseconds from the whole head to the answer's first byte; 0 where none came.
    pub first_byte_us: u32,
    /// Microseconds in all.
    pub total_us: u64,
    /// Bytes that the client sent.
    pub bytes_in: u64,
    /// Bytes that the client was sent.
    pub bytes_out: u64,
    /// The text's parts.
    pub lengths: AccessLengths,
    /// The VM, which the host fills in.
    pub vm: VmId,
}

impl Default for AccessHead {
    fn default() -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self {
            kind: AccessKind::Http,
            termination: Termination::Complete,
            status: 0,
            further_tries: 0,
            path_cut: false,
            host_cut: false,
            ended_us: 0,
            client: nowhere,
            backend: nowhere,
            queue_us: 0,
            connect_us: 0,
            first_byte_us: 0,
            total_us: 0,
            bytes_in: 0,
            bytes_out: 0,
            lengths: AccessLengths::default(),
            vm: VmId(0),
        }
    }
}

impl AccessHead {
    /// How many words the whole record has.
    #[must_use]
    pub fn words_in_all(&self) -> usize {
        HEAD_WORDS + self.lengths.sum().div_ceil(WORD_BYTES)
    }

    /// The words before the text.
    #[must_use]
    pub fn to_words(&self) -> [u64; HEAD_WORDS] {
        let kind = match self.kind {
            AccessKind::Http => 0,
            AccessKind::Tcp => 1,
            AccessKind::Gap => 2,
        };
        let marks = u64::from(self.path_cut) | u64::from(self.host_cut) << 1;
        let lengths = self.lengths;
        [
            self.words_in_all() as u64
                | kind << 16
                | u64::from(self.termination.code()) << 24
                | u64::from(self.status) << 32
                | u64::from(self.further_tries) << 48
                | marks << 56,
            self.ended_us,
            ip(self.client) | port(self.client) << 32 | port(self.backend) << 48,
            ip(self.backend) | u64::from(self.queue_us) << 32,
            u64::from(self.connect_us) | u64::from(self.first_byte_us) << 32,
            self.total_us,
            self.bytes_in,
            self.bytes_out,
            u64::from(lengths.method)
                | u64::from(lengths.host) << 8
                | u64::from(lengths.path) << 16
                | u64::from(lengths.id) << 32
                | u64::from(lengths.trace) << 40
                | u64::from(lengths.detail) << 48,
            self.vm.0,
        ]
    }

    /// Reads the words back; nothing when they are no record's.
    #[must_use]
    pub fn from_words(words: &[u64; HEAD_WORDS]) -> Option<Self> {
        let [
            first,
            ended_us,
            ends,
            backend,
            waits,
            total_us,
            bytes_in,
            bytes_out,
            text,
            vm,
        ] = *words;
        let byte = |word: u64, at: u32| (word >> (8 * at)) as u8;
        let address = |ip: u64, port: u64| {
            SocketAddrV4::new(Ipv4Addr::from_bits(ip as u32), (port & 0xffff) as u16)
        };
        let head = Self {
            kind: match byte(first, 2) {
                0 => AccessKind::Http,
                1 => AccessKind::Tcp,
                2 => AccessKind::Gap,
                _ => return None,
            },
            termination: Termination::from_code(byte(first, 3))?,
            status: (first >> 32) as u16,
            further_tries: byte(first, 6),
            path_cut: byte(first, 7) & 1 != 0,
            host_cut: byte(first, 7) & 2 != 0,
            ended_us,
            client: address(ends, ends >> 32),
            backend: address(backend, ends >> 48),
            queue_us: (backend >> 32) as u32,
            connect_us: waits as u32,
            first_byte_us: (waits >> 32) as u32,
            total_us,
            bytes_in,
            bytes_out,
            lengths: AccessLengths {
                method: byte(text, 0),
                host: byte(text, 1),
                path: (text >> 16) as u16,
                id: byte(text, 4),
                trace: byte(text, 5),
                detail: byte(text, 6),
            },
            vm: VmId(vm),
        };
        let is_whole = head.lengths.sum() <= TEXT_BYTES;
        (is_whole && head.words_in_all() as u64 == first & 0xffff).then_some(head)
    }

    /// How often a backend was tried: not at all where none could be.
    #[must_use]
    pub fn tries(&self) -> u16 {
        match self.backend.port() {
            0 => 0,
            _ => u16::from(self.further_tries) + 1,
        }
    }

    /// Whether it is what a user calls a failure: it did not come to its own end, or the client was told a 5xx.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.termination != Termination::Complete || self.status >= 500
    }
}

fn ip(address: SocketAddrV4) -> u64 {
    address.ip().to_bits().into()
}

fn port(address: SocketAddrV4) -> u64 {
    address.port().into()
}

/// A record with its text, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// All but the text.
    pub head: AccessHead,
    text: &'a [u8],
}

impl<'a> AccessRecord<'a> {
    /// Reads the record at the beginning of `bytes`; returns it and what follows it. Nothing when there is no
    /// whole and sound one.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut words = [0; HEAD_WORDS];
        let (fixed, _) = bytes.split_at_checked(HEAD_WORDS * WORD_BYTES)?;
        for (word, bytes) in words.iter_mut().zip(fixed.chunks_exact(WORD_BYTES)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let head = AccessHead::from_words(&words)?;
        let (record, rest) = bytes.split_at_checked(head.words_in_all() * WORD_BYTES)?;
        let text = record.get(HEAD_WORDS * WORD_BYTES..)?;
        Some((Self { head, text }, rest))
    }

    /// Reads records in a row, up to the first that is not whole and sound.
    pub fn read_all(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (record, more) = Self::read(rest)?;
            rest = more;
            Some(record)
        })
    }

    /// Writes a record's bytes.
    pub fn write(head: &AccessHead, text: &[u8], out: &mut Vec<u8>) {
        for word in head.to_words() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(text);
        out.resize(out.len().next_multiple_of(WORD_BYTES), 0);
    }

    /// The text as it is, without the zeros behind it.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.part(0, self.head.lengths.sum())
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.part(0, self.head.lengths.method.into())
    }

    /// The host that was asked for.
    #[must_use]
    pub fn host(&self) -> &'a [u8] {
        let lengths = self.head.lengths;
        self.part(lengths.method.into(), lengths.host.into())
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        let lengths = self.head.lengths;
        let from = usize::from(lengths.method) + usize::from(lengths.host);
        self.part(from, lengths.path.into())
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> &'a [u8] {
        self.last(|lengths| (lengths.id, [lengths.trace, lengths.detail]))
    }

    /// The `traceparent`.
    #[must_use]
    pub fn trace(&self) -> &'a [u8] {
        self.last(|lengths| (lengths.trace, [lengths.detail, 0]))
    }

    /// What was malformed, in words.
    #[must_use]
    pub fn detail(&self) -> &'a [u8] {
        self.last(|lengths| (lengths.detail, [0, 0]))
    }

    /// One of the parts that are told by what stands behind them.
    fn last(&self, of: fn(AccessLengths) -> (u8, [u8; 2])) -> &'a [u8] {
        let lengths = self.head.lengths;
        let (length, behind) = of(lengths);
        let behind: usize = behind.into_iter().map(usize::from).sum();
        let from = lengths.sum().saturating_sub(behind + usize::from(length));
        self.part(from, length.into())
    }

    fn part(&self, from: usize, length: usize) -> &'a [u8] {
        self.text.get(from..from + length).unwrap_or_default()
    }
}

/// Finds records in what comes over a port or a pipe, also where it is joined in the middle of a frame.
#[derive(Debug, Default)]
pub struct Frames {
    /// What is no whole frame yet: never more than one and what came last.
    held: Vec<u8>,
}

impl Frames {
    /// Takes bytes in, and gives each record that is whole and sound.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(AccessRecord<'_>)) {
        self.held.extend_from_slice(bytes);
        let mut rest = &self.held[..];
        while let Some((records, behind)) = next_frame(&mut rest) {
            AccessRecord::read_all(records).for_each(&mut each);
            rest = behind;
        }
        let left = rest.len();
        self.held.drain(..self.held.len() - left);
    }
}

/// The next frame's records and what stands behind it. Nothing when it is not whole yet; what stood before it, and
/// can be no part of one, is passed over.
fn next_frame<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    loop {
        let begins = |rest: &[u8]| rest.iter().zip(&MAGIC).all(|(a, b)| a == b);
        let skipped = (0..bytes.len()).find(|&at| bytes.get(at..).is_some_and(begins));
        *bytes = bytes.get(skipped.unwrap_or(bytes.len())..)?;
        let length = bytes.get(WORD_BYTES..2 * WORD_BYTES)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let most = (FRAME_BYTES - 2 * WORD_BYTES) as u64;
        if length > most {
            *bytes = bytes.get(1..)?;
            continue;
        }
        let end = 2 * WORD_BYTES + length as usize;
        let records = bytes.get(2 * WORD_BYTES..end)?;
        return Some((records, bytes.get(end..)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> AccessHead {
        AccessHead {
            kind: AccessKind::Http,
            termination: Termination::ResponseTimeout,
            status: 504,
            further_tries: 2,
            path_cut: true,
            host_cut: false,
            ended_us: 1_700_000_000_000_001,
            client: "10.0.0.9:4711".parse().unwrap(),
            backend: "1.1.1.10:8080".parse().unwrap(),
            queue_us: 1,
            connect_us: u32::MAX,
            first_byte_us: 3,
            total_us: 60_000_000,
            bytes_in: 5,
            bytes_out: u64::MAX,
            lengths: AccessLengths {
                method: 3,
                host: 2,
                path: 4,
                id: 1,
                trace: 5,
                detail: 6,
            },
            vm: VmId(7),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        AccessRecord::write(&head(), b"GETh./abcItraceDETAIL", &mut bytes);
        bytes.extend_from_slice(b"next");
        let (record, rest) = AccessRecord::read(&bytes).unwrap();
        assert_eq!(record.head, head());
        assert_eq!(rest, b"next");
        let parts = [
            record.method(),
            record.host(),
            record.path(),
            record.id(),
            record.trace(),
            record.detail(),
        ];
        let expected: [&[u8]; 6] = [b"GET", b"h.", b"/abc", b"I", b"trace", b"DETAIL"];
        assert_eq!(parts, expected);
        assert_eq!(record.text(), b"GETh./abcItraceDETAIL");
    }

    #[test]
    fn tries_are_counted_from_the_first_where_a_backend_was_tried() {
        for (backend, further_tries, tries) in [
            ("0.0.0.0:0", 0, 0),
            ("1.1.1.10:80", 0, 1),
            ("1.1.1.10:80", 2, 3),
            ("1.1.1.10:80", u8::MAX, 256),
        ] {
            let head = AccessHead {
                backend: backend.parse().unwrap(),
                further_tries,
                ..AccessHead::default()
            };
            assert_eq!(head.tries(), tries, "{backend}");
        }
    }

    #[test]
    fn a_part_of_a_record_is_none_and_neither_is_nonsense() {
        let mut bytes = Vec::new();
        AccessRecord::write(&head(), b"GETh./abcItraceDETAIL", &mut bytes);
        for length in 0..bytes.len() {
            assert!(AccessRecord::read(&bytes[..length]).is_none(), "{length}");
        }
        for (at, value) in [(0, 1), (2, 9), (3, 250), (66, 0xff), (67, 0xff)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(AccessRecord::read(&bad).is_none(), "byte {at}");
        }
    }

    fn frame(path: &str) -> Vec<u8> {
        let mut records = Vec::new();
        for _ in 0..2 {
            let lengths = AccessLengths {
                path: path.len() as u16,
                ..AccessLengths::default()
            };
            let head = AccessHead { lengths, ..head() };
            AccessRecord::write(&head, path.as_bytes(), &mut records);
        }
        let mut frame = MAGIC.to_vec();
        frame.extend((records.len() as u64).to_le_bytes());
        frame.extend(records);
        frame
    }

    #[test]
    fn frames_are_found_however_they_come_and_wherever_they_are_joined() {
        let stream = [frame("/a"), frame("/b"), frame("/c")].concat();
        for begin in 0..=frame("/a").len() {
            let whole = if begin == 0 { 6 } else { 4 };
            for size in [1, 7, 64, 4096] {
                let (mut frames, mut found) = (Frames::default(), Vec::new());
                for piece in stream[begin..].chunks(size) {
                    frames.push(piece, |record| found.push(record.path().to_vec()));
                }
                assert_eq!(found.len(), whole, "from {begin} in pieces of {size}");
                assert!(frames.held.is_empty());
            }
        }
    }

    #[test]
    fn nonsense_is_passed_over_and_never_held() {
        let (mut frames, mut found) = (Frames::default(), 0);
        let endless = [&MAGIC[..], &u64::MAX.to_le_bytes()].concat();
        for _ in 0..1000 {
            frames.push(&[b'x'; 5000], |_| found += 1);
            frames.push(&endless, |_| found += 1);
            assert!(frames.held.len() < 2 * FRAME_BYTES, "{}", frames.held.len());
        }
        frames.push(&frame("/a"), |_| found += 1);
        assert_eq!(found, 2);
    }
}
