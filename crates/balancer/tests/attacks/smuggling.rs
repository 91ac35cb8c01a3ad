//! Between the balancer and real servers: what is refused never reaches them, and over what is not refused
//! they never disagree with it about where a message ends.

use crate::refused::rules;
use crate::servers::{Program, Server, echo, target};
use crate::support::client::Reply;
use crate::support::{Client, Host, Options, eventually, http_config, in_namespace};
use crate::tap::Tap;
use crate::tricky::{Tricky, cases};

const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
/// Requests up to this length are sent a byte at a time as well.
const SLOW_BYTES: usize = 400;

/// A server, the balancer before it, and the tap between them.
struct Chain {
    server: Server,
    tap: Tap,
    host: Host,
}

impl Chain {
    /// One thread, so that all clients share the connections to the server.
    fn start(program: Program) -> Self {
        let server = Server::start(program);
        let tap = Tap::before(server.address);
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &[tap.address]);
        // Checks go past the tap, and are no requests.
        config.health_check.protocol = model::HealthProtocol::Tcp;
        config.health_check.port = Some(server.address.port());
        config.health_check.criteria.interval_ms = 60_000;
        config.policy.limits.request_body_bytes = Some(1 << 30);
        host.serve(&config);
        Self { server, tap, host }
    }

    fn client(&self) -> Client {
        Client::connect(self.host.front())
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(160)])
        .escape_debug()
        .to_string()
}

fn nothing_of_a_refused_request_reaches(program: Program) {
    in_namespace(move || {
        let chain = Chain::start(program);
        let mut refused = 0;
        for rule in rules() {
            for request in &rule.requests {
                let what = format!("{}: {}", rule.what, shown(request));
                let mut client = chain.client();
                client.send([&request[..], SMUGGLED].concat());
                refused += 1;
                assert_refused(&mut client, rule.status, &what);
            }
        }
        assert!(refused >= 200, "{refused}");
        assert_eq!(chain.tap.text(), "");
        assert_eq!(chain.tap.connections(), 0);
        // A heartbeat may be on its way from before the last of them.
        let heartbeat = chain.host.await_heartbeat("all are counted", |heartbeat| {
            heartbeat.counters.rejected >= refused
        });
        let counters = heartbeat.counters;
        assert_eq!((counters.rejected, counters.requests), (refused, 0));
        assert_eq!(target(&chain.client().get("/sound")), "/sound");
        assert_eq!(chain.server.requests("GET /sound", 1), ["GET /sound"]);
    });
}

/// The one answer has this status, and the connection ends after it.
fn assert_refused(client: &mut Client, status: u16, what: &str) {
    let reply = client
        .reply(false)
        .unwrap_or_else(|| panic!("no answer to {what}"));
    assert_eq!(reply.status, status, "{what}");
    assert_eq!(reply.reason(), Some("malformed-request"), "{what}");
    assert_eq!(reply.field("Connection"), Some("close"), "{what}");
    assert_eq!(
        client.rest().as_deref(),
        Some(&b""[..]),
        "more than one answer to {what}"
    );
}

fn a_server_and_the_balancer_agree_where_each_request_ends(program: Program) {
    in_namespace(move || {
        let chain = Chain::start(program);
        let mut expected = Vec::new();
        let mut number = 0;
        for case in cases() {
            for is_slow in [false, true] {
                number += 1;
                send_among_others(&chain, &case, number, is_slow, &mut expected);
            }
        }
        let (text, connections) = (chain.tap.text(), chain.tap.connections());
        assert!(
            !text.contains("6.6.6.6"),
            "an untrusted claim was passed on"
        );
        // Otherwise nobody could have been given another's answer.
        assert!(
            connections * 10 < expected.len(),
            "{connections} connections"
        );
        let mut seen = chain.server.requests(expected.last().unwrap(), 1);
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    });
}

/// Sends a case, then a request on the same connection, then one of another client that gets the same
/// connection to the server.
fn send_among_others(
    chain: &Chain,
    case: &Tricky,
    number: usize,
    is_slow: bool,
    expected: &mut Vec<String>,
) {
    let what = format!("{} ({number})", case.what);
    let own = format!("/case-{number}");
    let bytes = case.bytes.replace("TARGET", &own).into_bytes();
    let mut client = chain.client();
    if is_slow && bytes.len() <= SLOW_BYTES {
        for &byte in &bytes {
            client.send([byte]);
        }
    } else {
        client.send(&bytes);
    }
    for (at, &(method, body)) in case.requests.iter().enumerate() {
        let target = match case.requests.len() {
            1 => own.clone(),
            _ => format!("{own}/{}", at + 1),
        };
        let reply = final_reply(&mut client, method == "HEAD", &what);
        assert_answers(&reply, method, &target, body, &what);
        expected.push(format!("{method} {target}"));
    }
    let marker = format!("/after-{number}");
    assert_eq!(target(&client.get(&marker)), marker, "{what}");
    let other = format!("/other-{number}");
    assert_eq!(target(&chain.client().get(&other)), other, "{what}");
    expected.extend([format!("GET {marker}"), format!("GET {other}")]);
}

fn final_reply(client: &mut Client, to_head: bool, what: &str) -> Reply {
    loop {
        let reply = client
            .reply(to_head)
            .unwrap_or_else(|| panic!("no answer: {what}"));
        if reply.status >= 200 {
            return reply;
        }
    }
}

fn assert_answers(reply: &Reply, method: &str, expected: &str, body: &str, what: &str) {
    // Apache's echo answers no other method than POST, and lighttpd wants a length for that.
    if !matches!(reply.status, 405 | 411) {
        assert_eq!(reply.status, 200, "{what}");
        assert_eq!(target(reply), expected, "{what}: {}", reply.head);
        let body = if method == "HEAD" { "" } else { body };
        assert_eq!(echo(reply), body, "{what}");
    }
}

/// Its head and a first chunk have been passed on when the second turns out malformed.
fn what_follows_a_chunk_that_turns_out_malformed_never_reaches(program: Program) {
    const SOUND: &str =
        "POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    in_namespace(move || {
        let chain = Chain::start(program);
        let flood = format!("1;{}\r\n", "a".repeat(17_000));
        let bad = [
            "x\r\n",
            "1\n",
            "-1\r\n",
            "1;a\nb\r\n",
            &flood,
            "0\r\nX : y\r\n\r\n",
            "1\r\nabc\r\n",
            "0\r\n\n",
        ];
        for (at, bad) in bad.iter().enumerate() {
            let mut client = chain.client();
            client.send(SOUND);
            eventually("the chunk is passed on", || {
                let passed = chain.tap.text().matches("3\r\nabc\r\n").count();
                (passed == at + 1).then_some(())
            });
            client.send([bad.as_bytes(), SMUGGLED].concat());
            assert_refused(&mut client, 400, bad);
            assert_eq!(target(&chain.client().get("/other")), "/other", "{bad}");
        }
        let text = chain.tap.text();
        assert!(!text.contains("smuggled"), "{text}");
        // The others' requests came on a connection that had nothing else on it.
        assert_eq!(chain.tap.connections(), bad.len() + 1);
        let seen = chain.server.requests("GET /other", bad.len());
        let others = seen.iter().filter(|request| *request == "GET /other");
        assert_eq!(others.count(), bad.len());
        assert!(
            seen.iter().all(|request| !request.contains("smuggled")),
            "{seen:?}"
        );
    });
}

macro_rules! before_each_server {
    ($($name:ident: $program:ident),* $(,)?) => { $(
        mod $name {
            use super::Program;

            #[test]
            fn sees_nothing_of_a_refused_request() {
                super::nothing_of_a_refused_request_reaches(Program::$program);
            }

            #[test]
            fn and_the_balancer_agree_where_each_request_ends() {
                super::a_server_and_the_balancer_agree_where_each_request_ends(Program::$program);
            }

            #[test]
            fn sees_nothing_after_a_chunk_that_turns_out_malformed() {
                super::what_follows_a_chunk_that_turns_out_malformed_never_reaches(Program::$program);
            }
        }
    )* };
}

before_each_server! {
    nginx: Nginx,
    apache: Apache,
    lighttpd: Lighttpd,
    haproxy: Haproxy,
    gunicorn: Gunicorn,
}
