//! The forms under arbitrary input, and forth and back.

#![expect(clippy::indexing_slicing, reason = "JSON is indexed; a test may panic")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::forms::{Action, Answer, InstanceDocument, Kind, Order, Surroundings, read_request};
use model::{
    AutoScaling, Backend, BackendHost, Criteria, Generation, HealthCheck, HealthProtocol, Instance,
    InstanceId, Policy, Project, ProjectId, Timeouts, Timestamp, TrafficType,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn backend() -> impl Strategy<Value = Backend> {
    let host = prop_oneof![
        (1u8..=254).prop_map(|last| BackendHost::Address(Ipv4Addr::new(1, 1, 1, last))),
        "[a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,2}".prop_map(BackendHost::Name),
    ];
    (host, 1u16.., 0u16..=256).prop_map(|(host, port, weight)| Backend {
        host,
        port,
        weight,
        backup: false,
        max_connections: None,
    })
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let protocol = prop::sample::select(vec![HealthProtocol::Http, HealthProtocol::Tcp]);
    let periods = (100u64..=3_600_000).prop_flat_map(|interval| (Just(interval), 100..=interval));
    let thresholds = (1u32..=10, 1u32..=10);
    let parts = (
        protocol,
        prop::option::of(1u16..),
        "/[!-\"$-~]{0,20}",
        periods,
        thresholds,
    );
    parts.prop_map(
        |(protocol, port, request_path, (interval_ms, timeout_ms), (health, unhealth))| {
            HealthCheck {
                protocol,
                port,
                request_path,
                host: None,
                expected_status: Vec::new(),
                expected_body: None,
                criteria: Criteria {
                    interval_ms,
                    timeout_ms,
                    health_threshold: health,
                    unhealth_threshold: unhealth,
                },
            }
        },
    )
}

fn instance() -> impl Strategy<Value = Instance> {
    let traffic = prop::sample::select(vec![TrafficType::Http, TrafficType::Tcp]);
    let scaling = prop_oneof![
        Just(AutoScaling::Off),
        (1u32..=32)
            .prop_flat_map(|min| (Just(min), min..=32))
            .prop_map(|(min, max)| AutoScaling::Between { min, max }),
    ];
    let backends = prop::collection::vec(backend(), 0..6);
    (traffic, 1u16.., backends, health_check(), scaling).prop_map(
        |(traffic, port, backends, health_check, auto_scaling)| {
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
                timeouts: Timeouts::default(),
                policy: Policy::default(),
                generation: Generation(1),
                created_at: Timestamp(0),
            }
        },
    )
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
    let document = InstanceDocument::new(instance, &project(), "test", None);
    let answer = serde_json::to_value(Answer::successful(Action::Info, Kind::Instance, document))
        .expect("JSON");
    let mut info = json!({"name": "web"});
    for field in ["type", "traffic_type", "port", "subnet", "backend"] {
        info[field] = answer["info"][field].clone();
    }
    json!({"action": action, "type": "instance", "info": info})
        .to_string()
        .into_bytes()
}

proptest! {
    #[test]
    fn every_instance_can_be_read_from_what_is_shown(instance in instance()) {
        let (_, _, request) = read_request(&shown_again(&instance, "create"));
        let Ok(Order::CreateInstance(new)) = request.map(|request| request.order) else {
            return Err(TestCaseError::fail("no creation"));
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
    fn what_is_shown_is_a_patch_that_turns_any_other_instance_into_it(mut had in instance(), wanted in instance()) {
        had.traffic = wanted.traffic;
        had.port = wanted.port;
        let (_, _, request) = read_request(&shown_again(&wanted, "update"));
        let Ok(Order::UpdateInstance(change)) = request.map(|request| request.order) else {
            return Err(TestCaseError::fail("no update"));
        };
        let mut changed = change.apply(&had).expect("it is valid");
        if wanted.health_check.port.is_none() {
            // What is not shown is not named by the patch, and stays.
            changed.health_check.port = None;
        }
        prop_assert_eq!(changed, wanted);
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
