use model::forms::{Order, Surroundings};
use model::{HostMessage, InstanceId, MAX_LINE_BYTES, ProjectId, Timestamp};
use serde_json::json;

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

/// The largest instance that the JSON door takes, and one backend more than `names` hundred of the longest names.
fn largest(names: usize) -> Result<Instance, String> {
    let networks: Vec<String> = (0..model::MAX_NETWORKS)
        .map(|n| format!("100.100.{n}.128/25"))
        .collect();
    let entities: Vec<_> = (0..names)
        .map(|n| {
            let host = format!("{}{n:04}.{}", "n".repeat(59), vec!["x".repeat(62); 3].join("."));
            json!({"address": host, "port": 65_535, "weight": 256, "backup": true, "max-connections": 1_000_000})
        })
        .collect();
    let statuses: Vec<String> = (0..model::MAX_STATUS_RANGES)
        .map(|n| format!("{}-{}", 200 + n * 10, 205 + n * 10))
        .collect();
    let text = json!({"type": "instance", "action": "create", "info": {
        "name": "largest", "traffic_type": "http", "port": 65_535, "subnet": "10.0.0.0/8",
        "backend": {
            "entities": entities,
            "algorithm": {"name": "maglev", "key": {"header": "X".repeat(64)}},
            "health-check": {
                "request-path": format!("/{}", "p".repeat(2_047)),
                "host": "h".repeat(63),
                "expected-status": statuses,
                "expected-body": "\"".repeat(model::MAX_EXPECTED_BODY_BYTES),
            },
            "circuit-breaker": true, "outlier-ejection": true,
        },
        "allowed-clients": networks, "proxy-protocol-from": networks,
        "forwarding": {"trusted-proxies": networks, "request-id": "X".repeat(64)},
    }})
    .to_string();
    let (_, _, request) = model::forms::read_request(text.as_bytes());
    let Order::CreateInstance(new) = request.map_err(|error| error.to_string())?.order else {
        panic!("not a new instance");
    };
    let around = Surroundings {
        id: InstanceId(1),
        project: ProjectId(1),
        name: "\u{10ffff}".repeat(128),
        label: "largest".to_owned(),
        subnets: BTreeSet::new(),
        front: "100.64.0.1/24".parse().expect("a network"),
        now: Timestamp(0),
    };
    new.complete(around).map_err(|error| error.to_string())
}

#[test]
fn the_largest_instance_that_the_json_door_takes_fits_in_a_line_whatever_its_names_stand_for() {
    let refused = largest(MAX_BACKENDS + 1).expect_err("one too many");
    assert!(refused.contains("1024"), "{refused}");
    let mut bench = Bench::with([largest(MAX_BACKENDS).expect("it is taken")]);
    // Each name stands for more servers than one instance may have, most of them out of reach.
    let names: Vec<String> = bench
        .asked(1)
        .backends
        .iter()
        .map(|b| b.host.to_string())
        .collect();
    for (n, name) in names.iter().enumerate() {
        let address = |m: usize| {
            let [high, low] = u16::try_from(m).expect("a small number").to_be_bytes();
            Ipv4Addr::new(
                if m < 1_000 { 9 } else { 10 },
                u8::try_from(n / 4).expect("small"),
                high,
                low,
            )
        };
        let addresses = (0..2_100).map(address).collect();
        let answer = ResolvedName {
            addresses,
            error: None,
        };
        bench.observed.resolved.insert(name.clone(), answer);
    }
    let report = bench.plan();
    let standing = bench.standing(1);
    assert_eq!(standing.config.backends.len(), MAX_BACKENDS);
    let kept: usize = standing.resolved.values().map(Vec::len).sum();
    assert!(kept <= 2 * MAX_BACKENDS, "{kept}");
    let line = serde_json::to_vec(&HostMessage::Configure(standing.config.clone()));
    let bytes = line.expect("JSON").len();
    assert!(bytes < MAX_LINE_BYTES, "{bytes} bytes");
    let account = report.instances.get(&InstanceId(1)).expect("an account");
    let surplus = account.backends.iter();
    let surplus = surplus.filter(|backend| backend.last_check.contains("1024 servers"));
    assert!(surplus.count() > 0, "nobody is told what is left out");
}
