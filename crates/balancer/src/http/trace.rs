//! `traceparent`, as far as it is logged (W3C Trace Context, level 1, section 3.2). It is passed on whatever it says.

/// Bytes of version 00, and of what is known of any later one: version, trace, parent and flags.
const KNOWN_BYTES: usize = 55;

/// The part of a `traceparent` that every version has; nothing where it is malformed.
///
/// Of a version that is not known yet more may follow, after a hyphen (section 3.2.4).
#[must_use]
pub fn known_part(value: &[u8]) -> Option<&[u8]> {
    let (known, rest) = value.split_at_checked(KNOWN_BYTES)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let version = parts.next().filter(|part| is_hex(part, 2))?;
    let ids = [32, 16].map(|digits| {
        let id = parts.next().filter(|part| is_hex(part, digits));
        id.is_some_and(|id| id.iter().any(|digit| *digit != b'0'))
    });
    let flags = parts.next().is_some_and(|part| is_hex(part, 2));
    let is_whole = match version {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => matches!(rest, [] | [b'-', ..]),
    };
    (ids == [true; 2] && flags && is_whole).then_some(known)
}

/// Whether it is so many hexadecimal digits, none of them upper-case.
fn is_hex(text: &[u8], digits: usize) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == digits && text.iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn what_the_recommendation_calls_valid_is_known() {
        for value in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-ff"),
            format!("cc-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
            format!("cc-{TRACE}-{PARENT}-01-"),
        ] {
            let known = known_part(value.as_bytes());
            assert_eq!(known, value.as_bytes().get(..55), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_is_not() {
        let zeros = |digits: usize| "0".repeat(digits);
        for value in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-01."),
            format!("cc-{TRACE}-{PARENT}-01.more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-001"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}-{PARENT}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("00-{TRACE}0-{}-01", zeros(15)),
            format!("00_{TRACE}_{PARENT}_01"),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01"),
        ] {
            assert_eq!(known_part(value.as_bytes()), None, "{value}");
        }
    }
}
