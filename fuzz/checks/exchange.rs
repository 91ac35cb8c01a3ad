//! One request and any answer: in pieces as at once, and a connection is only used again after an answer
//! whose end both sides know.

use balancer::http::exchange::{Closing, Exchange, Moment};
use balancer::http::head::HeadScanner;
use balancer::http::malformed::Malformed;
use balancer::http::request::RequestHead;

const REQUESTS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
];

/// What became of an answer.
#[derive(Debug, PartialEq)]
struct Outcome {
    client: Vec<u8>,
    consumed: usize,
    whole: bool,
    tunnel: bool,
    closing: Closing,
    backend_may_stay: bool,
}

/// Checks any answer; the first byte chooses the request, the second says how long the pieces are.
pub fn check(data: &[u8]) {
    let [request, length, answer @ ..] = data else {
        return;
    };
    let request = REQUESTS[usize::from(*request) % REQUESTS.len()];
    let at_once = take(request, answer, answer.len().max(1));
    let pieces = take(request, answer, usize::from(*length).max(1));
    assert_eq!(at_once.is_ok(), pieces.is_ok());
    let (Ok(at_once), Ok(pieces)) = (at_once, pieces) else {
        return;
    };
    assert_eq!(at_once, pieces);
    if at_once.backend_may_stay {
        assert!(at_once.whole && !at_once.tunnel);
        assert_ne!(request, REQUESTS[4], "the request was not wholly sent");
    }
}

fn take(request: &str, answer: &[u8], length: usize) -> Result<Outcome, Malformed> {
    let mut fields = Vec::new();
    let head = RequestHead::read(request.as_bytes(), &mut fields).expect("the request is sound");
    assert!(matches!(
        HeadScanner::default().find(request.as_bytes()),
        Ok(Some(_))
    ));
    let mut exchange = Exchange::begin(&head);
    let (mut held, mut client, mut consumed) = (Vec::new(), Vec::new(), 0);
    let mut fields = Vec::new();
    for piece in answer.chunks(length) {
        held.extend_from_slice(piece);
        let mut out = Vec::new();
        let step = exchange.take_answer(&mut held, Moment::default(), &mut fields, &mut out)?;
        assert!(step.consumed <= held.len());
        client.extend_from_slice(&out);
        client.extend_from_slice(&held[step.body.clone()]);
        held.drain(..step.consumed);
        consumed += step.consumed;
        if exchange.answer_is_whole() {
            break;
        }
    }
    Ok(Outcome {
        client,
        consumed,
        whole: exchange.answer_is_whole(),
        tunnel: exchange.is_tunnel(),
        closing: exchange.closing(),
        backend_may_stay: exchange.backend_may_stay(),
    })
}
