//! A request's head: bit by bit as at once, as two other parsers read it, and the same after it was passed
//! on.

use balancer::http::head::{FieldSpan, HeadScanner, HeadSpan};
use balancer::http::malformed::Malformed;
use balancer::http::provenance::Origin;
use balancer::http::request::RequestHead;
use balancer::http::rewrite::write_request;

use super::peers::agree_on_request;

/// Longer inputs are cut in two instead of into bytes.
const BYTE_BY_BYTE: usize = 512;

/// Checks any bytes.
pub fn check(data: &[u8]) {
    let found = HeadScanner::default().find(data);
    assert_eq!(
        found,
        in_pieces(data),
        "pieces mean something else than the whole"
    );
    let Ok(Some(span)) = found else { return };
    let bytes = &data[span.start..span.end];
    let mut fields = Vec::new();
    let Ok(head) = RequestHead::read(bytes, &mut fields) else {
        return;
    };
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert!(!bytes.contains(&0));
    let target = agree_on_request(bytes, head.method, head.fields);
    assert!(target.ends_with(head.target) || head.target == b"/");
    survives(&head);
}

fn in_pieces(data: &[u8]) -> Result<Option<HeadSpan>, Malformed> {
    let mut scanner = HeadScanner::default();
    let ends: Vec<usize> = if data.len() <= BYTE_BY_BYTE {
        (0..=data.len()).collect()
    } else {
        vec![data.len() / 2, data.len()]
    };
    for end in ends {
        if let Some(span) = scanner.find(&data[..end])? {
            return Ok(Some(span));
        }
    }
    Ok(None)
}

/// What is sent on is a sound head again, with the same meaning.
fn survives(head: &RequestHead<'_>) {
    let origin = Origin::new([192, 0, 2, 1].into(), b"192.0.2.2:80");
    let mut out = Vec::new();
    write_request(head, origin, &mut out);
    let mut fields: Vec<FieldSpan> = Vec::new();
    let span = HeadScanner::default().find(&out);
    let Ok(Some(span)) = span else {
        // It may have grown beyond the bounds, which backends then refuse.
        assert!(matches!(
            span,
            Err(Malformed::HeadTooLarge | Malformed::LineTooLong)
        ));
        return;
    };
    assert_eq!((span.start, span.end), (0, out.len()));
    let again = RequestHead::read(&out, &mut fields);
    if again.as_ref().err() == Some(&Malformed::HeadTooLarge) {
        return;
    }
    let again = again.expect("what is sent on is sound");
    assert_eq!(again.method, head.method);
    // The path of a target like `http://a?b` is empty, and sent on as `/`.
    let target = again.target.strip_prefix(b"/".as_slice());
    assert!(again.target == head.target || target == Some(head.target));
    assert_eq!(again.framing, head.framing);
    if head.host.is_some() {
        assert_eq!(again.host, head.host);
    }
    agree_on_request(&out, head.method, again.fields);
}
