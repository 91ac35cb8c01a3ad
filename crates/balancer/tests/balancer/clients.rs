//! Which clients are served, and how many at once.

use std::time::Duration;

use model::BalancerConfig;

use crate::support::{Client, Host, Origin, eventually, http_config, in_namespace, tcp_config};

const INSIDE: [u8; 4] = [127, 0, 1, 7];
const OUTSIDE: [u8; 4] = [127, 0, 2, 7];

fn served(change: impl FnOnce(&mut BalancerConfig)) -> (Origin, Host) {
    let (origin, host) = (Origin::named("a"), Host::start());
    let mut config = http_config(1, &[origin.address]);
    change(&mut config);
    host.serve(&config);
    (origin, host)
}

/// Whether a connection is served, or breaks off.
fn is_served(client: &mut Client) -> bool {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.reply(false).is_some_and(|reply| reply.status == 200)
}

#[test]
fn only_clients_of_allowed_networks_are_served() {
    in_namespace(|| {
        let allowed = vec![
            "10.0.0.0/8".parse().unwrap(),
            "127.0.1.0/24".parse().unwrap(),
        ];
        let (origin, host) = served(|config| config.policy.allowed_clients = allowed.clone());
        let raw = Host::start_at([127, 0, 0, 2]);
        let mut config = tcp_config(1, &[origin.address]);
        config.policy.allowed_clients = allowed;
        raw.serve(&config);
        for host in [&host, &raw] {
            assert!(is_served(&mut Client::connect_from(INSIDE, host.front())));
        }
        for asks in [true, false] {
            let mut client = Client::connect_from(OUTSIDE, host.front());
            if asks {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            let reply = client.reply(false).unwrap();
            assert_eq!(
                (reply.status, reply.reason()),
                (403, Some("client-not-allowed"))
            );
            assert_eq!(client.rest().as_deref(), Some(&b""[..]));
        }
        assert!(Client::connect_from(OUTSIDE, raw.front()).rest().is_none());
        let refused = |host: &Host| host.next_heartbeat().counters.refused_clients;
        assert_eq!((refused(&host), refused(&raw)), (2, 1));
        assert_eq!(origin.requests(), 2);
        // The balancer's own request comes from no allowed network.
        let heartbeat = host.next_heartbeat();
        assert!(heartbeat.progress_age_ms.is_some_and(|age| age < 5_000));
    });
}

#[test]
fn the_address_that_a_believed_proxy_names_is_the_one_that_is_checked() {
    in_namespace(|| {
        let (_origin, host) = served(|config| {
            config.policy.allowed_clients = vec!["192.0.2.0/24".parse().unwrap()];
            config.policy.proxy_protocol.accept_from = vec!["127.0.1.7/32".parse().unwrap()];
        });
        for (header, status) in [
            ("PROXY TCP4 192.0.2.1 127.0.0.1 1 80\r\n", 200),
            ("PROXY TCP4 198.51.100.1 127.0.0.1 1 80\r\n", 403),
            // Nobody is named, so it is the proxy itself, whose network is not allowed.
            ("PROXY UNKNOWN\r\n", 403),
        ] {
            let mut client = Client::connect_from(INSIDE, host.front());
            client.send(format!("{header}GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.reply(false).unwrap().status, status, "{header}");
        }
    });
}

#[test]
fn more_connections_than_there_may_be_wait_and_are_served_in_their_turn() {
    in_namespace(|| {
        let (origin, host) = served(|config| config.policy.limits.connections = Some(4));
        let mut served: Vec<_> = (0..4).map(|_| Client::connect(host.front())).collect();
        for client in &mut served {
            assert!(is_served(client));
        }
        let mut waiting: Vec<_> = (0..6).map(|_| Client::connect(host.front())).collect();
        for client in &mut waiting {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        // Long enough for the balancer's own requests to fail, if they had to come through.
        for _ in 0..40 {
            let heartbeat = host.next_heartbeat();
            assert_eq!(heartbeat.counters.open_connections, 4);
            assert!(heartbeat.progress_age_ms.is_some_and(|age| age < 2_000));
        }
        assert_eq!(origin.requests(), 4);
        // Each that goes lets one in, whichever thread has it.
        for _ in 0..6 {
            drop(served.pop());
            let mut next = eventually("one more is served", || {
                let at = waiting.iter().position(Client::has_something)?;
                Some(waiting.remove(at))
            });
            assert_eq!(next.reply(false).unwrap().text(), "a");
            served.push(next);
            assert!(host.next_heartbeat().counters.open_connections <= 4);
        }
        assert!(waiting.is_empty());
    });
}

#[test]
fn a_bound_that_is_raised_or_set_counts_the_connections_that_are_open() {
    in_namespace(|| {
        let (origin, host) = served(|_| {});
        let mut clients: Vec<_> = (0..3).map(|_| Client::connect(host.front())).collect();
        assert!(clients.iter_mut().all(is_served));
        let mut config = http_config(2, &[origin.address]);
        config.policy.limits.connections = Some(3);
        host.configure(&config);
        host.await_turns();
        let mut late = Client::connect(host.front());
        assert!(
            late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .reply_within(Duration::from_millis(300))
                .is_none()
        );
        config.generation = config.generation.next();
        config.policy.limits.connections = Some(4);
        host.configure(&config);
        assert_eq!(late.reply(false).unwrap().text(), "a");
        let mut last = Client::connect(host.front());
        assert!(
            last.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .reply_within(Duration::from_millis(300))
                .is_none()
        );
        config.generation = config.generation.next();
        config.policy.limits.connections = None;
        host.configure(&config);
        assert_eq!(last.reply(false).unwrap().text(), "a");
        assert!(clients.iter_mut().all(is_served), "nobody had to go");
    });
}

#[test]
fn one_client_has_no_more_connections_than_it_may() {
    in_namespace(|| {
        let (origin, host) = served(|config| {
            config.policy.limits.connections_per_client = Some(3);
        });
        let connect = |from| Client::connect_from(from, host.front());
        let mut open: Vec<_> = (0..3).map(|_| connect(INSIDE)).collect();
        assert!(open.iter_mut().all(is_served));
        for _ in 0..8 {
            assert!(connect(INSIDE).rest().is_none());
        }
        let heartbeat = host.await_heartbeat("they are counted", |heartbeat| {
            heartbeat.counters.crowding_clients == 8
        });
        assert_eq!(heartbeat.counters.open_connections, 3);
        assert!(is_served(&mut connect(OUTSIDE)));
        assert!(open.iter_mut().all(is_served), "nobody had to go");
        open.pop();
        eventually("there is room again", || {
            let mut client = connect(INSIDE);
            client.send_if_open("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.reply(false).map(|_| ())
        });
        // Those that are open count as well when the bound comes after them.
        let mut config = http_config(2, &[origin.address]);
        host.configure(&config);
        let mut third = connect(INSIDE);
        assert!(is_served(&mut third), "it is accepted");
        config.generation = config.generation.next();
        config.policy.limits.connections_per_client = Some(3);
        host.configure(&config);
        eventually("no more are let in", || {
            connect(INSIDE).rest().is_none().then_some(())
        });
        drop(third);
    });
}
