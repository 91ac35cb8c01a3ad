//! The grammar of chunk extensions (RFC 9112, section 7.1.1), read so that a malformed one can be
//! refused. Well-formed ones mean nothing to anybody, and are left out when a chunk is passed on.

use super::grammar::{is_space, is_token, is_value};

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS value ] )` the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// White space after the size or an extension: a semicolon must follow.
    BeforeSemicolon,
    /// After a semicolon.
    BeforeName,
    /// In a name.
    Name,
    /// White space after a name: `=` or a semicolon must follow.
    AfterName,
    /// After `=`.
    BeforeValue,
    /// In a value that is a token.
    Value,
    /// In a value in quotation marks.
    Quoted,
    /// After a backslash in quotation marks.
    Escaped,
    /// After the closing quotation mark.
    AfterQuoted,
}

impl Extension {
    /// The state after a chunk's size when `byte` follows it, if an extension may begin so.
    #[must_use]
    pub fn begin(byte: u8) -> Option<Self> {
        match byte {
            b';' => Some(Self::BeforeName),
            _ if is_space(byte) => Some(Self::BeforeSemicolon),
            _ => None,
        }
    }

    /// The state after `byte`, or nothing when it may not stand here.
    #[must_use]
    pub fn next(self, byte: u8) -> Option<Self> {
        let space = is_space(byte);
        match self {
            Self::BeforeSemicolon if space => Some(self),
            Self::BeforeSemicolon => (byte == b';').then_some(Self::BeforeName),
            Self::BeforeName if space => Some(self),
            Self::BeforeName => is_token(byte).then_some(Self::Name),
            Self::Name if is_token(byte) => Some(self),
            Self::Name | Self::AfterName => match byte {
                b'=' => Some(Self::BeforeValue),
                b';' => Some(Self::BeforeName),
                _ => space.then_some(Self::AfterName),
            },
            Self::BeforeValue if space => Some(self),
            Self::BeforeValue if byte == b'"' => Some(Self::Quoted),
            Self::BeforeValue => is_token(byte).then_some(Self::Value),
            Self::Value if is_token(byte) => Some(self),
            Self::Value | Self::AfterQuoted => match byte {
                b';' => Some(Self::BeforeName),
                _ => space.then_some(Self::BeforeSemicolon),
            },
            Self::Quoted => match byte {
                b'"' => Some(Self::AfterQuoted),
                b'\\' => Some(Self::Escaped),
                _ => is_value(byte).then_some(self),
            },
            Self::Escaped => is_value(byte).then_some(Self::Quoted),
        }
    }

    /// Whether the line may end here.
    #[must_use]
    pub fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::AfterQuoted)
    }
}
