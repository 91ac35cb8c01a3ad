//! Changes to what is there.

use serde_json::{Value, json};

use crate::support::Door;

async fn web(door: &Door) -> Value {
    let request = json!({"action": "create", "type": "instance", "info": {"user": "ann", "name": "web",
        "backend": {"entities": ["1.1.1.10", "1.1.1.11"], "auto-scaling": {"min": 2, "max": 5},
        "health-check": {"request-path": "/up", "criteria": {"interval": 3}}}}});
    door.succeed(&request).await
}

fn update(fields: Value) -> Value {
    let mut info = json!({"user": "ann", "name": "web"});
    for (name, value) in fields.as_object().expect("an object") {
        info[name] = value.clone();
    }
    json!({"action": "update", "type": "instance", "info": info})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_changes_what_it_names_and_nothing_else() {
    let door = Door::open().await;
    let before = web(&door).await;
    let patch = json!({"backend": {"health-check": {"protocol": "TCP", "criteria": {"health-threshold": 4}}, "auto-scaling": {"max": 6}}});
    let after = door.succeed(&update(patch)).await;
    let check = &after["backend"]["health-check"];
    assert_eq!(
        (&check["protocol"], &check["request-path"]),
        (&json!("TCP"), &json!("/up"))
    );
    assert_eq!(
        check["criteria"],
        json!({"interval": 3, "timeout": 3, "health-threshold": 4, "unhealth-threshold": 2})
    );
    assert_eq!(
        after["backend"]["auto-scaling"],
        json!({"min": 2, "max": 6})
    );
    assert_eq!(after["backend"]["entities"], before["backend"]["entities"]);
    for (change, shown) in [
        (
            json!({"target-requests": 150}),
            json!({"min": 2, "max": 6, "target-requests": 150}),
        ),
        (
            json!({"scale-in-window": 60, "target-requests": null}),
            json!({"min": 2, "max": 6, "scale-in-window": 60}),
        ),
        (json!(true), json!({"min": 1, "max": 4})),
    ] {
        let after = door.succeed(&update(json!({"auto-scaling": change}))).await;
        assert_eq!(after["backend"]["auto-scaling"], shown);
    }
    assert_eq!(
        (&after["id"], &after["generation"]),
        (&before["id"], &json!(2))
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_brings_the_default_back() {
    let door = Door::open().await;
    web(&door).await;
    let patch = json!({"backend": {"health-check": {"request-path": null, "criteria": null}, "auto-scaling": null}});
    let after = door.succeed(&update(patch)).await;
    assert_eq!(after["backend"]["health-check"]["request-path"], "/");
    assert_eq!(after["backend"]["health-check"]["criteria"]["interval"], 5);
    assert_eq!(after["backend"]["auto-scaling"], json!(false));
    let after = door.succeed(&update(json!({"backend": null}))).await;
    assert_eq!(after["backend"]["entities"], json!([]));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_where_they_differ_from_the_defaults_and_merged_where_they_are_given() {
    let door = Door::open().await;
    let before = web(&door).await;
    let patch = json!({"backend": {"algorithm": "peak-ewma", "slow-start": 2.5, "retry": {"attempts": 1, "budget-percent": 20},
        "outlier-ejection": {"ejection": 1}, "circuit-breaker": true},
        "timeouts": {"connect": 0.5, "idle": 300}, "allowed-clients": ["10.0.0.0/8", "192.0.2.7"]});
    let after = door.succeed(&update(patch)).await;
    let backend = &after["backend"];
    assert_eq!(
        (
            &backend["algorithm"],
            &backend["slow-start"],
            &backend["retry"]
        ),
        (&json!("peak-ewma"), &json!(2.5), &json!({"attempts": 1}))
    );
    assert_eq!(
        (&backend["outlier-ejection"], &backend["circuit-breaker"]),
        (&json!({"ejection": 1}), &json!(true))
    );
    assert_eq!(after["timeouts"], json!({"connect": 0.5}));
    assert_eq!(
        after["allowed-clients"],
        json!(["10.0.0.0/8", "192.0.2.7/32"])
    );
    let patch = json!({"backend": {"outlier-ejection": {"consecutive-failures": 2}, "circuit-breaker": false, "retry": null},
        "timeouts": {"total": 9, "connect": null}});
    let after = door.succeed(&update(patch)).await;
    assert_eq!(
        after["backend"]["outlier-ejection"],
        json!({"consecutive-failures": 2, "ejection": 1})
    );
    assert_eq!(after["timeouts"], json!({"total": 9}));
    assert!(after["backend"].get("circuit-breaker").is_none());
    let patch = json!({"timeouts": null, "allowed-clients": [], "backend": {"algorithm": null, "slow-start": null, "outlier-ejection": null}});
    let after = door.succeed(&update(patch)).await;
    assert_eq!(after["backend"], before["backend"]);
    assert!(after.get("timeouts").is_none() && after.get("allowed-clients").is_none());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_keeps_what_it_does_not_say_and_null_brings_the_default_back() {
    let door = Door::open().await;
    web(&door).await;
    let full = json!({"address": "1.1.1.12", "weight": 3, "backup": true, "max-connections": 9});
    let replace = |old: Value, new: Value| update(json!({"backend": {"replace": [[old, new]]}}));
    let after = door.succeed(&replace(json!("1.1.1.11"), full)).await;
    let shown = json!({"address": "1.1.1.12", "port": 80, "weight": 3, "backup": true, "max-connections": 9});
    assert_eq!(after["backend"]["entities"][1], shown);
    let new = json!({"address": "1.1.1.13", "weight": null, "max-connections": null});
    let after = door.succeed(&replace(json!("1.1.1.12"), new)).await;
    let shown = json!({"address": "1.1.1.13", "port": 80, "backup": true});
    assert_eq!(after["backend"]["entities"][1], shown);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_becomes_one_of_tcp_forgets_what_http_was_to_answer() {
    let door = Door::open().await;
    web(&door).await;
    let check = |change: Value| update(json!({"health-check": change}));
    let asked = json!({"host": "shop.example", "expected-status": [200, "204-299"], "expected-body": "well"});
    let after = door.succeed(&check(asked)).await;
    let shown = &after["backend"]["health-check"];
    assert_eq!(shown["host"], "shop.example");
    assert_eq!(shown["expected-status"], json!([200, "204-299"]));
    assert_eq!(shown["expected-body"], "well");
    door.succeed(&check(json!({"protocol": "TCP"}))).await;
    let after = door.succeed(&check(json!({"protocol": "HTTP"}))).await;
    let shown = &after["backend"]["health-check"];
    for name in ["host", "expected-status", "expected-body"] {
        assert!(shown.get(name).is_none(), "{name}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_added_removed_and_replaced_in_one_step() {
    let door = Door::open().await;
    web(&door).await;
    let patch = json!({"backend": {"remove": ["http://1.1.1.10/"], "add": ["1.1.1.10:81", ["1.1.1.12"]],
        "replace": [["1.1.1.11", {"address": "1.1.1.13", "weight": 7}]]}});
    let after = door.succeed(&update(patch)).await;
    let expected =
        json!([{"address": "1.1.1.13", "port": 80, "weight": 7}, "1.1.1.10:81", "1.1.1.12:80"]);
    assert_eq!(after["backend"]["entities"], expected);
    let patch = json!({"backend": {"replace": [["1.1.1.13", "1.1.1.14"]]}});
    let after = door.succeed(&update(patch)).await;
    assert_eq!(
        after["backend"]["entities"][0]["weight"], 7,
        "the new one takes the old one's weight"
    );
    assert_eq!(after["generation"], 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_instance_keeps_its_old_url_from_others() {
    let door = Door::open().await;
    web(&door).await;
    let after = door
        .succeed(&update(json!({"new-name": "shop front"})))
        .await;
    assert_eq!(after["url"], "http://shop-front.default.lb.evenkeel.test/");
    let stored = door
        .stored()
        .instances
        .into_values()
        .next()
        .expect("an instance");
    assert_eq!(
        stored.former_labels.into_iter().collect::<Vec<_>>(),
        ["web"]
    );
    let other =
        json!({"action": "create", "type": "instance", "info": {"user": "ann", "name": "web"}});
    assert_eq!(
        door.succeed(&other).await["url"],
        "http://web-2.default.lb.evenkeel.test/"
    );
    let back = json!({"action": "update", "type": "instance", "info": {"user": "ann", "id": 1, "new-name": "web 1"}});
    assert_eq!(
        door.succeed(&back).await["url"],
        "http://web-1.default.lb.evenkeel.test/"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_project_keeps_the_urls_of_its_instances() {
    let door = Door::open().await;
    let before = web(&door).await;
    let rename = json!({"action": "update", "type": "project", "info": {"user": "ann", "name": "default", "new-name": "shop"}});
    let project = door.succeed(&rename).await;
    assert_eq!(
        (&project["name"], &project["instances"][0]["url"]),
        (&json!("shop"), &before["url"])
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_never_given_twice_and_labels_are_kept_apart() {
    let door = Door::open().await;
    let create = |user: &str, name: &str| json!({"action": "create", "type": "project", "info": {"user": user, "name": name}});
    assert_eq!(door.succeed(&create("ann", "web")).await["id"], 1);
    assert_eq!(door.succeed(&create("bob", "web")).await["id"], 2);
    let labels: Vec<_> = door
        .stored()
        .projects
        .into_values()
        .map(|p| p.label)
        .collect();
    assert_eq!(labels, ["web", "web-2"]);
    door.succeed(&json!({"action": "delete", "type": "project", "info": {"user": "bob", "id": 2}}))
        .await;
    assert_eq!(door.succeed(&create("bob", "web")).await["id"], 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_takes_all_of_a_project_and_nothing_of_another() {
    let door = Door::open().await;
    web(&door).await;
    let bobs = json!({"action": "create", "type": "instance", "info": {"user": "bob", "subnet": "1.1.1.0/24"}});
    door.succeed(&bobs).await;
    let attach = json!({"action": "update", "type": "subnet", "info": {"user": "ann", "subnet": "2.2.2.0/24", "attach": ["veth0"]}});
    door.succeed(&attach).await;
    let delete = json!({"action": "delete", "type": "project", "cascade": true, "info": {"user": "ann", "name": "default"}});
    assert_eq!(
        door.succeed(&delete).await,
        json!({"name": "default", "id": 1, "condition": "deleted"})
    );
    let left = door.stored();
    assert_eq!(
        (
            left.projects.len(),
            left.instances.len(),
            left.attachments.len()
        ),
        (1, 1, 0)
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_is_told_with_its_interfaces_and_instances() {
    let door = Door::open().await;
    web(&door).await;
    let change = |fields: Value| {
        let mut info = json!({"user": "ann", "subnet": "1.1.1.0/24"});
        for (name, value) in fields.as_object().expect("an object") {
            info[name] = value.clone();
        }
        json!({"action": "update", "type": "subnet", "info": info})
    };
    for _ in 0..2 {
        let after = door
            .succeed(&change(json!({"attach": ["veth0", "eth1.7"]})))
            .await;
        let expected = json!({"subnet": "1.1.1.0/24", "project": "default", "interfaces": ["eth1.7", "veth0"], "instances": ["web"]});
        assert_eq!(after, expected, "attaching again is no mistake");
    }
    door.succeed(&change(json!({"detach": ["veth0"]}))).await;
    let told = door
        .succeed(&json!({"action": "info", "type": "subnet", "info": {"user": "ann"}}))
        .await;
    assert_eq!(told["subnets"][0]["interfaces"], json!(["eth1.7"]));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_found_by_name_wherever_it_is_unless_two_have_the_name() {
    let door = Door::open().await;
    for project in ["a", "b"] {
        door.succeed(&json!({"action": "create", "type": "project", "info": {"user": "ann", "name": project}})).await;
    }
    let create = |project: &str, name: &str| {
        json!({"action": "create", "type": "instance",
        "info": {"user": "ann", "project": project, "name": name, "subnet": "1.1.1.0/24"}})
    };
    door.succeed(&create("a", "web")).await;
    let read =
        json!({"action": "info", "type": "instance", "info": {"user": "ann", "name": "web"}});
    assert_eq!(door.succeed(&read).await["project"], "a");
    door.succeed(&create("b", "web")).await;
    let refused = door.refused(&read).await;
    assert_eq!(
        refused,
        (409, "ambiguous-project".into(), "info.project".into())
    );
    let all = json!({"action": "info", "type": "instance", "info": {"user": "ann"}});
    assert_eq!(
        door.succeed(&all).await["instances"]
            .as_array()
            .expect("a list")
            .len(),
        2
    );
    door.close().await;
}
