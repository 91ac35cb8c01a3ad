//! Hostile origins: an answer that could be read in two ways reaches nobody, and a connection on which
//! anything was amiss carries no further request.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Client, Host, Options, Origin, eventually, http_config, in_namespace, plain};

/// What a second request on a connection would get, in the place of what was asked for.
const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
const HEAD: &str = "HTTP/1.1 200 OK\r\n";

/// Does its worst with the first request on a connection when that is for `/bad`.
struct Hostile {
    origin: Origin,
    reused: Arc<AtomicUsize>,
}

impl Hostile {
    /// Answers the bad request by this; when it returns the connection ends.
    fn doing(worst: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        let reused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reused);
        let origin = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 65536];
            let mut was_bad = false;
            loop {
                let got = log.read(&mut stream, &mut buffer);
                let request = &buffer[..got];
                if got == 0 {
                    return;
                } else if was_bad && !request.starts_with(b"body") {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(EVIL);
                } else if request.windows(5).any(|bytes| bytes == b" /bad") {
                    was_bad = true;
                    worst(&mut stream);
                } else if !was_bad {
                    let _ = stream.write_all(&plain("next"));
                }
            }
        });
        Self { origin, reused }
    }

    /// Answers the bad request with these bytes, and then waits for more, or ends.
    fn answering(answer: Vec<u8>, ends: bool) -> Self {
        Self::doing(move |stream| {
            let _ = stream.write_all(&answer);
            if ends {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        })
    }

    /// Puts the balancer before it, whose clients share all connections.
    fn serve(&self) -> Host {
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &[self.origin.address]);
        config.health_check.protocol = model::HealthProtocol::Tcp;
        config.health_check.criteria.interval_ms = 60_000;
        host.serve(&config);
        host
    }

    /// Another client's request is answered as it should be, over a connection without a past.
    fn assert_left_alone(&self, host: &Host, what: &str) {
        for _ in 0..2 {
            assert_eq!(
                Client::connect(host.front()).get("/next").text(),
                "next",
                "{what}"
            );
        }
        assert_eq!(self.reused.load(Ordering::SeqCst), 0, "{what}");
    }
}

fn with(fields: &str) -> Vec<u8> {
    format!("{HEAD}{fields}\r\n\r\na").into_bytes()
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn chunked(chunks: &str) -> Vec<u8> {
    format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
}

fn malformed() -> Vec<Vec<u8>> {
    let line = |line: &str| raw(&format!("{line}\r\nContent-Length: 1\r\n\r\na"));
    vec![
        with("Content-Length: 1\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 1"),
        with("Content-Length: 1\r\nContent-Length: 2"),
        with("Content-Length: 1\r\nContent-Length: 1"),
        with("Content-Length: 1, 1"),
        with("Content-Length: 1, 2"),
        with("Content-Length: +1"),
        with("Content-Length: -1"),
        with("Content-Length: 0x1"),
        with("Content-Length:"),
        with("Content-Length: 9223372036854775808"),
        with("Transfer-Encoding: gzip"),
        with("Transfer-Encoding: gzip, chunked"),
        with("Transfer-Encoding: chunked, chunked"),
        with("Transfer-Encoding: xchunked"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding:"),
        raw("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        raw("HTTP/1.1 200 OK\nContent-Length: 1\n\na"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\na"),
        with("X: y\rZ: z\r\nContent-Length: 1"),
        with("X: y\r\n folded\r\nContent-Length: 1"),
        with("X : y\r\nContent-Length: 1"),
        with("Transfer-Encoding : chunked\r\nContent-Length: 1"),
        with("X: \0\r\nContent-Length: 1"),
        with("X\0: y\r\nContent-Length: 1"),
        with("X\u{e9}: y\r\nContent-Length: 1"),
        with(": y\r\nContent-Length: 1"),
        with("nothing\r\nContent-Length: 1"),
        line("HTTP/1.1 20 OK"),
        line("HTTP/1.1 2000 OK"),
        line("HTTP/1.1 099 OK"),
        line("HTTP/1.1 600 OK"),
        line("HTTP/1.1 abc OK"),
        line("HTTP/1.1 +20 OK"),
        line("HTTP/1.1"),
        line("HTTP/1.1  200 OK"),
        line("HTTP/1.1 200 O\0K"),
        line("HTTP/2.0 200 OK"),
        line("HTTP/1.2 200 OK"),
        line("http/1.1 200 OK"),
        line("ICY 200 OK"),
        line(" HTTP/1.1 200 OK"),
        line("\r\nHTTP/1.1 200 OK"),
        raw("nonsense\r\n\r\n"),
        raw("\0\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n"),
        raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n"),
        with(&format!("X: {}\r\nContent-Length: 1", "y".repeat(33 << 10))),
        with(&format!(
            "{}\r\nContent-Length: 1",
            ["X: y"; 100].join("\r\n")
        )),
        chunked("x\r\n"),
        chunked("-1\r\na\r\n0\r\n\r\n"),
        chunked("0x1\r\na\r\n0\r\n\r\n"),
        chunked("1\na\n0\n\n"),
        chunked("1\r\nab\r\n0\r\n\r\n"),
        chunked("1;\r\na\r\n0\r\n\r\n"),
        chunked("ffffffffffffffff\r\na"),
        chunked("0\r\nX : y\r\n\r\n"),
    ]
}

#[test]
fn a_malformed_answer_is_replaced_by_502_and_its_connection_used_no_more() {
    in_namespace(|| {
        for answer in malformed() {
            let what = String::from_utf8_lossy(&answer[..answer.len().min(120)]).into_owned();
            let hostile = Hostile::answering(answer, false);
            let host = hostile.serve();
            let mut client = Client::connect(host.front());
            let reply = client.get("/bad");
            let told = (reply.status, reply.reason());
            assert_eq!(told, (502, Some("malformed-response")), "{what:?}");
            // The client did nothing wrong, and may go on.
            assert_eq!(client.get("/next").text(), "next", "{what:?}");
            hostile.assert_left_alone(&host, &what);
        }
    });
}

#[test]
fn an_answer_with_more_than_belongs_to_it_is_passed_on_without_and_its_connection_used_no_more() {
    let evil = String::from_utf8_lossy(EVIL).into_owned();
    let cases = [
        (
            "GET",
            format!("{HEAD}Content-Length: 1\r\n\r\na{evil}"),
            "a",
        ),
        ("GET", format!("{HEAD}Content-Length: 1\r\n\r\na\r\n"), "a"),
        ("GET", format!("{HEAD}Content-Length: 0\r\n\r\n{evil}"), ""),
        (
            "GET",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n{evil}"),
            "a",
        ),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"), ""),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil".to_owned(),
            "",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "",
        ),
        (
            "GET",
            format!(
                "HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{evil}",
                evil.len()
            ),
            "",
        ),
        (
            "GET",
            format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}"),
            "",
        ),
        (
            "HEAD",
            format!("{HEAD}Content-Length: {}\r\n\r\n{evil}", evil.len()),
            "",
        ),
        (
            "HEAD",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{evil}"),
            "",
        ),
        ("HEAD", format!("{HEAD}\r\n{evil}"), ""),
        (
            "GET",
            format!("{HEAD}Connection: close\r\nContent-Length: 1\r\n\r\na"),
            "a",
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na".to_owned(),
            "a",
        ),
        (
            "GET",
            format!(
                "HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\n{HEAD}Content-Length: 1\r\n\r\na{evil}"
            ),
            "a",
        ),
        ("POST", format!("{HEAD}Content-Length: 1\r\n\r\na"), "a"),
    ];
    in_namespace(move || {
        for (method, answer, body) in cases {
            let what = format!("{method} {answer}");
            let hostile = Hostile::answering(answer.into_bytes(), false);
            let host = hostile.serve();
            let mut client = Client::connect(host.front());
            // The answer to the POST overtakes its body.
            let fields = if method == "POST" {
                "Content-Length: 9\r\n"
            } else {
                ""
            };
            client.send(format!("{method} /bad HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            let mut reply = client.reply(method == "HEAD").expect(&what);
            if reply.status < 200 {
                assert_eq!(reply.field("Content-Length"), None);
                reply = client.reply(false).expect(&what);
            }
            assert!(matches!(reply.status, 200 | 204 | 304), "{what}");
            assert_eq!(reply.text(), body, "{what}");
            if method == "POST" {
                assert_eq!(reply.field("Connection"), Some("close"));
                assert_eq!(client.rest().as_deref(), Some(&b""[..]));
            } else {
                assert_eq!(client.get("/next").text(), "next", "{what}");
            }
            hostile.assert_left_alone(&host, &what);
        }
    });
}

#[test]
fn a_body_behind_an_answer_to_head_is_nobodys_answer() {
    in_namespace(|| {
        let head = format!("{HEAD}Content-Length: {}\r\n\r\n", EVIL.len());
        let hostile = Hostile::doing(move |stream| {
            let _ = stream.set_nodelay(true);
            let _ = stream.write_all(head.as_bytes());
            // In another segment, when the answer may have been passed on already.
            std::thread::yield_now();
            let _ = stream.write_all(EVIL);
        });
        let host = hostile.serve();
        for round in 0..100 {
            let mut client = Client::connect(host.front());
            client.send("HEAD /bad HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.reply(true).unwrap().status, 200);
            assert_eq!(client.get("/next").text(), "next", "{round}");
        }
        hostile.assert_left_alone(&host, "a body behind its head");
    });
}

#[test]
fn an_answer_that_is_cut_off_is_never_taken_for_whole() {
    in_namespace(|| {
        for answer in [
            with("Content-Length: 10"),
            chunked("1\r\na\r\n"),
            chunked("5\r\na"),
            chunked("1\r\na\r\n0\r\n"),
            chunked("1\r\na\r\n0\r\nX: y\r\n"),
        ] {
            let what = String::from_utf8_lossy(&answer).into_owned();
            let hostile = Hostile::answering(answer, true);
            let host = hostile.serve();
            let mut client = Client::connect(host.front());
            client.send("GET /bad HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.reply(false).is_none(), "{what}");
            hostile.assert_left_alone(&host, &what);
        }
    });
}

#[test]
fn a_chunk_that_turns_out_malformed_after_others_have_passed_breaks_the_answer_off() {
    in_namespace(|| {
        for bad in ["x\r\n", "1\na", "-1\r\n", "0\r\nX : y\r\n\r\n"] {
            let go_on = Arc::new(AtomicBool::new(false));
            let may = Arc::clone(&go_on);
            let hostile = Hostile::doing(move |stream| {
                let _ = stream.write_all(&chunked("3\r\nabc\r\n"));
                eventually("the client has the first chunk", || {
                    may.load(Ordering::SeqCst).then_some(())
                });
                let _ = stream.write_all(bad.as_bytes());
            });
            let host = hostile.serve();
            let mut client = Client::connect(host.front());
            client.send("GET /bad HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = client.until(b"\r\n\r\n").unwrap();
            assert!(head.starts_with(b"HTTP/1.1 200 "));
            assert_eq!(client.exactly(8).as_deref(), Some(&b"3\r\nabc\r\n"[..]));
            go_on.store(true, Ordering::SeqCst);
            assert_eq!(client.rest(), None, "a reset, not an end");
            hostile.assert_left_alone(&host, bad);
        }
    });
}

#[test]
fn interim_answers_without_an_end_are_refused() {
    in_namespace(|| {
        let hostile = Hostile::doing(|stream| {
            let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
            while stream.write_all(hint.as_bytes()).is_ok() {}
        });
        let host = hostile.serve();
        for version in ["1.1", "1.0"] {
            let mut client = Client::connect(host.front());
            client.send(format!("GET /bad HTTP/{version}\r\nHost: a\r\n\r\n"));
            let mut hints = 0;
            let reply = loop {
                match client.reply(false).unwrap() {
                    reply if reply.status >= 200 => break reply,
                    _ => hints += 1,
                }
            };
            assert_eq!(
                (reply.status, reply.reason()),
                (502, Some("malformed-response"))
            );
            assert!(hints <= 100, "{hints}");
            hostile.assert_left_alone(&host, version);
        }
    });
}
