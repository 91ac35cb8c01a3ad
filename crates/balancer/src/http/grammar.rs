//! Classes of bytes (RFC 9110, section 5.6.2; RFC 9112, section 3).

/// One bit for each class that a byte is in.
const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const VALUE: u8 = 4;
const HOST: u8 = 8;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0usize;
    while byte < 256 {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, which would refuse"
        )]
        {
            table[byte] = classes_of(byte as u8);
        }
        byte += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let mut of = 0;
    if byte.is_ascii_alphanumeric() || is_one_of(byte, b"!#$%&'*+-.^_`|~") {
        of |= TOKEN;
    }
    // A fragment never travels, so `#` is no part of a target.
    if byte.is_ascii_graphic() && byte != b'#' {
        of |= TARGET;
    }
    if byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80 {
        of |= VALUE;
    }
    if byte.is_ascii_alphanumeric() || is_one_of(byte, b"-._~!$&'()*+,;=%") {
        of |= HOST;
    }
    of
}

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        if *first == byte {
            return true;
        }
        rest = tail;
    }
    false
}

const fn is_in(byte: u8, class: u8) -> bool {
    #[expect(
        clippy::indexing_slicing,
        reason = "256 entries, and a byte is less than 256"
    )]
    {
        CLASSES[byte as usize] & class != 0
    }
}

/// A byte of a method's or field's name.
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    is_in(byte, TOKEN)
}

/// A byte of a request's target.
#[must_use]
pub const fn is_target(byte: u8) -> bool {
    is_in(byte, TARGET)
}

/// A byte of a field's value: no control but the tab; bytes of 0x80 and above are let through as they are.
#[must_use]
pub const fn is_value(byte: u8) -> bool {
    is_in(byte, VALUE)
}

/// A byte of a host's name: no user information, no colon, no bracket.
#[must_use]
pub const fn is_host(byte: u8) -> bool {
    is_in(byte, HOST)
}

/// Optional white space.
#[must_use]
pub const fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `text` without white space at its ends.
#[must_use]
pub fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The members of a comma-separated list, empty ones left out (RFC 9110, section 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trimmed)
        .filter(|member| !member.is_empty())
}

/// Reads a number as a content length is written: digits and nothing else, at least one. Less than 2⁶³,
/// since many count in signed numbers and would overflow.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let value = text.iter().try_fold(0i64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    value.map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"0010"), Some(10));
        assert_eq!(decimal(b"9223372036854775807"), Some((1 << 63) - 1));
        for text in [
            "",
            "+1",
            "-1",
            "0x1",
            "1 ",
            " 1",
            "1,1",
            "1.0",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_list_has_its_members_without_spaces_and_empty_ones() {
        let members: Vec<_> = list_members(b" a, ,b\t,, c ").collect();
        assert_eq!(members, [b"a", b"b", b"c"]);
    }

    #[test]
    fn names_have_no_separator_control_or_high_byte() {
        for byte in 0u8..=255 {
            let separator = b"\"(),/:;<=>?@[\\]{} \t".contains(&byte);
            let expected = byte.is_ascii_graphic() && !separator;
            assert_eq!(is_token(byte), expected, "{byte}");
        }
    }
}
