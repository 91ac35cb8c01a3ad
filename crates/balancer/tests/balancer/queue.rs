//! Bounds on a backend's connections, and the line of those who wait for one.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::{BalancerConfig, ClientClose, Generation};

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain, tcp_config,
};

/// An origin that answers when it is told to, and knows how many requests it had at once.
struct Gated {
    origin: Origin,
    opened: Arc<AtomicBool>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    fn new(name: &'static str) -> Self {
        let (opened, at_once, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (gate, here, peak) = (Arc::clone(&opened), Arc::clone(&at_once), Arc::clone(&most));
        let origin = Origin::http(move |request| {
            let count = here.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(count, Ordering::SeqCst);
            while !gate.load(Ordering::SeqCst) && !request.target().starts_with("/free") {
                std::thread::sleep(Duration::from_millis(1));
            }
            here.fetch_sub(1, Ordering::SeqCst);
            plain(&format!("{name} {}", request.target()))
        });
        Self {
            origin,
            opened,
            at_once,
            most,
        }
    }

    fn open(&self) {
        self.opened.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.open();
    }
}

fn bounded(generation: u64, backends: &[&Gated], bound: u32) -> BalancerConfig {
    let addresses: Vec<_> = backends.iter().map(|gated| gated.origin.address).collect();
    let mut config = http_config(generation, &addresses);
    for backend in &mut config.backends {
        backend.max_connections = Some(bound);
    }
    config
}

/// A client whose request is on its way.
fn asking(host: &Host, path: &str) -> Client {
    let mut client = Client::connect(host.front());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn await_waiting(host: &Host, waiting: u64) {
    host.await_heartbeat("they wait", |h| h.counters.waiting == waiting);
}

#[test]
fn a_backend_never_has_more_than_its_bound_and_everybody_is_served() {
    in_namespace(|| {
        let gated = Gated::new("a");
        gated.open();
        let host = Host::start();
        host.serve(&bounded(1, &[&gated], 3));
        let front = host.front();
        let clients: Vec<_> = (0..24)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut client = Client::connect(front);
                    for _ in 0..40 {
                        assert_eq!(client.get("/").status, 200);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("every request was answered");
        }
        assert_eq!(gated.origin.requests(), 24 * 40);
        let most = gated.most.load(Ordering::SeqCst);
        assert!(most <= 3, "{most} at once");
        let heartbeat = host.await_heartbeat("all have left", |h| {
            h.counters.requests == 24 * 40 && h.backends[0].active == 0
        });
        assert!(heartbeat.counters.queued > 0, "nobody waited");
        assert_eq!(heartbeat.counters.waiting, 0);
        assert_eq!(heartbeat.counters.errors, 0);
    });
}

#[test]
fn the_line_is_first_come_first_served_over_threads() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        host.serve(&bounded(1, &[&gated], 1));
        let mut first = asking(&host, "/0");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let waiting: Vec<_> = (1..9)
            .map(|number| {
                let client = asking(&host, &format!("/{number}"));
                await_waiting(&host, number);
                client
            })
            .collect();
        gated.open();
        assert_eq!(first.reply(false).unwrap().text(), "a /0");
        for mut client in waiting {
            assert_eq!(client.reply(false).unwrap().status, 200);
        }
        let seen = String::from_utf8(gated.origin.bytes()).unwrap();
        let order: Vec<_> = seen
            .lines()
            .filter_map(|line| line.strip_prefix("GET /")?.split(' ').next())
            .collect();
        assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    });
}

#[test]
fn who_was_served_in_vain_goes_before_those_who_came_later() {
    in_namespace(|| {
        let stage = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&stage);
        // It answers in stages, and one request not at all.
        let failing = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 4096];
            let count = log.read(&mut stream, &mut buffer);
            let asks = |path: &[u8]| buffer[..count].windows(path.len()).any(|w| w == path);
            let paths: [&[u8]; 3] = [b" /first ", b" /failing ", b" /held "];
            let due = paths
                .iter()
                .position(|path| asks(path))
                .map_or(0, |at| at + 1);
            while now.load(Ordering::SeqCst) < due {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !asks(b" /failing ") {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                );
            }
        });
        let other = Gated::new("other");
        let host = Host::start();
        let mut config = http_config(1, &[failing.address]);
        config.backends[0].max_connections = Some(1);
        host.serve(&config);
        let _first = asking(&host, "/first");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let mut backend = config.backends[0].clone();
        backend.port = other.origin.address.port();
        config.backends.push(backend);
        config.generation = config.generation.next();
        host.serve(&config);
        let _second = asking(&host, "/second");
        host.await_heartbeat("both are full", |h| h.backends[1].active == 1);
        let mut in_vain = asking(&host, "/failing");
        await_waiting(&host, 1);
        stage.store(1, Ordering::SeqCst);
        await_waiting(&host, 0);
        let _held = asking(&host, "/held");
        await_waiting(&host, 1);
        let mut last = asking(&host, "/last");
        await_waiting(&host, 2);
        stage.store(2, Ordering::SeqCst);
        host.await_heartbeat("the next has its place, and it waits again", |h| {
            h.backends[0].requests == 3 && h.counters.waiting == 2
        });
        other.open();
        assert_eq!(in_vain.reply(false).unwrap().text(), "other /failing");
        assert_eq!(last.reply(false).unwrap().text(), "other /last");
        let seen = String::from_utf8(other.origin.bytes()).unwrap();
        assert!(seen.find("GET /failing") < seen.find("GET /last"), "{seen}");
        stage.store(3, Ordering::SeqCst);
    });
}

#[test]
fn whichever_backend_frees_up_serves_who_waits() {
    in_namespace(|| {
        let (slow, quick) = (Gated::new("slow"), Gated::new("quick"));
        let host = Host::start();
        host.serve(&bounded(1, &[&slow, &quick], 1));
        let _held: Vec<_> = (0..2).map(|_| asking(&host, "/")).collect();
        eventually("both are full", || {
            let at = |gated: &Gated| gated.at_once.load(Ordering::SeqCst);
            (at(&slow) == 1 && at(&quick) == 1).then_some(())
        });
        let mut waiting: Vec<_> = (0..4).map(|_| asking(&host, "/")).collect();
        await_waiting(&host, 4);
        quick.open();
        for client in &mut waiting {
            assert_eq!(client.reply(false).unwrap().text(), "quick /");
        }
    });
}

#[test]
fn a_full_line_and_a_wait_that_is_over_are_503_with_the_reason() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        let mut config = bounded(1, &[&gated], 1);
        config.policy.queue.length = 1;
        config.policy.queue.timeout_ms = 60_000;
        config.policy.client_close = ClientClose::Abort;
        host.serve(&config);
        let mut first = asking(&host, "/");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let patient = asking(&host, "/");
        await_waiting(&host, 1);
        let reply = get(host.front(), "/");
        assert_eq!((reply.status, reply.reason()), (503, Some("queue-full")));
        drop(patient);
        await_waiting(&host, 0);
        config.generation = Generation(2);
        config.policy.queue.timeout_ms = 300;
        host.serve(&config);
        let mut second = asking(&host, "/");
        let reply = second.reply(false).unwrap();
        assert_eq!((reply.status, reply.reason()), (503, Some("queue-timeout")));
        gated.open();
        assert_eq!(first.reply(false).unwrap().status, 200);
        host.await_heartbeat("its place is free", |h| h.backends[0].active == 0);
        // The connection of the one that was sent away is as good as before.
        assert_eq!(second.get("/").status, 200);
        let counters = host.next_heartbeat().counters;
        assert_eq!((counters.queue_full, counters.queue_timeouts), (1, 1));
        assert_eq!((counters.queued, counters.waiting), (2, 0));
        assert!(counters.queued_ms >= 300, "{} ms", counters.queued_ms);
    });
}

#[test]
fn a_client_that_leaves_the_line_takes_nobodys_place() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        let mut config = bounded(1, &[&gated], 1);
        config.policy.queue.timeout_ms = 60_000;
        config.policy.client_close = ClientClose::Abort;
        host.serve(&config);
        let mut first = asking(&host, "/first");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let leaving: Vec<_> = (0..3).map(|_| asking(&host, "/left")).collect();
        await_waiting(&host, 3);
        let mut last = asking(&host, "/last");
        await_waiting(&host, 4);
        drop(leaving);
        await_waiting(&host, 1);
        gated.open();
        assert_eq!(first.reply(false).unwrap().status, 200);
        assert_eq!(last.reply(false).unwrap().text(), "a /last");
        let seen = String::from_utf8(gated.origin.bytes()).unwrap();
        assert_eq!(seen.matches("/left").count(), 0);
        assert_eq!(get(host.front(), "/").status, 200);
    });
}

#[test]
fn a_client_that_ends_its_half_keeps_its_place_in_the_line_and_is_answered() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        host.serve(&bounded(1, &[&gated], 1));
        let mut first = asking(&host, "/first");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let mut second = asking(&host, "/second");
        await_waiting(&host, 1);
        second.end_sending();
        host.await_turns();
        assert_eq!(host.next_heartbeat().counters.waiting, 1);
        gated.open();
        assert_eq!(first.reply(false).unwrap().status, 200);
        assert_eq!(second.reply(false).unwrap().text(), "a /second");
    });
}

#[test]
fn a_client_that_ends_its_half_within_its_request_leaves_the_line() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        host.serve(&bounded(1, &[&gated], 1));
        let _first = asking(&host, "/first");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let mut second = Client::connect(host.front());
        second.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin");
        await_waiting(&host, 1);
        second.end_sending();
        await_waiting(&host, 0);
        assert_eq!(second.rest().as_deref(), Some(&b""[..]));
    });
}

#[test]
fn a_session_whose_client_ends_its_half_keeps_its_place_in_the_line() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 64];
            while log.read(&mut stream, &mut buffer) > 0 {}
            let _ = stream.write_all(b"heard");
        });
        let host = Host::start();
        let mut config = tcp_config(1, &[origin.address]);
        config.backends[0].max_connections = Some(1);
        host.serve(&config);
        let first = Client::connect(host.front());
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let mut second = Client::connect(host.front());
        await_waiting(&host, 1);
        second.end_sending();
        host.await_turns();
        assert_eq!(host.next_heartbeat().counters.waiting, 1);
        drop(first);
        assert_eq!(second.rest().as_deref(), Some(&b"heard"[..]));
    });
}

#[test]
fn a_slot_whose_client_left_when_it_was_granted_is_not_lost() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        let mut config = bounded(1, &[&gated], 1);
        config.policy.queue.timeout_ms = 3_000;
        config.policy.client_close = ClientClose::Abort;
        host.serve(&config);
        let mut first = asking(&host, "/");
        eventually("it is there", || {
            (gated.at_once.load(Ordering::SeqCst) == 1).then_some(())
        });
        let leaves = asking(&host, "/left");
        await_waiting(&host, 1);
        // The balancer finds the answer and the end of the client that is next in one turn.
        host.signal(libc::SIGSTOP);
        gated.open();
        eventually("it has answered", || {
            (gated.at_once.load(Ordering::SeqCst) == 0).then_some(())
        });
        std::thread::sleep(Duration::from_millis(20));
        drop(leaves);
        host.signal(libc::SIGCONT);
        assert_eq!(first.reply(false).unwrap().status, 200);
        for _ in 0..3 {
            assert_eq!(get(host.front(), "/").status, 200);
        }
    });
}

#[test]
fn who_waits_goes_on_when_the_configuration_changes() {
    in_namespace(|| {
        type Change = fn(&mut BalancerConfig, &Gated);
        let cases: [(&str, Change, &str); 4] = [
            (
                "raised",
                |c, _| c.backends[0].max_connections = Some(9),
                "old",
            ),
            (
                "removed",
                |c, _| c.backends[0].max_connections = None,
                "old",
            ),
            (
                "another backend is added",
                |c, new| {
                    let mut backend = c.backends[0].clone();
                    backend.port = new.origin.address.port();
                    c.backends.push(backend);
                },
                "new",
            ),
            (
                "the backend is replaced",
                |c, new| {
                    c.backends[0].port = new.origin.address.port();
                    c.backends[0].max_connections = None;
                },
                "new",
            ),
        ];
        for (name, change, answers) in cases {
            let (old, new) = (Gated::new("old"), Gated::new("new"));
            new.open();
            let host = Host::start();
            let mut config = bounded(1, &[&old], 1);
            host.serve(&config);
            let mut first = asking(&host, "/");
            host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
            let mut waiting: Vec<_> = (0..4).map(|_| asking(&host, "/free")).collect();
            await_waiting(&host, 4);
            change(&mut config, &new);
            config.generation = config.generation.next();
            host.configure(&config);
            for client in &mut waiting {
                let reply = client.reply(false).expect(name);
                assert_eq!(reply.text(), format!("{answers} /free"), "{name}");
            }
            old.open();
            assert_eq!(first.reply(false).unwrap().text(), "old /", "{name}");
        }
    });
}

#[test]
fn a_bound_that_comes_later_counts_what_is_under_way() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let host = Host::start();
        let mut config = bounded(1, &[&gated], 1);
        config.backends[0].max_connections = None;
        host.serve(&config);
        let mut before: Vec<_> = (0..3).map(|_| asking(&host, "/")).collect();
        host.await_heartbeat("they are there", |h| h.backends[0].active == 3);
        config = bounded(2, &[&gated], 2);
        config.policy.queue.timeout_ms = 100;
        host.configure(&config);
        let reply = get(host.front(), "/free");
        assert_eq!(reply.reason(), Some("queue-timeout"));
        gated.open();
        for client in &mut before {
            assert_eq!(client.reply(false).unwrap().status, 200);
        }
        for _ in 0..5 {
            assert_eq!(get(host.front(), "/").status, 200);
        }
    });
}

#[test]
fn a_backend_that_goes_down_keeps_nobody_waiting() {
    in_namespace(|| {
        let gated = Gated::new("a");
        let checked = Origin::named("checked");
        let host = Host::start();
        let mut config = bounded(1, &[&gated], 1);
        config.health_check.port = Some(checked.address.port());
        host.serve(&config);
        let _first = asking(&host, "/");
        host.await_heartbeat("it is there", |h| h.backends[0].active == 1);
        let mut waiting = asking(&host, "/");
        await_waiting(&host, 1);
        checked.stop();
        let reply = waiting.reply(false).unwrap();
        assert_eq!(
            (reply.status, reply.reason()),
            (503, Some("no-healthy-backend"))
        );
    });
}

#[test]
fn tcp_sessions_wait_in_the_line_as_well() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 64];
            loop {
                let count = log.read(&mut stream, &mut buffer);
                if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
        let host = Host::start();
        let mut config = tcp_config(1, &[origin.address]);
        config.backends[0].max_connections = Some(1);
        config.policy.queue.length = 2;
        config.policy.client_close = ClientClose::Abort;
        host.serve(&config);
        let mut first = Client::connect(host.front());
        first.send("1");
        assert_eq!(first.exactly(1).as_deref(), Some(&b"1"[..]));
        let mut second = Client::connect(host.front());
        second.send("2");
        await_waiting(&host, 1);
        let left = Client::connect(host.front());
        await_waiting(&host, 2);
        let mut refused = Client::connect(host.front());
        assert_eq!(refused.rest(), None, "the line is full");
        drop(left);
        await_waiting(&host, 1);
        drop(first);
        assert_eq!(second.exactly(1).as_deref(), Some(&b"2"[..]));
        config.policy.queue.timeout_ms = 100;
        config.generation = config.generation.next();
        host.configure(&config);
        let mut late = Client::connect(host.front());
        assert_eq!(late.rest(), None, "its time is over");
    });
}

#[test]
fn a_slot_is_given_back_by_whoever_ends_in_whatever_way() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                let text = String::from_utf8_lossy(&buffer).into_owned();
                let answer: &[u8] = match text.split(' ').nth(1) {
                    Some("/cut") => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na",
                    Some("/bad") => b"nonsense\r\n\r\n",
                    Some("/slow") => continue,
                    Some("/end") => return,
                    Some("/health") => {
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                    _ => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                };
                let _ = stream.write_all(answer);
                if text.contains("/cut") || text.contains("/health") {
                    return;
                }
            }
        });
        let host = Host::start_with(Options {
            threads: Some(2),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.backends[0].max_connections = Some(1);
        config.timeouts.response_ms = 100;
        host.serve(&config);
        for path in ["/", "/cut", "/bad", "/slow", "/end", "/"] {
            let mut client = asking(&host, path);
            let _ = client.reply(false);
        }
        drop(asking(&host, "/slow"));
        host.await_heartbeat("all have left", |h| h.backends[0].active == 0);
        for _ in 0..4 {
            assert_eq!(get(host.front(), "/").text(), "a");
        }
    });
}
