//! Backends that fail, and what is kept from them: ejection, circuit breakers, retries and their budget.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use model::{
    BackendHealth, BalancerConfig, CircuitBreaker, CircuitState, GuestMessage, OutlierEjection,
};

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain,
};

const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

/// An origin that answers with 500 while it is told to. Its health checks are always good.
struct Flaky {
    origin: Origin,
    fails: Arc<AtomicBool>,
}

impl Flaky {
    fn new(name: &'static str) -> Self {
        let fails = Arc::new(AtomicBool::new(true));
        let bad = Arc::clone(&fails);
        let origin = Origin::http(move |_| {
            if bad.load(Ordering::SeqCst) {
                FAILED.to_vec()
            } else {
                plain(name)
            }
        });
        Self { origin, fails }
    }

    fn recover(&self) {
        self.fails.store(false, Ordering::SeqCst);
    }
}

fn ejecting(ejection_ms: u64) -> Option<OutlierEjection> {
    Some(OutlierEjection {
        consecutive_failures: 3,
        ejection_ms,
        ..OutlierEjection::default()
    })
}

fn breaking(open_ms: u64) -> Option<CircuitBreaker> {
    Some(CircuitBreaker {
        min_requests: 4,
        open_ms,
        ..CircuitBreaker::default()
    })
}

fn has_logged(host: &Host, what: &str) {
    eventually(what, || {
        host.has_heard(
            |message| matches!(message, GuestMessage::Log { text, .. } if text.contains(what)),
        )
        .then_some(())
    });
}

fn next(config: &mut BalancerConfig) -> &BalancerConfig {
    config.generation = config.generation.next();
    config
}

#[test]
fn a_backend_that_fails_in_a_row_is_ejected_and_comes_back_by_itself() {
    in_namespace(|| {
        let (flaky, good, host) = (Flaky::new("flaky"), Origin::named("good"), Host::start());
        let mut config = http_config(1, &[flaky.origin.address, good.address]);
        config.policy.outlier_ejection = ejecting(600);
        host.serve(&config);
        let mut client = Client::connect(host.front());
        eventually("it is ejected", || {
            client.get("/");
            let seen = flaky.origin.requests();
            (0..10)
                .all(|_| client.get("/").text() == "good")
                .then_some(seen)
        });
        let heartbeat = host.await_heartbeat("that is told", |h| {
            h.backends[0].passive.ejected_ms.is_some_and(|ms| ms <= 600)
        });
        assert_eq!(heartbeat.backends[0].health, BackendHealth::Up);
        assert_eq!(heartbeat.backends[0].passive.ejections, 1);
        assert_eq!(heartbeat.backends[1].passive.ejections, 0);
        assert_eq!(flaky.origin.requests(), 3);
        has_logged(
            &host,
            "is ejected for 600 ms: 3 failures in a row, the last: status 500",
        );
        flaky.recover();
        eventually("it is back", || {
            (client.get("/").text() == "flaky").then_some(())
        });
        assert_eq!(host.next_heartbeat().backends[0].passive.ejected_ms, None);
    });
}

#[test]
fn no_more_than_the_share_is_ejected_and_never_the_only_one() {
    in_namespace(|| {
        let flaky: Vec<_> = (0..4).map(|_| Flaky::new("back")).collect();
        let addresses: Vec<_> = flaky.iter().map(|flaky| flaky.origin.address).collect();
        let host = Host::start();
        let mut config = http_config(1, &addresses);
        config.policy.outlier_ejection = ejecting(60_000);
        host.serve(&config);
        let mut client = Client::connect(host.front());
        for _ in 0..100 {
            assert_eq!(client.get("/").status, 500);
        }
        let heartbeat = host.next_heartbeat();
        let ejections: u64 = heartbeat.backends.iter().map(|b| b.passive.ejections).sum();
        assert_eq!(ejections, 2, "half of them, and no more");
        config.backends.truncate(1);
        config.policy.outlier_ejection = ejecting(60_001);
        flaky[0].recover();
        host.serve(next(&mut config));
        assert_eq!(client.get("/").text(), "back", "it is all that there is");
    });
}

#[test]
fn an_ejected_backend_serves_where_no_other_is_up() {
    in_namespace(|| {
        let (flaky, good, host) = (Flaky::new("flaky"), Origin::named("good"), Host::start());
        let mut config = http_config(1, &[flaky.origin.address, good.address]);
        config.policy.outlier_ejection = ejecting(60_000);
        host.serve(&config);
        for _ in 0..12 {
            get(host.front(), "/");
        }
        let told = |h: &model::Heartbeat| h.backends[0].passive.ejected_ms.is_some();
        host.await_heartbeat("it is ejected", told);
        flaky.recover();
        good.stop();
        host.await_heartbeat("the other is down", |h| {
            h.backends[1].health == BackendHealth::Down
        });
        assert_eq!(get(host.front(), "/").text(), "flaky");
    });
}

#[test]
fn ejection_that_is_no_longer_configured_ends_at_once() {
    in_namespace(|| {
        let (flaky, good, host) = (Flaky::new("flaky"), Origin::named("good"), Host::start());
        let mut config = http_config(1, &[flaky.origin.address, good.address]);
        config.policy.outlier_ejection = ejecting(60_000);
        host.serve(&config);
        for _ in 0..12 {
            get(host.front(), "/");
        }
        let told = |h: &model::Heartbeat| h.backends[0].passive.ejected_ms.is_some();
        host.await_heartbeat("it is ejected", told);
        flaky.recover();
        config.policy.outlier_ejection = None;
        host.configure(next(&mut config));
        eventually("it is back", || {
            (get(host.front(), "/").text() == "flaky").then_some(())
        });
    });
}

#[test]
fn connections_that_do_not_come_about_eject_as_well() {
    in_namespace(|| {
        let (gone, good, host) = (Origin::named("gone"), Origin::named("good"), Host::start());
        let mut config = http_config(1, &[gone.address, good.address]);
        config.health_check.port = Some(good.address.port());
        config.policy.outlier_ejection = ejecting(60_000);
        gone.stop();
        host.serve(&config);
        for _ in 0..20 {
            assert_eq!(get(host.front(), "/").text(), "good");
        }
        has_logged(&host, "the last: connect-refused");
        assert_eq!(host.next_heartbeat().backends[0].errors, 3);
    });
}

#[test]
fn a_circuit_opens_is_tried_and_closes() {
    in_namespace(|| {
        let (flaky, good, host) = (Flaky::new("flaky"), Origin::named("good"), Host::start());
        let mut config = http_config(1, &[flaky.origin.address, good.address]);
        config.policy.circuit_breaker = breaking(300);
        host.serve(&config);
        let mut client = Client::connect(host.front());
        eventually("it is open", || {
            client.get("/");
            (0..6)
                .all(|_| client.get("/").text() == "good")
                .then_some(())
        });
        host.await_heartbeat("that is told", |h| {
            h.backends[0].passive.circuit_opens > 0
                && h.backends[0].passive.circuit != CircuitState::Closed
        });
        has_logged(&host, "is open for 300 ms, the last failure: status 500");
        // A trial that fails opens it again.
        host.await_heartbeat("a trial failed", |h| {
            client_get(host.front());
            h.backends[0].passive.circuit_opens > 1
        });
        flaky.recover();
        eventually("it is closed", || {
            (client.get("/").text() == "flaky").then_some(())
        });
        has_logged(&host, "is closed");
        let heartbeat = host.await_heartbeat("that is told", |h| {
            h.backends[0].passive.circuit == CircuitState::Closed
        });
        assert_eq!(heartbeat.counters.errors, 0);
    });
}

fn client_get(front: std::net::SocketAddrV4) {
    get(front, "/");
}

#[test]
fn with_all_circuits_open_the_answer_comes_at_once() {
    in_namespace(|| {
        let (flaky, host) = (Flaky::new("flaky"), Host::start());
        let mut config = http_config(1, &[flaky.origin.address]);
        config.policy.circuit_breaker = breaking(60_000);
        host.serve(&config);
        let mut client = Client::connect(host.front());
        for _ in 0..4 {
            assert_eq!(client.get("/").status, 500);
        }
        for _ in 0..3 {
            let reply = client.get("/");
            assert_eq!((reply.status, reply.reason()), (503, Some("circuit-open")));
        }
        assert_eq!(flaky.origin.requests(), 4);
        config.policy.circuit_breaker = None;
        host.configure(next(&mut config));
        assert_eq!(client.get("/").status, 500, "it is tried again");
    });
}

/// An origin that takes each request, counts it, and closes without a word.
fn silent(asked: &Arc<AtomicUsize>) -> Origin {
    let asked = Arc::clone(asked);
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 4096];
        if log.read(&mut stream, &mut buffer) == 0 {
            return;
        }
        if buffer.starts_with(b"GET /health") {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        } else {
            asked.fetch_add(1, Ordering::SeqCst);
        }
    })
}

#[test]
fn a_dying_backend_does_not_see_its_load_multiplied() {
    in_namespace(|| {
        const REQUESTS: usize = 100;
        let asked = Arc::new(AtomicUsize::new(0));
        let (first, second, host) = (silent(&asked), silent(&asked), Host::start());
        host.serve(&http_config(1, &[first.address, second.address]));
        let began = Instant::now();
        for _ in 0..REQUESTS {
            let reply = get(host.front(), "/");
            assert_eq!(
                (reply.status, reply.reason()),
                (502, Some("backend-closed"))
            );
        }
        let counters = host.next_heartbeat().counters;
        let asked = asked.load(Ordering::SeqCst);
        assert_eq!(counters.retries, (asked - REQUESTS) as u64);
        // On a busy machine this takes longer than the ten seconds for which there is a budget.
        let budgets = 1 + began.elapsed().as_secs() / 10;
        assert!(
            (10..=20 * budgets).contains(&counters.retries),
            "{}",
            counters.retries
        );
        assert!(counters.retries_denied > 0);
    });
}

#[test]
fn a_request_is_tried_as_often_as_is_asked_for() {
    in_namespace(|| {
        for attempts in [1, 2, 4] {
            let asked = Arc::new(AtomicUsize::new(0));
            let (origin, host) = (silent(&asked), Host::start());
            let mut config = http_config(1, &[origin.address]);
            config.policy.retry.attempts = attempts;
            host.serve(&config);
            assert_eq!(get(host.front(), "/").reason(), Some("backend-closed"));
            assert_eq!(asked.load(Ordering::SeqCst), attempts as usize);
        }
    });
}

#[test]
fn clients_that_take_their_time_open_no_circuit() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("good"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        config.policy.circuit_breaker = breaking(60_000);
        config.timeouts.total_ms = Some(150);
        host.serve(&config);
        for _ in 0..6 {
            let mut client = Client::connect(host.front());
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegin");
            assert_eq!(client.reply(false).unwrap().status, 408);
        }
        assert_eq!(get(host.front(), "/").text(), "good");
        assert_eq!(host.next_heartbeat().backends[0].passive.circuit_opens, 0);
    });
}

#[test]
fn a_want_of_descriptors_opens_no_circuit() {
    in_namespace(|| {
        let origin = Origin::http(|_| {
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let host = Host::start_with(Options {
            threads: Some(1),
            open_files: Some(48),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.policy.circuit_breaker = breaking(60_000);
        config.timeouts.connect_ms = 100;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        assert_eq!(client.get("/").status, 200);
        let _crowd: Vec<_> = (0..100).map(|_| Client::connect(host.front())).collect();
        let mut failed = 0;
        eventually("connections are wanting", || {
            failed += usize::from(client.get("/").reason() == Some("connect-failed"));
            (failed == 8).then_some(())
        });
        assert_eq!(host.next_heartbeat().backends[0].passive.circuit_opens, 0);
    });
}

/// An origin whose answers wait until so many requests are under way.
fn answering_together(count: usize) -> Origin {
    let asked = Arc::new(AtomicUsize::new(0));
    Origin::http(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        eventually("all have asked", || {
            (asked.load(Ordering::SeqCst) >= count).then_some(())
        });
        plain("a")
    })
}

#[test]
fn idle_connections_give_way_when_descriptors_have_run_out() {
    const KEPT: usize = 20;
    in_namespace(|| {
        let (first, second) = (answering_together(KEPT), Origin::named("b"));
        let host = Host::start_with(Options {
            threads: Some(1),
            open_files: Some(96),
            ..Options::default()
        });
        let mut config = http_config(1, &[first.address, second.address]);
        config.timeouts.connect_ms = 500;
        config.backends[1].weight = 0;
        host.serve(&config);
        let mut clients: Vec<_> = (0..KEPT).map(|_| Client::connect(host.front())).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.reply(false).unwrap().text(), "a");
        }
        config.generation = config.generation.next();
        (config.backends[0].weight, config.backends[1].weight) = (0, 1);
        host.configure(&config);
        host.await_turns();
        // As many as descriptors are left for, and more.
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let mut client = Client::connect(host.front());
                client.send("G");
                client
            })
            .collect();
        let descriptors = format!("/proc/{}/fd", host.process.id());
        eventually("descriptors have run out", || {
            let open = std::fs::read_dir(&descriptors).unwrap().count();
            (open >= 96).then_some(())
        });
        for client in &mut clients {
            let reply = client.get("/");
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, "b"),
                "{reply:?}"
            );
        }
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.errors, 0);
        assert!(heartbeat.backends.iter().all(|b| b.errors == 0));
        drop(crowd);
    });
}
