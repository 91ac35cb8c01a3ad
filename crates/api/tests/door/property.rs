//! Whatever JSON comes, nobody panics and nothing is half-made.

use std::cell::Cell;

use model::Intent;
use model::forms::{MAX_LABEL_CHARS, overlap};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::Door;

/// Words that requests are made of, so that many get past the first check.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "create",
        "info",
        "update",
        "delete",
        "project",
        "instance",
        "subnet",
        "system",
        "http",
        "tcp",
        "HTTP",
        "web",
        "db",
        "shop",
        "1.1.1.0/24",
        "1.1.1.10",
        "1.1.1.11:80",
        "2.2.2.2",
        "http://1.1.1.12:8080/",
        "b.example:80",
        "1.1.1.0/33",
        "/",
        "veth0",
        "",
        "\u{0}",
        "é",
    ])
    .prop_map(str::to_owned)
}

fn field() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "action",
        "type",
        "info",
        "name",
        "id",
        "user",
        "project",
        "instances",
        "traffic_type",
        "port",
        "subnet",
        "backend",
        "entities",
        "health-check",
        "auto-scaling",
        "min",
        "max",
        "address",
        "weight",
        "criteria",
        "interval",
        "add",
        "remove",
        "replace",
        "attach",
        "wait",
        "cascade",
        "new-name",
        "x",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        word().prop_map(Value::from),
        (0u64..70_000).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2.0f64..2.0).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A request whose outer form is right, so that most of them reach `info`'s readers.
fn request() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(vec!["create", "info", "update", "delete"]);
    let kind = prop::sample::select(vec!["project", "instance", "subnet"]);
    let entities = prop::collection::vec(word().prop_map(Value::from), 0..3);
    let named =
        (word(), entities, prop::option::of(value())).prop_map(|(name, entities, extra)| {
            let mut info = json!({"user": "ann", "name": name, "backend": {"entities": entities}});
            if let Some(extra) = extra {
                info["auto-scaling"] = extra;
            }
            info
        });
    (action, kind, prop_oneof![value(), named]).prop_map(
        |(action, kind, info)| json!({"action": action, "type": kind, "info": info, "wait": false}),
    )
}

/// A request that can be carried out, if what is there allows it: few names, so that they meet again.
fn plausible() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(vec!["create", "create", "update", "delete"]);
    let name = || prop::sample::select(vec!["web", "db", "shop"]);
    let host = prop::collection::btree_set(10..14u8, 0..3);
    (action, any::<bool>(), name(), name(), host).prop_map(
        |(action, of_project, project, name, hosts)| {
            let entities: Vec<String> = hosts.iter().map(|host| format!("1.1.1.{host}")).collect();
            let (kind, info) = match of_project {
                true => ("project", json!({"user": "ann", "name": project})),
                false => {
                    let backend = json!({"entities": entities});
                    (
                        "instance",
                        json!({"user": "ann", "project": project, "name": name,
                        "subnet": "1.1.1.0/24", "backend": backend}),
                    )
                }
            };
            json!({"action": action, "type": kind, "info": info, "wait": false})
        },
    )
}

/// What holds of everything that is ever stored.
fn check(intent: &Intent) {
    for (id, project) in &intent.projects {
        assert_eq!(*id, project.id);
        assert!((1..=MAX_LABEL_CHARS).contains(&project.label.len()));
        for other in intent.projects.values().filter(|other| other.id != *id) {
            assert_ne!(project.label, other.label);
            assert_ne!((&project.user, &project.name), (&other.user, &other.name));
        }
    }
    for instance in intent.instances.values() {
        assert!(
            intent.projects.contains_key(&instance.project),
            "an instance without its project"
        );
        assert!(!overlap(
            &instance.subnet,
            &"10.200.0.0/16".parse().expect("a network")
        ));
        for backend in &instance.backends {
            if let model::BackendHost::Address(address) = backend.host {
                assert!(instance.subnet.contains(&address));
            }
            assert_eq!(
                instance
                    .backends
                    .iter()
                    .filter(|other| other.is_same_server(backend))
                    .count(),
                1
            );
        }
        for other in intent
            .instances
            .values()
            .filter(|o| o.project == instance.project && o.id != instance.id)
        {
            assert_ne!(instance.name, other.name);
            assert_ne!(instance.label, other.label);
        }
    }
}

#[test]
fn whatever_is_asked_the_intent_stays_whole_and_a_refusal_changes_nothing() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let door = runtime.block_on(Door::open());
    let changes = Cell::new(0);
    let config = ProptestConfig {
        cases: 800,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let asked = prop_oneof![3 => request(), 1 => value(), 2 => plausible()];
    let outcome = runner.run(&asked, |asked| {
        let before = door.stored();
        let (status, answer) = runtime.block_on(door.ask(&asked));
        let after = door.stored();
        match answer["status"].as_str() {
            Some("successful") => {
                prop_assert_eq!(status, 200);
                changes.set(changes.get() + usize::from(before != after));
            }
            Some("fail") => {
                prop_assert!((400..500).contains(&status), "{} {}", status, answer);
                prop_assert_eq!(&before, &after);
            }
            _ => prop_assert!(false, "{}", answer),
        }
        check(&after);
        Ok(())
    });
    outcome.expect("every request is answered");
    // Not what is left at the end, for it may all have been deleted again.
    assert!(
        changes.get() > 10,
        "{} requests changed anything",
        changes.get()
    );
    runtime.block_on(door.close());
}
