//! Sound HTTP traffic.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{
    Client, Host, Options, Origin, Request, eventually, get, http_config, in_namespace, plain,
};

fn serving(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (Origin, Host) {
    let (origin, host) = (Origin::http(answer), Host::start());
    host.serve(&http_config(1, &[origin.address]));
    (origin, host)
}

#[test]
fn connections_are_kept_on_both_sides() {
    in_namespace(|| {
        let origin = Origin::named("a");
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.health_check.criteria.interval_ms = 60_000;
        host.serve(&config);
        let before = origin.connections();
        let mut client = Client::connect(host.front());
        for _ in 0..100 {
            assert_eq!(client.get("/").text(), "a");
        }
        assert_eq!(origin.connections() - before, 1);
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.connections, 1);
        assert_eq!(heartbeat.counters.requests, 100);
        assert_eq!(heartbeat.backends[0].requests, 100);
        assert_eq!(heartbeat.backends[0].active, 0);
    });
}

#[test]
fn a_connection_is_kept_after_answers_that_fill_a_read_to_its_last_byte() {
    in_namespace(|| {
        let origin = Origin::http(|request: &Request| {
            let size: usize = request.target()[1..].parse().unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {:>6}\r\n\r\n", size);
            [head.as_bytes(), &vec![b'x'; size]].concat()
        });
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.health_check.criteria.interval_ms = 60_000;
        host.serve(&config);
        let before = origin.connections();
        let mut client = Client::connect(host.front());
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n".len();
        for read in [16 << 10, 80 << 10, 256 << 10] {
            for size in [read - head, read, read - head] {
                assert_eq!(client.get(&format!("/{size}")).body.len(), size);
            }
        }
        assert_eq!(origin.connections() - before, 1);
    });
}

#[test]
fn each_backend_gets_the_share_of_its_weight() {
    in_namespace(|| {
        let origins = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = http_config(1, &origins.each_ref().map(|origin| origin.address));
        for (backend, weight) in config.backends.iter_mut().zip([5, 3, 0]) {
            backend.weight = weight;
        }
        host.serve(&config);
        let mut taken = BTreeMap::new();
        let mut client = Client::connect(host.front());
        for _ in 0..800 {
            *taken.entry(client.get("/").text()).or_insert(0u32) += 1;
        }
        assert!(
            taken["a"].abs_diff(500) <= 8 && taken["b"].abs_diff(300) <= 8,
            "{taken:?}"
        );
        assert_eq!(taken.get("c"), None);
    });
}

#[test]
fn chunks_pass_both_ways() {
    in_namespace(|| {
        let (_origin, host) = serving(|request| {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            answer.extend_from_slice(&request.body);
            answer
        });
        let mut client = Client::connect(host.front());
        for _ in 0..3 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client
                .send("5;ext=1\r\nhel")
                .send("lo\r\n1\r\n!\r\n")
                .send("0\r\nT: u\r\n\r\n");
            assert_eq!(client.reply(false).unwrap().text(), "hello!");
        }
    });
}

#[test]
fn the_backend_is_told_who_asks() {
    in_namespace(|| {
        let (_origin, host) = serving(|request| plain(&request.head));
        let mut client = Client::connect(host.front());
        client.send("GET /p?q HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n");
        let reply = client.reply(false).unwrap();
        assert_eq!(
            reply.text(),
            "GET /p?q HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 127.0.0.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop\r\nVia: 1.1 evenkeel\r\n\r\n"
        );
        assert_eq!(reply.field("Via"), Some("1.1 evenkeel"));
        let date = reply.field("Date").expect("the origin gave none");
        assert!(date.ends_with(" GMT") && date.contains(" 20"), "{date}");
        assert_eq!(reply.field("Connection"), Some("close"));
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_proxy_that_is_trusted_is_believed_from_then_on_and_no_longer_than_it_is() {
    in_namespace(|| {
        let (origin, host) = serving(|request| plain(&request.head));
        let ask = |client: &mut Client| {
            client.send(
                "GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 192.0.2.1\r\n\
                 X-Request-ID: theirs\r\n\r\n",
            );
            client.reply(false).unwrap().text()
        };
        let mut proxy = Client::connect_from([127, 0, 0, 5], host.front());
        let mut other = Client::connect_from([127, 0, 0, 6], host.front());
        let mut config = http_config(2, &[origin.address]);
        config.policy.forwarding.trusted_proxies = vec!["127.0.0.5/32".parse().unwrap()];
        config.policy.forwarding.request_id = Some("X-Request-ID".to_owned());
        config.policy.forwarding.forwarded = true;
        // The connections are there already when their networks become trusted, or no longer are.
        assert!(ask(&mut proxy).contains("X-Forwarded-For: 127.0.0.5\r\n"));
        host.configure(&config);
        let told = ask(&mut proxy);
        assert!(
            told.contains("X-Forwarded-For: 192.0.2.1, 127.0.0.5\r\n"),
            "{told}"
        );
        assert!(told.contains("X-Request-ID: theirs\r\n"), "{told}");
        assert!(
            told.contains("Forwarded: for=127.0.0.5;host=\"shop\";proto=http\r\n"),
            "{told}"
        );
        let mut ids: Vec<String> = (0..3)
            .map(|_| {
                let told = ask(&mut other);
                assert!(told.contains("X-Forwarded-For: 127.0.0.6\r\n"), "{told}");
                let (_, id) = told.split_once("X-Request-ID: ").unwrap();
                id.split("\r\n").next().unwrap().to_owned()
            })
            .collect();
        ids.dedup();
        assert!(
            ids.len() == 3 && ids.iter().all(|id| id.len() == 32),
            "{ids:?}"
        );
        config.generation = config.generation.next();
        config.policy.forwarding.trusted_proxies.clear();
        host.configure(&config);
        assert!(ask(&mut proxy).contains("X-Forwarded-For: 127.0.0.5\r\n"));
    });
}

#[test]
fn a_request_passes_no_more_proxies_than_it_may() {
    in_namespace(|| {
        let (origin, host) = serving(|request| plain(&request.head));
        let ask = |head: &str| {
            let mut client = Client::connect(host.front());
            client.send(format!("{head}Host: a\r\nConnection: close\r\n\r\n"));
            client.reply(false).unwrap()
        };
        let before = origin.connections();
        for method in ["OPTIONS *", "OPTIONS /", "TRACE /"] {
            let reply = ask(&format!("{method} HTTP/1.1\r\nMax-Forwards: 0\r\n"));
            assert_eq!(reply.field("Evenkeel-Reason"), Some("last-hop"), "{method}");
        }
        assert_eq!(origin.connections(), before, "nothing was passed on");
        let passed = ask("OPTIONS * HTTP/1.1\r\nMax-Forwards: 7\r\n").text();
        assert!(passed.contains("\r\nMax-Forwards: 6\r\n"), "{passed}");
        let passed = ask("GET / HTTP/1.1\r\nMax-Forwards: 0\r\n").text();
        assert!(passed.contains("\r\nMax-Forwards: 0\r\n"), "{passed}");
    });
}

#[test]
fn answers_without_a_body_keep_the_connection_in_step() {
    in_namespace(|| {
        let (origin, host) = serving(|request| {
            match request.target() {
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n".to_vec(),
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec(),
            "/100" => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            _ => plain("a"),
        }
        });
        let mut client = Client::connect(host.front());
        for _ in 0..3 {
            assert_eq!(client.get("/204").status, 204);
            assert_eq!(client.get("/304").status, 304);
            client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = client.reply(true).unwrap();
            assert_eq!(
                (head.status, head.field("Content-Length")),
                (200, Some("7"))
            );
            assert_eq!(client.get("/100").status, 100);
            assert_eq!(client.reply(false).unwrap().status, 103);
            assert_eq!(client.reply(false).unwrap().text(), "ok");
            assert_eq!(client.get("/").text(), "a");
        }
        assert_eq!(origin.requests(), 15);
    });
}

#[test]
fn a_connection_that_carried_an_answer_without_its_body_carries_another_later() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            let mut count = 0;
            while log.read(&mut stream, &mut buffer) > 0 {
                count += 1;
                let status = match &buffer[..] {
                    check if check.starts_with(b"GET /health") => "200 OK\r\nConnection: close",
                    get if get.starts_with(b"GET") => "304 Not Modified",
                    _ => "200 OK",
                };
                let fields = format!("Nth: {count}\r\nContent-Length: 7\r\n\r\n");
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n{fields}").as_bytes());
                if status.ends_with("close") {
                    let _ = stream.write_all(b"healthy");
                    return;
                }
            }
        });
        for method in ["HEAD", "GET"] {
            let host = Host::start_with(Options {
                threads: Some(1),
                ..Options::default()
            });
            host.serve(&http_config(1, &[origin.address]));
            let mut client = Client::connect(host.front());
            let mut ask = || {
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
                let reply = client.reply(true).unwrap();
                reply.field("Nth").unwrap().parse::<u32>().unwrap()
            };
            assert_eq!(ask(), 1);
            eventually("it is used again", || (ask() > 1).then_some(()));
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    in_namespace(|| {
        let (_origin, host) = serving(|request| plain(request.target()));
        let mut client = Client::connect(host.front());
        let requests: String = (0..50)
            .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"))
            .collect();
        client.send(requests);
        for n in 0..50 {
            assert_eq!(client.reply(false).unwrap().text(), format!("/{n}"));
        }
    });
}

#[test]
fn a_client_of_http_1_0_is_served() {
    in_namespace(|| {
        let (_origin, host) = serving(|request| match request.target() {
            "/chunks" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
                    .to_vec()
            }
            _ => plain("a"),
        });
        let mut client = Client::connect(host.front());
        client.send("GET /chunks HTTP/1.0\r\n\r\n");
        let reply = client.reply(false).unwrap();
        assert_eq!(reply.text(), "hi");
        assert_eq!(reply.field("Transfer-Encoding"), None);
        let mut client = Client::connect(host.front());
        for _ in 0..3 {
            client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            let reply = client.reply(false).unwrap();
            assert_eq!(
                (reply.text(), reply.field("Connection")),
                ("a".to_owned(), Some("keep-alive"))
            );
        }
    });
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    in_namespace(|| {
        let (_origin, host) = serving(|_| b"HTTP/1.0 200 OK\r\n\r\nall of it".to_vec());
        let mut client = Client::connect(host.front());
        let reply = client.get("/");
        assert_eq!(
            (reply.text(), reply.field("Connection")),
            ("all of it".to_owned(), Some("close"))
        );
    });
}

#[test]
fn an_expected_continue_comes_from_the_backend() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                if buffer.starts_with(b"GET /health") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                let count = log.read(&mut stream, &mut buffer);
                let _ = stream.write_all(&plain(&String::from_utf8_lossy(&buffer[..count])));
            }
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        );
        assert_eq!(client.reply(false).unwrap().status, 100);
        client.send("body");
        assert_eq!(client.reply(false).unwrap().text(), "body");
    });
}

#[test]
fn an_answer_that_overtakes_its_request_is_passed_on_and_ends_the_connection() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            if log.read(&mut stream, &mut buffer) > 0 && buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
            while log.read(&mut stream, &mut buffer) > 0 {}
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nbegin");
        let reply = client.reply(false).unwrap();
        assert_eq!(
            (reply.status, reply.field("Connection")),
            (403, Some("close"))
        );
        assert_eq!(reply.text(), "no");
    });
}

#[test]
fn a_tunnel_carries_bytes_both_ways_after_the_backends_101() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            log.read(&mut stream, &mut buffer);
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            loop {
                let count = log.read(&mut stream, &mut buffer);
                if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        let reply = client.reply(false).unwrap();
        assert_eq!((reply.status, reply.field("Upgrade")), (101, Some("echo")));
        for message in [&b"GET / HTTP/1.1\r\n"[..], b"\x00\xff\n", b"bye"] {
            client.send(message);
            assert_eq!(client.exactly(message.len()).as_deref(), Some(message));
        }
        client.end_sending();
        assert_eq!(client.rest().as_deref(), Some(&b""[..]));
    });
}

/// 100 MiB through buffers that hold a fraction of it, with a reader that stops half-way.
#[test]
fn a_large_answer_streams_in_bounded_memory() {
    const SIZE: usize = 100 << 20;
    in_namespace(|| {
        let mut whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
        whole.extend((0..SIZE).map(|at| (at % 251) as u8));
        // It is made once, and checks are answered in short: they are asked again and again.
        let origin = Origin::http(move |request: &Request| match request.target() {
            "/" => whole.clone(),
            _ => plain(""),
        });
        let host = Host::start();
        let mut config = http_config(1, &[origin.address]);
        // On a busy machine the client does not read for longer than it would be given.
        config.policy.limits.min_client_rate = 0;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let before = host.resident_bytes();
        // Nobody reads, until no more flows.
        let mut last = 0;
        eventually("the answer stops flowing", || {
            let now = host.next_heartbeat().counters.bytes_out;
            let stopped = now > 0 && now == last;
            last = now;
            stopped.then_some(())
        });
        assert!(last < SIZE as u64 / 2);
        let body = client.reply(false).unwrap().body;
        assert!(
            body.iter()
                .enumerate()
                .all(|(at, &byte)| byte == (at % 251) as u8)
        );
        assert_eq!(body.len(), SIZE);
        let grown = host.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "grown by {grown} bytes");
    });
}

#[test]
fn a_large_request_streams_in_bounded_memory() {
    const SIZE: usize = 100 << 20;
    in_namespace(|| {
        let origin = Origin::serving(|mut stream: TcpStream, _| {
            let mut buffer = vec![0u8; 1 << 20];
            let count = stream.read(&mut buffer).unwrap_or(0);
            if buffer.starts_with(b"GET /health") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            let head = buffer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let mut got = count - head;
            let mut sum: u64 = buffer[head..count].iter().map(|&b| u64::from(b)).sum();
            while got < SIZE {
                let count = stream.read(&mut buffer).unwrap();
                got += count;
                sum += buffer[..count].iter().map(|&b| u64::from(b)).sum::<u64>();
            }
            let _ = stream.write_all(&plain(&sum.to_string()));
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let before = host.resident_bytes();
        let mut client = Client::connect(host.front());
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        ));
        let piece: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
        for _ in 0..100 {
            client.send(&piece);
        }
        let sum: u64 = piece.iter().map(|&b| u64::from(b)).sum::<u64>() * 100;
        assert_eq!(client.reply(false).unwrap().text(), sum.to_string());
        let grown = host.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "grown by {grown} bytes");
    });
}

#[test]
fn the_balancers_own_requests_are_answered_and_counted_nowhere() {
    in_namespace(|| {
        let (origin, host) = serving(|_| plain("a"));
        let heartbeat = host.await_heartbeat("progress is seen", |heartbeat| {
            heartbeat.progress_age_ms.is_some_and(|age| age < 1_000)
        });
        assert_eq!(heartbeat.counters, model::Counters::default());
        assert_eq!(get(host.front(), "/.evenkeel/progress/guess").text(), "a");
        assert_eq!(origin.requests(), 1);
    });
}

#[test]
fn heartbeats_say_how_long_answers_took() {
    const WAIT: std::time::Duration = std::time::Duration::from_millis(30);
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                // The head after one wait, the body after another.
                for part in [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"[..], b"ok"] {
                    std::thread::sleep(WAIT);
                    if stream.write_all(part).is_err() {
                        return;
                    }
                }
            }
        });
        let host = Host::start();
        host.serve(&http_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        for _ in 0..5 {
            assert_eq!(client.get("/").text(), "ok");
        }
        let heartbeat = host.await_heartbeat("five are told", |h| h.latency.whole.count == 5);
        let (first, whole) = (heartbeat.latency.first_byte, heartbeat.latency.whole);
        assert_eq!(first.count, 5);
        let wait_us = WAIT.as_micros() as u64;
        assert!(
            first.p50_us >= wait_us && whole.p50_us >= 2 * wait_us,
            "{heartbeat:?}"
        );
        assert!(
            first.p50_us <= first.max_us && first.max_us <= whole.max_us,
            "{heartbeat:?}"
        );
    });
}
