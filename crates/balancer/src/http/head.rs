//! The lines of a message's head: where it ends, and which fields it has.
//!
//! Two steps, so that a head that arrives in many pieces is not read from its beginning at each: a
//! [`HeadScanner`] remembers how far it has looked for the end; once that is found, [`read_fields`] reads
//! the whole head once. Both refuse what RFC 9112 would let a lenient reader repair: a line that ends in
//! a bare LF, a bare CR, white space before a colon, a folded line.

use super::field::{FieldKind, kind_of};
use super::grammar::{is_space, is_token, is_value};
use super::malformed::Malformed;

/// The longest first line, its CR LF included, where nothing else is said.
pub const FIRST_LINE_BYTES: usize = 8 << 10;
/// The largest head, from its first line to the empty line, where nothing else is said.
pub const HEAD_BYTES: usize = 32 << 10;
/// The largest head that any bound may allow.
pub const HEAD_BYTES_AT_MOST: usize = 64 << 10;
/// The most fields in a head.
pub const FIELDS: usize = 100;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBounds {
    /// Bytes of its first line, CR LF included.
    pub line: usize,
    /// Bytes of all of it.
    pub head: usize,
}

impl Default for HeadBounds {
    fn default() -> Self {
        Self {
            line: FIRST_LINE_BYTES,
            head: HEAD_BYTES,
        }
    }
}

/// Looks for the end of a head in bytes that arrive bit by bit.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    scanned: usize,
    line: usize,
    start: usize,
}

/// Where a head is, in the bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSpan {
    /// Where its first line begins: 2 when an empty line came before it (RFC 9112, section 2.2), else 0.
    pub start: usize,
    /// One past the LF of its empty line.
    pub end: usize,
}

impl HeadScanner {
    /// Looks on from where the last call stopped. `input` is everything that has arrived, from the
    /// message's first byte on.
    ///
    /// # Errors
    /// A line without CR, or more bytes than a head may have by default.
    pub fn find(&mut self, input: &[u8]) -> Result<Option<HeadSpan>, Malformed> {
        self.find_within(input, HeadBounds::default())
    }

    /// The same for a head that may be as large as `bounds` say.
    ///
    /// # Errors
    /// A line without CR, or more bytes than a head may have.
    pub fn find_within(
        &mut self,
        input: &[u8],
        bounds: HeadBounds,
    ) -> Result<Option<HeadSpan>, Malformed> {
        while let Some(offset) =
            memchr::memchr(b'\n', input.get(self.scanned..).unwrap_or_default())
        {
            let feed = self.scanned + offset;
            self.ensure_within(bounds, feed + 1)?;
            if feed == self.line || input.get(feed - 1) != Some(&b'\r') {
                return Err(Malformed::Bad("a line ends in a bare LF"));
            }
            let is_empty = feed - 1 == self.line;
            self.scanned = feed + 1;
            self.line = feed + 1;
            if is_empty && feed + 1 > self.start + 2 {
                return Ok(Some(HeadSpan {
                    start: self.start,
                    end: feed + 1,
                }));
            }
            if is_empty {
                self.skip_first_empty_line()?;
            }
        }
        self.scanned = input.len();
        self.ensure_within(bounds, input.len())?;
        Ok(None)
    }

    fn skip_first_empty_line(&mut self) -> Result<(), Malformed> {
        if self.start > 0 {
            return Err(Malformed::Bad("the first line is empty"));
        }
        self.start = self.line;
        Ok(())
    }

    fn ensure_within(&self, bounds: HeadBounds, seen: usize) -> Result<(), Malformed> {
        if self.line == self.start && seen - self.start > bounds.line {
            return Err(Malformed::LineTooLong);
        }
        if seen - self.start > bounds.head {
            return Err(Malformed::HeadTooLarge);
        }
        Ok(())
    }
}

/// One field, as positions in the head that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpan {
    /// What it means.
    pub kind: FieldKind,
    /// Where its line begins.
    pub start: u32,
    /// Where its name ends.
    pub name_end: u32,
    /// Where its value begins, white space left out.
    pub value_start: u32,
    /// Where its value ends, white space left out.
    pub value_end: u32,
    /// One past the LF of its line.
    pub end: u32,
}

impl FieldSpan {
    /// The field's name.
    #[must_use]
    pub fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.start, self.name_end)
    }

    /// The field's value.
    #[must_use]
    pub fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.value_start, self.value_end)
    }

    /// The field's line with its CR LF.
    #[must_use]
    pub fn line<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.start, self.end)
    }
}

fn slice(head: &[u8], start: u32, end: u32) -> &[u8] {
    head.get(start as usize..end as usize).unwrap_or_default()
}

/// Reads the fields of `head`, which ends with its empty line, from position `at`, where its second line
/// begins. `fields` is cleared first; it is the caller's so that its memory is used again.
///
/// # Errors
/// Any line that is no field, and too many of them.
pub fn read_fields(
    head: &[u8],
    mut at: usize,
    fields: &mut Vec<FieldSpan>,
) -> Result<(), Malformed> {
    fields.clear();
    while head.get(at) != Some(&b'\r') {
        if fields.len() == FIELDS {
            return Err(Malformed::HeadTooLarge);
        }
        let field = read_field(head, at)?;
        at = field.end as usize;
        fields.push(field);
    }
    if head.get(at..) == Some(b"\r\n") {
        Ok(())
    } else {
        Err(Malformed::Bad("a bare CR in the head"))
    }
}

fn read_field(head: &[u8], start: usize) -> Result<FieldSpan, Malformed> {
    let name_end = start + count(head, start, is_token);
    match head.get(name_end) {
        Some(b':') if name_end > start => {}
        Some(&byte) if is_space(byte) && name_end == start => {
            return Err(Malformed::Bad("a folded line"));
        }
        Some(&byte) if is_space(byte) => {
            return Err(Malformed::Bad("white space before a colon"));
        }
        _ => return Err(Malformed::Bad("a field's name is malformed")),
    }
    let value_start = name_end + 1 + count(head, name_end + 1, is_space);
    let line_end = value_start + count(head, value_start, is_value);
    if head.get(line_end..line_end + 2) != Some(b"\r\n") {
        return Err(Malformed::Bad("a control character in a field's value"));
    }
    let value = head.get(value_start..line_end).unwrap_or_default();
    let trailing = value
        .iter()
        .rev()
        .take_while(|&&byte| is_space(byte))
        .count();
    Ok(FieldSpan {
        kind: kind_of(head.get(start..name_end).unwrap_or_default()),
        start: position(start),
        name_end: position(name_end),
        value_start: position(value_start),
        value_end: position(line_end - trailing),
        end: position(line_end + 2),
    })
}

/// How many bytes from `at` on are of the class.
pub(super) fn count(head: &[u8], at: usize, class: fn(u8) -> bool) -> usize {
    head.get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|&&byte| class(byte))
        .count()
}

/// A head is at most [`HEAD_BYTES_AT_MOST`] and an empty line long, so a position in it fits.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
