//! What clients see while backends come, go and change.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::process::Stdio;
use std::time::Duration;

use end_to_end::{
    Door, Driver, Evenkeel, Host, Running, Servers, Visitors, eventually, quick_checks, within,
};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";
const ADDRESSES: [&str; 4] = ["1.1.1.10", "1.1.1.11", "1.1.1.12", "1.1.1.13"];
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

fn entity(server: usize) -> String {
    format!("{}:8080", ADDRESSES[server])
}

/// Four servers on one cable, each answering with its name.
fn four_servers(host: &Host) -> (Servers<'_>, Vec<Running<'_>>) {
    let places = ADDRESSES.map(|address| format!("{address}/24"));
    let cable = Servers::new(host, "cable", &places.each_ref().map(String::as_str));
    let running = (0..4).map(|at| cable.http(NAMES[at], &entity(at)));
    let running = running.collect();
    (cable, running)
}

/// An instance over the first so many servers.
fn create_web(driver: Driver, door: &Door, cable: &Servers<'_>, servers: usize) -> String {
    door.attach(SUBNET, &cable.interface);
    let entities: Vec<_> = (0..servers).map(entity).collect();
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "web", "subnet": SUBNET,
                "backend": { "entities": entities, "health-check": quick_checks(driver) } }),
    );
    info["url"].as_str().expect("a URL").to_owned()
}

fn update_backend(door: &Door, backend: &Value) -> Value {
    door.do_(
        "update",
        "instance",
        json!({ "name": "web", "backend": backend }),
    )
}

/// The VMs' identities and processes.
fn vms(info: &Value) -> Vec<(Value, Value)> {
    let vms = info["vms"].as_array().expect("a list").iter();
    vms.map(|vm| (vm["id"].clone(), vm["pid"].clone()))
        .collect()
}

#[test]
fn backends_change_under_load_and_no_request_fails() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = four_servers(&host);
    let door = evenkeel.door();
    let url = create_web(Driver::Process, &door, &cable, 2);
    let before = vms(&door.instance("web"));

    let wrk = host
        .command("wrk")
        .args([
            "--threads",
            "1",
            "--connections",
            "8",
            "--duration",
            "8s",
            &url,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wrk is installed");
    let steps = [
        (json!({ "add": [entity(2)] }), vec![0, 1, 2]),
        (json!({ "remove": [entity(0)] }), vec![1, 2]),
        (json!({ "replace": [[entity(1), entity(3)]] }), vec![3, 2]),
        (json!({ "entities": [entity(0), entity(1)] }), vec![0, 1]),
        (
            json!({ "replace": [[entity(0), { "address": ADDRESSES[0], "port": 8080, "weight": 5 }]] }),
            vec![0, 1],
        ),
        (
            json!({ "health-check": { "request-path": "/bytes/1" } }),
            vec![0, 1],
        ),
        (json!({ "health-check": null }), vec![0, 1]),
        (
            json!({ "entities": [entity(0), entity(1)], "health-check": quick_checks(Driver::Process) }),
            vec![0, 1],
        ),
    ];
    let began = std::time::Instant::now();
    let mut changes = 0;
    while began.elapsed() < Duration::from_secs(6) {
        for (change, wanted) in &steps {
            let info = update_backend(&door, change);
            let stands: Vec<_> = info["backends"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|b| b["address"].clone())
                .collect();
            let names: Vec<_> = wanted.iter().map(|at| NAMES[*at]).collect();
            let wanted: Vec<_> = wanted.iter().map(|at| json!(ADDRESSES[*at])).collect();
            assert_eq!(stands, wanted, "after {change}");
            // The answer comes when the change is in effect.
            let servers: Vec<_> = host.fetch(&url, 4).into_keys().collect();
            assert!(
                servers.iter().all(|name| names.contains(&name.as_str())),
                "{servers:?} after {change}"
            );
            changes += 1;
        }
    }
    let output = wrk.wait_with_output().expect("wrk ends");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains(" requests in "),
        "{report}"
    );
    for failure in ["Socket errors", "Non-2xx"] {
        assert!(!report.contains(failure), "{changes} changes: {report}");
    }
    assert!(changes >= 16, "only {changes} changes were made");
    // The changes reached the VM as configuration: it is the same one, in the same process.
    assert_eq!(vms(&door.instance("web")), before);
}

#[test]
fn two_users_who_add_a_backend_at_once_both_succeed() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = four_servers(&host);
    let door = evenkeel.door();
    let url = create_web(Driver::Process, &door, &cable, 1);
    let add = |at: usize| {
        let door = door.clone();
        move || update_backend(&door, &json!({ "add": [entity(at)] }))
    };
    let added = [1, 2, 3].map(|at| std::thread::spawn(add(at)));
    for thread in added {
        thread.join().expect("the door answered with success");
    }
    eventually("all four backends are up", || {
        let info = door.instance("web");
        let backends = info["backends"].as_array().expect("a list");
        let up = backends.iter().filter(|backend| backend["health"] == "up");
        if up.count() == 4 {
            Ok(())
        } else {
            Err(info.to_string())
        }
    });
    assert_eq!(host.fetch(&url, 40).len(), 4);
}

#[test]
fn traffic_is_shared_by_weight() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = four_servers(&host);
    let door = evenkeel.door();
    let url = create_web(Driver::Process, &door, &cable, 2);
    let even = host.fetch(&url, 200);
    assert!(
        even.values().all(|count| (90..=110).contains(count)),
        "{even:?}"
    );
    let heavier = json!({ "address": ADDRESSES[0], "port": 8080, "weight": 3 });
    update_backend(&door, &json!({ "replace": [[entity(0), heavier]] }));
    let shares = host.fetch(&url, 200);
    assert!((140..=160).contains(&shares["one"]), "{shares:?}");
    let out = json!({ "address": ADDRESSES[0], "port": 8080, "weight": 0 });
    let info = update_backend(&door, &json!({ "replace": [[entity(0), out]] }));
    assert_eq!(info["backends"][0]["weight"], 0);
    assert_eq!(host.fetch(&url, 20)["two"], 20);
}

/// Waits until `info` tells this of a backend, and returns its last check in words.
fn await_health(door: &Door, backend: usize, health: &str) -> String {
    eventually(&format!("backend {backend} is {health}"), || {
        let info = door.instance("web");
        let told = &info["backends"][backend];
        match told["health"] == health {
            true => Ok(told["last_check"].as_str().expect("text").to_owned()),
            false => Err(info.to_string()),
        }
    })
}

fn traffic_goes_to_the_backends_that_are_up(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, servers) = four_servers(&host);
    let door = evenkeel.door();
    let url = create_web(driver, &door, &cable, 3);
    let mut servers = servers.into_iter();
    let mut kill_next = || servers.next().expect("there are four").kill();

    kill_next();
    assert_eq!(await_health(&door, 0, "down"), "connection refused");
    let visitors = Visitors::begin(&host, &url);
    let answers = host.fetch(&url, 60);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["three", "two"]);
    visitors.end().assert_flawless(1);
    let info = door.instance("web");
    assert_eq!(info["condition"], "degraded");
    assert_eq!(
        info["waiting_for"],
        json!([{ "for": "backend 1.1.1.10:8080", "why": "connection refused" }])
    );

    kill_next();
    kill_next();
    (1..3).for_each(|at| assert_eq!(await_health(&door, at, "down"), "connection refused"));
    let answer = host.answer_of(&url);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("Evenkeel-Reason: no-healthy-backend\r\n"),
        "{answer}"
    );

    let _back = [0, 1, 2].map(|at| cable.http(NAMES[at], &entity(at)));
    for at in 0..3 {
        let words = await_health(&door, at, "up");
        assert!(words.starts_with("200 Origin in "), "{words}");
    }
    assert_eq!(host.fetch(&url, 60).len(), 3);
    door.await_condition(&json!({ "name": "web" }), "serving");
}

#[test]
fn health_is_what_the_check_that_was_asked_for_says() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let (cable, _servers) = four_servers(&host);
    let health = cable.http("health", "1.1.1.10:9090");
    let door = evenkeel.door();
    let url = create_web(Driver::Process, &door, &cable, 1);
    let check = |change: Value| update_backend(&door, &json!({ "health-check": change }));

    // At a port and a path of its own.
    check(json!({ "port": 9090, "request-path": "/status/204" }));
    let spoken = |words: &str| {
        within(Duration::from_secs(20), words, || {
            let info = door.instance("web");
            let told = info["backends"][0]["last_check"].as_str().expect("text");
            if told.starts_with(words) {
                Ok(())
            } else {
                Err(info.to_string())
            }
        });
    };
    spoken("204 Origin in ");
    check(json!({ "request-path": "/status/500" }));
    assert_eq!(await_health(&door, 0, "down"), "500 Origin");
    // The server itself is well, so this is the check's doing alone.
    cable.shell("curl --silent --fail http://1.1.1.10:8080/");
    assert!(host.answer_of(&url).starts_with("HTTP/1.1 503 "));
    check(json!({ "request-path": "/slow/2000" }));
    spoken("no answer within 500 ms");
    assert_eq!(await_health(&door, 0, "down"), "no answer within 500 ms");

    // TCP asks for no more than a connection.
    check(json!({ "protocol": "TCP" }));
    let words = await_health(&door, 0, "up");
    assert!(words.starts_with("connected in "), "{words}");
    assert_eq!(host.fetch(&url, 2)["one"], 2);
    health.kill();
    assert_eq!(await_health(&door, 0, "down"), "connection refused");
    check(json!({ "port": null }));
    let words = await_health(&door, 0, "up");
    assert!(words.starts_with("connected in "), "{words}");

    // A backend is down only after as many bad results in a row as were asked for.
    check(json!({ "port": 9090, "criteria": { "unhealth-threshold": 10 } }));
    spoken("connection refused");
    assert_eq!(door.instance("web")["backends"][0]["health"], "up");
    assert_eq!(host.fetch(&url, 2)["one"], 2);
}

end_to_end::over_both_drivers! {
    traffic_goes_to_the_backends_that_are_up,
}
