//! A chunked body: in pieces as at once, as another decoder reads it, and the same after it was passed on.

use balancer::http::chunked::{Chunked, Output};
use balancer::http::malformed::Malformed;

use super::peers::decode_chunked;

/// Where a body ended, and what was passed on of it.
#[derive(Debug, PartialEq)]
struct Walk {
    passed: Vec<u8>,
    consumed: usize,
    done: bool,
}

/// Checks any bytes; the first one says how long the pieces are.
pub fn check(data: &[u8]) {
    let Some((&length, body)) = data.split_first() else {
        return;
    };
    let at_once = walk(body, body.len().max(1), Output::Chunks);
    let pieces = walk(body, usize::from(length).max(1), Output::Chunks);
    assert_eq!(at_once, pieces, "pieces mean something else than the whole");
    let decoded = walk(body, usize::from(length).max(1), Output::Data);
    assert_eq!(at_once.is_ok(), decoded.is_ok());
    let (Ok(chunks), Ok(decoded)) = (at_once, decoded) else {
        return;
    };
    assert_eq!(
        (chunks.consumed, chunks.done),
        (decoded.consumed, decoded.done)
    );
    assert!(chunks.passed.len() <= chunks.consumed);
    if !chunks.done {
        assert_eq!(
            chunks.consumed,
            body.len(),
            "bytes of an open body are left behind"
        );
        return;
    }
    let theirs = decode_chunked(body).expect("picohttpparser refuses what ours accepts");
    assert_eq!(
        theirs,
        (decoded.passed.clone(), body.len() - chunks.consumed)
    );
    let again = walk(&chunks.passed, chunks.passed.len(), Output::Chunks);
    assert_eq!(again.as_ref().map(|walk| &walk.passed), Ok(&chunks.passed));
    let data = walk(&chunks.passed, chunks.passed.len(), Output::Data);
    assert_eq!(data.map(|walk| walk.passed), Ok(decoded.passed));
}

fn walk(body: &[u8], length: usize, output: Output) -> Result<Walk, Malformed> {
    let mut chunked = Chunked::new(output);
    let (mut passed, mut consumed) = (Vec::new(), 0);
    for piece in body.chunks(length) {
        let mut piece = piece.to_vec();
        let advance = chunked.advance(&mut piece)?;
        assert!(advance.kept <= advance.consumed && advance.consumed <= piece.len());
        passed.extend_from_slice(&piece[..advance.kept]);
        consumed += advance.consumed;
        if chunked.is_done() {
            break;
        }
    }
    Ok(Walk {
        passed,
        consumed,
        done: chunked.is_done(),
    })
}
