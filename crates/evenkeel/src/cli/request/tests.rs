use model::forms::read_request;
use serde_json::{Value, json};

use super::*;
use crate::cli::arguments::Command;
use crate::cli::arguments::tests::parse;

/// The request that a command line stands for; a file reads as `file`.
fn plan(line: &str, file: &str) -> Result<Request, Failure> {
    match parse(line).expect(line).command {
        Command::Ask(question) => plan_request(question, |_| Ok(file.to_owned())),
        other => panic!("{line} asks nothing: {other:?}"),
    }
}

fn body(line: &str, file: &str) -> Value {
    let request = plan(line, file).expect(line);
    let (_, _, read) = read_request(request.body.as_bytes());
    assert!(read.is_ok(), "the door cannot read {line}: {read:?}");
    serde_json::from_str(&request.body).expect("JSON")
}

fn request_json(action: &str, kind: &str, info: Value) -> Value {
    json!({"action": action, "type": kind, "info": info})
}

#[test]
fn commands_become_the_requests_of_the_door() {
    for (line, action, kind, info) in [
        ("evenkeel status", "info", "system", json!({})),
        ("evenkeel events", "info", "events", json!({})),
        (
            "evenkeel events web --kind added,leaving --vm 3 -n 5 -u john",
            "info",
            "events",
            json!({"instance": "web", "kind": ["added", "leaving"], "vm": 3, "limit": 5, "user": "john"}),
        ),
        (
            "evenkeel explain --id 3 --request 7a",
            "info",
            "explain",
            json!({"id": 3, "request": "7a"}),
        ),
        ("evenkeel project create", "create", "project", json!({})),
        (
            "evenkeel project create \"john's project\" --user john",
            "create",
            "project",
            json!({"name": "john's project", "user": "john"}),
        ),
        (
            "evenkeel project list -u john",
            "info",
            "project",
            json!({"user": "john"}),
        ),
        ("evenkeel projects ls", "info", "project", json!({})),
        (
            "evenkeel instance update web --set timeouts.connect=0.5 --set backend.algorithm=peak-ewma --set limits=null",
            "update",
            "instance",
            json!({"name": "web", "timeouts": {"connect": 0.5}, "backend": {"algorithm": "peak-ewma"}, "limits": null}),
        ),
        (
            "evenkeel project info --id 3",
            "info",
            "project",
            json!({"id": 3}),
        ),
        (
            "evenkeel project update a --new-name b",
            "update",
            "project",
            json!({"name": "a", "new-name": "b"}),
        ),
        (
            "evenkeel project delete a",
            "delete",
            "project",
            json!({"name": "a"}),
        ),
        (
            "evenkeel project delete a --cascade --wait 2.5",
            "delete",
            "project",
            json!({"name": "a", "cascade": true, "wait": 2.5}),
        ),
        ("evenkeel instance list", "info", "instance", json!({})),
        (
            "evenkeel instance list -p shop",
            "info",
            "instance",
            json!({"project": "shop"}),
        ),
        (
            "evenkeel instance info web -p 7 -u john",
            "info",
            "instance",
            json!({"name": "web", "project": 7, "user": "john"}),
        ),
        (
            "evenkeel instance rm --id 9 --no-wait",
            "delete",
            "instance",
            json!({"id": 9, "wait": false}),
        ),
        ("evenkeel subnet info", "info", "subnet", json!({})),
        (
            "evenkeel subnet attach 10.1.0.0/24 eth1 eth2 -p shop",
            "update",
            "subnet",
            json!({"subnet": "10.1.0.0/24", "attach": ["eth1", "eth2"], "project": "shop"}),
        ),
        (
            "evenkeel subnet detach 10.1.0.0/24 eth1",
            "update",
            "subnet",
            json!({"subnet": "10.1.0.0/24", "detach": ["eth1"]}),
        ),
    ] {
        assert_eq!(body(line, ""), request_json(action, kind, info), "{line}");
    }
}

#[test]
fn an_instance_is_created_from_its_options() {
    let all = "evenkeel instance create web --project shop --user john --http --port 8080 \
        --subnet 10.1.0.0/24 -b 10.1.0.10:80 --backend http://10.1.0.11/ -b 10.1.0.12@3 \
        --health-check-protocol tcp --health-check-port 81 --health-check-path /ok --interval 2 \
        --timeout 0.5 --health-threshold 1 --unhealth-threshold 3 --auto-scaling 2..4 --wait 10";
    let expected = json!({
        "name": "web", "project": "shop", "user": "john", "traffic_type": "http", "port": 8080,
        "subnet": "10.1.0.0/24", "wait": 10,
        "backend": {
            "entities": ["10.1.0.10:80", "http://10.1.0.11/", {"address": "10.1.0.12", "weight": 3}],
            "health-check": {"protocol": "TCP", "port": 81, "request-path": "/ok", "criteria": {
                "interval": 2, "timeout": 0.5, "health-threshold": 1, "unhealth-threshold": 3}},
            "auto-scaling": {"min": 2, "max": 4},
        },
    });
    assert_eq!(body(all, ""), request_json("create", "instance", expected));
    for (line, info) in [
        (
            "evenkeel instance create --tcp --port 5432",
            json!({"traffic_type": "tcp", "port": 5432}),
        ),
        (
            "evenkeel instance create --traffic-type HTTP --auto-scaling",
            json!({"traffic_type": "http", "backend": {"auto-scaling": true}}),
        ),
    ] {
        assert_eq!(
            body(line, ""),
            request_json("create", "instance", info),
            "{line}"
        );
    }
}

#[test]
fn an_instance_is_updated_by_what_is_given_alone() {
    for (line, info) in [
        (
            "evenkeel instance update web --new-name www",
            json!({"name": "web", "new-name": "www"}),
        ),
        (
            "evenkeel instance update --id 3 --interval 1",
            json!({"id": 3, "backend": {"health-check": {"criteria": {"interval": 1}}}}),
        ),
        (
            "evenkeel instance update web --auto-scaling off --no-wait",
            json!({"name": "web", "backend": {"auto-scaling": false}, "wait": false}),
        ),
        (
            "evenkeel instance update web --target-requests 150 --scale-in-window 1.5",
            json!({"name": "web", "backend": {"auto-scaling": {
                "target-requests": 150, "scale-in-window": 1.5}}}),
        ),
        (
            "evenkeel instance update web --auto-scaling 2.. --target-cpu 50 --target-connections 9",
            json!({"name": "web", "backend": {"auto-scaling": {
                "min": 2, "target-cpu": 50, "target-connections": 9}}}),
        ),
        (
            "evenkeel instance update web --auto-scaling on --target-cpu 50",
            json!({"name": "web", "backend": {"auto-scaling": {
                "min": null, "max": null, "target-cpu": 50, "target-connections": null,
                "target-requests": null, "scale-in-window": null}}}),
        ),
        (
            "evenkeel instance update web --add-backend a:1 --add-backend b:2@0 --remove-backend c:3 \
            --replace-backend d:4=e:5",
            json!({"name": "web", "backend": {
                "add": ["a:1", {"address": "b:2", "weight": 0}], "remove": ["c:3"], "replace": [["d:4", "e:5"]]}}),
        ),
        (
            "evenkeel instance update web -b a:1 -b b:2",
            json!({"name": "web", "backend": {"entities": ["a:1", "b:2"]}}),
        ),
    ] {
        assert_eq!(
            body(line, ""),
            request_json("update", "instance", info),
            "{line}"
        );
    }
}

#[test]
fn an_update_without_a_change_is_refused() {
    for line in [
        "evenkeel instance update web",
        "evenkeel instance update web -p shop --no-wait",
    ] {
        assert!(matches!(plan(line, ""), Err(Failure::Usage(_))), "{line}");
    }
}

#[test]
fn options_win_over_a_file_and_leave_the_rest_of_it_alone() {
    let file = r#"{"name": "old", "traffic_type": "http", "backend": {
        "entities": ["10.1.0.10:80"], "health-check": {"port": 81, "criteria": {"interval": 9, "timeout": 4}}}}"#;
    let line = "evenkeel instance create web -f web.json --interval 5 -b 10.1.0.11:80";
    let expected = json!({"name": "web", "traffic_type": "http", "backend": {
        "entities": ["10.1.0.11:80"],
        "health-check": {"port": 81, "criteria": {"interval": 5, "timeout": 4}}}});
    assert_eq!(
        body(line, file),
        request_json("create", "instance", expected)
    );
    let project = r#"{"name": "shop", "instances": []}"#;
    let expected = json!({"name": "shop", "instances": []});
    assert_eq!(
        body("evenkeel project create -f -", project),
        request_json("create", "project", expected)
    );
}

#[test]
fn a_file_that_is_no_info_is_refused() {
    for (file, word) in [
        ("", "no JSON object"),
        ("[]", "no JSON object"),
        (
            r#"{"action":"create","type":"instance","info":{}}"#,
            "evenkeel request",
        ),
        (r#"{"backend": "10.1.0.10"}"#, "`backend`"),
        (
            r#"{"backend": {"health-check": []}}"#,
            "`backend.health-check`",
        ),
    ] {
        let line = "evenkeel instance create web -f web.json --interval 5";
        match plan(line, file) {
            Err(Failure::Usage(words)) => assert!(words.contains(word), "{file}: {words}"),
            other => panic!("{file}: {other:?}"),
        }
    }
}

#[test]
fn a_raw_request_is_sent_as_it_is() {
    let text = "{\"action\":  \"info\"}";
    assert_eq!(
        plan(&format!("evenkeel request '{text}'"), "")
            .unwrap()
            .body,
        text
    );
    assert_eq!(plan("evenkeel request -", text).unwrap().body, text);
}

#[test]
fn only_what_the_server_may_wait_for_is_waited_for_long() {
    for (line, may_wait) in [
        ("evenkeel status", false),
        ("evenkeel instance create web --http", true),
        ("evenkeel instance create web --http --no-wait", false),
        ("evenkeel instance delete web --wait 100", true),
        ("evenkeel request '{}'", true),
    ] {
        assert_eq!(plan(line, "").expect(line).may_wait, may_wait, "{line}");
    }
}
