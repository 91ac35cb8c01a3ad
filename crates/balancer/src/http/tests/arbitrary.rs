//! Arbitrary bytes: nothing panics, and pieces mean the same as the whole.

use super::{GET, GET_10, HEAD, exchange};
use crate::http::chunked::{Chunked, Output};
use crate::http::head::{HeadScanner, HeadSpan};
use crate::http::malformed::Malformed;
use crate::http::request::RequestHead;
use proptest::prelude::*;

/// Bytes that are much like a head, so that the deep parts are reached.
fn headlike() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: close, x\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b": ".to_vec()),
        Just(b"3\r\nabc\r\n0\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

fn whole(text: &[u8]) -> Result<Option<HeadSpan>, Malformed> {
    HeadScanner::default().find(text)
}

fn byte_by_byte(text: &[u8]) -> Result<Option<HeadSpan>, Malformed> {
    let mut scanner = HeadScanner::default();
    for end in 0..=text.len() {
        if let Some(span) = scanner.find(&text[..end])? {
            return Ok(Some(span));
        }
    }
    Ok(None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_head_byte_by_byte_is_the_head_as_a_whole(text in headlike()) {
        prop_assert_eq!(byte_by_byte(&text), whole(&text));
    }

    #[test]
    fn no_bytes_make_the_request_reader_panic(text in headlike()) {
        if let Ok(Some(span)) = whole(&text) {
            let mut fields = Vec::new();
            if let Ok(head) = RequestHead::read(&text[span.start..span.end], &mut fields) {
                prop_assert!(head.bytes.ends_with(b"\r\n\r\n"));
                prop_assert!(!head.bytes.contains(&0));
            }
        }
    }

    #[test]
    fn an_answer_in_pieces_is_the_answer_as_a_whole(
        text in headlike(),
        cut in any::<prop::sample::Index>(),
        request in prop_oneof![Just(GET), Just(GET_10), Just(HEAD)],
    ) {
        let cut = cut.index(text.len() + 1);
        let take = |pieces: &[&[u8]]| {
            let mut exchange = exchange(request);
            let client = super::answer_in_pieces(&mut exchange, pieces)?;
            Ok::<_, Malformed>((client, exchange.answer_is_whole(), exchange.closing()))
        };
        let (at_once, cut_up) = (take(&[&text]), take(&[&text[..cut], &text[cut..]]));
        prop_assert_eq!(at_once.is_ok(), cut_up.is_ok());
        if let (Ok(at_once), Ok(cut_up)) = (at_once, cut_up) {
            prop_assert_eq!(at_once, cut_up);
        }
    }

    #[test]
    fn no_bytes_make_a_chunked_body_panic_or_grow(
        pieces in proptest::collection::vec(headlike(), 0..4),
    ) {
        let mut chunked = Chunked::new(Output::Chunks);
        for piece in pieces {
            let mut piece = piece.clone();
            match chunked.advance(&mut piece) {
                Ok(advance) => {
                    prop_assert!(advance.kept <= advance.consumed);
                    prop_assert!(advance.consumed <= piece.len());
                }
                Err(_) => break,
            }
        }
    }
}
