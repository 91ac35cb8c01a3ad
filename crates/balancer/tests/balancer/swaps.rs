//! Configurations that change under load.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Client, Host, Origin, get, http_config, in_namespace, plain};

/// Clients that ask without end, on connections that they keep and on new ones.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(host: &Host) -> Self {
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let front = host.front();
        let clients = (0..4)
            .map(|number| {
                let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let mut client = Client::connect(front);
                    while !stop.load(Ordering::SeqCst) {
                        if number % 2 == 0 {
                            client = Client::connect(front);
                        }
                        let reply = client.get("/");
                        assert_eq!(reply.status, 200, "{}", reply.head);
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Stops; every client must have had every answer.
    fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("no request failed");
        }
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn no_request_is_lost_over_three_hundred_changes() {
    in_namespace(|| {
        let origins: Vec<_> = ["a", "b", "c", "d"].map(Origin::named).into();
        let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
        let host = Host::start();
        host.serve(&http_config(1, &addresses));
        let load = Load::start(&host);
        for generation in 2..302 {
            // Each backend comes and goes, and its weight with it; one at least is always there.
            let there: Vec<_> = addresses
                .iter()
                .enumerate()
                .filter(|(position, _)| {
                    *position == 0 || !(generation + position).is_multiple_of(3)
                })
                .map(|(_, address)| *address)
                .collect();
            let mut config = http_config(generation as u64, &there);
            for (position, backend) in config.backends.iter_mut().enumerate() {
                backend.weight = 1 + ((generation + position) % 5) as u16;
            }
            host.configure(&config);
        }
        let asked = load.finish();
        assert!(asked > 300, "only {asked} requests");
        let heartbeat = host.next_heartbeat();
        assert_eq!(heartbeat.counters.errors, 0);
        assert_eq!(heartbeat.counters.requests, asked as u64);
        assert!(origins.iter().all(|origin| origin.requests() > 0));
    });
}

#[test]
fn a_backend_that_is_taken_out_finishes_its_exchanges_and_gets_no_more() {
    in_namespace(|| {
        let release = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&release);
        let old = Origin::http(move |_| {
            while !waits.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            plain("old")
        });
        let new = Origin::named("new");
        let host = Host::start();
        host.serve(&http_config(1, &[old.address]));
        let mut slow = Client::connect(host.front());
        slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        host.await_heartbeat("it is under way", |h| h.backends[0].active == 1);
        host.serve(&http_config(2, &[new.address]));
        assert_eq!(get(host.front(), "/").text(), "new");
        release.store(true, Ordering::SeqCst);
        assert_eq!(slow.reply(false).unwrap().text(), "old");
        assert_eq!(slow.get("/").text(), "new");
        assert_eq!(old.requests(), 1);
    });
}

#[test]
fn a_new_port_is_listened_on_while_old_connections_go_on() {
    in_namespace(|| {
        let (origin, host) = (Origin::named("a"), Host::start());
        let mut config = http_config(1, &[origin.address]);
        host.serve(&config);
        let mut kept = Client::connect(host.front());
        assert_eq!(kept.get("/").text(), "a");
        config.port = 8080;
        config.generation = config.generation.next();
        host.configure(&config);
        let mut moved = host.front();
        moved.set_port(8080);
        assert_eq!(get(moved, "/").text(), "a");
        assert_eq!(kept.get("/").text(), "a");
        crate::support::eventually("the old port is closed", || {
            std::net::TcpStream::connect(host.front())
                .is_err()
                .then_some(())
        });
    });
}

#[test]
fn idle_connections_to_a_backend_that_is_taken_out_are_closed() {
    in_namespace(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let old = Origin::serving(move |mut stream, log| {
            let mut buffer = [0u8; 4096];
            while log.read(&mut stream, &mut buffer) > 0 {
                if buffer.starts_with(b"GET /health") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let _ = stream.write_all(&plain("old"));
            }
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let (new, host) = (Origin::named("new"), Host::start());
        host.serve(&http_config(1, &[old.address]));
        assert_eq!(get(host.front(), "/").text(), "old");
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        host.configure(&http_config(2, &[new.address]));
        crate::support::eventually("the idle connection ends", || {
            (ended.load(Ordering::SeqCst) == 1).then_some(())
        });
    });
}
