//! The command line, from a first project to the last trace, against the server that does it all.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Driver, Evenkeel, Host, Servers, World, eventually};
use serde_json::{Value, json};

/// Runs a command, and returns its exit code, output and complaints.
fn run(evenkeel: &Evenkeel<'_>, arguments: &str) -> (i32, String, String) {
    let output = evenkeel.try_cli(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it ended by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must succeed without complaints, in text and as JSON, and returns the answer of
/// the first. For commands that change nothing.
fn show(evenkeel: &Evenkeel<'_>, arguments: &str) -> (String, Value) {
    let (code, text, complaints) = run(evenkeel, arguments);
    assert_eq!((code, complaints.as_str()), (0, ""), "{arguments}: {text}");
    assert!(!text.contains('\u{1b}'), "a pipe gets no colour: {text}");
    let (code, json, complaints) = run(evenkeel, &format!("{arguments} -o json"));
    assert_eq!((code, complaints.as_str()), (0, ""), "{arguments}: {json}");
    let answer: Value = serde_json::from_str(&json).expect("`-o json` prints JSON");
    assert_eq!(answer["status"], "successful", "{answer:#}");
    (text, answer["info"].clone())
}

#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("`{part}` is not there, or not in its place, in:\n{text}"));
        rest = after;
    }
}

#[test]
fn a_load_balancer_lives_and_ends_by_commands_alone() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let cable = Servers::new(
        &host,
        "cable",
        &["10.1.0.10/24", "10.1.0.11/24", "10.1.0.12/24"],
    );
    let _servers = [
        cable.http("one", "10.1.0.10:8080"),
        cable.http("two", "10.1.0.11:8080"),
        cable.http("three", "10.1.0.12:8080"),
    ];
    let done = |arguments: &str| {
        let (code, text, complaints) = run(&evenkeel, arguments);
        assert_eq!((code, complaints.as_str()), (0, ""), "{arguments}: {text}");
        text
    };

    assert_eq!(
        done("project create shop"),
        "Created project shop\n  Id  1\n"
    );
    let attached = done("subnet attach 10.1.0.0/24 cable");
    assert_in_order(&attached, &["10.1.0.0/24", "cable"]);
    let created = done(
        "instance create web --http --subnet 10.1.0.0/24 -b 10.1.0.10:8080 -b 10.1.0.11:8080 \
         --interval 0.5 --timeout 0.5 --health-threshold 1 --unhealth-threshold 2",
    );
    assert_in_order(
        &created,
        &[
            "Created instance web: ",
            "URL",
            "http://web.shop.lb.evenkeel.test/",
            "VMs",
            "serving",
            "Backends",
            "10.1.0.10:8080",
        ],
    );
    evenkeel
        .door()
        .await_condition(&serde_json::json!({ "name": "web" }), "serving");
    assert_eq!(host.fetch("http://web.shop.lb.evenkeel.test/", 10).len(), 2);

    let (text, json) = show(&evenkeel, "instance info web");
    assert_in_order(
        &text,
        &[
            "instance web: serving",
            "VMs",
            "serving",
            "process",
            "Backends",
            "10.1.0.11:8080",
            "up",
            "200 Origin",
        ],
    );
    assert_eq!(json["addresses"].as_array().map(Vec::len), Some(1));
    let (text, json) = show(&evenkeel, "instance list");
    assert_in_order(
        &text,
        &["web", "serving", "http://web.shop.lb.evenkeel.test/"],
    );
    assert_eq!(json["instances"][0]["name"], "web");
    let (text, json) = show(&evenkeel, "project info shop");
    assert_in_order(&text, &["shop", "web", "serving"]);
    assert_eq!(json["instances"][0]["id"], 1);
    let (text, json) = show(&evenkeel, "project list");
    assert_in_order(&text, &["shop"]);
    assert_eq!(json["projects"][0]["name"], "shop");
    let (text, json) = show(&evenkeel, "subnet info");
    assert_in_order(&text, &["10.1.0.0/24", "cable", "web"]);
    assert_eq!(json["subnets"][0]["interfaces"][0], "cable");
    let (text, json) = show(&evenkeel, "status");
    assert_in_order(
        &text,
        &["controller", "lb.evenkeel.test", "1 serving", "shop", "web"],
    );
    assert!(!text.contains("not running"), "{text}");
    assert_eq!(json["vms"]["serving"], 1);

    let updated =
        done("instance update web --add-backend 10.1.0.12:8080@2 --remove-backend 10.1.0.10:8080");
    let (standing, _past) = updated.split_once("\nEvents\n").expect("both are told");
    assert_in_order(standing, &["10.1.0.11:8080", "10.1.0.12:8080"]);
    assert!(!standing.contains("10.1.0.10:8080"), "{updated}");
    // The answer comes when one is up, which the first of them was before.
    evenkeel
        .door()
        .await_condition(&json!({ "name": "web" }), "serving");
    let answers = host.fetch("http://web.shop.lb.evenkeel.test/", 30);
    assert_eq!((answers["two"], answers["three"]), (10, 20));
    let updated = done("instance update web --auto-scaling 2");
    assert_in_order(&updated, &["Updated instance web: "]);
    assert_eq!(evenkeel.addresses_of("web.shop.lb.evenkeel.test").len(), 2);
    let renamed = done("instance update web --new-name www");
    assert_in_order(&renamed, &["http://www.shop.lb.evenkeel.test/"]);
    let renamed = done("project update shop --new-name store");
    assert_in_order(&renamed, &["store"]);

    // The door itself, as it is.
    let answer =
        done(r#"request '{"action": "info", "type": "instance", "info": {"name": "www"}}'"#);
    let answer: Value = serde_json::from_str(&answer).expect("the answer is JSON");
    assert_eq!(answer["info"]["id"], 1, "{answer:#}");

    let (code, text, complaint) = run(&evenkeel, "project delete store");
    assert_eq!((code, text.as_str()), (1, ""), "{complaint}");
    assert_in_order(&complaint, &["error: ", "www", "hint: ", "cascade"]);
    assert_in_order(&done("instance delete www"), &["Deleted instance www"]);
    let gone = done("instance list");
    assert!(gone.starts_with("No instances."), "{gone}");
    done("subnet detach 10.1.0.0/24 cable");
    assert_in_order(&done("project delete store"), &["Deleted project store"]);
    assert_eq!(
        show(&evenkeel, "project list").1["projects"],
        serde_json::json!([])
    );
    eventually("only the front network is left", || {
        let world = format!("{:?}", World::seen(&host));
        match world.contains("ek-p") || world.contains("vm") {
            true => Err(world),
            false => Ok(()),
        }
    });
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let complaint = |arguments: &str, code: i32| {
        let (left, text, complaint) = run(&evenkeel, arguments);
        assert_eq!(
            (left, text.as_str()),
            (code, ""),
            "{arguments}: {complaint}"
        );
        complaint
    };
    // 1: the server refused. The message names the field, and what to do about it.
    assert_in_order(
        &complaint(
            "instance create web --http --subnet 1.1.1.1/24 -b 1.1.1.10:80",
            1,
        ),
        &[
            "error: ",
            "1.1.1.1/24",
            "at: info.subnet",
            "hint: ",
            "1.1.1.0/24",
        ],
    );
    assert_in_order(
        &complaint("instance info nothing", 1),
        &["error: ", "nothing"],
    );
    // As JSON, the refusal is the answer.
    let (code, text, _) = run(&evenkeel, "instance info nothing -o json");
    let answer: Value = serde_json::from_str(&text).expect("`-o json` prints JSON");
    assert_eq!((code, &answer["status"]), (1, &"fail".into()), "{answer:#}");
    let (code, text, _) = run(&evenkeel, "request '{\"action\": \"make\"}'");
    let answer: Value = serde_json::from_str(&text).expect("`request` prints JSON");
    assert_eq!(
        (code, &answer["info"]["path"]),
        (1, &"action".into()),
        "{answer:#}"
    );
    // 2: wrong usage, of which the server hears nothing.
    complaint("instance create web --http --tcp", 2);
    complaint("instance make web", 2);
    complaint("instance create web -f /does/not/exist", 2);
    // 3: no server.
    assert!(evenkeel.stop(), "it ends well when asked to");
    let (code, text, complaint) = run(&evenkeel, "status");
    assert_eq!((code, text.as_str()), (3, ""));
    assert_in_order(
        &complaint,
        &["error: no Evenkeel server answers at ", "hint: "],
    );
}

#[test]
fn a_project_is_made_from_a_file_with_its_instances() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _server = cable.http("one", "1.1.1.10:8080");
    let file = host.path("project.json");
    let form = r#"{ "type": "project", "user": "john", "name": "john's project", "instances": [
        { "type": "instance", "name": "web", "traffic_type": "http", "subnet": "1.1.1.0/24",
          "backend": { "entities": ["1.1.1.10:8080"] } },
        { "name": "db", "traffic_type": "tcp", "port": 5432, "subnet": "1.1.1.0/24",
          "backend": { "entities": ["1.1.1.10:8080"] } } ] }"#;
    std::fs::write(&file, form).expect("the host's directory can be written");
    let created = evenkeel.cli(&format!("project create -f {}", file.display()));
    assert_in_order(
        &created,
        &[
            "Created project john's project",
            "http://web.johns-project.lb.evenkeel.test/",
            "tcp://db.johns-project.lb.evenkeel.test:5432",
        ],
    );
    evenkeel.cli("subnet attach 1.1.1.0/24 cable --user john");
    let john = |name: &str| serde_json::json!({ "user": "john", "name": name });
    for name in ["web", "db"] {
        evenkeel.door().await_condition(&john(name), "serving");
    }
    assert_eq!(
        host.fetch("http://web.johns-project.lb.evenkeel.test/", 3)["one"],
        3
    );
    let listed = evenkeel.cli("instance list --user john");
    assert_in_order(&listed, &["web", "serving", "db", "serving"]);
    // Another user has a project of none of these names.
    assert!(evenkeel.cli("instance list").starts_with("No instances."));
    evenkeel.cli("project delete \"john's project\" --user john --cascade");
}
