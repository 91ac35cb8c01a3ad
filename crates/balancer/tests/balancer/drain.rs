//! A balancer whose clients are to go elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use model::{Generation, HostMessage};

use crate::support::{Client, Host, Origin, get, http_config, in_namespace, plain, tcp_config};

/// Bytes that a slow client leaves in the kernel's hands.
const LARGE: usize = 256 << 10;
const ASKED: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An origin that drips a long answer to `/drip`, echoes after `/switch`, and has a large body at `/large`.
fn origin() -> Origin {
    Origin::serving(|mut stream, log| {
        let mut buffer = [0u8; 4096];
        loop {
            let count = log.read(&mut stream, &mut buffer);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let sent = match text.split(' ').nth(1) {
                None => return,
                Some("/drip") => drip(&mut stream),
                Some("/switch") => echo(&mut stream),
                Some("/large") => stream.write_all(&plain(&"x".repeat(LARGE))),
                Some(_) => stream.write_all(&plain("well")),
            };
            if sent.is_err() {
                return;
            }
        }
    })
}

fn drip(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")?;
    for _ in 0..100 {
        stream.write_all(b"a")?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn echo(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )?;
    std::io::copy(&mut stream.try_clone()?, stream).map(drop)
}

fn drain(host: &Host) {
    host.tell(&HostMessage::Drain);
    host.await_heartbeat("it drains", |heartbeat| heartbeat.draining == Some(true));
    host.await_turns();
}

fn serving(origin: &Origin) -> Host {
    let host = Host::start();
    host.serve(&http_config(1, &[origin.address]));
    assert_eq!(host.next_heartbeat().draining, Some(false));
    host
}

/// Over this connection an answer comes that ends it.
fn assert_last(client: &mut Client) {
    let reply = client.get("/");
    let closes = reply.field("Connection");
    assert_eq!((reply.text().as_str(), closes), ("well", Some("close")));
    assert_eq!(client.rest(), Some(Vec::new()), "and not by a reset");
}

#[test]
fn each_answer_ends_its_connection_and_whoever_comes_is_served() {
    in_namespace(|| {
        let origin = origin();
        let host = serving(&origin);
        let mut kept = Client::connect(host.front());
        assert_eq!(kept.get("/").field("Connection"), None);
        let mut fresh = Client::connect(host.front());
        drain(&host);
        assert_last(&mut kept);
        assert_last(&mut fresh);
        assert_last(&mut Client::connect(host.front()));
        // It goes on to take configurations.
        let refused = http_config(2, &[]);
        host.configure(&refused);
        assert_eq!(get(host.front(), "/").field("Connection"), Some("close"));
    });
}

#[test]
fn what_was_promised_or_passes_unread_goes_on() {
    in_namespace(|| {
        let origin = origin();
        let host = serving(&origin);
        let mut tunnel = Client::connect(host.front());
        tunnel.send(
            "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        assert_eq!(tunnel.reply(true).unwrap().status, 101);
        let mut download = Client::connect(host.front());
        download.send("GET /drip HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = download.reply(true).unwrap();
        assert_eq!(reply.field("Connection"), None, "it may be asked again");
        drain(&host);
        assert_eq!(download.exactly(100).map(|body| body.len()), Some(100));
        assert_last(&mut download);
        drop(download);
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4).as_deref(), Some(&b"ping"[..]));
        let alone = host.await_heartbeat("it is alone", |h| h.counters.open_connections == 1);
        assert_eq!(alone.deserted_ms, None);
        drop(tunnel);
        let deserted = |heartbeat: &model::Heartbeat| heartbeat.deserted_ms >= Some(300);
        host.await_heartbeat("nobody is left", deserted);
        get(host.front(), "/");
        let heartbeat = host.next_heartbeat();
        assert!(!deserted(&heartbeat), "somebody came: {heartbeat:?}");
    });
}

#[test]
fn a_request_behind_the_last_one_does_not_cost_its_client_the_answer() {
    in_namespace(|| {
        let origin = origin();
        let host = serving(&origin);
        let mut pipelining = Client::connect(host.front());
        let mut late = Client::connect(host.front());
        assert_eq!(late.get("/").text(), "well");
        drain(&host);
        pipelining.send(ASKED.repeat(3));
        late.send(ASKED);
        for client in [&mut pipelining, &mut late] {
            // The answer lies unread while more is said.
            std::thread::sleep(Duration::from_millis(100));
            client.send_if_open(ASKED);
            std::thread::sleep(Duration::from_millis(100));
            let reply = client.reply(false).expect("the answer is whole");
            assert_eq!(reply.field("Connection"), Some("close"));
            assert_eq!(client.rest(), Some(Vec::new()), "and not by a reset");
        }
    });
}

#[test]
fn a_quiet_connection_is_ended_after_a_while_and_not_at_once() {
    in_namespace(|| {
        let origin = origin();
        let host = serving(&origin);
        let mut quiet = Client::connect(host.front());
        assert_eq!(quiet.get("/").text(), "well");
        let mut asks = Client::connect(host.front());
        assert_eq!(asks.get("/").text(), "well");
        let began = Instant::now();
        drain(&host);
        std::thread::sleep(Duration::from_millis(1_500));
        assert_last(&mut asks);
        assert_eq!(quiet.rest(), Some(Vec::new()), "not by a reset");
        let quiet_for = began.elapsed();
        assert!(quiet_for >= Duration::from_secs(4), "{quiet_for:?}");
        assert!(quiet_for < Duration::from_secs(15), "{quiet_for:?}");
    });
}

#[test]
fn a_client_that_has_yet_to_take_its_answer_in_is_one_that_is_there() {
    in_namespace(|| {
        let origin = origin();
        let host = serving(&origin);
        drain(&host);
        let mut slow = Client::connect(host.front());
        rustix::net::sockopt::set_socket_recv_buffer_size(&slow.stream, 4096).unwrap();
        slow.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        host.await_heartbeat("all is written", |heartbeat| {
            heartbeat.counters.bytes_out > LARGE as u64
        });
        // Longer than anybody lingers.
        std::thread::sleep(Duration::from_millis(3_000));
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.open_connections, 1);
        assert_eq!(heartbeat.deserted_ms, None);
        assert_eq!(slow.reply(false).map(|reply| reply.body.len()), Some(LARGE));
        assert_eq!(slow.rest(), Some(Vec::new()));
        drop(slow);
        host.await_heartbeat("it has gone", |h| h.counters.open_connections == 0);
    });
}

#[test]
fn sessions_of_tcp_go_on_and_begin() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, _| {
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        });
        let host = Host::start();
        host.serve(&tcp_config(1, &[origin.address]));
        let mut old = Client::connect(host.front());
        old.send("ping");
        assert_eq!(old.exactly(4).as_deref(), Some(&b"ping"[..]));
        drain(&host);
        let mut new = Client::connect(host.front());
        for session in [&mut old, &mut new] {
            session.send("pong");
            assert_eq!(session.exactly(4).as_deref(), Some(&b"pong"[..]));
        }
        assert_eq!(host.next_heartbeat().deserted_ms, None);
        drop((old, new));
        let deserted = |heartbeat: &model::Heartbeat| heartbeat.deserted_ms >= Some(300);
        host.await_heartbeat("nobody is left", deserted);
        assert_eq!(host.next_heartbeat().generation, Some(Generation(1)));
    });
}
