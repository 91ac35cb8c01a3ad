//! What a client may ask for: sizes and rates.

use std::io::Write;
use std::time::{Duration, Instant};

use model::BalancerConfig;

use crate::support::{
    Client, Host, Origin, eventually, get, http_config, in_namespace, plain, tcp_config,
};

fn serving_with(change: impl FnOnce(&mut BalancerConfig)) -> (Origin, Host) {
    let (origin, host) = (Origin::http(|r| plain(r.target())), Host::start());
    let mut config = http_config(1, &[origin.address]);
    change(&mut config);
    host.serve(&config);
    (origin, host)
}

#[test]
fn a_head_may_be_as_large_as_its_bounds_and_no_larger() {
    in_namespace(|| {
        let (origin, host) = serving_with(|config| {
            config.policy.limits.request_line_bytes = 100;
            config.policy.limits.request_head_bytes = 300;
        });
        let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - 16));
        let rest = |bytes: usize| format!("Host: a\r\nX: {}\r\n\r\n", "b".repeat(bytes - 16));
        for (line_bytes, rest_bytes, status) in [
            (100, 200, 200),
            (101, 100, 414),
            (100, 201, 431),
            (50, 250, 200),
            (50, 251, 431),
        ] {
            let before = origin.requests();
            let mut client = Client::connect(host.front());
            client.send(line(line_bytes) + &rest(rest_bytes));
            let reply = client.reply(false).unwrap();
            assert_eq!(reply.status, status, "{line_bytes} and {rest_bytes}");
            let passed = origin.requests() - before;
            assert_eq!(
                passed,
                usize::from(status == 200),
                "{line_bytes} and {rest_bytes}"
            );
        }
        // Larger than by default, too.
        let mut config = http_config(2, &[origin.address]);
        config.policy.limits.request_line_bytes = 20_000;
        config.policy.limits.request_head_bytes = 60_000;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        for _ in 0..3 {
            client.send(line(20_000) + &rest(40_000));
            assert_eq!(client.reply(false).unwrap().status, 200);
        }
        client.send(line(20_000) + &rest(40_001));
        assert_eq!(client.reply(false).unwrap().status, 431);
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_passed_on() {
    in_namespace(|| {
        let (origin, host) = serving_with(|config| {
            config.policy.limits.request_body_bytes = Some(10);
        });
        let post = |fields: &str| format!("POST /p HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut client = Client::connect(host.front());
        for _ in 0..2 {
            client.send(post("Content-Length: 10\r\n") + "0123456789");
            assert_eq!(client.reply(false).unwrap().status, 200);
            client.send(
                post("Transfer-Encoding: chunked\r\n") + "4\r\nabcd\r\n6\r\nefghij\r\n0\r\n\r\n",
            );
            assert_eq!(client.reply(false).unwrap().status, 200);
        }
        let before = origin.requests();
        for fields in [
            "Content-Length: 11\r\n",
            "Content-Length: 11\r\nExpect: 100-continue\r\n",
            "Content-Length: 9223372036854775807\r\n",
        ] {
            let mut client = Client::connect(host.front());
            client.send(post(fields));
            let reply = client.reply(false).unwrap();
            assert_eq!(
                (reply.status, reply.field("Connection")),
                (413, Some("close"))
            );
            assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        }
        let seen = String::from_utf8(origin.bytes()).unwrap();
        assert!(!seen.contains("Content-Length: 11"), "{seen}");
        // In chunks it is found out on the way: the chunk that is too much goes no further.
        let mut client = Client::connect(host.front());
        client.send(post("Transfer-Encoding: chunked\r\n") + "a\r\n0123456789\r\n");
        eventually("the first chunk has passed", || {
            origin.bytes().ends_with(b"0123456789\r\n").then_some(())
        });
        client.send("1\r\nz\r\n0\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().status, 413);
        assert!(origin.bytes().ends_with(b"0123456789\r\n"));
        assert_eq!(origin.requests(), before);
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.rejected, 4);
        assert_eq!(heartbeat.backends[0].active, 0);
    });
}

/// Takes the ten seconds of grace, and a little more.
#[test]
fn a_client_below_the_least_rate_is_cut_off_and_one_that_only_waits_is_not() {
    in_namespace(|| {
        let large = Origin::http(|request| match request.target() {
            "/large" => plain(&"x".repeat(20 << 20)),
            "/slow" => {
                std::thread::sleep(Duration::from_secs(13));
                plain("slow")
            }
            _ => plain("a"),
        });
        let tcp = Origin::named("tcp");
        let (host, raw) = (Host::start(), Host::start_at([127, 0, 0, 2]));
        let mut config = http_config(1, &[large.address]);
        config.timeouts.request_head_ms = 60_000;
        host.serve(&config);
        raw.serve(&tcp_config(1, &[tcp.address]));
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n";
        let open = |host: &Host, text: &str| {
            let mut client = Client::connect(host.front());
            client.send(text);
            client
        };
        let mut slow_head = open(&host, "GET / HTTP/1.1\r\nX: ");
        let mut slow_body = open(&host, &format!("{post}\r\n"));
        let mut steady_body = open(&host, &format!("{post}\r\n"));
        let mut reader = open(&host, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut expecting = open(&host, &format!("{post}Expect: 100-continue\r\n\r\n"));
        let mut waiting = open(&host, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut idle = open(&host, "");
        assert_eq!(idle.get("/").text(), "a");
        let mut session = open(&raw, "");
        let (began, mut cut, mut sent) = (Instant::now(), Vec::new(), 0);
        while cut.len() < 2 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it goes on at {cut:?}"
            );
            for (name, client) in [("head", &mut slow_head), ("body", &mut slow_body)] {
                if cut.iter().all(|(cut, _)| *cut != name) {
                    let _ = client.stream.write_all(b"a");
                    let wait = Duration::from_millis(100);
                    if let Some(reply) = client.reply_within(wait) {
                        assert_eq!(
                            (reply.status, reply.reason()),
                            (408, Some("request-timeout"))
                        );
                        cut.push((name, began.elapsed()));
                    }
                }
            }
            if sent < 4_000 {
                steady_body.send([b'a'; 40]);
                sent += 40;
            }
        }
        let grace = Duration::from_secs(10);
        assert!(cut.iter().all(|(_, at)| *at >= grace), "{cut:?}");
        host.await_heartbeat("all that are slow are cut off", |heartbeat| {
            heartbeat.counters.slow_clients == 3
        });
        assert!(
            reader.reply(false).is_none(),
            "the answer is cut off, and not ended"
        );
        // Nobody else had to go.
        steady_body.send(&[b'a'; 5_000][sent..]);
        assert_eq!(steady_body.reply(false).unwrap().text(), "a");
        expecting.send([b'a'; 5_000]);
        assert_eq!(expecting.reply(false).unwrap().text(), "a");
        assert_eq!(waiting.reply(false).unwrap().text(), "slow");
        assert_eq!(idle.get("/").text(), "a");
        session.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(session.reply(false).unwrap().text(), "tcp");
        assert_eq!(get(host.front(), "/").text(), "a");
    });
}
