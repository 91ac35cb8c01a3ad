//! An answer's head: as two other parsers read it, and the same after it was passed on.

use balancer::http::exchange::Closing;
use balancer::http::head::{FieldSpan, HeadScanner};
use balancer::http::malformed::Malformed;
use balancer::http::response::ResponseHead;
use balancer::http::rewrite::{Passing, write_response};
use balancer::http::{Framing, Version};

use super::peers::agree_on_response;

/// Checks any bytes.
pub fn check(data: &[u8]) {
    let Ok(Some(span)) = HeadScanner::default().find(data) else {
        return;
    };
    let bytes = &data[span.start..span.end];
    let mut fields = Vec::new();
    let Ok(head) = ResponseHead::read(bytes, &mut fields) else {
        return;
    };
    assert!((100..=599).contains(&head.status));
    // Others refuse a code that no space follows; what is passed on has one.
    if head.status_line.len() > 3 {
        agree_on_response(bytes, head.status, head.fields);
    }
    if head.is_bodiless() {
        assert_eq!(head.framing(false), Framing::Empty);
    }
    survives(&head, Version::Http11);
    survives(&head, Version::Http10);
}

/// What is passed on is a sound head again; to a client of HTTP/1.1 its body has the same end.
fn survives(head: &ResponseHead<'_>, client: Version) {
    let passing = Passing {
        client,
        closing: Closing::Stays,
        switching: false,
        date: None,
    };
    let mut out = Vec::new();
    write_response(head, passing, &mut out);
    let Ok(Some(span)) = HeadScanner::default().find(&out) else {
        return;
    };
    assert_eq!((span.start, span.end), (0, out.len()));
    let mut fields: Vec<FieldSpan> = Vec::new();
    let again = match ResponseHead::read(&out, &mut fields) {
        // With the fields that were added it has too many for another one of us.
        Err(Malformed::HeadTooLarge) => return,
        other => other.expect("what is passed on is sound"),
    };
    assert_eq!(again.status, head.status);
    agree_on_response(&out, head.status, again.fields);
    if client == Version::Http11 {
        assert_eq!(again.framing(false), head.framing(false));
        assert_eq!(again.framing(true), head.framing(true));
    } else {
        assert_ne!(again.declared, Framing::Chunked);
    }
}
