//! Backends that fail, and clients that go away.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{BackendHealth, ClientClose};

use crate::support::{
    Client, Host, Options, Origin, break_off, eventually, get, http_config, in_namespace, plain,
};

const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An origin that is healthy and otherwise answers with these bytes, then ends.
fn answering(answer: &'static [u8]) -> Origin {
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 4096];
        while log.read(&mut stream, &mut buffer) > 0 {
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(HEALTHY);
                return;
            }
            let _ = stream.write_all(answer);
            if answer.is_empty() {
                return;
            }
        }
    })
}

#[test]
fn without_a_backend_that_is_up_the_answer_is_503_with_the_reason() {
    in_namespace(|| {
        let host = Host::start();
        host.configure(&http_config(1, &[]));
        let mut client = Client::connect(host.front());
        for _ in 0..3 {
            let reply = client.get("/");
            assert_eq!(
                (reply.status, reply.reason()),
                (503, Some("no-healthy-backend"))
            );
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        drop(listener);
        host.configure(&http_config(2, &[address]));
        let heartbeat = host.await_heartbeat("the backend is down", |heartbeat| {
            heartbeat
                .backends
                .first()
                .is_some_and(|b| b.health == BackendHealth::Down)
        });
        assert_eq!(
            heartbeat.backends[0].last_check.as_deref(),
            Some("connection refused")
        );
        assert_eq!(client.get("/").reason(), Some("no-healthy-backend"));
        assert_eq!(host.next_heartbeat().counters.errors, 4);
    });
}

#[test]
fn a_client_that_is_still_sending_when_it_is_refused_can_end_and_read_why() {
    in_namespace(|| {
        let host = Host::start();
        host.serve(&http_config(1, &[]));
        let mut client = Client::connect(host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
        eventually("the answer is there", || {
            client.has_something().then_some(())
        });
        for _ in 0..10 {
            client.send(vec![b'x'; 100_000]);
        }
        assert_eq!(client.reply(false).unwrap().status, 503);
    });
}

#[test]
fn a_backend_that_comes_back_takes_traffic_again() {
    in_namespace(|| {
        let (first, host) = (Origin::named("a"), Host::start());
        let address = first.address;
        host.serve(&http_config(1, &[address]));
        let mut client = Client::connect(host.front());
        assert_eq!(client.get("/").text(), "a");
        first.stop();
        host.await_heartbeat("it is down", |h| {
            h.backends[0].health == BackendHealth::Down
        });
        assert_eq!(client.get("/").reason(), Some("no-healthy-backend"));
        let again = eventually("the port is free", || {
            let free = TcpListener::bind(address).is_ok();
            free.then(|| Origin::http_at(address.into(), |_| plain("again")))
        });
        let heartbeat =
            host.await_heartbeat("it is up", |h| h.backends[0].health == BackendHealth::Up);
        let last_check = heartbeat.backends[0].last_check.clone().unwrap();
        assert!(last_check.starts_with("200 OK in "), "{last_check}");
        assert_eq!(client.get("/").text(), "again");
        drop(again);
    });
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        let gone = Origin::named("gone");
        let mut config = http_config(1, &[gone.address, origin.address]);
        config.health_check.port = Some(origin.address.port());
        gone.stop();
        host.serve(&config);
        for _ in 0..10 {
            assert_eq!(get(host.front(), "/").text(), "a");
        }
        config.backends.pop();
        config.generation = config.generation.next();
        host.serve(&config);
        let reply = get(host.front(), "/");
        assert_eq!(
            (reply.status, reply.reason()),
            (502, Some("connect-refused"))
        );
    });
}

/// An origin that answers one request on each connection, takes a second, and ends without a word.
fn once_each() -> Origin {
    Origin::serving(|mut stream, log| {
        let mut buffer = [0u8; 4096];
        if log.read(&mut stream, &mut buffer) > 0 {
            let is_check = buffer.starts_with(b"GET /health");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
            let _ = stream.write_all(if is_check { HEALTHY } else { answer });
            if !is_check {
                log.read(&mut stream, &mut buffer);
            }
        }
    })
}

#[test]
fn a_kept_connection_that_the_backend_ends_costs_no_idempotent_request() {
    in_namespace(|| {
        let (origin, host) = (once_each(), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        for _ in 0..50 {
            let reply = client.get("/");
            assert_eq!(reply.text(), "a", "{reply:?}");
        }
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.errors, 0);
        assert_eq!(heartbeat.backends[0].errors, 0);
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert!(seen.matches("GET / ").count() > 60, "none was sent twice");
    });
}

/// An origin that ends, or breaks off, after these bytes of an answer, two times of three.
fn dying_within(answer: &'static [u8], breaks_off: bool) -> Origin {
    let asked = Arc::new(AtomicUsize::new(0));
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 4096];
        while log.read(&mut stream, &mut buffer) > 0 {
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(HEALTHY);
                return;
            }
            if asked.fetch_add(1, Ordering::SeqCst) % 3 != 2 {
                let _ = stream.write_all(answer);
                if breaks_off {
                    break_off(&stream);
                }
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
        }
    })
}

#[test]
fn a_backend_that_dies_within_a_head_costs_no_idempotent_request() {
    in_namespace(|| {
        for (answer, breaks_off) in [
            (&b"H"[..], false),
            (b"HTTP/1.1 200 OK\r\nContent-Le", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r", true),
            (b"HTTP/1.1 103 Early Hints\r\n\r\n", false),
            (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 ", true),
        ] {
            let (origin, host) = (dying_within(answer, breaks_off), Host::start());
            let mut config = http_config(1, &[origin.address]);
            config.policy.retry.attempts = 3;
            host.serve(&config);
            for request in [
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            ] {
                let mut client = Client::connect(host.front());
                client.send(request);
                let reply = loop {
                    let reply = client.reply(false).expect("an answer");
                    if reply.status >= 200 {
                        break reply;
                    }
                };
                assert_eq!(reply.text(), "a", "{reply:?}");
            }
            let seen = String::from_utf8(origin.bytes()).unwrap();
            assert_eq!(seen.matches("GET / ").count(), 3);
            assert_eq!(seen.matches("\r\n\r\nhi").count(), 3);
            let mut client = Client::connect(host.front());
            client.send("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            let reply = loop {
                let reply = client.reply(false).expect("an answer");
                if reply.status >= 200 {
                    break reply;
                }
            };
            assert_eq!(reply.reason(), Some("backend-closed"), "{reply:?}");
            let seen = String::from_utf8(origin.bytes()).unwrap();
            assert_eq!(seen.matches("/pay").count(), 1);
        }
    });
}

#[test]
fn a_post_on_a_kept_connection_that_the_backend_ends_is_not_sent_twice() {
    in_namespace(|| {
        let (origin, host) = (once_each(), Host::start_with(one_thread()));
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        assert_eq!(client.get("/").text(), "a");
        client.send("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let reply = client.reply(false).unwrap();
        assert_eq!(
            (reply.status, reply.reason()),
            (502, Some("backend-closed"))
        );
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert_eq!(seen.matches("/pay").count(), 1);
    });
}

fn one_thread() -> Options {
    Options {
        threads: Some(1),
        ..Options::default()
    }
}

#[test]
fn a_request_that_could_do_harm_twice_is_not_sent_twice() {
    in_namespace(|| {
        let (origin, host) = (answering(b""), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let reply = client.reply(false).unwrap();
        assert_eq!(
            (reply.status, reply.reason()),
            (502, Some("backend-closed"))
        );
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert_eq!(seen.matches("/pay").count(), 1);
    });
}

#[test]
fn an_answer_that_cannot_be_understood_is_502_and_its_connection_is_not_used_again() {
    in_namespace(|| {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
            b"nonsense\r\n\r\n",
        ] {
            let (origin, host) = (answering(answer), Host::start());
            host.serve(&http_config(1, &[origin.address]));
            let reply = get(host.front(), "/");
            assert_eq!(
                (reply.status, reply.reason()),
                (502, Some("malformed-response"))
            );
        }
    });
}

#[test]
fn bytes_after_an_answer_never_become_the_next_answer() {
    in_namespace(|| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let (origin, host) = (answering(answer), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "a");
        }
        // No connection was used for a second request.
        let requests = String::from_utf8(origin.bytes()).unwrap();
        assert_eq!(requests.matches("GET / ").count(), 50);
        assert!(origin.connections() > 50, "{}", origin.connections());
    });
}

#[test]
fn bytes_that_come_while_a_connection_is_idle_never_become_an_answer() {
    in_namespace(|| {
        let (late, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, told_of_end) = (Arc::clone(&late), Arc::clone(&ended));
        let origin = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 4096];
            log.read(&mut stream, &mut buffer);
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(HEALTHY);
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
            // By now the answer has been passed on, and the connection is idle.
            std::thread::sleep(Duration::from_millis(50));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            told.fetch_add(1, Ordering::SeqCst);
            while log.read(&mut stream, &mut buffer) > 0 {}
            told_of_end.fetch_add(1, Ordering::SeqCst);
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        for done in 1..=10 {
            assert_eq!(client.get("/").text(), "a");
            eventually("the late bytes are sent", || {
                (late.load(Ordering::SeqCst) == done).then_some(())
            });
            eventually("the connection is discarded", || {
                (ended.load(Ordering::SeqCst) == done).then_some(())
            });
        }
    });
}

#[test]
fn an_answer_that_is_cut_off_is_never_taken_for_whole() {
    in_namespace(|| {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let origin = Origin::serving(move |mut stream, log| {
                let mut buffer = [0u8; 4096];
                log.read(&mut stream, &mut buffer);
                let is_check = buffer.starts_with(b"GET /health");
                let _ = stream.write_all(if is_check { HEALTHY } else { answer });
            });
            let host = Host::start();
            host.serve(&http_config(1, &[origin.address]));
            let mut client = Client::connect(host.front());
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.reply(false).is_none());
        }
    });
}

#[test]
fn an_interim_answer_does_not_put_off_the_wait_for_the_final_one() {
    in_namespace(|| {
        let hinting = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                let answer = match buffer.starts_with(b"GET /health") {
                    true => HEALTHY,
                    false => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
                };
                let _ = stream.write_all(answer);
            }
        });
        let host = Host::start();
        let mut config = http_config(1, &[hinting.address]);
        config.timeouts.response_ms = 150;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(client.rest().unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 103 "), "{answer}");
        assert!(answer.contains("\r\n\r\nHTTP/1.1 504 "), "{answer}");
    });
}

#[test]
fn each_wait_has_its_bound_and_its_answer() {
    in_namespace(|| {
        let silent = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                if buffer.starts_with(b"GET /health") {
                    let _ = stream.write_all(HEALTHY);
                    return;
                }
            }
        });
        let host = Host::start();
        let mut config = http_config(1, &[silent.address]);
        config.timeouts.response_ms = 150;
        config.timeouts.request_head_ms = 150;
        config.timeouts.keep_alive_ms = 150;
        config.timeouts.idle_ms = 150;
        host.serve(&config);
        let reply = get(host.front(), "/");
        assert_eq!(
            (reply.status, reply.reason()),
            (504, Some("response-timeout"))
        );
        let mut slow = Client::connect(host.front());
        slow.send("GET / HTT");
        assert_eq!(slow.reply(false).unwrap().status, 408);
        let mut slow = Client::connect(host.front());
        slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
        assert_eq!(slow.reply(false).unwrap().status, 408);
        let mut idle = Client::connect(host.front());
        assert_eq!(idle.rest().as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_client_that_waits_for_leave_to_send_its_body_is_not_the_one_that_is_slow() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            loop {
                let count = log.read(&mut stream, &mut buffer);
                let said = &buffer[..count];
                let (is_check, hints, leave) = (
                    said.starts_with(b"GET /health"),
                    said.starts_with(b"POST /hints"),
                    said.starts_with(b"POST /leave"),
                );
                let answer = match () {
                    () if is_check => HEALTHY,
                    () if said.ends_with(b"hello") => HEALTHY,
                    () if hints => &b"HTTP/1.1 103 Early Hints\r\n\r\n"[..],
                    () if leave => b"HTTP/1.1 100 Continue\r\n\r\n",
                    () => b"",
                };
                let _ = stream.write_all(answer);
                if count == 0 || is_check {
                    return;
                }
            }
        });
        let host = Host::start();
        let mut config = http_config(1, &[origin.address]);
        config.timeouts.response_ms = 150;
        config.timeouts.idle_ms = 400;
        host.serve(&config);
        let ask = |path: &str| {
            let mut client = Client::connect(host.front());
            let fields = "Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
            client.send(format!("POST {path} HTTP/1.1\r\n{fields}"));
            client
        };
        let said = |client: &mut Client| {
            let reply = client.reply(false).expect("an answer");
            (reply.status, reply.reason().unwrap_or_default().to_owned())
        };
        let timed_out = (504, "response-timeout".to_owned());
        assert_eq!(said(&mut ask("/silent")), timed_out);
        let mut hinted = ask("/hints");
        assert_eq!(said(&mut hinted).0, 103);
        assert_eq!(said(&mut hinted), timed_out);
        // From now on it is the client's turn.
        let mut slow = ask("/leave");
        assert_eq!(said(&mut slow).0, 100);
        assert_eq!(said(&mut slow).0, 408);
        for path in ["/leave", "/silent"] {
            let mut client = ask(path);
            if path == "/leave" {
                assert_eq!(said(&mut client).0, 100);
            }
            client.send("hello");
            assert_eq!(said(&mut client).0, 200, "{path}");
        }
    });
}

/// An origin that reads for ever, and a balancer before it that has its request under way.
fn silent() -> Origin {
    Origin::serving(|mut stream, log| {
        let mut buffer = [0u8; 4096];
        while log.read(&mut stream, &mut buffer) > 0 {
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(HEALTHY);
                return;
            }
        }
    })
}

#[test]
fn a_client_that_breaks_off_takes_its_request_with_it() {
    in_namespace(|| {
        let (origin, host) = (silent(), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        for request in [
            "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin",
        ] {
            let mut client = Client::connect(host.front());
            client.send(request);
            host.await_heartbeat("it is under way", |h| h.backends[0].active == 1);
            client.reset();
            // The backend's place is given back a moment before the client's is.
            let heartbeat = host.await_heartbeat("it is given up", |h| {
                (h.backends[0].active, h.counters.open_connections) == (0, 0)
            });
            assert_eq!(heartbeat.counters.errors, 0);
        }
    });
}

#[test]
fn a_client_that_ends_its_half_after_its_request_gets_the_whole_answer() {
    in_namespace(|| {
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, may) = (Arc::clone(&asked), Arc::clone(&answer));
        let origin = Origin::http(move |request| {
            told.fetch_add(1, Ordering::SeqCst);
            eventually("the answer may come", || {
                (may.load(Ordering::SeqCst) > 0).then_some(())
            });
            plain(&request.target().repeat(100_000))
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut clients: Vec<_> = [
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a HTTP/1.0\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        .into_iter()
        .map(|request| {
            let mut client = Client::connect(host.front());
            client.send(request).end_sending();
            client
        })
        .collect();
        // Their ends were seen long before the answers begin.
        eventually("all are asked", || {
            (asked.load(Ordering::SeqCst) == 4).then_some(())
        });
        host.next_heartbeat();
        answer.store(1, Ordering::SeqCst);
        let last = clients.len() - 1;
        for (at, client) in clients.iter_mut().enumerate() {
            for _ in 0..=usize::from(at == last) {
                let reply = client.reply(false).expect("the whole answer");
                assert_eq!((reply.status, reply.body.len()), (200, 200_000));
            }
            assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        }
        assert_eq!(host.next_heartbeat().counters.errors, 0);
    });
}

#[test]
fn where_a_close_aborts_the_backend_is_let_go_while_it_works() {
    in_namespace(|| {
        let let_go = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&let_go);
        let origin = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 4096];
            let asks = log.read(&mut stream, &mut buffer) > 0;
            if asks && buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(HEALTHY);
            } else if asks {
                while log.read(&mut stream, &mut buffer) > 0 {}
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let host = Host::start();
        let mut config = http_config(1, &[origin.address]);
        config.policy.client_close = ClientClose::Abort;
        host.serve(&config);
        let requests = [
            "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        ];
        let cases = requests.iter().flat_map(|r| [(r, false), (r, true)]);
        for (ended, (request, closes)) in cases.enumerate() {
            let mut client = Client::connect(host.front());
            client.send(*request);
            host.await_heartbeat("it is under way", |h| h.backends[0].active == 1);
            if closes {
                drop(client);
            } else {
                client.end_sending();
                assert_eq!(client.rest().as_deref(), Some(&b""[..]));
            }
            eventually("the backend is let go", || {
                (let_go.load(Ordering::SeqCst) > ended).then_some(())
            });
            host.await_heartbeat("it is given up", |h| h.backends[0].active == 0);
        }
        let heartbeat = host.next_heartbeat();
        assert_eq!(
            (heartbeat.counters.errors, heartbeat.backends[0].errors),
            (0, 0)
        );
    });
}

#[test]
fn a_client_that_ends_its_half_within_its_request_gets_no_answer_and_the_backend_is_let_go() {
    in_namespace(|| {
        let (origin, host) = (silent(), Host::start());
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client
            .send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin")
            .end_sending();
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        host.await_heartbeat("it is given up", |h| {
            h.backends[0].active == 0 && h.counters.open_connections == 0
        });
    });
}

#[test]
fn a_head_has_one_bound_however_it_trickles() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.timeouts.request_head_ms = 300;
        host.serve(&config);
        let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for sound_before in ["", first] {
            let mut client = Client::connect(host.front());
            // What is left of a head behind a whole request is bounded as well.
            client.send(format!("{sound_before}GET / HTTP/1.1\r\nX: "));
            if !sound_before.is_empty() {
                assert_eq!(client.reply(false).unwrap().status, 200);
            }
            let began = std::time::Instant::now();
            let reply = loop {
                assert!(began.elapsed() < Duration::from_secs(10), "it trickles on");
                let _ = client.stream.write_all(b"a");
                if let Some(reply) = client.reply_within(Duration::from_millis(20)) {
                    break reply;
                }
            };
            assert_eq!(reply.status, 408);
        }
    });
}

#[test]
fn an_empty_line_before_a_request_is_ignored_and_is_none_of_it() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.timeouts.keep_alive_ms = 300;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        for pieces in [
            &["\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"][..],
            &["\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
            &["\r", "\nGET / HTTP/1.1\r\n", "Host: a\r\n\r\n"],
        ] {
            for piece in pieces {
                client.send(piece);
            }
            assert_eq!(client.reply(false).unwrap().text(), "a");
        }
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert!(
            !seen.starts_with('\r') && !seen.contains("\r\n\r\n\r\n"),
            "{seen:?}"
        );
        // Many an old client sends one after its body, and then nothing: that is no slow request.
        client.send("\r\n");
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_check_without_an_answer_fails_and_says_so() {
    in_namespace(|| {
        let silent = Origin::serving(|_stream, _| std::thread::sleep(Duration::from_secs(60)));
        let host = Host::start();
        let mut config = http_config(1, &[silent.address]);
        config.health_check.criteria.timeout_ms = 100;
        host.configure(&config);
        let heartbeat = host.await_heartbeat("it is down", |heartbeat| {
            heartbeat.backends[0].health == BackendHealth::Down
        });
        let said = heartbeat.backends[0].last_check.clone().unwrap();
        assert!(
            said == "no answer within 100 ms" || said == "connection closed without an answer",
            "{said}"
        );
    });
}
