//! What a receiver says (OTLP 1, "OTLP/HTTP Response"). Pure. Nothing of it is believed but that it is there.

use std::time::Duration;

use axum::http::StatusCode;

use super::backlog::Outcome;

/// Characters of a receiver's words that are told on.
const MOST_WORDS: usize = 200;

/// What an answer means for the request. `retry_after` is that field's value, `body` at least its beginning.
pub(super) fn outcome(status: StatusCode, retry_after: Option<&str>, body: &[u8]) -> Outcome {
    let words = || {
        let text = String::from_utf8_lossy(body);
        let shown = text.chars().filter(|c| !c.is_control()).take(MOST_WORDS);
        format!("it answers {status} {}", shown.collect::<String>())
    };
    match status.as_u16() {
        200..=299 => match rejected(body) {
            None => Outcome::Delivered,
            Some(points) => Outcome::Refused(format!("it does not take {points} of the figures")),
        },
        // Those after which the specification has a request sent again.
        429 | 502 | 503 | 504 => {
            let seconds = retry_after.and_then(|text| text.trim().parse().ok());
            Outcome::Failed(words(), seconds.map(Duration::from_secs))
        }
        _ => Outcome::Refused(words()),
    }
}

/// How many data points were rejected, by an `ExportMetricsServiceResponse`; nothing where none was, or nobody can
/// tell.
fn rejected(response: &[u8]) -> Option<u64> {
    let partial = length_delimited(response, 1)?;
    let (tag, rest) = partial.split_first()?;
    let (points, _) = varint(rest).filter(|_| *tag == 1 << 3)?;
    (points > 0).then_some(points)
}

/// The first field, where it is of this number and has a length.
fn length_delimited(message: &[u8], field: u8) -> Option<&[u8]> {
    let (tag, rest) = message.split_first()?;
    let (length, rest) = varint(rest).filter(|_| *tag == field << 3 | 2)?;
    rest.get(..usize::try_from(length).ok()?)
}

/// A number of up to 64 bits, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_better_later_is_told_from_what_will_not() {
        let outcome = |status: u16, after| {
            let status = StatusCode::from_u16(status).unwrap();
            match outcome(status, after, b"no\nroom") {
                Outcome::Delivered => "delivered".to_owned(),
                Outcome::Refused(words) => format!("refused: {words}"),
                Outcome::Failed(words, after) => format!("{after:?}: {words}"),
            }
        };
        for (status, after, expected) in [
            (200, None, "delivered"),
            (202, None, "delivered"),
            (400, None, "refused: it answers 400 Bad Request noroom"),
            (404, None, "refused: it answers 404 Not Found noroom"),
            (
                500,
                None,
                "refused: it answers 500 Internal Server Error noroom",
            ),
            (429, None, "None: it answers 429 Too Many Requests noroom"),
            (
                503,
                Some(" 7"),
                "Some(7s): it answers 503 Service Unavailable noroom",
            ),
            (
                503,
                Some("soon"),
                "None: it answers 503 Service Unavailable noroom",
            ),
        ] {
            assert_eq!(outcome(status, after), expected);
        }
    }

    #[test]
    fn a_partial_success_says_how_much_was_not_taken() {
        for (body, expected) in [
            (&b""[..], None),
            (b"\x0a\x00", None),
            (b"\x0a\x02\x08\x00", None),
            (b"\x0a\x03\x08\x96\x01", Some(150)),
            (b"\x0a\x05\x08\x02\x12\x01x", Some(2)),
            (b"\x0a\x03\x12\x01x", None),
            // Nonsense.
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x0a\x09\x08", None),
            (b"<html>", None),
        ] {
            assert_eq!(rejected(body), expected, "{body:02x?}");
        }
    }
}
