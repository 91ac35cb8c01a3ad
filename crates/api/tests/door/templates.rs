//! The mission's templates, as they stand there.

use serde_json::{Value, json};

use crate::support::Door;

#[tokio::test(flavor = "multi_thread")]
async fn the_project_template_gives_the_response_template() {
    let door = Door::open().await;
    let request = br#"{
    "action": "create",
    "type": "project",
    "info": {
        "name": "example"
    }
}"#;
    let (status, answer) = door.ask_text(request).await;
    assert_eq!(status, 200);
    let expected = json!({"status": "successful", "action": "create", "type": "project", "info": {"name": "example", "id": 1}});
    assert_eq!(answer, expected);
    for action in ["info", "update", "delete"] {
        let request = json!({"action": action, "type": "project", "info": {"name": "example"}});
        assert_eq!(door.succeed(&request).await["name"], "example", "{action}");
    }
    assert!(door.stored().projects.is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_may_stand_in_arrays_as_the_templates_write_them() {
    let door = Door::open().await;
    let request = json!({"action": ["create"], "type": ["instance"], "info": {"name": "example",
        "traffic_type": ["tcp"], "port": 5432, "subnet": "1.1.1.0/24", "backend": {"entities": [["1.1.1.10:5432"], ["tcp://1.1.1.11:5432"]],
        "health-check": {"protocol": ["TCP"]}}}});
    let (status, answer) = door.ask(&request).await;
    assert_eq!(
        (status, &answer["info"]["url"]),
        (200, &json!("tcp://example.default.lb.evenkeel.test:5432")),
        "{answer:#}"
    );
    assert_eq!(answer["info"]["backend"]["health-check"]["protocol"], "TCP");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_in_the_missions_own_form_is_made() {
    let door = Door::open().await;
    let request = br#"{"action": "create", "type": "project", "info": {
    "type": "project",
    "user": "john",
    "name": "john's project",
    "instances": []
}}"#;
    let (_, answer) = door.ask_text(request).await;
    assert_eq!(answer["info"], json!({"name": "john's project", "id": 1}));
    let stored = door.stored();
    let project = stored.projects.values().next().expect("a project");
    assert_eq!(
        (project.user.as_str(), project.label.as_str()),
        ("john", "johns-project")
    );
    door.close().await;
}

/// The mission's instance, with its placeholders filled in and its health check in it.
const INSTANCE: &str = r#"{
    "type": "instance",
    "traffic_type": "http",
    "subnet": "1.1.1.0/24",
    "backend": {
        "entities": [
            ["1.1.1.10"], ["http://1.1.1.11:8080/"]
        ],
        "health-check": {},
        "auto-scaling": true
    }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_in_the_missions_own_form_gets_all_defaults() {
    let door = Door::open().await;
    let info: Value = serde_json::from_str(INSTANCE).expect("JSON");
    let made = door
        .succeed(&json!({"action": "create", "type": "instance", "info": info}))
        .await;
    assert_eq!(made["name"], "http-1");
    assert_eq!(made["url"], "http://http-1.default.lb.evenkeel.test/");
    assert_eq!(made["project"], "default");
    let expected = json!({
        "entities": ["1.1.1.10:80", "1.1.1.11:8080"],
        "health-check": {"protocol": "HTTP", "request-path": "/",
            "criteria": {"interval": 5, "timeout": 5, "health-threshold": 2, "unhealth-threshold": 2}},
        "auto-scaling": {"min": 1, "max": 4},
    });
    assert_eq!(made["backend"], expected);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_template_is_taken_as_it_stands() {
    let door = Door::open().await;
    let template: Value = serde_json::from_str(
        r#"{
    "protocol": "HTTP",
    "port": 80,
    "request-path": "/",
    "criteria": {
        "interval": 5,
        "timeout": 5,
        "health-threshold": 2,
        "unhealth-threshold": 2
    }
}"#,
    )
    .expect("JSON");
    let request = json!({"action": "create", "type": "instance", "info": {"subnet": "1.1.1.0/24", "backend": {"health-check": template}}});
    assert_eq!(
        door.succeed(&request).await["backend"]["health-check"],
        template
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_given_with_a_project_are_made_with_it() {
    let door = Door::open().await;
    let instance: Value = serde_json::from_str(INSTANCE).expect("JSON");
    let request = json!({"action": "create", "type": "project", "info": {"user": "john", "name": "p",
        "instances": [instance, {"name": "db", "traffic_type": "tcp", "port": 5432, "project": "p", "user": "john"}]}});
    let made = door.succeed(&request).await;
    assert_eq!(
        made["instances"][0]["url"],
        "http://http-1.p.lb.evenkeel.test/"
    );
    assert_eq!(
        made["instances"][1]["url"],
        "tcp://db.p.lb.evenkeel.test:5432"
    );
    assert_eq!(door.stored().instances.len(), 2);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_can_be_given_again() {
    let door = Door::open().await;
    let request = json!({"action": "create", "type": "instance", "info": {"user": "john", "name": "web", "port": 8080,
        "subnet": "1.1.1.0/24", "backend": {"entities": ["1.1.1.10", {"address": "1.1.1.11", "port": 81, "weight": 0}, "b.example:82"],
        "health-check": {"protocol": "tcp", "port": 9, "request-path": "/x?y=%20", "criteria": {"interval": 0.5, "timeout": 0.25, "health-threshold": 3}},
        "auto-scaling": {"min": 2}}}});
    let first = door.succeed(&request).await;
    let mut again = json!({"user": "ann", "name": "web"});
    for field in ["type", "traffic_type", "port", "subnet", "backend"] {
        again[field] = first[field].clone();
    }
    let second = door
        .succeed(&json!({"action": "create", "type": "instance", "info": again}))
        .await;
    for field in ["type", "traffic_type", "port", "subnet", "backend"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    let mut patch = again;
    patch["id"] = second["id"].clone();
    let patched = door
        .succeed(&json!({"action": "update", "type": "instance", "info": patch}))
        .await;
    assert_eq!(patched["generation"], 1, "a change into itself is none");
    door.close().await;
}
