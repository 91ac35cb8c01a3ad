//! TCP sessions.

use std::io::Write;
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Client, Host, Origin, break_off, eventually, in_namespace, tcp_config};

fn echo() -> Origin {
    Origin::serving(|mut stream, log| {
        let mut buffer = vec![0u8; 65536];
        loop {
            let count = log.read(&mut stream, &mut buffer);
            if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    })
}

#[test]
fn bytes_pass_both_ways_and_either_half_can_end_first() {
    in_namespace(|| {
        let (origin, host) = (echo(), Host::start());
        host.serve(&tcp_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        client.send("hello");
        assert_eq!(client.exactly(5).as_deref(), Some(&b"hello"[..]));
        client.send("last words").end_sending();
        assert_eq!(client.rest().as_deref(), Some(&b"last words"[..]));
        let heartbeat = host.await_heartbeat("the session has ended", |heartbeat| {
            heartbeat.counters.requests == 1 && heartbeat.backends[0].active == 0
        });
        assert_eq!(heartbeat.counters.bytes_in, 15);
        assert_eq!(heartbeat.counters.bytes_out, 15);
        assert_eq!(heartbeat.counters.open_connections, 0);
    });
}

#[test]
fn a_server_may_speak_first_and_end_first() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let _ = stream.write_all(b"220 ready\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            let mut buffer = [0u8; 64];
            while log.read(&mut stream, &mut buffer) > 0 {}
        });
        let host = Host::start();
        host.serve(&tcp_config(1, &[origin.address]));
        let mut client = Client::connect(host.front());
        assert_eq!(client.rest().as_deref(), Some(&b"220 ready\r\n"[..]));
        client.send("still here").end_sending();
        eventually("the server hears the client out", || {
            origin.bytes().ends_with(b"still here").then_some(())
        });
    });
}

/// How often this namespace's kernel has sent an acknowledgement only because it had waited long enough.
fn delayed_acknowledgements() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut fields = names.split(' ').zip(values.split(' '));
    let (_, value) = fields.find(|(name, _)| *name == "DelayedACKs").unwrap();
    value.parse().unwrap()
}

#[test]
fn a_server_that_speaks_first_does_not_wait_for_the_handshake_to_time_out() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let _ = stream.write_all(b"220 ready\r\n");
            let mut buffer = [0u8; 64];
            while log.read(&mut stream, &mut buffer) > 0 {}
        });
        let host = Host::start();
        host.serve(&tcp_config(1, &[origin.address]));
        let before = delayed_acknowledgements();
        for _ in 0..20 {
            let mut client = Client::connect(host.front());
            assert_eq!(client.exactly(11).as_deref(), Some(&b"220 ready\r\n"[..]));
        }
        let delayed = delayed_acknowledgements() - before;
        assert!(delayed < 10, "{delayed} of 20");
    });
}

#[test]
fn a_large_stream_passes_whole_in_bounded_memory() {
    const SIZE: usize = 64 << 20;
    in_namespace(|| {
        let (origin, host) = (echo(), Host::start());
        host.serve(&tcp_config(1, &[origin.address]));
        let before = host.resident_bytes();
        let mut client = Client::connect(host.front());
        let mut writer = client.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let piece: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
            for _ in 0..SIZE >> 16 {
                writer.write_all(&piece).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let got = client.rest().unwrap();
        sender.join().unwrap();
        assert_eq!(got.len(), SIZE);
        assert!(
            got.iter()
                .enumerate()
                .all(|(at, &b)| b == ((at % 65536) % 251) as u8)
        );
        let grown = host.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "grown by {grown} bytes");
    });
}

/// An address where nobody listens.
fn deaf() -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    match listener.local_addr().unwrap() {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => panic!("bound to IPv4"),
    }
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    in_namespace(|| {
        let (origin, host) = (echo(), Host::start());
        // The checks ask a port where somebody listens, so both count as up.
        let mut config = tcp_config(1, &[deaf(), origin.address]);
        config.health_check.port = Some(origin.address.port());
        host.serve(&config);
        for _ in 0..10 {
            let mut client = Client::connect(host.front());
            client.send("hello");
            assert_eq!(client.exactly(5).as_deref(), Some(&b"hello"[..]));
        }
        assert!(host.next_heartbeat().backends[0].errors > 0);
    });
}

#[test]
fn a_client_that_no_backend_takes_is_reset() {
    in_namespace(|| {
        let host = Host::start();
        host.configure(&tcp_config(1, &[]));
        let mut client = Client::connect(host.front());
        assert_eq!(client.rest(), None);
        let heartbeat = host.await_heartbeat("it is counted", |h| h.counters.errors == 1);
        assert_eq!(heartbeat.counters.open_connections, 0);
    });
}

#[test]
fn a_session_in_which_nothing_moves_is_ended() {
    in_namespace(|| {
        let (origin, host) = (echo(), Host::start());
        let mut config = tcp_config(1, &[origin.address]);
        config.timeouts.idle_ms = 200;
        host.serve(&config);
        let mut client = Client::connect(host.front());
        assert_eq!(client.rest(), None);
    });
}

#[test]
fn the_balancers_own_connections_are_answered_and_counted_nowhere() {
    in_namespace(|| {
        let (origin, host) = (echo(), Host::start());
        host.serve(&tcp_config(1, &[origin.address]));
        let heartbeat = host.await_heartbeat("progress is seen", |heartbeat| {
            heartbeat.progress_age_ms.is_some_and(|age| age < 1_000)
        });
        assert_eq!(heartbeat.counters, model::Counters::default());
    });
}

/// An origin that says so many bytes, and once they have left its machine ends or breaks off; and whether it
/// has.
fn saying(length: usize, breaks_off: bool) -> (Origin, Arc<AtomicBool>) {
    let gone = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&gone);
    let origin = Origin::serving(move |mut stream, log| {
        let answer = vec![b'a'; length];
        if log.read(&mut stream, &mut [0]) == 0 || stream.write_all(&answer).is_err() {
            return;
        }
        eventually("all is sent", || {
            (unacknowledged(&stream) == 0).then_some(())
        });
        if breaks_off {
            break_off(&stream);
        } else {
            stream.shutdown(Shutdown::Both).unwrap();
        }
        told.store(true, Ordering::SeqCst);
    });
    (origin, gone)
}

fn unacknowledged(stream: &TcpStream) -> libc::c_int {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives through the call.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(asked, 0);
    bytes
}

#[test]
fn what_a_backend_sent_before_it_was_gone_reaches_a_client_that_is_still_sending() {
    const LENGTH: usize = 3 << 20;
    in_namespace(|| {
        for breaks_off in [false, true] {
            let ((origin, gone), host) = (saying(LENGTH, breaks_off), Host::start());
            host.serve(&tcp_config(1, &[origin.address]));
            let mut client = Client::connect(host.front());
            client.send("?");
            eventually("the backend is gone", || {
                gone.load(Ordering::SeqCst).then_some(())
            });
            for said in 2..6 {
                client.send_if_open("x");
                host.await_heartbeat("the balancer has taken in what was said", |h| {
                    h.counters.bytes_in >= said || h.counters.open_connections == 0
                });
            }
            let got = client.exactly(LENGTH).expect("all that the backend sent");
            assert!(got.iter().all(|&byte| byte == b'a'));
            // A part is not taken for the whole.
            assert_eq!(client.rest().is_none(), breaks_off);
            drop(client);
            host.await_heartbeat("the session is over", |h| {
                h.backends[0].active == 0 && h.counters.open_connections == 0
            });
        }
    });
}
