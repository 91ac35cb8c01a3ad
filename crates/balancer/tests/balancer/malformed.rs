//! Malformed requests: each is refused, and the backend sees nothing of it.

use crate::support::{Client, Host, Origin, get, http_config, in_namespace};

const TARGET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

/// Each with the status of the answer. What follows a blank line is a smuggled request.
fn cases() -> Vec<(Vec<u8>, u16)> {
    let with = |fields: &str| format!("{TARGET}{fields}\r\n").into_bytes();
    let chunked = |body: &str| {
        let fields = "Transfer-Encoding: chunked\r\n";
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
    };
    let raw = |text: &str| text.as_bytes().to_vec();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut cases = vec![
        (
            with(&format!(
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            )),
            400,
        ),
        (
            with(&format!(
                "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{smuggled}"
            )),
            400,
        ),
        (with("Content-Length: 3\r\nContent-Length: 3\r\n"), 400),
        (with("Content-Length: 3\r\nContent-Length: 0\r\n"), 400),
        (with("Content-Length: 3, 3\r\n"), 400),
        (with("Content-Length: +3\r\n"), 400),
        (with("Content-Length: -3\r\n"), 400),
        (with("Content-Length: 0x3\r\n"), 400),
        (with("Content-Length: \r\n"), 400),
        (with("Content-Length: 3 3\r\n"), 400),
        (with("Content-Length: 99999999999999999999\r\n"), 400),
        (with("Transfer-Encoding: gzip\r\n"), 501),
        (with("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (with("Transfer-Encoding: xchunked\r\n"), 501),
        (with("Transfer-Encoding: identity\r\n"), 501),
        (with("Transfer-Encoding: chunked, gzip\r\n"), 400),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (with("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (with("Transfer-Encoding:\r\n"), 400),
        (
            raw("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (chunked("x\r\n"), 400),
        (chunked("-1\r\n"), 400),
        (chunked("0x1\r\na\r\n0\r\n\r\n"), 400),
        (chunked(" 1\r\na\r\n0\r\n\r\n"), 400),
        (chunked("1 \r\na\r\n0\r\n\r\n"), 400),
        (chunked("1\na\n0\n\n"), 400),
        (chunked("1\r\nab\r\n0\r\n\r\n"), 400),
        (chunked("1\r\na0\r\n\r\n"), 400),
        (chunked("1;\r\na\r\n0\r\n\r\n"), 400),
        (chunked("1;a\nb\r\na\r\n0\r\n\r\n"), 400),
        (chunked("fffffffffffffffff\r\n"), 400),
        (chunked("0\r\nbad trailer: x\r\n\r\n"), 400),
        (chunked(&format!("0\r\n\rX{smuggled}")), 400),
        (raw("GET / HTTP/1.1\nHost: a\n\n"), 400),
        (with("X: b\n"), 400),
        (with("X: b\rc\r\n"), 400),
        (with("X : b\r\n"), 400),
        (with("Content-Length : 3\r\n"), 400),
        (with("X: b\r\n folded\r\n"), 400),
        (with("X: b\r\n\tfolded\r\n"), 400),
        (with("X\x00: b\r\n"), 400),
        (with("X: b\x00c\r\n"), 400),
        (with("X(y): b\r\n"), 400),
        (with(": b\r\n"), 400),
        (with("nothing\r\n"), 400),
        (raw("G\x7fT / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw("GET http://b/ HTTP/1.1\r\n\r\n"), 400),
        (raw("GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n"), 400),
        (raw("GET /\r\n\r\n"), 400),
        (raw("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n"), 400),
        (raw("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), 505),
        (raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505),
        (raw("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 501),
        (raw("GET / HTTP/1.1\r\n\r\n"), 400),
        (raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400),
        (raw("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400),
        (
            raw(&format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "a".repeat(9_000)
            )),
            414,
        ),
        (with(&format!("X: {}\r\n", "b".repeat(40_000))), 431),
        (with(&"X: b\r\n".repeat(150)), 431),
    ];
    cases.push((
        [
            &b"GET / HTTP/1.1\r\nHost: a\r\nX"[..],
            b"\xc3\xa9: b\r\n\r\n",
        ]
        .concat(),
        400,
    ));
    cases.push((
        [&b"GET /"[..], b"\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
        400,
    ));
    cases
}

#[test]
fn every_malformed_request_is_refused_and_the_backend_sees_nothing_of_it() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let cases = cases();
        assert!(cases.len() >= 60);
        for (request, status) in &cases {
            let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
            let mut client = Client::connect(host.front());
            client.send(request);
            let reply = client
                .reply(false)
                .unwrap_or_else(|| panic!("no answer to {shown:?}"));
            assert_eq!(reply.status, *status, "{shown:?}");
            assert_eq!(reply.reason(), Some("malformed-request"), "{shown:?}");
            assert_eq!(
                client.rest().as_deref(),
                Some(&b""[..]),
                "more than one answer to {shown:?}"
            );
        }
        assert_eq!(String::from_utf8_lossy(&origin.bytes()), "");
        let counters = host.next_heartbeat().counters;
        assert_eq!(counters.rejected, cases.len() as u64);
        assert_eq!(counters.requests, 0);
        assert_eq!(get(host.front(), "/").status, 200);
    });
}

#[test]
fn what_is_malformed_after_a_sound_request_is_refused_after_its_answer() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().status, 200);
        assert_eq!(client.reply(false).unwrap().status, 400);
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert!(
            seen.contains("/1") && !seen.contains("/2") && !seen.contains("/3"),
            "{seen}"
        );
    });
}

#[test]
fn a_chunk_that_turns_out_malformed_ends_both_connections() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        crate::support::eventually("the origin has the chunk", || {
            origin.bytes().ends_with(b"1\r\na\r\n").then_some(())
        });
        client.send("x\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().status, 400);
        assert!(origin.bytes().ends_with(b"1\r\na\r\n"));
        assert_eq!(origin.requests(), 0);
    });
}
