//! The forms under arbitrary input, and forth and back.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use model::forms::{InstanceDocument, Order, Surroundings, read_request};
use model::numbers::{
    AUTO_SCALING, BACKEND, CIRCUIT_BREAKER, LIMITS, Number, OUTLIER_EJECTION, QUEUE, RETRY, Scope,
    TIMEOUTS,
};
use model::{
    Algorithm, AutoScaling, Backend, BackendHost, ClientClose, Criteria, Forwarding, Generation,
    HashKey, HealthCheck, HealthProtocol, Instance, InstanceId, Policy, Project, ProjectId,
    ProxyProtocol, ProxyVersion, Scaling, StatusRange, Timeouts, Timestamp, TrafficType,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn backend() -> impl Strategy<Value = Backend> {
    let host = prop_oneof![
        (1u8..=254).prop_map(|last| BackendHost::Address(Ipv4Addr::new(1, 1, 1, last))),
        "[a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,2}".prop_map(BackendHost::Name),
    ];
    let bound = prop::option::of(1u32..=1_000_000);
    (host, 1u16.., 0u16..=256, any::<bool>(), bound).prop_map(
        |(host, port, weight, backup, max_connections)| Backend {
            host,
            port,
            weight,
            backup,
            max_connections,
        },
    )
}

/// What an HTTP check asks for and expects.
type Question = (Option<String>, Vec<StatusRange>, Option<String>);

fn question() -> impl Strategy<Value = Question> {
    let status = (200u16..=599)
        .prop_flat_map(|from| (Just(from), from..=599))
        .prop_map(|(from, to)| StatusRange { from, to });
    (
        prop::option::of("[a-z0-9][a-z0-9.-]{0,20}(:[1-9][0-9]{0,3})?"),
        prop::collection::vec(status, 0..4),
        prop::option::of("\\PC{1,200}"),
    )
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let protocol = prop::sample::select(vec![HealthProtocol::Http, HealthProtocol::Tcp]);
    let periods = (100u64..=3_600_000).prop_flat_map(|interval| (Just(interval), 100..=interval));
    let thresholds = (1u32..=10, 1u32..=10);
    let parts = (
        protocol,
        prop::option::of(1u16..),
        "/[!-\"$-~]{0,20}",
        question(),
        periods,
        thresholds,
    );
    parts.prop_map(
        |(protocol, port, request_path, question, (interval_ms, timeout_ms), thresholds)| {
            let (host, expected_status, expected_body) = match protocol {
                HealthProtocol::Http => question,
                HealthProtocol::Tcp => Question::default(),
            };
            HealthCheck {
                protocol,
                port,
                request_path,
                host,
                expected_status,
                expected_body,
                criteria: Criteria {
                    interval_ms,
                    timeout_ms,
                    health_threshold: thresholds.0,
                    unhealth_threshold: thresholds.1,
                },
            }
        },
    )
}

/// A `T` whose numbers are each at their default, at a bound, or anywhere between.
fn numbers<T: Clone + Default + Debug>(
    table: &'static [Number<T>],
    traffic: TrafficType,
) -> impl Strategy<Value = T> {
    let value = |number: &'static Number<T>| {
        let is_free = number.scope == Scope::Any || traffic == TrafficType::Http;
        let bounds = number.min..=number.max;
        let anything = prop_oneof![Just(number.min), Just(number.max), bounds].prop_map(Some);
        let default = Just(number.value(&T::default()));
        match is_free {
            true => prop_oneof![default, anything].boxed(),
            false => default.boxed(),
        }
    };
    let values: Vec<_> = table.iter().map(value).collect();
    values.prop_map(|values| {
        let mut object = T::default();
        for (number, value) in table.iter().zip(values) {
            (number.place)(&mut object).set(value);
        }
        object
    })
}

fn networks() -> impl Strategy<Value = Vec<Ipv4Net>> {
    let network = (any::<u32>(), 0u8..=32).prop_map(|(address, length)| {
        let network = Ipv4Net::new(Ipv4Addr::from(address), length);
        network.expect("a length of at most 32").trunc()
    });
    prop::collection::vec(network, 0..4)
}

fn algorithm(traffic: TrafficType) -> impl Strategy<Value = Algorithm> {
    let key = match traffic {
        TrafficType::Tcp => Just(HashKey::Source).boxed(),
        TrafficType::Http => prop_oneof![
            Just(HashKey::Source),
            Just(HashKey::Uri),
            "[A-Za-z][A-Za-z0-9-]{0,20}".prop_map(HashKey::Header),
        ]
        .boxed(),
    };
    prop_oneof![
        Just(Algorithm::RoundRobin),
        Just(Algorithm::LeastConnections),
        Just(Algorithm::PeakEwma),
        Just(Algorithm::SourceHash),
        key.prop_map(|key| Algorithm::Maglev { key }),
    ]
}

fn forwarding(traffic: TrafficType) -> impl Strategy<Value = Forwarding> {
    let parts = (
        networks(),
        any::<bool>(),
        prop::option::of("X-[A-Za-z]{1,9}-Id"),
    );
    parts.prop_map(
        move |(trusted_proxies, forwarded, request_id)| match traffic {
            TrafficType::Tcp => Forwarding::default(),
            TrafficType::Http => Forwarding {
                trusted_proxies,
                forwarded,
                request_id,
            },
        },
    )
}

fn proxy_protocol() -> impl Strategy<Value = ProxyProtocol> {
    let versions = prop::sample::select(vec![None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)]);
    (networks(), versions).prop_map(|(accept_from, send)| ProxyProtocol { accept_from, send })
}

fn policy(traffic: TrafficType) -> impl Strategy<Value = Policy> {
    let spread = (
        algorithm(traffic),
        numbers(&BACKEND, traffic),
        numbers(&QUEUE, traffic),
        prop::option::of(numbers(&OUTLIER_EJECTION, traffic)),
        prop::option::of(numbers(&CIRCUIT_BREAKER, traffic)),
        numbers(&RETRY, traffic),
    );
    let clients = (
        numbers(&LIMITS, traffic),
        networks(),
        proxy_protocol(),
        prop::sample::select(vec![ClientClose::Finish, ClientClose::Abort]),
        forwarding(traffic),
    );
    (spread, clients).prop_map(
        |(spread, (mut limits, allowed_clients, proxy_protocol, client_close, forwarding))| {
            let (algorithm, numbers, queue, outlier_ejection, circuit_breaker, retry) = spread;
            limits.request_head_bytes = limits.request_head_bytes.max(limits.request_line_bytes);
            Policy {
                algorithm,
                queue,
                outlier_ejection,
                circuit_breaker,
                retry,
                limits,
                allowed_clients,
                proxy_protocol,
                client_close,
                forwarding,
                ..numbers
            }
        },
    )
}

fn instance() -> impl Strategy<Value = Instance> {
    let traffic = prop::sample::select(vec![TrafficType::Http, TrafficType::Tcp]);
    traffic.prop_flat_map(instance_of)
}

fn instance_of(traffic: TrafficType) -> impl Strategy<Value = Instance> {
    let scaling = prop_oneof![
        Just(AutoScaling::Off),
        (1u32..=32)
            .prop_flat_map(move |min| (Just(min), min..=32, numbers(&AUTO_SCALING, traffic)))
            .prop_map(|(min, max, targets)| AutoScaling::Between(Scaling {
                min,
                max,
                ..targets
            })),
    ];
    let backends = prop::collection::vec(backend(), 0..6);
    let settings = (numbers(&TIMEOUTS, traffic), policy(traffic));
    (1u16.., backends, health_check(), scaling, settings).prop_map(
        move |(port, backends, health_check, auto_scaling, (timeouts, policy))| {
            let mut distinct: Vec<Backend> = Vec::new();
            for backend in backends {
                if !distinct.iter().any(|other| other.is_same_server(&backend)) {
                    distinct.push(backend);
                }
            }
            Instance {
                id: InstanceId(1),
                project: ProjectId(1),
                name: "web".into(),
                label: "web".into(),
                former_labels: BTreeSet::new(),
                traffic,
                port,
                subnet: "1.1.1.0/24".parse().expect("a network"),
                backends: distinct,
                health_check,
                auto_scaling,
                timeouts,
                policy,
                generation: Generation(1),
                created_at: Timestamp(0),
            }
        },
    )
}

/// Two instances that differ in all that can be changed.
fn two_alike() -> impl Strategy<Value = (Instance, Instance)> {
    let traffic = prop::sample::select(vec![TrafficType::Http, TrafficType::Tcp]);
    traffic
        .prop_flat_map(|traffic| (instance_of(traffic), instance_of(traffic)))
        .prop_map(|(mut had, wanted)| {
            had.port = wanted.port;
            (had, wanted)
        })
}

fn project() -> Project {
    Project {
        id: ProjectId(1),
        user: "ann".into(),
        name: "shop".into(),
        label: "shop".into(),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

/// The request that gives the instance again in the form in which it is shown.
fn shown_again(instance: &Instance, action: &str) -> Vec<u8> {
    let document = InstanceDocument::new(instance, &project(), "test", None, &[]);
    let mut shown = serde_json::to_value(document).expect("JSON");
    let account = [
        "id",
        "url",
        "user",
        "project",
        "generation",
        "configuration",
        "created_at",
        "condition",
        "addresses",
        "vms",
        "backends",
        "waiting_for",
        "events",
    ];
    let shown = shown.as_object_mut().expect("an object");
    shown.retain(|name, _| !account.contains(&name.as_str()));
    json!({"action": action, "type": "instance", "info": shown})
        .to_string()
        .into_bytes()
}

/// The instance after an update by this request.
fn updated(instance: &Instance, request: &[u8]) -> Result<Instance, TestCaseError> {
    let (_, _, request) = read_request(request);
    match request.map(|request| request.order) {
        Ok(Order::UpdateInstance(change)) => {
            let changed = change.apply(instance);
            changed.map_err(|error| TestCaseError::fail(error.to_string()))
        }
        other => Err(TestCaseError::fail(format!("no update: {other:?}"))),
    }
}

proptest! {
    #[test]
    fn every_instance_can_be_read_from_what_is_shown(instance in instance()) {
        let (_, _, request) = read_request(&shown_again(&instance, "create"));
        let new = match request.map(|request| request.order) {
            Ok(Order::CreateInstance(new)) => new,
            other => return Err(TestCaseError::fail(format!("no creation: {other:?}"))),
        };
        let again = new.complete(Surroundings {
            id: instance.id,
            project: instance.project,
            name: instance.name.clone(),
            label: instance.label.clone(),
            subnets: BTreeSet::new(),
            front: "10.200.0.0/16".parse().expect("a network"),
            now: Timestamp(0),
        });
        prop_assert_eq!(again, Ok(instance));
    }

    #[test]
    fn null_brings_every_default_back_and_what_is_shown_then_gives_the_instance((had, wanted) in two_alike()) {
        let bare = json!({"name": "web", "backend": null, "timeouts": null, "limits": null,
            "allowed-clients": null, "proxy-protocol-from": null, "client-close": null,
            "forwarding": null});
        let bare = json!({"action": "update", "type": "instance", "info": bare}).to_string();
        let bare = updated(&had, bare.as_bytes())?;
        prop_assert_eq!(&bare.policy, &Policy::default());
        prop_assert_eq!(&bare.timeouts, &Timeouts::default());
        prop_assert_eq!(updated(&bare, &shown_again(&wanted, "update"))?, wanted);
    }

    #[test]
    fn what_is_shown_as_a_patch_changes_nothing(instance in instance()) {
        prop_assert_eq!(updated(&instance, &shown_again(&instance, "update"))?, instance);
    }

    #[test]
    fn no_text_is_too_odd_to_be_answered(text in any::<Vec<u8>>()) {
        let (.., request) = read_request(&text);
        prop_assert!(request.is_err());
    }

    #[test]
    fn no_entity_is_too_odd_to_be_answered(text in "(http|tcp|https)?(://)?[a-z0-9.:@/?#\\[\\]-]{0,20}", traffic in "http|tcp") {
        let info: Value = json!({"traffic_type": traffic, "port": 1, "subnet": "0.0.0.0/0", "backend": {"entities": [text]}});
        let request = json!({"action": "create", "type": "instance", "info": info}).to_string();
        let (.., request) = read_request(request.as_bytes());
        prop_assert!(request.is_err(), "the subnet at least is wrong");
    }
}
