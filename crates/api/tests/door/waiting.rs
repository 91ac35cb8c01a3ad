//! Answers come when the controller reports what was asked for, or say what is missing.

use std::time::{Duration, Instant};

use model::{Condition, Generation, InstanceId, InstanceReport, Waiting};
use serde_json::json;
use store::intent::read_intent;
use store::{Store, Transaction, status};

use crate::support::{Door, PATIENCE};

fn report(generation: u64, in_effect: bool, condition: Condition) -> InstanceReport {
    let missing = |what: &str, why: &str| {
        vec![Waiting {
            what: what.into(),
            why: why.into(),
        }]
    };
    InstanceReport {
        generation: Generation(generation),
        condition,
        in_effect,
        configuration: Generation(1),
        addresses: Vec::new(),
        vms: Vec::new(),
        backends: Vec::new(),
        scaling: None,
        waiting_for: match condition {
            Condition::Serving => Vec::new(),
            Condition::Degraded => missing("backend 1.1.1.10:80", "connection refused"),
            _ => missing("VM 1", "it boots"),
        },
    }
}

fn write(store: &Store, id: u64, report: Option<&InstanceReport>) {
    let key = status::report_key(InstanceId(id));
    let transaction = match report {
        Some(report) => Transaction::new().put_json(key, report).expect("JSON"),
        None => Transaction::new().delete(key),
    };
    store.commit(transaction).expect("a commit");
}

fn create(name: &str) -> serde_json::Value {
    json!({"action": "create", "type": "instance", "info": {"user": "ann", "name": name, "subnet": "1.1.1.0/24"}})
}

/// Waits until the intent holds so many instances: the request was taken up.
async fn until_stored(door: &Door, count: usize) {
    let mut watch = door.intent.watch("intent/");
    while door.stored().instances.len() != count {
        tokio::time::timeout(PATIENCE, watch.changed())
            .await
            .expect("a change in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_answers_when_the_generation_is_in_effect_and_holds_up_nobody() {
    let door = Door::open_with(PATIENCE).await;
    let asked = create("web");
    let creation = door.succeed(&asked);
    let controller = async {
        until_stored(&door, 1).await;
        write(&door.status, 1, Some(&report(1, false, Condition::Pending)));
        let begin = Instant::now();
        let told = door.succeed(&json!({"action": "info", "type": "instance", "info": {"user": "ann", "name": "web"}})).await;
        assert_eq!(
            (&told["condition"], &told["waiting_for"]),
            (
                &json!("pending"),
                &json!([{"for": "VM 1", "why": "it boots"}])
            )
        );
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "others are answered meanwhile"
        );
        write(&door.status, 1, Some(&report(1, true, Condition::Degraded)));
    };
    let (made, ()) = tokio::join!(creation, controller);
    assert_eq!(
        made["condition"], "degraded",
        "with a backend that is not well, the URL answers all the same"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_waits_for_its_own_generation() {
    let door = Door::open().await;
    door.succeed(&create("web")).await;
    write(&door.status, 1, Some(&report(1, true, Condition::Serving)));
    let patch = |wait: f64, max: u32| {
        json!({"action": "update", "type": "instance", "wait": wait,
        "info": {"user": "ann", "name": "web", "auto-scaling": {"max": max}}})
    };
    let late = door.succeed(&patch(0.05, 2)).await;
    assert_eq!(
        late["condition"], "degraded",
        "the old generation serves, the new one does not"
    );
    assert_eq!(late["waiting_for"][0]["for"], "controller");
    let request = patch(20.0, 3);
    let update = door.succeed(&request);
    let controller = async {
        let mut watch = door.intent.watch("intent/");
        while door.stored().instances[&InstanceId(1)].generation != Generation(3) {
            watch.changed().await;
        }
        write(&door.status, 1, Some(&report(3, true, Condition::Serving)));
    };
    let (updated, ()) = tokio::join!(update, controller);
    assert_eq!(
        (&updated["condition"], &updated["waiting_for"]),
        (&json!("serving"), &json!([]))
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_time_runs_out_the_answer_is_successful_and_says_what_is_missing() {
    let door = Door::open_with(Duration::from_millis(50)).await;
    let made = door.succeed(&create("web")).await;
    assert_eq!(
        (&made["condition"], &made["waiting_for"][0]["for"]),
        (&json!("pending"), &json!("controller"))
    );
    assert_eq!(made["url"], "http://web.default.lb.evenkeel.test/");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_false_answers_at_once() {
    let door = Door::open_with(PATIENCE).await;
    let begin = Instant::now();
    let mut request = create("a");
    request["wait"] = false.into();
    door.succeed(&request).await;
    let mut request = create("b");
    request["info"]["wait"] = false.into();
    door.succeed(&request).await;
    assert!(begin.elapsed() < PATIENCE / 2);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_answers_when_nothing_is_left_in_the_world() {
    let door = Door::open().await;
    door.succeed(&create("web")).await;
    write(&door.status, 1, Some(&report(1, true, Condition::Serving)));
    let delete = |wait: f64| json!({"action": "delete", "type": "instance", "wait": wait, "info": {"user": "ann", "name": "web"}});
    let request = delete(20.0);
    let deletion = door.succeed(&request);
    let controller = async {
        until_stored(&door, 0).await;
        write(
            &door.status,
            1,
            Some(&report(1, false, Condition::Deleting)),
        );
        tokio::task::yield_now().await;
        write(&door.status, 1, None);
    };
    let (gone, ()) = tokio::join!(deletion, controller);
    assert_eq!(
        gone,
        json!({"name": "web", "id": 1, "condition": "deleted"})
    );
    door.succeed(&create("web")).await;
    write(
        &door.status,
        2,
        Some(&report(1, false, Condition::Deleting)),
    );
    let going = door.succeed(&delete(0.0)).await;
    let expected = json!({"name": "web", "id": 2, "condition": "deleting", "waiting_for": [{"for": "VM 1", "why": "it boots"}]});
    assert_eq!(going, expected);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_account_tells_of_is_not_gone_before_the_controller_knows_of_its_deletion() {
    let door = Door::open().await;
    let goes_by = |revision: u64| {
        let transaction = Transaction::new().put_json(status::INTENT_KEY, &revision);
        let transaction = transaction.expect("JSON");
        door.status.commit(transaction).expect("a commit");
    };
    goes_by(0);
    door.succeed(&create("web")).await;
    let delete = |wait: f64| json!({"action": "delete", "type": "instance", "wait": wait, "info": {"user": "ann", "name": "web"}});
    let going = door.succeed(&delete(0.0)).await;
    let expected = json!({"name": "web", "id": 1, "condition": "deleting", "waiting_for": [{"for": "controller", "why": "it has not taken up the deletion yet"}]});
    assert_eq!(going, expected);
    door.succeed(&create("web")).await;
    let request = delete(20.0);
    let deletion = door.succeed(&request);
    let controller = async {
        until_stored(&door, 0).await;
        let (revision, _) = read_intent(&door.intent).expect("the intent");
        goes_by(revision.get() - 1);
        // It knows of the instance, and then of its deletion, by when a VM was made.
        write(
            &door.status,
            2,
            Some(&report(1, false, Condition::Deleting)),
        );
        goes_by(revision.get());
        tokio::task::yield_now().await;
        write(&door.status, 2, None);
    };
    let (gone, ()) = tokio::join!(deletion, controller);
    assert_eq!(gone["condition"], "deleted");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_answered_when_the_server_ends() {
    let door = Door::open_with(PATIENCE).await;
    let address = door.address;
    let body = create("web").to_string();
    let waiting = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all((head + &body).as_bytes())
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    until_stored(&door, 1).await;
    let begin = Instant::now();
    door.close().await;
    let answer = waiting.await.expect("no panic");
    assert!(answer.contains(r#""condition":"pending""#), "{answer}");
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "it is not cut off at the end of the grace either"
    );
}
