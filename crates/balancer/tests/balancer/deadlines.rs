//! Bounds on a whole request, and on what a backend that was taken out has under way.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::BalancerConfig;

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain, tcp_config,
};

/// An origin that answers `/silent` never, `/drip` for five seconds, `/switch` with 101 and an echo, and
/// everything else at once.
fn slow(name: &'static str) -> Origin {
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 4096];
        loop {
            let count = log.read(&mut stream, &mut buffer);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            match text.split(' ').nth(1) {
                None => return,
                Some("/silent") => {}
                Some("/drip") => drip(&mut stream),
                Some("/switch") => echo(&mut stream),
                Some("/health") => {
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                    return;
                }
                Some(_) => {
                    let _ = stream.write_all(&plain(name));
                }
            }
        }
    })
}

fn drip(stream: &mut std::net::TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..1000 {
        if stream.write_all(b"a").is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn echo(stream: &mut std::net::TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    let _ = std::io::copy(&mut stream.try_clone().unwrap(), stream);
}

fn asking(host: &Host, path: &str) -> Client {
    let mut client = Client::connect(host.front());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn switched(host: &Host) -> Client {
    let mut client = Client::connect(host.front());
    client.send("GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.reply(true).unwrap().status, 101);
    client.send("ping");
    assert_eq!(client.exactly(4).as_deref(), Some(&b"ping"[..]));
    client
}

/// A client that has the beginning of an answer that takes long.
fn downloading(host: &Host) -> Client {
    let mut client = asking(host, "/drip");
    assert_eq!(client.reply(true).unwrap().status, 200);
    client
}

fn next(config: &mut BalancerConfig) -> &BalancerConfig {
    config.generation = config.generation.next();
    config
}

#[test]
fn a_tunnel_that_rests_from_its_beginning_outlives_the_wait_for_answers() {
    in_namespace(|| {
        let origin = slow("origin");
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.timeouts.response_ms = 200;
        host.serve(&config);
        let mut tunnel = Client::connect(host.front());
        tunnel.send(
            "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        assert_eq!(tunnel.reply(true).unwrap().status, 101);
        // Asked later, so given up later.
        assert_eq!(asking(&host, "/silent").reply(false).unwrap().status, 504);
        tunnel.send_if_open("ping");
        assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"ping"[..]));
    });
}

#[test]
fn a_request_that_takes_too_long_in_all_is_504_or_cut_off() {
    in_namespace(|| {
        let (origin, host) = (slow("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.timeouts.total_ms = Some(200);
        host.serve(&config);
        let began = Instant::now();
        let mut client = asking(&host, "/silent");
        let reply = client.reply(false).unwrap();
        assert_eq!((reply.status, reply.reason()), (504, Some("total-timeout")));
        assert!(began.elapsed() >= Duration::from_millis(200));
        // The bound was that request's, not the connection's.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(client.get("/").text(), "a");
        assert_eq!(downloading(&host).rest(), None, "cut off within the answer");
        let mut upload = Client::connect(host.front());
        upload.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        let reply = upload.reply(false);
        assert!(reply.is_none_or(|reply| [200, 408].contains(&reply.status)));
        // Tunnels have no such bound.
        let mut tunnel = switched(&host);
        std::thread::sleep(Duration::from_millis(300));
        tunnel.send("pong");
        assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"pong"[..]));
    });
}

#[test]
fn waiting_in_the_line_counts_for_the_whole_request() {
    in_namespace(|| {
        let (origin, host) = (slow("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.backends[0].max_connections = Some(1);
        host.serve(&config);
        let _first = downloading(&host);
        config.timeouts.total_ms = Some(150);
        host.configure(next(&mut config));
        assert_eq!(get(host.front(), "/").reason(), Some("total-timeout"));
        assert_eq!(host.next_heartbeat().counters.waiting, 0);
    });
}

#[test]
fn what_a_backend_that_was_taken_out_has_under_way_ends_by_the_deadline() {
    in_namespace(|| {
        type TakeOut = fn(&mut BalancerConfig);
        let cases: [(&str, TakeOut); 2] = [
            ("removed", |c| c.backends.truncate(1)),
            ("weight 0", |c| c.backends[1].weight = 0),
        ];
        for (name, take_out) in cases {
            let (stays, goes, host) = (slow("stays"), slow("goes"), Host::start());
            let mut config = http_config(1, &[stays.address, goes.address]);
            config.backends[0].weight = 0;
            host.serve(&config);
            let mut download = downloading(&host);
            let mut tunnel = switched(&host);
            let mut silent = asking(&host, "/silent");
            let mut posted = Client::connect(host.front());
            posted.send("POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na");
            host.await_heartbeat("all are there", |h| h.backends[1].active == 4);
            config.policy.drain_ms = 600;
            config.backends[0].weight = 1;
            take_out(&mut config);
            let began = Instant::now();
            host.configure(next(&mut config));
            // For now they go on, and nothing new comes.
            tunnel.send("pong");
            assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"pong"[..]), "{name}");
            for _ in 0..6 {
                assert_eq!(get(host.front(), "/").text(), "stays", "{name}");
            }
            assert_eq!(tunnel.rest(), None, "{name}");
            assert_eq!(download.rest(), None, "{name}");
            let reply = posted.reply(false).unwrap();
            assert_eq!(
                (reply.status, reply.reason()),
                (502, Some("drained")),
                "{name}"
            );
            assert!(began.elapsed() >= Duration::from_millis(600), "{name}");
            // What may be asked twice is asked elsewhere; that backend is silent too.
            eventually("it is asked elsewhere", || {
                let seen = String::from_utf8(stays.bytes()).unwrap();
                seen.contains("/silent").then_some(())
            });
            drop(stays);
            let _ = silent.reply(false);
        }
    });
}

#[test]
fn a_backend_that_is_put_back_in_time_keeps_what_it_has() {
    in_namespace(|| {
        let (stays, goes, host) = (slow("stays"), slow("goes"), Host::start());
        let whole = http_config(1, &[goes.address, stays.address]);
        let mut config = whole.clone();
        config.backends.truncate(1);
        config.policy.drain_ms = 300;
        host.serve(&config);
        let mut tunnel = switched(&host);
        config.backends = whole.backends[1..].to_vec();
        host.configure(next(&mut config));
        config.backends = whole.backends;
        host.configure(next(&mut config));
        std::thread::sleep(Duration::from_millis(600));
        tunnel.send("pong");
        assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"pong"[..]));
    });
}

#[test]
fn a_backend_that_goes_down_keeps_its_sessions() {
    in_namespace(|| {
        let well = Arc::new(AtomicBool::new(true));
        let is_well = Arc::clone(&well);
        let checks = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 4096];
            log.read(&mut stream, &mut buffer);
            if is_well.load(Ordering::SeqCst) {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
        });
        let (origin, host) = (slow("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.health_check.port = Some(checks.address.port());
        config.policy.drain_ms = 0;
        host.serve(&config);
        let mut tunnel = switched(&host);
        well.store(false, Ordering::SeqCst);
        host.await_heartbeat("it is down", |h| {
            h.backends[0].health == model::BackendHealth::Down
        });
        assert_eq!(get(host.front(), "/").reason(), Some("no-healthy-backend"));
        tunnel.send("pong");
        assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"pong"[..]));
    });
}

#[test]
fn tcp_sessions_of_a_backend_that_was_taken_out_are_reset_by_the_deadline() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, _| {
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        });
        let host = Host::start();
        let mut config = tcp_config(1, &[origin.address]);
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send("ping");
        assert_eq!(client.exactly(4).as_deref(), Some(&b"ping"[..]));
        config.backends.clear();
        config.policy.drain_ms = 200;
        host.configure(next(&mut config));
        assert_eq!(client.rest(), None);
        host.await_heartbeat("it is over", |h| h.counters.open_connections == 0);
    });
}
