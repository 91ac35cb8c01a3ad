//! Every malformed request is refused with a code and the place of the mistake, and leaves no trace.

use serde_json::{Value, json};

use crate::support::Door;

/// What is there before: ann's projects `shop` (with the instances `web` and `db`) and `lab`.
async fn furnish(door: &Door) {
    for request in [
        json!({"action": "create", "type": "project", "info": {"user": "ann", "name": "shop"}}),
        json!({"action": "create", "type": "project", "info": {"user": "ann", "name": "lab"}}),
        json!({"action": "create", "type": "instance", "info": {"user": "ann", "project": "shop",
            "name": "web", "backend": {"entities": ["1.1.1.10:8080", "1.1.1.11:8080"]}}}),
        json!({"action": "create", "type": "instance", "info": {"user": "ann", "project": "shop",
            "name": "db", "traffic_type": "tcp", "port": 5432, "backend": {"entities": ["1.1.1.20:5432"]}}}),
        json!({"action": "update", "type": "subnet", "info": {"user": "ann", "project": "shop",
            "subnet": "1.1.1.0/24", "attach": ["veth0"]}}),
    ] {
        door.succeed(&request).await;
    }
}

/// The table: requests, and for each the status, code and path of its refusal.
const TABLE: &str = include_str!("refusals.txt");

struct Case {
    request: String,
    refusal: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        match line.strip_prefix("    ") {
            Some(refusal) => {
                cases
                    .last_mut()
                    .expect("a request before its refusal")
                    .refusal = refusal.to_owned()
            }
            None => cases.push(Case {
                request: written_out(line),
                refusal: String::new(),
            }),
        }
    }
    cases
}

/// The request's text, where a line gives action, type and info in short.
fn written_out(line: &str) -> String {
    let words: Vec<_> = line.splitn(3, ' ').collect();
    match words.as_slice() {
        [action, kind @ ("project" | "instance" | "subnet"), info] => {
            let mut info: Value = serde_json::from_str(info).expect("JSON");
            if info.get("user").is_none() {
                info["user"] = "ann".into();
            }
            json!({"action": action, "type": kind, "info": info}).to_string()
        }
        ["(nothing)"] => String::new(),
        _ => line.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_is_refused_at_its_place_and_changes_nothing() {
    let door = Door::open().await;
    furnish(&door).await;
    let before = door.stored();
    let cases = cases();
    assert!(cases.len() >= 150, "the table was read");
    let mut wrong = Vec::new();
    for Case { request, refusal } in &cases {
        let (status, answer) = door.ask_text(request.as_bytes()).await;
        let text = |name: &str| answer["info"][name].as_str().unwrap_or_default();
        let found = format!("{status} {} {}", text("code"), text("path"));
        let is_spoken = !text("message").is_empty() && !text("hint").is_empty();
        if found.trim_end() != refusal || answer["status"] != "fail" || !is_spoken {
            wrong.push(format!(
                "{request}\n  expected {refusal}\n  found    {answer}"
            ));
        }
        assert_eq!(door.stored(), before, "{request}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mistake_among_several_instances_leaves_no_project_behind() {
    let door = Door::open().await;
    let request =
        json!({"action": "create", "type": "instance", "info": {"user": "bob", "name": "x"}});
    assert_eq!(door.refused(&request).await.1, "missing-field");
    assert_eq!(
        door.stored(),
        model::Intent::default(),
        "not even the default project was made"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_say_what_to_do() {
    let door = Door::open().await;
    furnish(&door).await;
    let cases = [
        (
            json!({"action": "create", "type": "instance", "info": {"user": "ann", "project": "lab", "subnet": "1.1.1.5/24"}}),
            "the network is 1.1.1.0/24",
        ),
        (
            json!({"action": "create", "type": "instance", "info": {"user": "ann", "traffic-type": "http"}}),
            "did you mean `traffic_type`?",
        ),
        (
            json!({"action": "create", "type": "instance", "info": {"user": "ann", "subnet": "1.1.1.0/24"}}),
            "name one: shop, lab",
        ),
        (
            json!({"action": "info", "type": "project", "info": {"user": "bob", "name": "shop"}}),
            "bob has no projects",
        ),
        (
            json!({"action": "delete", "type": "project", "info": {"user": "ann", "name": "shop"}}),
            "\"cascade\": true",
        ),
        (
            json!({"action": "update", "type": "instance", "info": {"user": "ann", "name": "web", "backend": {"remove": ["1.1.1.9"]}}}),
            "its backends: 1.1.1.10:8080, 1.1.1.11:8080",
        ),
    ];
    for (request, hint) in cases {
        let (_, answer) = door.ask(&request).await;
        let found = answer["info"]["hint"].as_str().expect("a hint");
        assert!(found.contains(hint), "{request}\n{found}");
    }
    door.close().await;
}
