//! The PROXY protocol, in from proxies that are believed and out to backends.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use model::{BalancerConfig, ProxyVersion};

use crate::support::{
    Client, Haproxy, Host, Options, Origin, http_config, in_namespace, plain, tcp_config,
};

const PROXY: [u8; 4] = [127, 0, 0, 5];
const USER: [u8; 4] = [127, 0, 0, 9];
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn at(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Believes what connections from [`PROXY`] begin with.
fn accepting(mut config: BalancerConfig) -> BalancerConfig {
    config.policy.proxy_protocol.accept_from = vec!["127.0.0.5/32".parse().unwrap()];
    config
}

/// An origin that answers with who it is told that asks.
fn told() -> Origin {
    Origin::http(|request| plain(request.field("X-Forwarded-For").unwrap_or("nobody")))
}

/// The header of version 2 for a client at 192.0.2.1, with TLVs.
fn v2(command: u8, tlvs: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + tlvs.len()).unwrap().to_be_bytes();
    let block = [192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x34, 0, 80];
    [V2, &[command, 0x11], &length, &block, tlvs].concat()
}

#[test]
fn a_believed_header_says_who_the_client_is() {
    in_namespace(|| {
        let (origin, host) = (told(), Host::start());
        host.serve(&accepting(http_config(1, &[origin.address])));
        let v1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n".to_vec();
        for (header, client) in [
            (v1, "192.0.2.1"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.5"),
            (b"PROXY UNKNOWN 1 2 3\r\n".to_vec(), "127.0.0.5"),
            (v2(0x21, b""), "192.0.2.1"),
            (v2(0x21, &[0xee; 2_000]), "192.0.2.1"),
            (v2(0x20, b""), "127.0.0.5"),
        ] {
            // With the request, or a byte at a time: the rest is the client's, to the byte.
            for size in [header.len() + GET.len(), 1, 7] {
                let mut connection = Client::connect_from(PROXY, host.front());
                let bytes = [&header[..], GET.as_bytes()].concat();
                for piece in bytes.chunks(size) {
                    connection.send(piece);
                }
                assert_eq!(connection.reply(false).unwrap().text(), client);
                // It is said once.
                assert_eq!(connection.get("/").text(), client);
            }
        }
        assert!(!origin.bytes().windows(5).any(|window| window == b"PROXY"));
    });
}

#[test]
fn a_connection_that_has_to_begin_with_a_header_and_does_not_is_closed() {
    in_namespace(|| {
        let (origin, host) = (told(), Host::start());
        let mut config = accepting(http_config(1, &[origin.address]));
        host.serve(&config);
        let starts: Vec<Vec<u8>> = vec![
            GET.into(),
            format!("PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\n{GET}").into(),
            format!("PROXY TCP4 192.0.2.1 127.0.0.1 4660\r\n{GET}").into(),
            format!("PROXY TCP6 2001:db8::1 ::1 4660 80\r\n{GET}").into(),
            format!("\r\nPROXY UNKNOWN\r\n{GET}").into(),
            [&v2(0x22, b""), GET.as_bytes()].concat(),
            [&v2(0x21, &[0; 5_000]), GET.as_bytes()].concat(),
            vec![b'P'; 200],
        ];
        let count = starts.len() as u64;
        for start in starts {
            let shown = String::from_utf8_lossy(&start).into_owned();
            let mut connection = Client::connect_from(PROXY, host.front());
            let _ = connection.stream.write_all(&start);
            assert!(connection.reply(false).is_none(), "{shown:?}");
        }
        host.await_heartbeat("each is counted", |h| h.counters.rejected == count);
        // One that never comes, or stops half-way.
        config.generation = config.generation.next();
        config.timeouts.request_head_ms = 500;
        host.serve(&config);
        for start in ["", "PROXY TCP4 192.0.2.1 127"] {
            let mut connection = Client::connect_from(PROXY, host.front());
            connection.send_if_open(start);
            assert_eq!(connection.rest().unwrap_or_default(), b"");
        }
        assert_eq!(String::from_utf8_lossy(&origin.bytes()), "");
        host.await_heartbeat("none is open", |h| h.counters.open_connections == 0);
    });
}

#[test]
fn a_header_from_anybody_else_is_what_the_client_sent() {
    in_namespace(|| {
        let (origin, host) = (told(), Host::start());
        host.serve(&accepting(http_config(1, &[origin.address])));
        for header in [
            b"PROXY TCP4 192.0.2.1 127.0.0.1 1 80\r\n".to_vec(),
            v2(0x21, b""),
        ] {
            let mut connection = Client::connect_from(USER, host.front());
            connection.send([&header[..], GET.as_bytes()].concat());
            assert_eq!(connection.reply(false).unwrap().status, 400);
        }
        assert_eq!(String::from_utf8_lossy(&origin.bytes()), "");
        let mut connection = Client::connect_from(USER, host.front());
        assert_eq!(connection.get("/").text(), "127.0.0.9");
    });
}

#[test]
fn under_tcp_the_header_is_taken_off_and_every_other_byte_passes() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {}
            let _ = stream.write_all(b"bye");
        });
        let host = Host::start();
        host.serve(&accepting(tcp_config(1, &[origin.address])));
        let header = v2(0x21, b"");
        let mut seen = Vec::new();
        for (from, sent, passes) in [
            (PROXY, [&header[..], b"hello"].concat(), &b"hello"[..]),
            (USER, header.clone(), &header),
        ] {
            let mut connection = Client::connect_from(from, host.front());
            connection.send(sent).end_sending();
            assert_eq!(connection.rest().as_deref(), Some(&b"bye"[..]));
            seen.extend_from_slice(passes);
            assert_eq!(origin.bytes(), seen);
        }
    });
}

#[test]
fn haproxy_is_understood_in_both_versions() {
    in_namespace(|| {
        let (origin, host) = (told(), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.policy.proxy_protocol.accept_from = vec!["127.0.0.1/32".parse().unwrap()];
        host.serve(&config);
        let ways = [
            (8001, "send-proxy"),
            (8002, "send-proxy-v2"),
            (8003, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
        ];
        let sections: String = ways
            .iter()
            .map(|(port, option)| {
                format!("listen l{port}\n mode tcp\n bind 127.0.0.1:{port}\n unique-id-format %rt\n server s 127.0.0.1:80 {option}\n")
            })
            .collect();
        let _haproxy = Haproxy::start(&sections, &ways.map(|(port, _)| at(port)));
        for (port, option) in ways {
            let mut client = Client::connect_from(USER, at(port));
            for _ in 0..3 {
                assert_eq!(client.get("/").text(), "127.0.0.9", "{option}");
            }
        }
    });
}

#[test]
fn haproxy_understands_what_backends_are_told_in_both_versions() {
    in_namespace(|| {
        let backend = at(8080);
        let section = "frontend f\n mode http\n bind 127.0.0.1:8080 accept-proxy\n \
            http-request return status 200 content-type text/plain lf-string \"%[src] %[dst] %[dst_port]\"\n";
        let _haproxy = Haproxy::start(section, &[backend]);
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let raw = Host::start_at([127, 0, 0, 2]);
        for (generation, version) in [(1, ProxyVersion::V1), (2, ProxyVersion::V2)] {
            let (mut http, mut tcp) = (
                http_config(generation, &[backend]),
                tcp_config(generation, &[backend]),
            );
            http.policy.proxy_protocol.send = Some(version);
            tcp.policy.proxy_protocol.send = Some(version);
            // The checks have to be understood as well.
            host.serve(&http);
            raw.serve(&tcp);
            for (balancer, own) in [(&host, "127.0.0.1 80"), (&raw, "127.0.0.2 80")] {
                let mut clients = [USER, PROXY].map(|from| {
                    let name = Ipv4Addr::from(from).to_string();
                    (name, Client::connect_from(from, balancer.front()))
                });
                for _ in 0..3 {
                    for (name, client) in &mut clients {
                        assert_eq!(
                            client.get("/").text(),
                            format!("{name} {own}"),
                            "{version:?}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn a_request_that_is_tried_again_is_announced_again() {
    in_namespace(|| {
        let refusing = Origin::named("gone");
        let announced = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                let text = String::from_utf8_lossy(&buffer).into_owned();
                if text.contains("/health") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                } else if text.starts_with("PROXY TCP4 127.0.0.9 127.0.0.1 ") {
                    let _ = stream.write_all(&plain("announced"));
                } else {
                    let _ = stream.write_all(&plain("not announced"));
                }
            }
        });
        let host = Host::start();
        let mut config = http_config(1, &[refusing.address, announced.address]);
        config.health_check.port = Some(announced.address.port());
        config.policy.proxy_protocol.send = Some(ProxyVersion::V1);
        refusing.stop();
        host.serve(&config);
        let mut client = Client::connect_from(USER, host.front());
        for _ in 0..6 {
            assert_eq!(client.get("/").text(), "announced");
        }
        // With the header switched off, no connection that began with it is used.
        config.generation = config.generation.next();
        config.policy.proxy_protocol.send = None;
        host.serve(&config);
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "not announced");
        }
    });
}
