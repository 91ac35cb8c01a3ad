//! Settings of a balancer through the JSON door: each change is acknowledged by the VM, and felt by
//! clients from then on.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Door, Driver, Evenkeel, Host, Running, Servers, eventually, quick_checks};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";
const ENTITIES: [&str; 2] = ["1.1.1.10:8080", "1.1.1.11:8080"];

/// Two servers on one cable, each answering with its name.
fn two_servers(host: &Host) -> (Servers<'_>, [Running<'_>; 2]) {
    let cable = Servers::new(host, "cable", &["1.1.1.10/24", "1.1.1.11/24"]);
    let running = [("one", 0), ("two", 1)].map(|(name, at)| cable.http(name, ENTITIES[at]));
    (cable, running)
}

/// An instance over both; returns its URL.
fn create_web(door: &Door, cable: &Servers<'_>) -> String {
    door.attach(SUBNET, &cable.interface);
    let backend = json!({ "entities": ENTITIES, "health-check": quick_checks(Driver::Process) });
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "web", "subnet": SUBNET, "backend": backend }),
    );
    info["url"].as_str().expect("a URL").to_owned()
}

/// Changes settings. The answer comes when every VM has acknowledged the configuration.
fn set(door: &Door, change: Value) -> Value {
    let before = door.instance("web");
    let mut info = change;
    info["name"] = "web".into();
    let after = door.do_("update", "instance", info);
    let newest = after["configuration"].as_u64();
    assert!(newest > before["configuration"].as_u64(), "{after}");
    for vm in after["vms"].as_array().expect("a list") {
        assert_eq!(vm["configuration"].as_u64(), newest, "{after}");
        assert_eq!(vm["id"], before["vms"][0]["id"], "the VM stays: {after}");
    }
    after
}

/// The status line of the answer to this path.
fn status(host: &Host, url: &str, path: &str) -> String {
    let answer = host.answer_of(&format!("{url}{path}"));
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_change_of_settings_is_acknowledged_and_felt_and_null_takes_it_back() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = two_servers(&host);
    let door = evenkeel.door();
    let url = create_web(&door, &cable);

    assert_eq!(host.fetch(&url, 20).len(), 2);
    set(&door, json!({ "backend": { "algorithm": "source-hash" } }));
    assert_eq!(host.fetch(&url, 20).len(), 1, "one client, one backend");

    let long = "x".repeat(200);
    assert_eq!(status(&host, &url, &long), "HTTP/1.1 200 Origin");
    set(&door, json!({ "limits": { "request-line-bytes": 128 } }));
    assert!(status(&host, &url, &long).starts_with("HTTP/1.1 414 "));
    assert_eq!(status(&host, &url, ""), "HTTP/1.1 200 Origin");

    assert_eq!(status(&host, &url, "slow/500"), "HTTP/1.1 200 Origin");
    set(&door, json!({ "timeouts": { "response": 0.1 } }));
    assert!(status(&host, &url, "slow/500").starts_with("HTTP/1.1 504 "));

    set(&door, json!({ "allowed-clients": ["192.0.2.0/24"] }));
    assert!(status(&host, &url, "").starts_with("HTTP/1.1 403 "));

    let bare = json!({ "allowed-clients": null, "timeouts": null, "limits": null,
                       "backend": { "algorithm": null } });
    let info = set(&door, bare);
    assert!(info.get("timeouts").is_none() && info.get("allowed-clients").is_none());
    assert_eq!(host.fetch(&url, 20).len(), 2);
    assert_eq!(status(&host, &url, &long), "HTTP/1.1 200 Origin");
    assert_eq!(status(&host, &url, "slow/500"), "HTTP/1.1 200 Origin");
}

#[test]
fn a_backup_serves_while_no_other_backend_may_and_proxies_are_told_who_asks() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, servers) = two_servers(&host);
    let door = evenkeel.door();
    let url = create_web(&door, &cable);

    let spare =
        json!({ "address": "1.1.1.11", "port": 8080, "backup": true, "max-connections": 7 });
    let info = set(
        &door,
        json!({ "backend": { "replace": [[ENTITIES[1], spare]] } }),
    );
    assert_eq!(info["backend"]["entities"][1], spare);
    assert_eq!(info["backends"][1]["backup"], true);
    let answers = host.fetch(&url, 20);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["one"]);

    set(
        &door,
        json!({ "forwarding": { "forwarded": true, "request-id": "X-Request-ID" } }),
    );
    let heard = host
        .answer_of(&format!("{url}headers"))
        .to_ascii_lowercase();
    assert!(heard.contains("\nforwarded: "), "{heard}");
    assert!(heard.contains("\nx-request-id: "), "{heard}");

    let [one, _two] = servers;
    one.kill();
    eventually("the backup serves", || {
        let answer = host.answer_of(&url);
        match answer.ends_with("two\n") {
            true => Ok(()),
            false => Err(answer),
        }
    });
}

#[test]
fn a_check_believes_the_host_the_status_and_the_text_that_it_was_told() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = two_servers(&host);
    let door = evenkeel.door();
    create_web(&door, &cable);
    let check = |change: Value| set(&door, json!({ "backend": { "health-check": change } }));
    let await_first = |health: &str, words: &str| {
        eventually(words, || {
            let info = door.instance("web");
            let first = &info["backends"][0];
            let said = first["last_check"].as_str().unwrap_or_default();
            match first["health"] == health && said.starts_with(words) {
                true => Ok(()),
                false => Err(first.to_string()),
            }
        });
    };

    check(json!({ "expected-status": [204, "206-299"] }));
    await_first("down", "200 Origin, where 204, 206-299 is expected");
    check(json!({ "request-path": "/status/204" }));
    await_first("up", "204 Origin in ");

    // The server says what it was asked, so the text is there when the host was given.
    let asked = json!({ "request-path": "/headers", "expected-status": null,
                        "expected-body": "Host: shop.example" });
    check(asked);
    await_first(
        "down",
        "200 Origin, but its body does not have \"Host: shop.example\" in it",
    );
    check(json!({ "host": "shop.example" }));
    await_first("up", "200 Origin in ");
    door.await_condition(&json!({ "name": "web" }), "serving");

    // What is shown can be given again, and changes nothing.
    let before = door.instance("web");
    let mut shown = json!({ "name": "web" });
    shown["backend"] = before["backend"].clone();
    let after = door.do_("update", "instance", shown);
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(after["configuration"], before["configuration"]);
}
