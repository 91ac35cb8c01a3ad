//! Lines over a stream that may be full, empty or gone at any time.

use std::os::fd::AsFd;

use model::MAX_LINE_BYTES;
use rustix::io::Errno;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Reads before others have their turn.
const READS: usize = 64;

/// Puts lines together from pieces.
#[derive(Default)]
pub struct LineReader {
    partial: Vec<u8>,
    skipping: bool,
}

/// Whether a stream can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// There may be more later.
    Open,
    /// The other side is not there.
    Ended,
}

impl LineReader {
    /// Reads what there is and adds each whole line, without its newline, to `lines`.
    pub fn read(&mut self, stream: impl AsFd, lines: &mut Vec<Vec<u8>>) -> StreamState {
        let mut buffer = [0u8; READ_BYTES];
        for _ in 0..READS {
            match rustix::io::read(&stream, &mut buffer) {
                Ok(0) => return StreamState::Ended,
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default(), lines),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return StreamState::Open,
                Err(_) => return StreamState::Ended,
            }
        }
        StreamState::Open
    }

    /// Takes a piece in. A line longer than [`MAX_LINE_BYTES`] is skipped to its end.
    pub fn take(&mut self, piece: &[u8], lines: &mut Vec<Vec<u8>>) {
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            if self.partial.len() + text.len() >= MAX_LINE_BYTES {
                self.skipping = true;
                self.partial = Vec::new();
            }
            if !self.skipping {
                self.partial.extend_from_slice(text);
            }
            if whole {
                let line = std::mem::take(&mut self.partial);
                if !std::mem::take(&mut self.skipping) && !line.is_empty() {
                    lines.push(line);
                }
            }
        }
    }

    /// Forgets the part of a line whose rest will not come.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Writes whole lines: one that does not fit is dropped before its first byte, or finished later.
#[derive(Default)]
pub struct LineWriter {
    pending: Vec<u8>,
}

impl LineWriter {
    /// Writes `line`, which has no newline, unless an earlier one is still on its way. Says whether it
    /// was taken.
    pub fn write(&mut self, stream: impl AsFd, line: &[u8]) -> bool {
        self.flush(&stream);
        if !self.pending.is_empty() || line.len() >= MAX_LINE_BYTES {
            return false;
        }
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        match write_some(&stream, &whole) {
            0 => false,
            count => {
                self.pending = whole.split_off(count);
                true
            }
        }
    }

    /// Has whatever comes next begin on a line of its own.
    pub fn end_line(&mut self) {
        self.pending.push(b'\n');
    }

    /// Writes more of a line that was cut off.
    pub fn flush(&mut self, stream: impl AsFd) {
        while !self.pending.is_empty() {
            let count = write_some(&stream, &self.pending);
            if count == 0 {
                return;
            }
            self.pending.drain(..count);
        }
    }

    /// Whether a part of a line waits.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Bytes that the stream took; 0 when it takes none, for whatever reason.
fn write_some(stream: impl AsFd, bytes: &[u8]) -> usize {
    loop {
        match rustix::io::write(&stream, bytes) {
            Err(Errno::INTR) => {}
            other => return other.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn lines_come_out_whole_however_they_are_cut() {
        let text = b"one\n\ntwo two\nthree\nrest";
        for cut in 0..text.len() {
            let (mut reader, mut lines) = (LineReader::default(), Vec::new());
            reader.take(&text[..cut], &mut lines);
            reader.take(&text[cut..], &mut lines);
            assert_eq!(lines, [&b"one"[..], b"two two", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end() {
        let (mut reader, mut lines) = (LineReader::default(), Vec::new());
        for _ in 0..3 {
            reader.take(&vec![b'x'; MAX_LINE_BYTES / 2], &mut lines);
        }
        reader.take(b"x\nnext\n", &mut lines);
        assert_eq!(lines, [b"next"]);
    }

    #[test]
    fn a_full_stream_drops_lines_and_tears_none() {
        let (mut far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let mut writer = LineWriter::default();
        let line = vec![b'a'; 300_000];
        let taken = (0..1_000).filter(|_| writer.write(&near, &line)).count();
        assert!(taken < 1_000 && writer.is_pending(), "nothing was cut off");
        let mut got = Vec::new();
        loop {
            let before = got.len();
            let _ = far.read_to_end(&mut got);
            writer.flush(&near);
            if got.len() == before && !writer.is_pending() {
                break;
            }
        }
        let lines: Vec<_> = got
            .split(|&b| b == b'\n')
            .filter(|l| !l.is_empty())
            .collect();
        assert_eq!(lines.len(), taken);
        assert!(lines.iter().all(|&got| got == line));
    }
}
