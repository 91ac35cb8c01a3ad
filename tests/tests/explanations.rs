//! What happened and why, end to end: kept through a killed server, found after its instance is gone, and explained.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Driver, Evenkeel, Host, Web, eventually};
use serde_json::{Value, json};

/// What the journal has of the instance, of these kinds.
fn texts(evenkeel: &Evenkeel<'_>, kinds: &[&str]) -> Vec<String> {
    let info = json!({ "instance": "web", "kind": kinds, "limit": 1000 });
    let told = evenkeel.door().do_("info", "events", info);
    let told = told["events"].as_array().expect("a list").iter();
    told.map(|event| event["text"].as_str().expect("a text").to_owned())
        .collect()
}

fn await_text(evenkeel: &Evenkeel<'_>, kinds: &[&str], wanted: &str) {
    eventually("it is in the journal", || {
        let texts = texts(evenkeel, kinds);
        match texts.iter().any(|text| text.contains(wanted)) {
            true => Ok(()),
            false => Err(texts),
        }
    });
}

#[test]
fn a_death_and_an_end_are_in_the_journal_whoever_was_killed_meanwhile() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = web.vms().remove(0);
    host.kill(vm.pid.expect("it serves"));
    await_text(
        &evenkeel,
        &["verdict"],
        "is down: its process ended: killed by signal 9",
    );
    web.await_condition("serving");
    evenkeel.kill();
    evenkeel.resume();
    let all = texts(&evenkeel, &[]);
    for once in [
        "asked for web",
        "VM 1 is down",
        "VM 1 is set aside",
        "VM 2 is made",
    ] {
        let count = all.iter().filter(|text| text.contains(once)).count();
        assert_eq!(count, 1, "{once}: {all:#?}");
    }
    let told = evenkeel.cli("events web --kind set-aside -n 1");
    assert!(told.contains("set-aside") && told.contains("web"), "{told}");
    evenkeel
        .door()
        .do_("delete", "instance", json!({ "name": "web" }));
    await_text(&evenkeel, &["gone"], "nothing is left of the instance");
    let last = texts(&evenkeel, &["asked"]).pop();
    assert!(
        last.is_some_and(|text| text.ends_with("asked to delete web")),
        "it is found after its end"
    );
}

#[test]
fn why_a_request_failed_is_said_in_words_with_what_happened_then() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let mut web = Web::create(&host, evenkeel.door(), 1);
    evenkeel.door().do_(
        "update",
        "instance",
        json!({ "name": "web", "forwarding": { "request-id": "X-Request-ID" }, "backend": { "retry": { "attempts": 1 } } }),
    );
    web.kill_servers();
    await_text(&evenkeel, &["backend"], "connection refused");
    let vm = web.vms().remove(0);
    let line = format!(
        "curl --silent --output /dev/null --dump-header - --max-time 20 http://{}/why",
        vm.address
    );
    eventually("no backend is up", || {
        let head = host.shell(&line).to_ascii_lowercase();
        match head.contains("evenkeel-reason: no-healthy-backend") {
            true => Ok(()),
            false => Err(head),
        }
    });
    let id = eventually("its line is in the log", || {
        let info = json!({ "instance": "web", "path": "/why", "failed": true });
        let log = evenkeel.door().do_("info", "log", info);
        let lines = log["lines"].as_array().expect("a list");
        let last = lines.iter().rev();
        let mut last = last.filter(|line| line["termination"] == "no-healthy-backend");
        let id = last.next().and_then(|line| line["request_id"].as_str());
        id.map(str::to_owned).ok_or(log.to_string())
    });
    let told = evenkeel.cli(&format!("explain web --request {id}"));
    for words in [
        "/why",
        "was answered 503",
        "no backend might take traffic",
        "is down: connection refused",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let told: Value = evenkeel
        .door()
        .do_("info", "explain", json!({ "instance": "web" }));
    let findings = told["findings"].to_string();
    for words in [
        "none is up",
        "backend 1.1.1.10:8080",
        "connection refused",
        "failed: no-healthy-backend",
    ] {
        assert!(findings.contains(words), "{words}: {told:#}");
    }
}
