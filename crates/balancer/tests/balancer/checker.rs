//! The host's checker: what it asks is answered, is no traffic, and is nothing that a client could use.

use model::{BalancerConfig, Counters};

use crate::support::{Client, Host, Origin, http_config, in_namespace, tcp_config};

const CHECKER: [u8; 4] = [127, 0, 9, 9];
const CLIENT: [u8; 4] = [127, 0, 1, 7];
const QUESTION: &str =
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";

/// Serves with `config`, and knows where its checker asks from.
fn checked(mut config: BalancerConfig) -> Host {
    let host = Host::start();
    config.checker = Some(CHECKER.into());
    host.serve(&config);
    host
}

/// What is counted of clients, whatever they did.
fn counted(host: &Host) -> Counters {
    host.await_turns();
    host.next_heartbeat().counters
}

/// Lets in one network, in which the checker is not, and believes everybody's PROXY header.
fn strict(mut config: BalancerConfig) -> BalancerConfig {
    config.policy.allowed_clients = vec!["127.0.1.0/24".parse().unwrap()];
    config.policy.proxy_protocol.accept_from = vec!["127.0.0.0/8".parse().unwrap()];
    config.policy.limits.connections = Some(2);
    config
}

#[test]
fn what_the_checker_asks_is_answered_by_the_balancer_and_counted_nowhere() {
    in_namespace(|| {
        let origin = Origin::named("a");
        let http = http_config(1, &[origin.address]);
        for config in [http.clone(), strict(http)] {
            let host = checked(config);
            for _ in 0..5 {
                let mut checker = Client::connect_from(CHECKER, host.front());
                checker.send(QUESTION);
                let answer = checker.reply(false).unwrap();
                assert_eq!((answer.status, answer.reason()), (200, Some("last-hop")));
            }
            assert_eq!(counted(&host), Counters::default());
        }
        let tcp = tcp_config(1, &[origin.address]);
        for config in [tcp.clone(), strict(tcp)] {
            let host = checked(config);
            for _ in 0..5 {
                let mut checker = Client::connect_from(CHECKER, host.front());
                assert_eq!(checker.rest().as_deref(), Some(&b""[..]));
            }
            assert_eq!(counted(&host), Counters::default());
            assert_eq!(host.next_heartbeat().backends[0].requests, 0);
        }
        assert_eq!(origin.requests(), 0);
    });
}

#[test]
fn nothing_but_the_checkers_question_is_answered_at_the_checkers_address() {
    in_namespace(|| {
        let origin = Origin::named("a");
        let host = checked(http_config(1, &[origin.address]));
        for head in [
            "GET / HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1\r\nMax-Forwards: 1\r\n",
            "GET / HTTP/1.1\r\nMax-Forwards: 0\r\n",
        ] {
            let mut client = Client::connect_from(CHECKER, host.front());
            client.send(format!("{head}Host: a\r\n\r\n"));
            assert!(client.reply(false).is_none(), "{head}");
        }
        assert_eq!(origin.requests(), 0);
    });
}

#[test]
fn a_client_that_asks_what_the_checker_asks_is_a_client() {
    in_namespace(|| {
        let origin = Origin::named("a");
        let mut config = http_config(1, &[origin.address]);
        config.policy.allowed_clients = vec!["127.0.1.0/24".parse().unwrap()];
        let host = checked(config);
        let ask = |from| {
            let mut client = Client::connect_from(from, host.front());
            client.send(QUESTION);
            client.reply(false).unwrap().status
        };
        assert_eq!(ask(CLIENT), 200);
        assert_eq!(ask([127, 0, 2, 7]), 403);
        let counters = counted(&host);
        assert_eq!((counters.connections, counters.refused_clients), (2, 1));
        assert!(counters.bytes_in >= QUESTION.len() as u64, "{counters:?}");
    });
}
