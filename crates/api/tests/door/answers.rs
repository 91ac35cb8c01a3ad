//! Answers as they are, kept beside this file: a change to them is a change for users.

use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendReport, Condition, Driver, Generation, InstanceId, InstanceReport,
    Timestamp, Verdict, VmId, VmReport, Waiting,
};
use serde_json::{Value, json};
use store::{Transaction, status};

use crate::support::Door;

fn report() -> InstanceReport {
    let vm = |id, state, address: [u8; 4], leaving: Option<&str>| VmReport {
        id: VmId(id),
        state,
        since: Timestamp(1_795_369_892_123),
        evidence: "heartbeat 0.4 s ago, probe answered".into(),
        aside: None,
        leaving: leaving.map(Into::into),
        driver: Driver::Qemu,
        accelerator: Some("tcg".into()),
        pid: Some(4242),
        address: Ipv4Addr::from(address),
        tenant_address: Ipv4Addr::new(1, 1, 1, 2),
        configuration: Some(Generation(1)),
        requests: 120,
        load: None,
    };
    let backend =
        |entity: &str, address: Option<[u8; 4]>, health, last_check: &str| BackendReport {
            entity: entity.into(),
            address: address.map(Ipv4Addr::from),
            port: 8080,
            weight: 1,
            backup: false,
            health,
            since: address.map(|_| Timestamp(1_795_369_893_000)),
            last_check: last_check.into(),
            requests: 60,
        };
    InstanceReport {
        generation: Generation(1),
        condition: Condition::Degraded,
        in_effect: false,
        configuration: Generation(1),
        addresses: vec![Ipv4Addr::new(10, 200, 0, 10)],
        vms: vec![
            vm(1, Verdict::Serving, [10, 200, 0, 10], None),
            vm(
                2,
                Verdict::Down,
                [10, 200, 0, 11],
                Some("its process is gone"),
            ),
        ],
        backends: vec![
            backend(
                "1.1.1.10:8080",
                Some([1, 1, 1, 10]),
                BackendHealth::Up,
                "200 OK in 3 ms",
            ),
            backend(
                "b.example:8080",
                None,
                BackendHealth::Unknown,
                "the name has no address",
            ),
        ],
        scaling: None,
        waiting_for: vec![Waiting {
            what: "VM 3".into(),
            why: "it boots".into(),
        }],
    }
}

/// The answer's text with the fields that differ from run to run made the same.
async fn golden(door: &Door, request: &Value) -> String {
    let body = request.to_string();
    let head = format!("Content-Length: {}\r\n", body.len());
    let (status, _, answer) = door.send("POST / HTTP/1.1", &head, body.as_bytes()).await;
    let mut text = answer.trim_end().to_owned();
    while let Some(at) = text.find("\"created_at\":\"2") {
        let end = at + "\"created_at\":\"".len();
        text.replace_range(end..end + "2026-01-01T00:00:00.000Z".len(), "<time>");
    }
    format!("{status}\n{}", indented(&text))
}

/// JSON with a line for each field, in the order in which it was sent (a `Value` would sort it).
fn indented(json: &str) -> String {
    let mut text = String::new();
    let (mut depth, mut in_string, mut last) = (0, false, ' ');
    for c in json.chars() {
        in_string ^= c == '"' && last != '\\';
        let ends = !in_string && matches!(c, '}' | ']');
        depth -= usize::from(ends);
        let breaks = match last {
            '{' | '[' => !ends,
            ',' => true,
            _ => ends && !matches!(last, '{' | '['),
        };
        if breaks && (!in_string || c == '"') && depth > 0 || (ends && depth == 0) {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        text.push(c);
        depth += usize::from(!in_string && matches!(c, '{' | '['));
        last = c;
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_they_were() {
    let door = Door::open().await;
    let create = json!({"action": "create", "type": "instance", "info": {"user": "john", "name": "web",
        "subnet": "1.1.1.0/24", "backend": {"entities": ["1.1.1.10:8080", {"address": "b.example", "port": 8080, "weight": 3}],
        "health-check": {"port": 8080, "criteria": {"interval": 2.5}}, "auto-scaling": {"min": 2, "max": 2}}}});
    insta::assert_snapshot!("instance-create", golden(&door, &create).await);
    let transaction = Transaction::new()
        .put_json(status::report_key(InstanceId(1)), &report())
        .and_then(|t| {
            t.put_json(
                status::TROUBLES_KEY,
                &["the image is missing: run evenkeel image build"],
            )
        })
        .and_then(|t| t.put_json(status::role_key("controller"), &json!({"pid": 7})));
    door.status
        .commit(transaction.expect("JSON"))
        .expect("a commit");
    let ask = |action: &str, kind: &str, info: Value| json!({"action": action, "type": kind, "info": info});
    for (name, request) in [
        (
            "instance-info",
            ask("info", "instance", json!({"user": "john", "name": "web"})),
        ),
        (
            "instances-info",
            ask("info", "instance", json!({"user": "john"})),
        ),
        (
            "project-info",
            ask(
                "info",
                "project",
                json!({"user": "john", "name": "default"}),
            ),
        ),
        (
            "projects-info",
            ask("info", "project", json!({"user": "john"})),
        ),
        ("system-info", ask("info", "system", json!({}))),
        (
            "instance-delete",
            ask("delete", "instance", json!({"user": "john", "name": "web"})),
        ),
        (
            "project-create",
            ask(
                "create",
                "project",
                json!({"user": "john", "name": "john's project"}),
            ),
        ),
        (
            "refusal",
            ask(
                "create",
                "instance",
                json!({"user": "john", "subnet": "1.1.1.5/24"}),
            ),
        ),
    ] {
        insta::assert_snapshot!(name, golden(&door, &request).await);
    }
    door.close().await;
}
