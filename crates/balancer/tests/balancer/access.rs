//! The access log: each way in which a request or session can end, as it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::Termination;
use model::access::{AccessHead, AccessKind, Frames};

use crate::support::{
    Client, Host, Options, Origin, break_off, eventually, get, http_config, in_namespace, plain,
    tcp_config,
};

const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// One record, with its text.
#[derive(Clone, Debug)]
struct Line {
    head: AccessHead,
    method: String,
    host: String,
    path: String,
    id: String,
    trace: String,
    detail: String,
}

/// Reads a balancer's log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// Starts a balancer whose log is read.
    fn of(options: Options) -> (Self, Host) {
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Self::default();
        let options = Options {
            log: Some(Arc::new(OwnedFd::from(writer))),
            ..options
        };
        log.read(reader);
        (log, Host::start_with(options))
    }

    fn read(&self, mut reader: std::io::PipeReader) {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let (mut frames, mut buffer) = (Frames::default(), [0; 65536]);
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                frames.push(&buffer[..count], |record| {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    lines.lock().unwrap().push(Line {
                        head: record.head,
                        method: text(record.method()),
                        host: text(record.host()),
                        path: text(record.path()),
                        id: text(record.id()),
                        trace: text(record.trace()),
                        detail: text(record.detail()),
                    });
                });
            }
        });
    }

    /// The next line that is told.
    #[track_caller]
    fn next(&self) -> Line {
        eventually("a line", || {
            let mut lines = self.0.lock().unwrap();
            (!lines.is_empty()).then(|| lines.remove(0))
        })
    }

    /// The next line's status and reason.
    #[track_caller]
    fn told(&self) -> (u16, Termination) {
        let line = self.next();
        (line.head.status, line.head.termination)
    }
}

/// A healthy origin that does this with each connection over which anything else is asked.
fn origin(serve: impl Fn(&mut std::net::TcpStream) + Send + Sync + 'static) -> Origin {
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 4096];
        if log.read(&mut stream, &mut buffer) == 0 {
            return;
        }
        if buffer.starts_with(b"GET /health") {
            let _ = stream.write_all(HEALTHY);
        } else {
            serve(&mut stream);
        }
    })
}

/// Waits until the other side is gone.
fn hold(stream: &mut std::net::TcpStream) {
    let mut buffer = [0; 65536];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: web.example\r\n\r\n";

#[test]
fn a_request_that_went_well_is_told_with_all_that_is_known_of_it() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let origin = Origin::http(|_| plain("hello"));
        let mut config = http_config(1, &[origin.address]);
        config.policy.forwarding.request_id = Some("X-Request-ID".to_owned());
        host.serve(&config);
        let mut client = Client::connect(host.front());
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = "x".repeat(300);
        client.send(format!(
            "GET /a?b=c HTTP/1.1\r\nHost: web.example\r\ntraceparent: {trace}\r\n\r\n"
        ));
        assert_eq!(client.reply(false).unwrap().text(), "hello");
        client.send(format!(
            "POST /{long} HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc"
        ));
        client.reply(false).unwrap();
        let line = log.next();
        let head = line.head;
        let texts = [
            &line.method,
            &line.host,
            &line.path,
            &line.trace,
            &line.detail,
        ];
        assert_eq!(texts, ["GET", "web.example", "/a?b=c", trace, ""]);
        assert_eq!(line.id.len(), 32, "an id of the balancer's own");
        assert_eq!((head.kind, head.status), (AccessKind::Http, 200));
        assert_eq!(head.termination, Termination::Complete);
        assert_eq!(head.backend, origin.address);
        let local = client.stream.local_addr().unwrap();
        assert_eq!(std::net::SocketAddr::V4(head.client), local);
        assert!(head.connect_us > 0 && head.first_byte_us >= head.connect_us);
        assert!(head.total_us >= u64::from(head.first_byte_us));
        assert!(head.bytes_in > 100 && head.bytes_out > 40, "{head:?}");
        let now_us = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        assert!(
            now_us.abs_diff(head.ended_us) < 20_000_000,
            "the time is Unix time"
        );
        let second = log.next();
        assert_eq!((second.path.len(), second.head.path_cut), (256, true));
        assert_eq!(second.head.connect_us, 0, "the connection was there");
        assert_eq!(second.head.further_tries, 0);
        assert!(get(host.front(), "/last").status == 200);
        assert_eq!(
            log.next().path,
            "/last",
            "and nothing of checks or the balancer's own"
        );
    });
}

#[test]
fn the_checkers_question_is_told_of_a_client_and_not_of_the_checker() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let origin = Origin::http(|_| plain("hello"));
        let mut config = http_config(1, &[origin.address]);
        config.checker = Some(Ipv4Addr::new(127, 0, 9, 9));
        host.serve(&config);
        for from in [[127, 0, 9, 9], [127, 0, 1, 7]] {
            let mut asking = Client::connect_from(from, host.front());
            asking.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
            assert_eq!(asking.reply(false).unwrap().status, 200);
        }
        let line = log.next();
        assert_eq!(line.head.client.ip().octets(), [127, 0, 1, 7]);
        assert_eq!((&*line.method, &*line.path), ("OPTIONS", "*"));
        assert_eq!(line.head.status, 200);
        assert_eq!(line.head.termination, Termination::Complete);
    });
}

#[test]
fn a_trace_is_passed_on_as_it_is_and_logged_if_it_is_one() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let origin = Origin::http(|request| {
            let field = |name| request.field(name).unwrap_or("-");
            plain(&format!("{} {}", field("traceparent"), field("tracestate")))
        });
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let later = format!("cc-{}-what-will-be", &valid[3..]);
        let upper = valid.to_uppercase();
        for (parent, connection, logged) in [
            (valid, "", valid),
            (valid, "Connection: traceparent, tracestate\r\n", valid),
            (&later, "", &later[..valid.len()]),
            (&upper, "", ""),
            ("nonsense", "", ""),
            ("", "", ""),
        ] {
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{connection}traceparent: {parent}\r\ntracestate: a=1,b=2\r\n\r\n"
            ));
            let reply = client.reply(false).unwrap();
            assert_eq!(reply.text(), format!("{parent} a=1,b=2"));
            assert_eq!(log.next().trace, logged, "{parent}");
        }
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {valid}\r\ntraceparent: {valid}\r\n\r\n"
        ));
        client.reply(false).unwrap();
        assert_eq!(log.next().trace, "", "of two nobody knows which counts");
    });
}

#[test]
fn what_the_balancer_answers_by_itself_says_why() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        host.configure(&http_config(1, &[]));
        assert_eq!(get(host.front(), "/").status, 503);
        assert_eq!(log.told(), (503, Termination::NoHealthyBackend));
        let mut client = Client::connect(host.front());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        client.reply(false).unwrap();
        let line = log.next();
        assert_eq!(line.head.termination, Termination::MalformedRequest);
        assert_eq!(
            (line.head.status, &*line.detail),
            (400, "more than one Host")
        );
        let mut config = http_config(2, &[]);
        config.policy.allowed_clients = vec!["10.0.0.0/8".parse().unwrap()];
        host.configure(&config);
        host.await_turns();
        let mut client = Client::connect(host.front());
        assert_eq!(client.reply(false).unwrap().status, 403);
        assert_eq!(log.told(), (403, Termination::ClientNotAllowed));
        let mut config = http_config(3, &[]);
        config.policy.limits.request_body_bytes = Some(10);
        config.timeouts.request_head_ms = 100;
        host.configure(&config);
        host.await_turns();
        let mut client = Client::connect(host.front());
        client.send("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
        client.reply(false).unwrap();
        let line = log.next();
        assert_eq!((line.head.status, &*line.path), (413, "/big"));
        assert_eq!(line.detail, "the body is too large");
        let mut client = Client::connect(host.front());
        client.send("GET / HT");
        assert_eq!(client.reply(false).unwrap().status, 408);
        let line = log.next();
        assert_eq!(
            (line.head.status, line.head.termination),
            (408, Termination::RequestTimeout)
        );
        assert!(line.head.total_us >= 90_000, "{:?}", line.head);
    });
}

#[test]
fn a_client_that_goes_is_told_with_the_stage_at_which_it_went() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let silent = origin(hold);
        let mut config = http_config(1, &[silent.address]);
        config.policy.client_close = model::ClientClose::Abort;
        config.backends[0].max_connections = Some(1);
        host.serve(&config);
        let asked = |request: &str| {
            let mut client = Client::connect(host.front());
            client.send(request);
            client
        };
        asked("GET / HTTP/1.1\r\nHo").reset();
        assert_eq!(log.told(), (0, Termination::ClientClosedInRequestHead));
        let client = asked("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
        host.await_heartbeat("it is at the backend", |h| h.backends[0].active == 1);
        client.reset();
        assert_eq!(log.told(), (0, Termination::ClientClosedInRequestBody));
        let first = asked(GET);
        host.await_heartbeat("it is at the backend", |h| h.backends[0].active == 1);
        let second = asked(GET);
        host.await_heartbeat("it waits", |h| h.counters.queued == 1);
        second.reset();
        let line = log.next();
        assert_eq!(line.head.termination, Termination::ClientClosedInQueue);
        assert!(line.head.queue_us > 0 && line.head.backend.port() == 0);
        first.reset();
        let line = log.next();
        assert_eq!(
            line.head.termination,
            Termination::ClientClosedBeforeResponse
        );
        assert_eq!((line.head.backend, &*line.path), (silent.address, "/a?b=c"));
        drop(silent);
        let endless = origin(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc");
            hold(stream);
        });
        host.serve(&http_config(2, &[endless.address]));
        let mut client = asked(GET);
        client.until(b"abc").unwrap();
        client.reset();
        assert_eq!(log.told(), (200, Termination::ClientClosedInResponse));
    });
}

#[test]
fn a_backend_that_fails_is_told_with_how_it_failed() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let cases: [(&[u8], u16, Termination); 4] = [
            (b"", 502, Termination::BackendClosed),
            (
                b"HTTP/1.1 banana\r\n\r\n",
                502,
                Termination::MalformedResponse,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                200,
                Termination::BackendClosedInResponse,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nbanana\r\n",
                200,
                Termination::MalformedInResponse,
            ),
        ];
        for (generation, (answer, status, termination)) in (1..).zip(cases) {
            let failing = origin(move |stream| {
                let (head, rest) = answer.split_at(answer.len().saturating_sub(8));
                let _ = stream.write_all(head);
                std::thread::sleep(Duration::from_millis(30));
                let _ = stream.write_all(rest);
            });
            let mut config = http_config(generation, &[failing.address]);
            config.policy.retry.attempts = 2;
            config.policy.retry.budget_percent = 100;
            host.serve(&config);
            host.await_turns();
            let mut client = Client::connect(host.front());
            client.send(GET);
            let _ = client.reply(false);
            let line = log.next();
            let told = (line.head.status, line.head.termination);
            assert_eq!(told, (status, termination));
            assert_eq!(line.head.backend, failing.address);
            let retried = termination == Termination::BackendClosed;
            assert_eq!(
                line.head.further_tries,
                u8::from(retried),
                "{termination:?}"
            );
        }
    });
}

#[test]
fn a_backend_that_cannot_be_reached_is_told_with_why() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let (healthy, gone) = (Origin::named("a"), Origin::named("gone"));
        let mut config = http_config(1, &[gone.address]);
        config.health_check.port = Some(healthy.address.port());
        config.timeouts.connect_ms = 100;
        gone.stop();
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.get("/");
        let line = log.next();
        assert_eq!(line.head.termination, Termination::ConnectRefused);
        assert!(
            line.head.further_tries > 0 && line.head.queue_us > 0,
            "{:?}",
            line.head
        );
        // A listening socket whose queue is full takes no further connection.
        let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let std::net::SocketAddr::V4(address) = full.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let _first = std::net::TcpStream::connect(address).unwrap();
        config.generation = model::Generation(2);
        config.backends[0].port = address.port();
        host.serve(&config);
        host.await_turns();
        client.get("/");
        assert_eq!(log.told(), (504, Termination::ConnectTimeout));
    });
}

#[test]
fn a_backend_to_which_no_way_leads_any_more_is_told_so() {
    let ip = |arguments: &str| {
        let done = Command::new("ip").args(arguments.split(' ')).status();
        assert!(done.expect("iproute2 is installed").success());
    };
    in_namespace(move || {
        ip("address add 10.9.9.9/32 dev lo");
        let (log, host) = Log::of(Options::default());
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 8080);
        let _healthy = Origin::http_at(address.into(), |_| plain("a"));
        let mut config = http_config(1, &[address]);
        // It was well, and its checks do not find out before a request does.
        config.health_check.criteria.unhealth_threshold = u32::MAX;
        host.serve(&config);
        ip("address delete 10.9.9.9/32 dev lo");
        let reply = get(host.front(), "/");
        assert_eq!(reply.reason(), Some("connect-failed"));
        let line = log.next();
        let told = (line.head.status, line.head.termination);
        assert_eq!(told, (502, Termination::ConnectFailed));
        assert_eq!(line.head.connect_us, 0);
    });
}

#[test]
fn what_takes_too_long_is_told_with_what_was_waited_for() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let silent = origin(hold);
        let mut config = http_config(1, &[silent.address]);
        config.timeouts.response_ms = 100;
        config.timeouts.idle_ms = 100;
        host.serve(&config);
        get(host.front(), "/");
        assert_eq!(log.told(), (504, Termination::ResponseTimeout));
        let mut client = Client::connect(host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
        client.reply(false).unwrap();
        assert_eq!(log.told(), (408, Termination::RequestTimeout));
        config.generation = model::Generation(2);
        config.timeouts.response_ms = 60_000;
        config.timeouts.total_ms = Some(100);
        host.serve(&config);
        host.await_turns();
        get(host.front(), "/");
        assert_eq!(log.told(), (504, Termination::TotalTimeout));
        let slow = origin(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
            hold(stream);
        });
        let mut config = http_config(3, &[slow.address]);
        config.timeouts.idle_ms = 100;
        host.serve(&config);
        host.await_turns();
        let mut client = Client::connect(host.front());
        client.send(GET);
        assert!(client.reply(false).is_none());
        assert_eq!(log.told(), (200, Termination::BackendTimeoutInResponse));
        config.generation = model::Generation(4);
        config.timeouts.idle_ms = 60_000;
        config.timeouts.total_ms = Some(100);
        host.serve(&config);
        host.await_turns();
        let mut client = Client::connect(host.front());
        client.send(GET);
        assert!(client.reply(false).is_none());
        assert_eq!(log.told(), (200, Termination::TotalTimeout));
    });
}

#[test]
fn the_line_for_a_backend_is_told_where_it_is_full_or_takes_too_long() {
    in_namespace(|| {
        let (log, host) = Log::of(Options {
            threads: Some(1),
            ..Options::default()
        });
        let silent = origin(hold);
        let mut config = http_config(1, &[silent.address]);
        config.backends[0].max_connections = Some(1);
        config.policy.queue.length = 1;
        config.policy.queue.timeout_ms = 300;
        config.policy.drain_ms = 50;
        host.serve(&config);
        let clients: Vec<_> = (0..3)
            .map(|count| {
                let mut client = Client::connect(host.front());
                client.send(GET);
                host.await_heartbeat("it is there", |h| h.counters.requests > count);
                client
            })
            .collect();
        assert_eq!(log.told(), (503, Termination::QueueFull));
        let line = log.next();
        assert_eq!(line.head.termination, Termination::QueueTimeout);
        assert!(line.head.queue_us >= 290_000, "{:?}", line.head);
        let other = Origin::named("other");
        config.generation = model::Generation(2);
        config.backends[0].port = other.address.port();
        config.policy.retry.attempts = 1;
        host.serve(&config);
        assert_eq!(log.told(), (502, Termination::Drained));
        drop(clients);
    });
}

#[test]
fn a_session_is_told_with_who_ended_it() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let echo = Origin::serving(|mut stream, log| {
            let mut buffer = [0; 4096];
            loop {
                let count = log.read(&mut stream, &mut buffer);
                match buffer.first() {
                    _ if count == 0 => return,
                    Some(b'!') => return break_off(&stream),
                    _ => drop(stream.write_all(&buffer[..count])),
                }
            }
        });
        let mut config = tcp_config(1, &[echo.address]);
        config.timeouts.idle_ms = 400;
        host.serve(&config);
        let said = |words: &[u8]| {
            let mut client = Client::connect(host.front());
            client.send(words);
            client
        };
        let mut client = said(b"hello");
        client.exactly(5).unwrap();
        client.end_sending();
        client.rest().unwrap();
        let head = log.next().head;
        assert_eq!(
            (head.kind, head.termination),
            (AccessKind::Tcp, Termination::Complete)
        );
        assert_eq!((head.bytes_in, head.bytes_out, head.status), (5, 5, 0));
        assert_eq!(head.backend, echo.address);
        let mut client = said(b"hello");
        client.exactly(5).unwrap();
        client.reset();
        assert_eq!(log.told(), (0, Termination::ClientReset));
        let mut client = said(b"!");
        assert!(client.rest().is_none());
        assert_eq!(log.told(), (0, Termination::BackendReset));
        let _silent = said(b"x");
        assert_eq!(log.told(), (0, Termination::IdleTimeout));
        host.configure(&tcp_config(2, &[]));
        host.await_turns();
        let _refused = Client::connect(host.front());
        assert_eq!(log.told(), (0, Termination::NoHealthyBackend));
        let mut config = tcp_config(3, &[echo.address]);
        config.policy.limits.connections_per_client = Some(1);
        host.serve(&config);
        host.await_turns();
        let _first = said(b"x");
        let _second = Client::connect(host.front());
        assert_eq!(log.told(), (0, Termination::TooManyConnections));
    });
}

/// A backend to which no connection comes about: its queue of connections is full, and stays so.
fn full_backend() -> (std::net::TcpListener, std::net::TcpStream) {
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let first = std::net::TcpStream::connect(full.local_addr().unwrap()).unwrap();
    (full, first)
}

#[test]
fn a_client_that_goes_while_the_backends_connection_is_made_is_told_so() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let healthy = Origin::named("a");
        let (full, _first) = full_backend();
        let port = full.local_addr().unwrap().port();
        let with_full = |mut config: model::BalancerConfig| {
            config.health_check.port = Some(healthy.address.port());
            config.backends[0].port = port;
            config.policy.client_close = model::ClientClose::Abort;
            config
        };
        host.serve(&with_full(http_config(1, &[healthy.address])));
        host.await_turns();
        let mut client = Client::connect(host.front());
        client.send(GET);
        host.await_heartbeat("it is on its way", |h| h.counters.requests == 1);
        client.reset();
        let line = log.next();
        assert_eq!(
            (line.head.termination, line.head.status),
            (Termination::ClientClosedWhileConnecting, 0)
        );
        host.serve(&with_full(tcp_config(2, &[healthy.address])));
        host.await_turns();
        let client = Client::connect(host.front());
        host.await_heartbeat("it is on its way", |h| h.counters.requests == 2);
        client.reset();
        assert_eq!(log.told(), (0, Termination::ClientClosedWhileConnecting));
    });
}

#[test]
fn a_client_that_takes_an_answer_in_too_slowly_is_told_so() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let large = origin(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n");
            while stream.write_all(&[b'a'; 65_536]).is_ok() {}
        });
        let mut config = http_config(1, &[large.address]);
        config.timeouts.idle_ms = 200;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send(GET);
        client.until(b"\r\n\r\n").unwrap();
        assert_eq!(log.told(), (200, Termination::ClientTimeoutInResponse));
    });
}

#[test]
fn a_requests_body_that_is_malformed_once_the_answer_has_begun_is_told_so() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let early = origin(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc");
            hold(stream);
        });
        host.serve(&http_config(1, &[early.address]));
        let mut client = Client::connect(host.front());
        client
            .send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.until(b"abc").unwrap();
        client.send("banana\r\n");
        assert!(client.rest().is_none());
        let line = log.next();
        assert_eq!(
            (line.head.status, line.head.termination, &*line.path),
            (200, Termination::MalformedRequestBody, "/up")
        );
    });
}

#[test]
fn a_connection_that_does_not_begin_as_a_proxys_must_is_told_so() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let healthy = Origin::named("a");
        let mut config = http_config(1, &[healthy.address]);
        config.policy.proxy_protocol.accept_from = vec!["127.0.0.5/32".parse().unwrap()];
        host.serve(&config);
        host.await_turns();
        let mut client = Client::connect_from([127, 0, 0, 5], host.front());
        client.send_if_open(GET);
        assert!(client.rest().is_none());
        let line = log.next();
        assert_eq!(line.head.termination, Termination::MalformedProxyHeader);
        assert_eq!(line.head.client.ip().octets(), [127, 0, 0, 5]);
    });
}

#[test]
fn a_request_that_no_circuit_lets_through_is_told_so() {
    in_namespace(|| {
        let (log, host) = Log::of(Options {
            threads: Some(1),
            ..Options::default()
        });
        let failing = origin(|stream| {
            let _ = stream
                .write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        });
        let mut config = http_config(1, &[failing.address]);
        config.policy.circuit_breaker = Some(model::CircuitBreaker {
            failure_percent: 50,
            min_requests: 2,
            window_ms: 60_000,
            open_ms: 60_000,
        });
        host.serve(&config);
        host.await_turns();
        let told = eventually("the circuit is open", || {
            get(host.front(), "/");
            let told = log.told();
            (told != (500, Termination::Complete)).then_some(told)
        });
        assert_eq!(told, (503, Termination::CircuitOpen));
    });
}

#[test]
fn a_tunnel_is_one_line_which_says_who_ended_it() {
    in_namespace(|| {
        let (log, host) = Log::of(Options::default());
        let echo = origin(|stream| {
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if buffer.starts_with(b"!") {
                    return break_off(stream);
                }
                let _ = stream.write_all(&buffer[..count]);
            }
        });
        host.serve(&http_config(1, &[echo.address]));
        let tunnel = || {
            let mut client = Client::connect(host.front());
            client.send(
                "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            client.until(b"\r\n\r\n").unwrap();
            client.send("hello");
            client.exactly(5).unwrap();
            client
        };
        let mut client = tunnel();
        client.end_sending();
        client.rest().unwrap();
        let line = log.next();
        let told = (line.head.status, line.head.termination, &*line.path);
        assert_eq!(told, (101, Termination::Complete, "/chat"));
        tunnel().reset();
        assert_eq!(log.told(), (101, Termination::ClientReset));
        let mut client = tunnel();
        client.send("!");
        assert!(client.rest().is_none());
        assert_eq!(log.told(), (101, Termination::BackendReset));
    });
}

#[test]
fn a_log_that_nobody_reads_costs_its_records_and_no_request_and_tells_how_many() {
    in_namespace(|| {
        const ASKED: usize = 6_000;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let host = Host::start_with(Options {
            threads: Some(1),
            log: Some(Arc::new(OwnedFd::from(writer))),
            ..Options::default()
        });
        host.configure(&http_config(1, &[]));
        let mut client = Client::connect(host.front());
        for _ in 0..ASKED / 100 {
            client.send(GET.repeat(100));
            for _ in 0..100 {
                assert_eq!(client.reply(false).unwrap().status, 503);
            }
        }
        let (mut told, mut dropped) = (0, 0);
        let (mut frames, mut buffer) = (Frames::default(), [0; 65536]);
        while told + dropped < ASKED {
            let count = reader.read(&mut buffer).unwrap();
            frames.push(&buffer[..count], |record| match record.head.kind {
                AccessKind::Gap => dropped += record.head.bytes_in as usize,
                _ => told += 1,
            });
        }
        assert_eq!(told + dropped, ASKED, "each is told or counted");
        assert!(
            dropped > 100 && told > 1_000,
            "{told} told, {dropped} dropped"
        );
    });
}

#[test]
fn what_is_left_is_told_when_the_process_ends_and_nothing_where_it_is_not_wanted() {
    in_namespace(|| {
        let (log, mut host) = Log::of(Options::default());
        let silent = origin(hold);
        let mut config = http_config(1, &[silent.address]);
        config.policy.access_log = false;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        client.reply(false).unwrap();
        config.generation = model::Generation(2);
        config.policy.access_log = true;
        host.serve(&config);
        host.await_turns();
        let mut client = Client::connect(host.front());
        client.send(GET);
        host.await_heartbeat("it is at the backend", |h| h.backends[0].active == 1);
        host.signal(libc::SIGTERM);
        host.wait();
        assert_eq!(log.told(), (0, Termination::BalancerEnded));
    });
}
