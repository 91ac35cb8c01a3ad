//! The load against its own origin, and against servers that are wrong, in a namespace of each test's own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use super::*;

const ORIGIN_PORT: u16 = 1_999;

/// Runs the test on a thread in a network namespace of its own, where every port is free.
fn with_load(test: impl FnOnce(&Load) + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        host::enter_own_network().unwrap();
        test(&Load::start(0, ORIGIN_PORT).unwrap());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn workload(port: u16, body: Body, keep_alive: bool, pace: Pace) -> Workload {
    Workload {
        target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        body,
        keep_alive,
        connections: 4,
        pace,
    }
}

fn measure(load: &Load, workload: Workload) -> Result<Measured> {
    let timing = Timing {
        warm_up: Duration::from_millis(20),
        measured: Duration::from_millis(300),
    };
    let meter = Meter::new(vec![std::process::id()], vec![0]);
    load.measure(workload, timing, meter)
}

/// Answers everything with these bytes and closes then, if told to. Says when it has closed.
fn start_server(port: u16, answer: &'static [u8], closes: bool) -> Receiver<()> {
    let (closed, has_closed) = channel();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let closed = closed.clone();
            std::thread::spawn(move || {
                let (mut stream, mut request) = (stream, [0; 4096]);
                while stream.read(&mut request).is_ok_and(|count| count > 0) {
                    let answered = stream.write_all(answer);
                    if closes || answered.is_err() {
                        drop(stream);
                        return closed.send(()).unwrap_or_default();
                    }
                }
            });
        }
    });
    has_closed
}

fn good_answer() -> &'static [u8] {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1024, b'x');
    answer.leak()
}

#[test]
fn the_origin_is_counted_alike_by_both_sides() {
    with_load(|load| {
        for (body, keep_alive) in [
            (Body::OneKib, true),
            (Body::OneKib, false),
            (Body::SixtyFourKib, true),
            (Body::TenMib, true),
            (Body::TenMib, false),
        ] {
            let measured =
                measure(load, workload(ORIGIN_PORT, body, keep_alive, Pace::Closed)).unwrap();
            let least = measured.answers.saturating_sub(4) * body.bytes() as u64;
            assert!(
                measured.received > 0 && measured.received >= least,
                "{body:?}"
            );
        }
    });
}

#[test]
fn every_request_that_was_due_has_a_latency() {
    with_load(|load| {
        let interval = Duration::from_millis(2);
        let pace = Pace::Open { interval };
        let measured = measure(load, workload(ORIGIN_PORT, Body::OneKib, true, pace)).unwrap();
        let latencies = measured.latency.len();
        assert!((149..=151).contains(&latencies), "{latencies} in 300 ms");
    });
}

#[test]
fn connections_are_held_until_they_are_released() {
    with_load(|load| {
        let pace = Pace::Once { at_once: 2 };
        let held = || workload(ORIGIN_PORT, Body::OneKib, true, pace);
        load.hold(held()).unwrap();
        measure(
            load,
            workload(ORIGIN_PORT, Body::OneKib, true, Pace::Closed),
        )
        .unwrap();
        load.release().unwrap();
        load.hold(held()).unwrap();
        load.release().unwrap();
    });
}

#[test]
fn a_server_that_is_wrong_has_no_figures() {
    const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    const CUT_OFF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\nnot all of it";
    const TOO_SHORT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    with_load(|load| {
        for (port, answer, closes, said) in [
            (2_001, UNAVAILABLE, false, "503"),
            (2_002, CUT_OFF, true, "before the answer was whole"),
            (2_003, CUT_OFF, false, "answers stay away"),
            (2_004, TOO_SHORT, false, "Content-Length"),
            (2_005, b"", false, "answers stay away"),
        ] {
            start_server(port, answer, closes);
            // The origin's answers do not make up for the server's: it is never asked here.
            let outcome = measure(load, workload(port, Body::OneKib, true, Pace::Closed));
            let error = format!("{:#}", outcome.err().expect("such a server has no figures"));
            assert!(error.contains(said), "{port}: {error}");
        }
    });
}

#[test]
fn a_connection_that_was_not_kept_is_noticed() {
    with_load(|load| {
        let has_closed = start_server(2_001, good_answer(), true);
        let pace = Pace::Once { at_once: 2 };
        let outcome = load
            .hold(workload(2_001, Body::OneKib, true, pace))
            .and_then(|()| {
                has_closed.iter().take(4).for_each(drop);
                load.release()
            });
        let error = format!("{:#}", outcome.expect_err("the server has closed it"));
        assert!(error.contains("that was to stay open"), "{error}");
    });
}

#[test]
fn answers_that_the_origin_did_not_give_are_noticed() {
    with_load(|load| {
        // As a proxy that caches would.
        start_server(2_001, good_answer(), false);
        let outcome = measure(load, workload(2_001, Body::OneKib, true, Pace::Closed));
        let error = format!("{:#}", outcome.err().expect("the origin was not asked"));
        assert!(error.contains("and the origin 0"), "{error}");
    });
}
