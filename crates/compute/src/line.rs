//! Lines out of a byte stream, with a bound on each. Free of I/O.

use model::MAX_LINE_BYTES;

/// Cuts a stream into lines. Empty lines and lines longer than [`MAX_LINE_BYTES`] are left out; after
/// a longer one it goes on with the next.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
    skipping: bool,
}

impl LineSplitter {
    /// Takes bytes as they came and hands each line that they complete, without its newline, to
    /// `line`, in order.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end);
            bytes = tail.get(1..).unwrap_or_default();
            self.append(head);
            if !self.skipping && !self.partial.is_empty() {
                line(&self.partial);
            }
            self.skipping = false;
            self.partial.clear();
        }
        self.append(bytes);
        // One long line must not hold its memory for ever.
        if self.partial.is_empty() && self.partial.capacity() > 1 << 16 {
            self.partial = Vec::new();
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        // The newline counts as well.
        if self.skipping || self.partial.len() + bytes.len() >= MAX_LINE_BYTES {
            self.skipping = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line.to_vec()));
        }
        lines
    }

    #[test]
    fn an_overlong_line_is_skipped_and_the_next_is_read() {
        let long = vec![b'x'; MAX_LINE_BYTES];
        let lines = lines_of(&[b"a\n", &long, b"x\nb\nc", b"d\n"]);
        assert_eq!(lines, [b"a".to_vec(), b"b".to_vec(), b"cd".to_vec()]);
    }

    #[test]
    fn the_longest_line_that_is_allowed_is_read() {
        let long = vec![b'x'; MAX_LINE_BYTES - 1];
        assert_eq!(lines_of(&[&long, b"\n"]), [long]);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_makes_no_difference(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.push(0);
            cuts.push(stream.len());
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let mut expected: Vec<Vec<u8>> = stream.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            expected.retain(|line| !line.is_empty());
            prop_assert_eq!(lines_of(&chunks), expected);
        }
    }
}
