//! The machines, tested as plain data: tables, every split point, and arbitrary bytes.

mod answers;
mod arbitrary;
mod chunks;
mod requests;
mod sent_on;
mod ways;

use super::Version;
use super::exchange::{Exchange, Moment};
use super::head::{FieldSpan, HeadScanner};
use super::malformed::Malformed;
use super::provenance::Origin;
use super::request::RequestHead;
use super::rewrite::write_request;

/// Reads a request's head, and gives what becomes of it to `with`.
fn with_head<T>(text: &[u8], with: impl FnOnce(&RequestHead<'_>) -> T) -> Result<T, Malformed> {
    let mut fields = Vec::new();
    let span = HeadScanner::default()
        .find(text)?
        .ok_or(Malformed::Bad("the test's head is not whole"))?;
    let head = RequestHead::read(&text[span.start..span.end], &mut fields)?;
    Ok(with(&head))
}

/// The exchange that a sound request begins.
fn exchange(request: &str) -> Exchange {
    with_head(request.as_bytes(), Exchange::begin).unwrap()
}

/// The way of the requests in these tests.
fn origin() -> Origin<'static> {
    Origin::new("10.0.0.9".parse().unwrap(), b"10.200.0.5:80")
}

/// What the backend is sent for a request's head.
fn sent_on(request: &str) -> String {
    sent_on_from(request, origin())
}

/// What the backend is sent for a request's head that came this way.
fn sent_on_from(request: &str, origin: Origin<'_>) -> String {
    let mut out = Vec::new();
    with_head(request.as_bytes(), |head| {
        write_request(head, origin, &mut out)
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

/// Gives an answer to an exchange in the given pieces, as a socket would; returns what the client gets.
fn answer_in_pieces(exchange: &mut Exchange, pieces: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
    let (mut held, mut client): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut fields: Vec<FieldSpan> = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut out = Vec::new();
        let step = exchange.take_answer(&mut held, Moment::default(), &mut fields, &mut out)?;
        client.extend_from_slice(&out);
        client.extend_from_slice(&held[step.body.clone()]);
        held.drain(..step.consumed);
        if exchange.answer_is_whole() {
            break;
        }
    }
    Ok(client)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_10: &str = "GET / HTTP/1.0\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn versions_are_in_order() {
    assert!(Version::Http10 < Version::Http11);
}
