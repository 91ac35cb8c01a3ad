//! What happened, and why something is as it is.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use access_log::{Budget, Keeper};
use model::access::{AccessHead, AccessLengths, AccessRecord};
use model::{
    BackendHealth, BackendReport, Condition, Event, EventKind, Generation, InstanceId,
    InstanceReport, Termination, Timestamp, VmId, Waiting,
};
use serde_json::{Value, json};
use store::journal::{About, Entry, Journal};
use store::{Transaction, status};
use tokio::io::AsyncWriteExt;

use crate::support::{Door, PATIENCE};

fn events(info: Value) -> Value {
    json!({"action": "info", "type": "events", "info": info})
}

/// The texts of the events, once there are so many: they are written beside the answer.
async fn texts(door: &Door, info: Value, count: usize) -> Vec<String> {
    let request = events(info);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = door.succeed(&request).await;
        let told = told["events"].as_array().expect("a list").clone();
        if told.len() >= count || Instant::now() > deadline {
            let text = |event: &Value| event["text"].as_str().expect("a text").to_owned();
            return told.iter().map(text).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn order(door: &Door, action: &str, info: Value) {
    let request = json!({"action": action, "type": "instance", "info": info});
    door.succeed(&request).await;
}

#[tokio::test]
async fn what_users_ask_is_kept_beyond_what_they_asked_for() {
    let door = Door::open().await;
    let web = || json!({"user": "ann", "name": "web"});
    order(
        &door,
        "create",
        json!({"user": "ann", "name": "web", "backend": {"entities": ["1.1.1.10"]}}),
    )
    .await;
    order(
        &door,
        "update",
        json!({"user": "ann", "name": "web", "auto-scaling": true, "backend": {"add": ["1.1.1.11"]}}),
    )
    .await;
    // It is so already, and nothing becomes of it.
    let again = json!({"user": "ann", "name": "web", "auto-scaling": true});
    order(&door, "update", again).await;
    order(
        &door,
        "create",
        json!({"user": "bob", "name": "web", "backend": {"entities": ["1.1.1.10"]}}),
    )
    .await;
    order(&door, "delete", web()).await;
    let expected = [
        "ann asked for web: http on port 80, 1 backend",
        "ann asked to change auto-scaling, backend.add: generation 2",
        "ann asked to delete web",
    ];
    assert_eq!(
        texts(&door, json!({"user": "ann", "instance": "web"}), 3).await,
        expected
    );
    assert_eq!(
        texts(&door, json!({"user": "ann", "id": 1}), 3).await,
        expected
    );
    let all = texts(&door, json!({"user": "ann"}), 3).await;
    assert_eq!(all, expected, "another user's are not among them");
    let one = json!({"user": "ann", "instance": "web", "kind": "asked", "limit": 1});
    let told = door.succeed(&events(one)).await;
    assert_eq!(
        (&told["events"][0]["text"], &told["more"]),
        (&json!(expected[2]), &json!(true))
    );
    let (status, code, path) = door
        .refused(&events(json!({"user": "ann", "instance": "wev"})))
        .await;
    assert_eq!(
        (status, &*code, &*path),
        (404, "not-found", "info.instance")
    );
    let foreign = events(json!({"user": "bob", "id": 1}));
    assert_eq!(door.refused(&foreign).await.1, "not-found");
    door.close().await;
}

#[tokio::test]
async fn who_follows_events_gets_those_that_come() {
    let door = Door::open().await;
    order(
        &door,
        "create",
        json!({"user": "ann", "name": "web", "backend": {"entities": ["1.1.1.10"]}}),
    )
    .await;
    texts(&door, json!({"user": "ann"}), 1).await;
    let first = door.succeed(&events(json!({"user": "ann"}))).await;
    order(&door, "delete", json!({"user": "ann", "name": "web"})).await;
    let next = json!({"user": "ann", "after": first["after"]});
    assert_eq!(texts(&door, next, 1).await, ["ann asked to delete web"]);
    door.close().await;
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    u64::try_from(since.as_millis()).expect("a time")
}

fn report() -> InstanceReport {
    let backend = |number: u8, health, check: &str| BackendReport {
        entity: format!("1.1.1.{number}:80"),
        address: Some(Ipv4Addr::new(1, 1, 1, number)),
        port: 80,
        weight: 1,
        backup: false,
        health,
        since: Some(Timestamp(now() - 200_000)),
        last_check: check.into(),
        requests: 0,
    };
    InstanceReport {
        generation: Generation(1),
        condition: Condition::Failing,
        in_effect: false,
        configuration: Generation(1),
        addresses: Vec::new(),
        vms: Vec::new(),
        backends: vec![
            backend(10, BackendHealth::Down, "connection refused"),
            backend(11, BackendHealth::Down, "no answer within 2000 ms"),
        ],
        scaling: None,
        waiting_for: vec![
            Waiting {
                what: "DNS".into(),
                why: "the port is in use".into(),
            },
            Waiting {
                what: "backend 1.1.1.10:80".into(),
                why: "connection refused".into(),
            },
        ],
    }
}

/// A door with one instance that fails, of which much is known.
async fn furnished() -> Door {
    let door = Door::open().await;
    let form = json!({"user": "ann", "name": "web", "backend": {"entities": ["1.1.1.10", "1.1.1.11"]},
        "timeouts": {"response": 2.5}});
    order(&door, "create", form).await;
    let key = status::report_key(InstanceId(1));
    let put = Transaction::new().put_json(key, &report()).expect("JSON");
    door.status.commit(put).expect("a report");
    let journal = Journal::begin(door.socket.with_file_name("journal.db"));
    let event = Event {
        at: Timestamp(now() - 1_000),
        vm: None,
        kind: EventKind::Backend,
        text: "backend 1.1.1.10:80 is down: connection refused".into(),
    };
    let about = About {
        instance: Some(InstanceId(1)),
        ..About::default()
    };
    journal.note(vec![Entry { about, event }]);
    assert!(journal.flush(PATIENCE));
    let budget = Budget {
        instance: 1 << 20,
        total: 1 << 20,
    };
    let mut keeper =
        Keeper::open(door.socket.with_file_name("access-logs"), budget).expect("a log");
    for (termination, status, id) in [
        (Termination::ResponseTimeout, 504, "first"),
        (Termination::ResponseTimeout, 504, "second"),
        (Termination::NoHealthyBackend, 503, "third"),
        (Termination::Complete, 200, "fourth"),
    ] {
        let head = AccessHead {
            status,
            termination,
            vm: VmId(3),
            ended_us: now() * 1000,
            total_us: 2_500_000,
            backend: "1.1.1.10:80".parse().expect("an address"),
            lengths: AccessLengths {
                method: 3,
                host: 3,
                path: 5,
                id: id.len() as u8,
                ..AccessLengths::default()
            },
            ..AccessHead::default()
        };
        let text = format!("GETweb/slow{id}");
        let mut record = Vec::new();
        AccessRecord::write(&head, text.as_bytes(), &mut record);
        keeper.append(InstanceId(1), &record, 1, 0).expect("space");
    }
    keeper.flush().expect("space");
    door
}

fn explain(info: Value) -> Value {
    json!({"action": "info", "type": "explain", "info": info})
}

fn finding<'a>(told: &'a Value, about: &str) -> Vec<&'a Value> {
    let findings = told["findings"].as_array().expect("a list");
    findings
        .iter()
        .filter(|one| one["about"] == about)
        .collect()
}

#[tokio::test]
async fn an_instance_that_fails_is_explained_from_all_that_is_known() {
    let door = furnished().await;
    let told = door
        .succeed(&explain(json!({"user": "ann", "instance": "web"})))
        .await;
    assert_eq!(told["condition"], "failing");
    let summary = "it does not answer, and did before: 0 of 0 VMs serve, 0 of 2 backends are up";
    assert_eq!(told["summary"], summary);
    let missing = finding(&told, "DNS");
    assert_eq!(missing[0]["why"], "the port is in use");
    let [refusing] = finding(&told, "backend 1.1.1.10:80")[..] else {
        panic!("told once: {told:#}");
    };
    assert_eq!(refusing["what"], "it is down, as was found 3 min ago");
    let evidence = refusing["evidence"][0].as_str().expect("an event");
    assert!(
        evidence.ends_with("backend 1.1.1.10:80 is down: connection refused"),
        "{evidence}"
    );
    let advice = refusing["advice"].as_str().expect("advice");
    assert!(advice.contains("listens on the port"), "{advice}");
    let silent = finding(&told, "backend 1.1.1.11:80")[0]["advice"].to_string();
    assert!(silent.contains("firewall"), "{silent}");
    let requests = finding(&told, "requests");
    assert_eq!(
        requests[0]["what"],
        "2 requests of the last 10 min failed: response-timeout"
    );
    assert_eq!(
        requests[0]["why"],
        "the backend did not begin its answer within 2.5 s"
    );
    assert_eq!(
        requests[0]["evidence"],
        json!(["2 × GET /slow by backend 1.1.1.10:80"])
    );
    assert_eq!(
        requests[1]["what"],
        "1 request of the last 10 min failed: no-healthy-backend"
    );
    let roles = finding(&told, "installation").len();
    assert_eq!(roles, 5, "nobody plays any role here");
    door.close().await;
}

#[tokio::test]
async fn an_instance_is_explained_without_a_journal_that_cannot_be_read() {
    let door = furnished().await;
    let journal = door.socket.with_file_name("journal.db");
    std::fs::remove_file(&journal).expect("it is there");
    std::fs::create_dir(&journal).expect("it is gone");
    let told = door
        .succeed(&explain(json!({"user": "ann", "instance": "web"})))
        .await;
    assert!(!finding(&told, "backend 1.1.1.10:80").is_empty());
    let troubles = finding(&told, "installation");
    let says = |one: &&Value| {
        one["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("what happened cannot be read"))
    };
    assert!(troubles.iter().any(says), "{told:#}");
    door.close().await;
}

/// Whoever asks and hangs up has asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asked_who_did_not_wait_for_the_answer_is_kept_as_well() {
    let door = Door::open().await;
    for number in 0..20 {
        let info = json!({"user": "ann", "name": format!("web{number}"), "backend": {"entities": ["1.1.1.10"]}});
        let body = json!({"action": "create", "type": "instance", "info": info}).to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(door.address)
            .await
            .expect("a connection");
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .expect("it is taken");
        tokio::time::sleep(Duration::from_millis(number)).await;
    }
    // Those that hung up first may not have been read at all.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored = door.stored().instances.len();
        let noted = texts(&door, json!({"user": "ann", "kind": "asked"}), stored).await;
        let noted = noted
            .iter()
            .filter(|text| text.contains("asked for web"))
            .count();
        if noted == door.stored().instances.len() && noted > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{noted} of {stored}");
    }
    door.close().await;
}

#[tokio::test]
async fn a_request_is_explained_by_its_line_and_what_happened_then() {
    let door = furnished().await;
    let ask =
        |request: &str| explain(json!({"user": "ann", "instance": "web", "request": request}));
    let told = door.succeed(&ask("first")).await;
    let [request] = finding(&told, "request")[..] else {
        panic!("one line: {told:#}");
    };
    let what = request["what"].as_str().expect("a text");
    assert!(what.starts_with("GET web/slow of "), "{what}");
    assert!(what.contains("was answered 504"), "{what}");
    assert_eq!(
        request["why"],
        "the backend did not begin its answer within 2.5 s"
    );
    let evidence = request["evidence"].to_string();
    assert!(evidence.contains("VM 3, backend 1.1.1.10:80"), "{evidence}");
    assert!(
        evidence.contains("is down: connection refused"),
        "{evidence}"
    );
    let told = door.succeed(&ask("nothing")).await;
    assert_eq!(told["findings"], json!([]));
    let summary = told["summary"].as_str().expect("a text");
    assert!(
        summary.contains("no request `nothing` in the access log of web"),
        "{summary}"
    );
    door.close().await;
}

#[tokio::test]
async fn what_nobody_has_taken_up_is_said_to_be_so() {
    let door = Door::open().await;
    order(
        &door,
        "create",
        json!({"user": "ann", "name": "web", "backend": {"entities": ["1.1.1.10"]}}),
    )
    .await;
    let told = door
        .succeed(&explain(json!({"user": "ann", "instance": "web"})))
        .await;
    assert_eq!(told["summary"], "the controller has not taken it up yet");
    let first = &finding(&told, "installation");
    assert!(
        first
            .iter()
            .any(|one| one["what"] == "the controller is not alive")
    );
    door.close().await;
}
