//! How traffic is spread over backends, by each algorithm.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddrV4;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use model::{Algorithm, BackendHealth, BalancerConfig, HashKey};

use crate::support::{
    Client, Host, Options, Origin, eventually, http_config, in_namespace, plain, tcp_config,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Origins that say who they are, and a configuration with them.
fn named(weights: &[u16], algorithm: Algorithm) -> (Vec<Origin>, BalancerConfig) {
    let origins: Vec<_> = NAMES
        .iter()
        .take(weights.len())
        .map(|name| Origin::named(name))
        .collect();
    let config = configured(http_config, &origins, weights, algorithm);
    (origins, config)
}

fn configured(
    make: fn(u64, &[SocketAddrV4]) -> BalancerConfig,
    origins: &[Origin],
    weights: &[u16],
    algorithm: Algorithm,
) -> BalancerConfig {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut config = make(1, &addresses);
    config.policy.algorithm = algorithm;
    for (backend, &weight) in config.backends.iter_mut().zip(weights) {
        backend.weight = weight;
    }
    config
}

fn by_uri() -> Algorithm {
    Algorithm::Maglev { key: HashKey::Uri }
}

/// The share of each origin in so many requests, one at a time over some connections.
fn shares(
    host: &Host,
    origins: usize,
    requests: usize,
    path: impl Fn(usize) -> String,
) -> Vec<f64> {
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(host.front())).collect();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for request in 0..requests {
        let connection = request % clients.len();
        let reply = clients[connection].get(&path(request));
        assert_eq!(reply.status, 200);
        *taken.entry(reply.text()).or_default() += 1;
    }
    let share = |name| taken.get(name).copied().unwrap_or(0) as f64 / requests as f64;
    NAMES
        .iter()
        .take(origins)
        .map(|name| share(*name))
        .collect()
}

fn assert_shares(shares: &[f64], weights: &[u16], within: f64) {
    let total: u16 = weights.iter().sum();
    for (share, &weight) in shares.iter().zip(weights) {
        let due = f64::from(weight) / f64::from(total);
        assert!((share - due).abs() <= within, "{shares:?} for {weights:?}");
    }
}

fn owner(host: &Host, path: &str) -> String {
    crate::support::get(host.front(), path).text()
}

#[test]
fn each_backend_gets_the_share_of_its_weight() {
    const WEIGHTS: [u16; 4] = [4, 2, 1, 1];
    in_namespace(|| {
        // Random draws and hashes are off by chance, those that count by less than a round.
        for (algorithm, requests, within) in [
            (Algorithm::RoundRobin, 400, 0.02),
            (Algorithm::LeastConnections, 400, 0.02),
            (by_uri(), 3_000, 0.04),
        ] {
            let (origins, config) = named(&WEIGHTS, algorithm);
            let host = Host::start();
            host.serve(&config);
            let shares = shares(&host, origins.len(), requests, |request| {
                format!("/{request}")
            });
            assert_shares(&shares, &WEIGHTS, within);
        }
    });
}

#[test]
fn clients_are_spread_by_their_addresses_and_each_stays_where_it_is() {
    const WEIGHTS: [u16; 4] = [4, 2, 1, 1];
    in_namespace(|| {
        let source = Algorithm::Maglev {
            key: HashKey::Source,
        };
        for algorithm in [Algorithm::SourceHash, source] {
            let (origins, config) = named(&WEIGHTS, algorithm);
            let host = Host::start();
            host.serve(&config);
            let answer = |client: u16| {
                let [high, low] = client.to_be_bytes();
                let source = [127, 1, high, low];
                Client::connect_from(source, host.front()).get("/").text()
            };
            let clients = 1..=800u16;
            let first: Vec<_> = clients.clone().map(answer).collect();
            let shares: Vec<_> = NAMES
                .iter()
                .map(|name| first.iter().filter(|owner| owner == name).count() as f64 / 800.0)
                .collect();
            assert_shares(&shares, &WEIGHTS, 0.06);
            // With other connections, which the kernel gives to either thread.
            assert!(
                clients
                    .step_by(5)
                    .all(|client| answer(client) == first[usize::from(client) - 1])
            );
            // Only the clients of one that goes move.
            origins[0].stop();
            host.await_heartbeat("it is down", |heartbeat| {
                heartbeat.backends[0].health == BackendHealth::Down
            });
            for (client, before) in (1u16..).zip(&first).step_by(5) {
                let now = answer(client);
                assert!(now == *before || before == "a", "{before} became {now}");
                assert_ne!(now, "a");
            }
        }
    });
}

#[test]
fn a_path_belongs_to_one_backend_and_only_the_paths_of_a_removed_one_move() {
    in_namespace(|| {
        let (_origins, mut config) = named(&[1; 4], by_uri());
        let host = Host::start();
        host.serve(&config);
        let paths: Vec<_> = (0..200).map(|page| format!("/page?id={page}")).collect();
        let owners: Vec<_> = paths.iter().map(|path| owner(&host, path)).collect();
        assert!(
            NAMES
                .iter()
                .all(|name| owners.iter().any(|owner| owner == name))
        );
        let kept = || {
            (0..200)
                .filter(|&page| owner(&host, &paths[page]) == owners[page])
                .count()
        };
        assert_eq!(kept(), 200);
        let removed = owners.iter().filter(|owner| *owner == "c").count();
        config.generation.0 += 1;
        let gone = config.backends.remove(2);
        host.serve(&config);
        assert!(
            kept() >= 200 - removed - 4,
            "{} of {}",
            kept(),
            200 - removed
        );
        // And back they come, wherever the backend stands in the list.
        config.generation.0 += 1;
        config.backends.insert(0, gone);
        host.serve(&config);
        assert_eq!(kept(), 200);
    });
}

#[test]
fn a_field_decides_and_the_client_where_there_is_none() {
    in_namespace(|| {
        let key = HashKey::Header("X-Tenant".to_owned());
        let (_origins, config) = named(&[1; 4], Algorithm::Maglev { key });
        let host = Host::start();
        host.serve(&config);
        let owner = |fields: &str, path: &str| {
            let mut client = Client::connect(host.front());
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            client.reply(false).unwrap().text()
        };
        let mut owners: Vec<_> = (0..40)
            .map(|tenant| {
                let fields = format!("X-Tenant: {tenant}\r\n");
                let first = owner(&fields, "/a");
                assert_eq!(first, owner(&fields, "/b"));
                first
            })
            .collect();
        owners.sort();
        owners.dedup();
        assert_eq!(owners, NAMES);
        assert_eq!(owner("", "/a"), owner("", "/b"));
    });
}

/// Says who it is whenever it is asked, and keeps the connection until the client ends it.
fn greeter(name: &'static str) -> Origin {
    Origin::serving(move |mut stream, log| {
        let mut buffer = [0u8; 64];
        while log.read(&mut stream, &mut buffer) > 0 {
            let _ = stream.write_all(name.as_bytes());
        }
    })
}

/// A session, and who carries it.
fn session(host: &Host) -> (Client, Vec<u8>) {
    let mut client = Client::connect(host.front());
    let name = client.send("?").exactly(1).unwrap();
    (client, name)
}

#[test]
fn sessions_under_way_settle_at_the_weights_with_least_connections() {
    const WEIGHTS: [u16; 3] = [5, 2, 1];
    in_namespace(|| {
        let origins: Vec<_> = NAMES.iter().take(3).map(|name| greeter(name)).collect();
        let algorithm = Algorithm::LeastConnections;
        let config = configured(tcp_config, &origins, &WEIGHTS, algorithm);
        let host = Host::start();
        host.serve(&config);
        let mut sessions: BTreeMap<Vec<u8>, Vec<Client>> = BTreeMap::new();
        let mut open = |count: usize| {
            for _ in 0..count {
                let (client, name) = session(&host);
                sessions.entry(name).or_default().push(client);
            }
            NAMES.map(|name| sessions.get(name.as_bytes()).map_or(0, Vec::len))
        };
        let counts = open(160);
        for (count, due) in counts.into_iter().zip([100usize, 40, 20]) {
            assert!(count.abs_diff(due) <= 3, "{counts:?}");
        }
        // Room on one draws what comes next.
        sessions.remove(&b"c"[..]);
        host.await_heartbeat("its sessions have ended", |h| h.backends[2].active == 0);
        let refill: Vec<_> = (0..10).map(|_| session(&host)).collect();
        let (_open, names): (Vec<_>, Vec<_>) = refill.into_iter().unzip();
        assert!(names.iter().all(|name| name == b"c"), "{names:?}");
    });
}

#[test]
fn a_slow_backend_gets_less_by_peak_ewma() {
    in_namespace(|| {
        let slow = Origin::http(|_| {
            std::thread::sleep(Duration::from_millis(60));
            plain("c")
        });
        let origins = [Origin::named("a"), Origin::named("b"), slow];
        let config = configured(http_config, &origins, &[1, 1, 2], Algorithm::PeakEwma);
        let host = Host::start();
        host.serve(&config);
        let shares = shares(&host, 3, 400, |_| "/".to_owned());
        assert!(shares[2] < 0.1, "{shares:?}");
        assert!(shares[0] > 0.2 && shares[1] > 0.2, "{shares:?}");
    });
}

#[test]
fn a_backend_that_fails_quickly_does_not_draw_everybody_by_peak_ewma() {
    in_namespace(|| {
        let failing = Origin::http(|_| {
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let slowish = |name| {
            Origin::http(move |_| {
                std::thread::sleep(Duration::from_millis(5));
                plain(name)
            })
        };
        let origins = [slowish("a"), slowish("b"), failing];
        let config = configured(http_config, &origins, &[1, 1, 1], Algorithm::PeakEwma);
        let host = Host::start();
        host.serve(&config);
        let mut client = Client::connect(host.front());
        let failed = (0..200).filter(|_| client.get("/").status == 500).count();
        assert!(failed < 20, "{failed}");
    });
}

#[test]
fn quick_failures_draw_nobody_after_all_others_were_slow_by_peak_ewma() {
    in_namespace(|| {
        let slow_once = |name| {
            let asked = AtomicUsize::new(0);
            Origin::http(move |request| {
                let is_slow = request.target() == "/page" && asked.fetch_add(1, SeqCst) == 40;
                std::thread::sleep(Duration::from_millis(if is_slow { 150 } else { 1 }));
                plain(name)
            })
        };
        let failing = Origin::http(|_| {
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let origins = [slow_once("a"), slow_once("b"), failing];
        let config = configured(http_config, &origins, &[1, 1, 1], Algorithm::PeakEwma);
        let host = Host::start_with(Options {
            threads: Some(1),
            ..Options::default()
        });
        host.serve(&config);
        let mut client = Client::connect(host.front());
        let failed = (0..400).filter(|_| client.get("/page").status == 500);
        let failed = failed.count();
        assert!(failed < 20, "{failed}");
    });
}

#[test]
fn backups_take_over_only_while_all_others_are_down() {
    in_namespace(|| {
        for algorithm in [Algorithm::RoundRobin, by_uri(), Algorithm::SourceHash] {
            let (origins, mut config) = named(&[1; 3], algorithm);
            config.backends[2].backup = true;
            let host = Host::start();
            host.serve(&config);
            let heard = || {
                let mut names: Vec<_> = (0..60)
                    .map(|page| owner(&host, &format!("/{page}")))
                    .collect();
                names.sort();
                names.dedup();
                names.concat()
            };
            assert!(!heard().contains('c'));
            origins[0].stop();
            host.await_heartbeat("one is down", |h| {
                h.backends[0].health == BackendHealth::Down
            });
            assert_eq!(heard(), "b");
            origins[1].stop();
            host.await_heartbeat("two are down", |h| {
                h.backends[1].health == BackendHealth::Down
            });
            assert_eq!(heard(), "c");
            let _back = Origin::http_at(origins[0].address.into(), |_| plain("a"));
            host.await_heartbeat("one is back", |h| h.backends[0].health == BackendHealth::Up);
            assert_eq!(heard(), "a");
        }
    });
}

#[test]
fn the_share_of_a_backend_that_came_up_grows_to_its_weight() {
    in_namespace(|| {
        let (origins, mut config) = named(&[1, 1], Algorithm::RoundRobin);
        config.policy.slow_start_ms = 3_000;
        let host = Host::start();
        origins[1].stop();
        host.configure(&config);
        host.await_heartbeat("one is up", |h| h.backends[0].health == BackendHealth::Up);
        host.await_heartbeat("one is down", |h| {
            h.backends[1].health == BackendHealth::Down
        });
        // The first has grown up before the second begins.
        let began = host.next_heartbeat().uptime_ms;
        host.await_heartbeat("the first has grown up", |h| h.uptime_ms > began + 3_000);
        let _back = Origin::http_at(origins[1].address.into(), |_| plain("b"));
        host.await_heartbeat("both are up", |h| h.backends[1].health == BackendHealth::Up);
        let mut client = Client::connect(host.front());
        let mut share = || (0..100).filter(|_| client.get("/").text() == "b").count();
        let first = share();
        assert!(first < 30, "{first}");
        eventually("the share is whole", || (share() == 50).then_some(()));
    });
}
