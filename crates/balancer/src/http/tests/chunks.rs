//! Chunked bodies at every split point.

use crate::http::chunked::{Chunked, Output};
use crate::http::malformed::Malformed;
use proptest::prelude::*;

/// Walks a body that comes in these pieces; returns what is passed on and how much was not part of it.
fn walk(pieces: &[&[u8]], output: Output) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let (mut chunked, mut kept, mut left) = (Chunked::new(output), Vec::new(), 0);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let advance = chunked.advance(&mut piece)?;
        kept.extend_from_slice(&piece[..advance.kept]);
        left += piece.len() - advance.consumed;
    }
    Ok((kept, left, chunked.is_done()))
}

const BODY: &[u8] =
    b"5\r\nhello\r\n00A; a=b;c=\"d\\\"e\" ; f\r\n0123456789\r\n0;last\r\nT: u\r\nV:\r\n\r\nNEXT";
const PASSED: &[u8] = b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n";
const DATA: &[u8] = b"hello0123456789";

#[test]
fn a_body_cut_anywhere_is_the_same_body() {
    for first in 0..=BODY.len() {
        for second in first..=BODY.len() {
            let pieces = [&BODY[..first], &BODY[first..second], &BODY[second..]];
            let chunks = walk(&pieces, Output::Chunks).unwrap();
            assert_eq!(
                chunks,
                (PASSED.to_vec(), 4, true),
                "cut at {first} and {second}"
            );
            let data = walk(&pieces, Output::Data).unwrap();
            assert_eq!(
                data,
                (DATA.to_vec(), 4, true),
                "cut at {first} and {second}"
            );
        }
    }
}

#[test]
fn malformed_chunks_are_refused_wherever_they_are_cut() {
    let bodies: &[&[u8]] = &[
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\na\r\n",
        b"1\t\r\na\r\n",
        b"1\na\r\n",
        b"1\r\na\n",
        b"1\r\nab\r\n",
        b"1\r\na\r\r",
        b"1\r\na0\r\n\r\n",
        b"1\rxa\r\n",
        b"1000000000000000\r\n",
        b"ffffffffffffffff1\r\n",
        b"1;\r\na\r\n",
        b"1;=b\r\na\r\n",
        b"1;a=\r\na\r\n",
        b"1;a=\"b\r\na\r\n",
        b"1;a\x00\r\na\r\n",
        b"1;a\na\r\n",
        b"1 a\r\na\r\n",
        b"1;a b\r\na\r\n",
        b"0\r\nT u: v\r\n\r\n",
        b"0\r\n: v\r\n\r\n",
        b"0\r\nT: v\r\n w\r\n\r\n",
        b"0\r\nT: v\x00\r\n\r\n",
        b"0\r\nT: v\n\r\n",
        b"0\r\nT\r\n\r\n",
        b"0\r\n\rx",
        b"0\r\nT: v\rx\r\n",
    ];
    for body in bodies {
        for cut in 0..=body.len() {
            let walked = walk(&[&body[..cut], &body[cut..]], Output::Chunks);
            assert!(
                walked.is_err(),
                "{:?} cut at {cut}",
                String::from_utf8_lossy(body)
            );
        }
    }
}

#[test]
fn extensions_and_trailers_have_a_bound() {
    let extension = format!("1;{}\r\na\r\n", "x".repeat(20_000));
    assert!(walk(&[extension.as_bytes()], Output::Chunks).is_err());
    let trailers = format!("0\r\n{}", "T: u\r\n".repeat(4_000));
    assert!(walk(&[trailers.as_bytes()], Output::Chunks).is_err());
    let many = "1;x\r\na\r\n".repeat(10_000);
    assert!(walk(&[many.as_bytes()], Output::Chunks).is_err());
}

proptest! {
    #[test]
    fn chunks_of_any_data_come_out_as_they_went_in(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|w| &body[w[0]..w[1]]).collect();
        prop_assert_eq!(walk(&pieces, Output::Chunks), Ok((body.clone(), 0, true)));
        prop_assert_eq!(walk(&pieces, Output::Data), Ok((chunks.concat(), 0, true)));
    }
}
