//! What the head of a backend's answer means.

use super::field::FieldKind;
use super::grammar::{decimal, is_value, list_members};
use super::head::{FieldSpan, count, read_fields};
use super::malformed::Malformed;
use super::request::is_chunked;
use super::{Framing, Version};

/// An answer's head, read and found sound.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// All bytes of the head, from the version to the empty line.
    pub bytes: &'a [u8],
    /// Its fields, in their order.
    pub fields: &'a [FieldSpan],
    /// Status code, 100 to 599.
    pub status: u16,
    /// The status code, the reason and what is between them, as the backend wrote it.
    pub status_line: &'a [u8],
    /// The backend's version.
    pub version: Version,
    /// How the body's end would be known if the answer to this method and of this status had one.
    pub declared: Framing,
    /// Whether the backend lets its connection be used again.
    pub keep_alive: bool,
    /// Whether `Connection` names anything but `close`, `keep-alive` and `upgrade`.
    pub nominates: bool,
    /// Whether it says when it was made.
    pub has_date: bool,
}

impl<'a> ResponseHead<'a> {
    /// Reads `bytes`, which a scanner found to be a whole head.
    ///
    /// # Errors
    /// Anything in it that is malformed, or of which two readers could think differently.
    pub fn read(bytes: &'a [u8], fields: &'a mut Vec<FieldSpan>) -> Result<Self, Malformed> {
        let version = match bytes.get(..9) {
            Some(b"HTTP/1.1 ") => Version::Http11,
            Some(b"HTTP/1.0 ") => Version::Http10,
            _ => return Err(Malformed::Bad("the version is malformed")),
        };
        let status = read_status(bytes)?;
        let line_end = 9 + count(bytes, 9, is_value);
        if bytes.get(line_end..line_end + 2) != Some(b"\r\n") {
            return Err(Malformed::Bad("a control character in the status line"));
        }
        read_fields(bytes, line_end + 2, fields)?;
        let mut meaning = Meaning::default();
        for field in fields.iter() {
            meaning.take(field.kind, field.value(bytes), version)?;
        }
        Ok(Self {
            bytes,
            fields,
            status,
            status_line: bytes.get(9..line_end).unwrap_or_default(),
            version,
            declared: meaning.declared()?,
            keep_alive: !meaning.close && (version == Version::Http11 || meaning.persist),
            nominates: meaning.nominates,
            has_date: meaning.has_date,
        })
    }

    /// How the body's end is known (RFC 9112, section 6.3).
    #[must_use]
    pub fn framing(&self, to_head: bool) -> Framing {
        if to_head || self.is_bodiless() {
            Framing::Empty
        } else {
            self.declared
        }
    }

    /// Whether the status alone says that there is no body.
    #[must_use]
    pub fn is_bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }
}

fn read_status(bytes: &[u8]) -> Result<u16, Malformed> {
    match bytes.get(9..13) {
        Some(
            &[
                hundreds @ b'1'..=b'5',
                tens @ b'0'..=b'9',
                ones @ b'0'..=b'9',
                b' ' | b'\r',
            ],
        ) => {
            let digit = |byte: u8| u16::from(byte - b'0');
            Ok(digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
        }
        _ => Err(Malformed::Bad("the status is malformed")),
    }
}

#[derive(Default)]
struct Meaning {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    persist: bool,
    nominates: bool,
    has_date: bool,
}

impl Meaning {
    fn take(&mut self, kind: FieldKind, value: &[u8], version: Version) -> Result<(), Malformed> {
        match kind {
            FieldKind::ContentLength if self.length.is_some() => {
                Err(Malformed::Bad("more than one Content-Length"))
            }
            FieldKind::ContentLength => {
                let length = decimal(value).ok_or(Malformed::Bad("Content-Length is no length"))?;
                self.length = Some(length);
                Ok(())
            }
            FieldKind::TransferEncoding if version == Version::Http10 || self.chunked => {
                Err(Malformed::Bad("chunked is not the only and final coding"))
            }
            FieldKind::TransferEncoding => {
                self.chunked = is_chunked(value)?;
                Ok(())
            }
            FieldKind::Connection => {
                self.take_connection(value);
                Ok(())
            }
            FieldKind::Date => {
                self.has_date = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in list_members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.persist = true;
            } else if !option.eq_ignore_ascii_case(b"upgrade") {
                self.nominates = true;
            }
        }
    }

    fn declared(&self) -> Result<Framing, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::Bad("Content-Length with Transfer-Encoding")),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }
}
