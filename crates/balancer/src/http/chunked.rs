//! A chunked body, walked to its end byte by byte of its framing and at once over its data.
//!
//! ```text
//!            hex digit ↺        byte ↺ (grammar)
//!  ┌─▶ Size ──────────▶ Extension
//!  │     │ CR               │ CR
//!  │     ▼                  ▼
//!  │   SizeFeed ◀───────────┘
//!  │     │ LF
//!  │     ├── size > 0 ─▶ Data ─▶ DataReturn ─▶ DataFeed ─┐
//!  └─────┼───────────────────────────────────────────────┘
//!        └── size = 0 ─▶ LineStart ◀─────────── TrailerFeed
//!                          │    │ token              ▲ LF
//!                       CR │    └─▶ Name ─:─▶ Value ─┘ CR
//!                          ▼
//!                       EndFeed ─LF─▶ Done
//! ```
//!
//! What is passed on is what was understood: sizes, data and their line ends as they came. Extensions and
//! trailers are checked and left out: nobody downstream may read them differently, and a trailer
//! must not become a field.

use super::extension::Extension;
use super::grammar::{is_token, is_value};
use super::malformed::Malformed;

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS: u8 = 15;
/// Bytes of extensions and trailers in one body, all together.
const LEFT_OUT_BYTES: u32 = 16 << 10;

/// What is passed on of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Chunks.
    Chunks,
    /// The data alone, for a client of HTTP/1.0.
    Data,
}

/// What became of a piece of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// Bytes of the input that belong to the body.
    pub consumed: usize,
    /// Bytes to pass on. They stand at the beginning of the input, moved together where
    /// something was left out.
    pub kept: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { size: u64, at: Extension },
    SizeFeed { size: u64 },
    Data { left: u64 },
    DataReturn,
    DataFeed,
    LineStart,
    Name,
    Value,
    TrailerFeed,
    EndFeed,
    Done,
}

/// A chunked body's state between two pieces of it.
#[derive(Clone, Copy, Debug)]
pub struct Chunked {
    state: State,
    output: Output,
    left_out: u32,
    data_left: u64,
}

const FIRST: State = State::Size {
    value: 0,
    digits: 0,
};

impl Chunked {
    /// A body of which nothing has been seen.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self {
            state: FIRST,
            output,
            left_out: 0,
            data_left: u64::MAX,
        }
    }

    /// Bounds the bytes of data in all chunks together.
    pub fn bound(&mut self, bytes: u64) {
        self.data_left = bytes;
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Walks on through `input`, and stops at the body's end.
    ///
    /// # Errors
    /// The first byte that may not stand where it does. Nothing after it is to be passed on.
    pub fn advance(&mut self, input: &mut [u8]) -> Result<Advance, Malformed> {
        let mut sieve = Sieve::new(input);
        while self.state != State::Done {
            if let State::Data { left } = self.state {
                let taken = sieve.keep_run(left);
                self.state = match left - taken {
                    0 => State::DataReturn,
                    left => State::Data { left },
                };
                if taken == 0 {
                    break;
                }
                continue;
            }
            let Some(byte) = sieve.peek() else { break };
            let keep = self.step(byte)?;
            sieve.pass(keep && self.output == Output::Chunks);
        }
        Ok(sieve.advance)
    }

    /// Takes one byte of framing; says whether it is passed on.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        let (next, keep) = match self.state {
            State::Size { value, digits } => self.step_size(byte, value, digits)?,
            State::Extension { size, at } => self.step_extension(byte, size, at)?,
            State::SizeFeed { size: 0 } => (expect(byte, b'\n', State::LineStart)?, true),
            State::SizeFeed { size } => (self.begin_data(byte, size)?, true),
            State::DataReturn => (expect(byte, b'\r', State::DataFeed)?, true),
            State::DataFeed => (expect(byte, b'\n', FIRST)?, true),
            State::LineStart if byte == b'\r' => (State::EndFeed, true),
            State::EndFeed => (expect(byte, b'\n', State::Done)?, true),
            _ => (self.step_trailer(byte)?, false),
        };
        self.state = next;
        Ok(keep)
    }

    /// A chunk that would make the data too large is refused before any of it.
    fn begin_data(&mut self, byte: u8, size: u64) -> Result<State, Malformed> {
        self.data_left = self
            .data_left
            .checked_sub(size)
            .ok_or(Malformed::BodyTooLarge)?;
        expect(byte, b'\n', State::Data { left: size })
    }

    fn step_size(&mut self, byte: u8, value: u64, digits: u8) -> Result<(State, bool), Malformed> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == SIZE_DIGITS {
                return Err(Malformed::Bad("a chunk's size is too large"));
            }
            let value = value * 16 + u64::from(digit);
            let digits = digits + 1;
            return Ok((State::Size { value, digits }, true));
        }
        if digits == 0 {
            return Err(Malformed::Bad("a chunk's size is malformed"));
        }
        if byte == b'\r' {
            return Ok((State::SizeFeed { size: value }, true));
        }
        self.leave_out()?;
        let at = Extension::begin(byte).ok_or(Malformed::Bad("a chunk's size is malformed"))?;
        Ok((State::Extension { size: value, at }, false))
    }

    fn step_extension(
        &mut self,
        byte: u8,
        size: u64,
        at: Extension,
    ) -> Result<(State, bool), Malformed> {
        if byte == b'\r' && at.may_end() {
            return Ok((State::SizeFeed { size }, true));
        }
        self.leave_out()?;
        let at = at
            .next(byte)
            .ok_or(Malformed::Bad("a chunk's extension is malformed"))?;
        Ok((State::Extension { size, at }, false))
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        self.leave_out()?;
        let next = match self.state {
            State::LineStart | State::Name if is_token(byte) => Some(State::Name),
            State::Name if byte == b':' => Some(State::Value),
            State::Value if is_value(byte) => Some(State::Value),
            State::Value if byte == b'\r' => Some(State::TrailerFeed),
            State::TrailerFeed if byte == b'\n' => Some(State::LineStart),
            _ => None,
        };
        next.ok_or(Malformed::Bad("a trailer is malformed"))
    }

    fn leave_out(&mut self) -> Result<(), Malformed> {
        self.left_out += 1;
        if self.left_out > LEFT_OUT_BYTES {
            return Err(Malformed::Bad("too many bytes of extensions or trailers"));
        }
        Ok(())
    }
}

fn expect(byte: u8, expected: u8, next: State) -> Result<State, Malformed> {
    if byte == expected {
        Ok(next)
    } else {
        Err(Malformed::Bad("a chunk does not end in CR LF"))
    }
}

/// Moves what is kept of a buffer to its beginning. As long as nothing was left out, nothing moves.
struct Sieve<'a> {
    bytes: &'a mut [u8],
    advance: Advance,
}

impl<'a> Sieve<'a> {
    fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            advance: Advance::default(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.advance.consumed).copied()
    }

    fn pass(&mut self, keep: bool) {
        if keep {
            self.keep(1);
        } else {
            self.advance.consumed += 1;
        }
    }

    /// Keeps up to `most` bytes; returns how many there were.
    fn keep_run(&mut self, most: u64) -> u64 {
        let there = self.bytes.len() - self.advance.consumed;
        let count = there.min(usize::try_from(most).unwrap_or(usize::MAX));
        self.keep(count);
        count as u64
    }

    fn keep(&mut self, count: usize) {
        let Advance { consumed, kept } = self.advance;
        if consumed != kept {
            self.bytes.copy_within(consumed..consumed + count, kept);
        }
        self.advance = Advance {
            consumed: consumed + count,
            kept: kept + count,
        };
    }
}
