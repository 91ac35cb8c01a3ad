use super::*;
use crate::samples::{Bench, backend, instance};

fn resolve(bench: &mut Bench, name: &str, addresses: &[&str]) {
    let answer = ResolvedName {
        addresses: addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect(),
        error: addresses.is_empty().then(|| "no such name".into()),
    };
    bench.observed.resolved.insert(name.into(), answer);
}

/// Plans, and gives the configuration's generation and its backends.
fn config(bench: &mut Bench) -> (u64, Vec<String>) {
    bench.plan();
    let config = &bench.standing(1).config;
    let backends = config.backends.iter();
    let backends = backends.map(|b| format!("{}:{}*{}", b.address, b.port, b.weight));
    (config.generation.0, backends.collect())
}

#[test]
fn the_generation_rises_with_each_change_of_the_configuration_and_with_nothing_else() {
    let mut bench = Bench::with([instance(1)]);
    assert_eq!(config(&mut bench).0, 1);
    bench.pass(1_000);
    assert_eq!(config(&mut bench).0, 1);
    // Neither the user's generation nor the number of VMs is anything to a balancer.
    bench.asked(1).generation = Generation(9);
    bench.asked(1).auto_scaling = model::AutoScaling::between(2, 2);
    assert_eq!(config(&mut bench).0, 1);
    let changes: [fn(&mut Instance); 6] = [
        |i| i.backends.push(backend("1.1.1.11")),
        |i| i.backends[0].weight = 2,
        |i| i.backends.swap(0, 1),
        |i| i.port = 81,
        |i| i.name = "other".into(),
        |i| i.health_check.criteria.interval_ms = 1,
    ];
    for (generation, change) in (2..).zip(changes) {
        change(bench.asked(1));
        assert_eq!(config(&mut bench).0, generation);
    }
}

#[test]
fn a_server_that_is_named_twice_stands_once_with_the_first_weight() {
    let mut bench = Bench::with([instance(1)]);
    let mut again = backend("db.test");
    again.weight = 7;
    bench.asked(1).backends.push(again);
    resolve(&mut bench, "db.test", &["1.1.1.10", "1.1.1.11"]);
    let expected = vec!["1.1.1.10:8080*1".into(), "1.1.1.11:8080*7".into()];
    assert_eq!(config(&mut bench), (1, expected));
}

#[test]
fn a_host_names_last_good_answer_is_kept_until_a_better_one_comes() {
    let mut bench = Bench::with([instance(1)]);
    bench.asked(1).backends = vec![backend("db.test")];
    assert_eq!(config(&mut bench), (1, vec![]));
    resolve(&mut bench, "db.test", &["1.1.1.20"]);
    assert_eq!(config(&mut bench), (2, vec!["1.1.1.20:8080*1".into()]));
    resolve(&mut bench, "db.test", &[]);
    assert_eq!(config(&mut bench), (2, vec!["1.1.1.20:8080*1".into()]));
    bench.observed.resolved.clear();
    assert_eq!(config(&mut bench), (2, vec!["1.1.1.20:8080*1".into()]));
    resolve(&mut bench, "db.test", &["1.1.1.21"]);
    assert_eq!(config(&mut bench), (3, vec!["1.1.1.21:8080*1".into()]));
    bench.asked(1).backends = vec![backend("1.1.1.21")];
    assert_eq!(config(&mut bench), (3, vec!["1.1.1.21:8080*1".into()]));
    assert!(bench.standing(1).resolved.is_empty());
}

#[test]
fn an_address_outside_the_subnet_gets_no_traffic() {
    let mut bench = Bench::with([instance(1)]);
    bench.asked(1).backends = vec![backend("db.test")];
    resolve(&mut bench, "db.test", &["1.1.1.20", "9.9.9.9"]);
    assert_eq!(config(&mut bench), (1, vec!["1.1.1.20:8080*1".into()]));
}
