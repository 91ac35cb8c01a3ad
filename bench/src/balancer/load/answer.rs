//! Reads answers out of a stream of bytes and believes none of them: what is not exactly the answer that was
//! asked for is a fault, so that no proxy looks fast by answering something else.

use memchr::memmem;
use thiserror::Error;

/// The longest head of an answer. The origin's is about 150 bytes; a proxy adds a few fields.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Its status is not 200.
    #[error("an answer begins with `{0}`")]
    Status(String),
    /// It does not say how long it is, or not the length that was asked for.
    #[error("an answer of {expected} bytes was expected, and Content-Length is {found:?}")]
    Length {
        /// Bytes of the body that was asked for.
        expected: u64,
        /// What the answer says.
        found: Option<u64>,
    },
    /// Bytes that nobody asked for come after it.
    #[error("{0} bytes follow an answer that was whole")]
    Excess(usize),
    /// Its head does not end.
    #[error("a head of more than {MAX_HEAD_BYTES} bytes")]
    EndlessHead,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Part,
    /// The answer is whole, and the next may begin.
    Whole,
}

/// Reads one answer after the other, each with a body of the same length.
#[derive(Debug)]
pub struct AnswerReader {
    body_bytes: u64,
    /// What there is of a head that came in parts. Empty, without memory of its own, nearly always.
    head: Vec<u8>,
    /// Bytes of the body that have not come; none while the head has not.
    body_left: Option<u64>,
}

impl AnswerReader {
    /// Expects bodies of this many bytes.
    pub fn new(body_bytes: u64) -> Self {
        Self {
            body_bytes,
            head: Vec::new(),
            body_left: None,
        }
    }

    /// Bytes of the body that have not come: 0 while the head has not.
    pub fn body_left(&self) -> u64 {
        self.body_left.unwrap_or(0)
    }

    /// Takes the next bytes in.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        if self.body_left.is_some() {
            return self.take_body(bytes.len());
        }
        if self.head.is_empty() {
            let Some(end) = head_end(bytes) else {
                self.head.extend_from_slice(bytes);
                return self.await_head();
            };
            let (head, body) = bytes.split_at(end);
            self.body_left = Some(check_head(head, self.body_bytes)?);
            return self.take_body(body.len());
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = head_end(&self.head) else {
            return self.await_head();
        };
        let head = std::mem::take(&mut self.head);
        let (head, body) = head.split_at(end);
        self.body_left = Some(check_head(head, self.body_bytes)?);
        self.take_body(body.len())
    }

    /// Takes this many bytes of the body in.
    pub fn take_body(&mut self, count: usize) -> Result<Progress, Fault> {
        let left = self.body_left();
        let taken = u64::try_from(count).unwrap_or(u64::MAX);
        match left.checked_sub(taken) {
            None => Err(Fault::Excess(
                count.saturating_sub(usize::try_from(left).unwrap_or(usize::MAX)),
            )),
            Some(0) => {
                self.body_left = None;
                Ok(Progress::Whole)
            }
            Some(rest) => {
                self.body_left = Some(rest);
                Ok(Progress::Part)
            }
        }
    }

    fn await_head(&self) -> Result<Progress, Fault> {
        if self.head.len() > MAX_HEAD_BYTES {
            return Err(Fault::EndlessHead);
        }
        Ok(Progress::Part)
    }
}

/// Where the body begins.
fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|position| position + 4)
}

/// Checks status and length, and returns the length.
fn check_head(head: &[u8], expected: u64) -> Result<u64, Fault> {
    if !head.starts_with(b"HTTP/1.1 200 ") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(Fault::Status(String::from_utf8_lossy(line).into_owned()));
    }
    let found = content_length(head);
    if found == Some(expected) {
        Ok(expected)
    } else {
        Err(Fault::Length { expected, found })
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 4\r\n\r\nabcd";

    #[test]
    fn an_answer_is_whole_however_it_is_cut() {
        for cut in 0..GOOD.len() {
            let mut reader = AnswerReader::new(4);
            let (first, second) = GOOD.split_at(cut);
            assert_eq!(reader.take(first), Ok(Progress::Part), "cut at {cut}");
            assert_eq!(reader.take(second), Ok(Progress::Whole), "cut at {cut}");
            assert_eq!(reader.take(GOOD), Ok(Progress::Whole), "the next one");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_a_fault() {
        let answer = |text: &str| AnswerReader::new(4).take(text.as_bytes());
        for status in ["503 Unavailable", "204 No Content", "400 Bad Request"] {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nabcd");
            assert_eq!(
                answer(&text),
                Err(Fault::Status(format!("HTTP/1.1 {status}")))
            );
        }
        for (fields, found) in [("Content-Length: 5", Some(5)), ("Server: x", None)] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nabcd");
            assert_eq!(answer(&text), Err(Fault::Length { expected: 4, found }));
        }
        assert_eq!(
            answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcdef"),
            Err(Fault::Excess(2))
        );
        assert_eq!(answer(&"x".repeat(9_000)), Err(Fault::EndlessHead));
    }
}
