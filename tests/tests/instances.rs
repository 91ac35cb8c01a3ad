//! The life of an instance, from the request in JSON to the last trace.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use end_to_end::{
    Driver, Evenkeel, Host, Running, Servers, Visitors, World, eventually, host_of, quick_checks,
    throughout,
};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";
const THREE: [(&str, &str); 3] = [
    ("one", "1.1.1.10:8080"),
    ("two", "1.1.1.11:8080"),
    ("three", "1.1.1.12:8080"),
];

/// A cable with three addresses and an HTTP server at each.
fn three_servers(host: &Host) -> (Servers<'_>, [Running<'_>; 3]) {
    let cable = Servers::new(
        host,
        "cable",
        &["1.1.1.10/24", "1.1.1.11/24", "1.1.1.12/24"],
    );
    let running = THREE.map(|(name, address)| cable.http(name, address));
    (cable, running)
}

fn instance_form(driver: Driver, more: Value) -> Value {
    let mut form = json!({
        "name": "web", "subnet": SUBNET,
        "backend": { "entities": THREE.map(|(_, address)| address), "health-check": quick_checks(driver) },
    });
    let fields = form.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().expect("it is an object").clone());
    form
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().expect("a list");
    let mut texts: Vec<_> = items
        .iter()
        .map(|item| item.as_str().expect("text").to_owned())
        .collect();
    texts.sort();
    texts
}

const MISSIONS_PROJECT: &str =
    r#"{"action":"create","type":"project","info":{"user":"john","name":"john's project"}}"#;
const MISSIONS_INSTANCE: &str = r#"{"action":"create","type":"instance","info":{"project":"john's project","user":"john","name":"web","traffic_type":"http",
  "subnet":"1.1.1.0/24","backend":{"entities":["1.1.1.10:8080",["1.1.1.11:8080"],"http://1.1.1.12:8080/"],
  "health-check":{"protocol":"HTTP","port":8080,"request-path":"/","criteria":{"interval":5,"timeout":5,"health-threshold":2,"unhealth-threshold":2}},
  "auto-scaling":true}}}"#;

/// Sends a request as it is, by curl to the loopback port.
fn ask(host: &Host, request: &str) -> Value {
    let file = host.path("request.json");
    std::fs::write(&file, request).expect("the host's directory can be written");
    let answer = host.shell(&format!(
        "curl --silent --show-error --max-time 90 http://127.0.0.1:7400/ --data @{}",
        file.display()
    ));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn the_missions_own_words_make_a_url_that_all_backends_answer(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, _running) = three_servers(&host);
    assert_eq!(
        ask(&host, MISSIONS_PROJECT),
        json!({ "status": "successful", "action": "create", "type": "project",
                "info": { "name": "john's project", "id": 1 } })
    );
    evenkeel.door().do_(
        "update",
        "subnet",
        json!({ "user": "john", "project": "john's project", "subnet": SUBNET, "attach": [cable.interface] }),
    );

    let answer = ask(&host, MISSIONS_INSTANCE);
    assert_eq!(answer["status"], "successful", "{answer:#}");
    let info = &answer["info"];
    assert_eq!(info["url"], "http://web.johns-project.lb.evenkeel.test/");
    assert_eq!((&info["name"], &info["id"]), (&json!("web"), &json!(1)));
    assert_eq!(info["vms"][0]["state"], "serving", "{info:#}");
    assert_eq!(
        info["backend"]["entities"],
        json!(["1.1.1.10:8080", "1.1.1.11:8080", "1.1.1.12:8080"])
    );
    assert_eq!(
        info["backend"]["health-check"],
        json!({ "protocol": "HTTP", "port": 8080, "request-path": "/", "criteria": {
            "interval": 5, "timeout": 5, "health-threshold": 2, "unhealth-threshold": 2 } })
    );

    let url = info["url"].as_str().expect("text");
    let name = host_of(url);
    let addresses = texts(&info["addresses"]).join("\n") + "\n";
    for question in [
        format!("dig +short {name} @10.200.0.1"),
        format!("dig +short +tcp {name} @10.200.0.1"),
        format!("dig +short {name} @127.0.0.1 -p 5354"),
        format!("dig +short +tcp {name} @127.0.0.1 -p 5354"),
        format!("kdig +short {name} @10.200.0.1"),
        format!("kdig +short +tcp {name} @10.200.0.1"),
        format!("kdig +short {name} @127.0.0.1 -p 5354"),
        format!("kdig +short +tcp {name} @127.0.0.1 -p 5354"),
    ] {
        assert_eq!(host.shell(&question), addresses, "{question}");
    }

    // A connection for each request, as thirty users make them.
    let answers = host.shell(&format!(
        "for i in $(seq 30); do curl --silent --show-error --fail --max-time 10 {url}; done"
    ));
    let servers: BTreeSet<_> = answers.lines().collect();
    assert_eq!(answers.lines().count(), 30);
    assert_eq!(servers, BTreeSet::from(["one", "two", "three"]));

    // What the origin sees: who asked, and by what way; what a client claims of that is not passed on.
    let head = host.shell(&format!(
        "curl --silent --fail --max-time 10 --header 'X-Forwarded-For: 9.9.9.9' {url}headers"
    ));
    for field in [
        "X-Forwarded-For: 10.200.0.1",
        "X-Forwarded-Proto: http",
        "Via: 1.1 evenkeel",
    ] {
        assert!(
            head.lines().any(|line| line == field),
            "no `{field}` in {head}"
        );
    }
    assert!(!head.contains("9.9.9.9"), "{head}");

    // The same by GET, for clients that cannot send a body with it.
    let told = host.shell(
        r#"curl --silent --get http://127.0.0.1:7400/ --data-urlencode 'request={"action":"info","type":"instance","info":{"user":"john","name":"web"}}'"#,
    );
    let told: Value = serde_json::from_str(&told).expect("the answer is JSON");
    assert_eq!(told["info"]["url"], info["url"], "{told:#}");
    assert_eq!(told["info"]["condition"], "serving", "{told:#}");
}

fn a_tcp_instance_carries_bytes_both_ways_and_keeps_the_half_close(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _server = cable.tcp("one", "1.1.1.10:5432");
    evenkeel.door().attach(SUBNET, &cable.interface);
    let info = evenkeel.door().do_(
        "create",
        "instance",
        json!({ "name": "db", "traffic_type": "tcp", "port": 6000, "subnet": SUBNET,
                "backend": { "entities": ["1.1.1.10:5432"], "health-check": quick_checks(driver) } }),
    );
    assert_eq!(info["url"], "tcp://db.default.lb.evenkeel.test:6000");
    let name = host_of(info["url"].as_str().expect("text"));

    // The server speaks first, and then answers each line while the connection stays open.
    let conversation = format!(
        "exec 3<>/dev/tcp/{name}/6000; for said in '' ping pong; do \
         [ -z \"$said\" ] || echo \"$said\" >&3; read -t 10 -r answer <&3; echo \"$answer\"; done"
    );
    let output = host.command("bash").args(["-c", &conversation]).output();
    let output = output.expect("bash is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\nping\npong\n");

    // The server ends only when it hears the client's end, after which all its answer still arrives.
    let (sent, received) = (host.path("sent"), host.path("received"));
    host.shell(&format!(
        "head -c 3000000 /dev/urandom > {sent}; timeout 60 nc -N {name} 6000 < {sent} > {received}",
        sent = sent.display(),
        received = received.display(),
    ));
    let sent = std::fs::read(sent).expect("it was written");
    let received = std::fs::read(received).expect("it was written");
    assert_eq!(received.len(), sent.len() + "one\n".len());
    assert!(received.ends_with(&sent), "bytes changed on their way");

    let backend = &evenkeel.door().instance("db")["backends"][0];
    let check = backend["last_check"].as_str().expect("text");
    assert!(check.starts_with("connected in "), "{backend:#}");
}

/// How many questions of the checker's were answered so far.
fn answered_probes(host: &Host) -> u64 {
    let told = host.shell("curl --silent --fail http://127.0.0.1:7400/metrics");
    let mut lines = told.lines();
    let line = lines.find(|line| {
        line.starts_with("evenkeel_checker_probes_total{") && line.contains("\"answered\"")
    });
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    count.map_or(0, |count| count as u64)
}

fn what_the_health_checker_asks_is_nobodys_traffic(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _server = cable.tcp("one", "1.1.1.10:5432");
    let door = evenkeel.door();
    door.attach(SUBNET, &cable.interface);
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "db", "traffic_type": "tcp", "port": 6000, "subnet": SUBNET,
                "backend": { "entities": ["1.1.1.10:5432"], "health-check": quick_checks(driver) } }),
    );
    let name = host_of(info["url"].as_str().expect("text"));
    let before = answered_probes(&host);
    eventually("the VM is asked", || {
        let answered = answered_probes(&host);
        (answered >= before + 8).then_some(()).ok_or(answered)
    });
    let counted = || {
        let info = door.instance("db");
        let of = |list: &str| info[list][0]["requests"].as_u64();
        [of("vms"), of("backends")]
    };
    assert_eq!(counted(), [Some(0); 2]);

    // One client is one session, in each figure and in the log.
    host.shell(&format!("echo end | timeout 60 nc -N {name} 6000"));
    eventually("the session is counted", || {
        let counted = counted();
        (counted == [Some(1); 2]).then_some(()).ok_or(counted)
    });
    eventually("the session is logged", || {
        let log = evenkeel.cli("logs db");
        (log.lines().count() == 1).then_some(()).ok_or(log)
    });
}

#[test]
fn who_does_not_wait_is_answered_at_once_and_info_tells_the_progress_until_it_serves() {
    let host = Host::new();
    // A VM that boots takes its time, so there is progress to be seen.
    let driver = Driver::Machine;
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, _running) = three_servers(&host);
    let door = evenkeel.door();
    door.attach(SUBNET, &cable.interface);
    let began = Instant::now();
    let info = door.do_(
        "create",
        "instance",
        instance_form(driver, json!({ "wait": false })),
    );
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let url = info["url"].as_str().expect("a URL").to_owned();
    assert_eq!(info["condition"], "pending", "{info:#}");

    let mut reasons = BTreeSet::new();
    eventually("it serves", || {
        let info = door.instance("web");
        if info["condition"] == "serving" {
            return Ok(());
        }
        let waiting = info["waiting_for"].as_array().expect("a list");
        assert!(!waiting.is_empty(), "nothing is waited for: {info:#}");
        for item in waiting {
            let (what, why) = (item["for"].as_str(), item["why"].as_str());
            let (what, why) = what.zip(why).expect("both are told");
            assert!(!what.is_empty() && !why.is_empty(), "{item}");
            reasons.insert(format!("{what}: {why}"));
        }
        Err(info.to_string())
    });
    let tells = |words: &str| reasons.iter().any(|reason| reason.contains(words));
    assert!(tells("VM 1: ") && tells("first heartbeat"), "{reasons:#?}");
    assert_eq!(host.fetch(&url, 3).len(), 3);
}

fn the_number_of_vms_changes_while_no_request_is_lost(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, _running) = three_servers(&host);
    let door = evenkeel.door();
    door.attach(SUBNET, &cable.interface);
    let info = door.do_(
        "create",
        "instance",
        instance_form(driver, json!({ "auto-scaling": { "min": 2, "max": 2 } })),
    );
    let url = info["url"].as_str().expect("a URL");
    let name = host_of(url);
    let published = |count: usize| {
        let addresses = evenkeel.addresses_of(name);
        assert_eq!(addresses, texts(&door.instance("web")["addresses"]));
        assert_eq!(addresses.len(), count, "{addresses:?}");
        addresses
    };
    for address in published(2) {
        let answer = host.shell(&format!(
            "curl --silent --fail --max-time 10 --resolve {name}:80:{address} {url}"
        ));
        assert!(
            THREE.iter().any(|(server, _)| answer.trim() == *server),
            "{answer}"
        );
    }

    let visitors = Visitors::begin(&host, url);
    let change = |count: u32| {
        let scaling = json!({ "min": count, "max": count });
        door.do_(
            "update",
            "instance",
            json!({ "name": "web", "backend": { "auto-scaling": scaling } }),
        )
    };
    change(3);
    published(3);

    change(1);
    // Those that leave are out of DNS while they still serve who asked DNS a moment ago.
    eventually("VMs leave after DNS has dropped them", || {
        let info = door.instance("web");
        let vms = info["vms"].as_array().expect("a list");
        let leaving: Vec<_> = vms.iter().filter(|vm| !vm["leaving"].is_null()).collect();
        let published = evenkeel.addresses_of(name);
        let is_dropped = |vm: &&Value| {
            let address = vm["address"].as_str().expect("text").to_owned();
            vm["pid"].is_u64() && !published.contains(&address)
        };
        match leaving.len() == 2 && leaving.iter().all(is_dropped) {
            true => Ok(()),
            false => Err(info.to_string()),
        }
    });
    eventually("they are gone", || {
        let info = door.instance("web");
        match info["vms"].as_array().map(Vec::len) {
            Some(1) => Ok(()),
            _ => Err(info.to_string()),
        }
    });
    published(1);
    visitors.end().assert_flawless(100);
}

fn what_is_deleted_is_gone_from_the_world_within_seconds(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, _running) = three_servers(&host);
    let door = evenkeel.door();
    let nothing = eventually("the front network is there", || {
        let world = World::seen(&host);
        let is_front = format!("{world:?}").contains("ek-front");
        if is_front { Ok(world) } else { Err(world) }
    });
    door.do_("create", "project", json!({ "name": "shop" }));
    door.attach(SUBNET, &cable.interface);
    let without_instance = eventually("the cable is attached", || {
        let world = World::seen(&host);
        let is_attached = format!("{world:?}").contains("link ek-p1/cable");
        if is_attached { Ok(world) } else { Err(world) }
    });
    let info = door.do_("create", "instance", instance_form(driver, json!({})));
    let name = host_of(info["url"].as_str().expect("text"));
    assert_ne!(World::seen(&host), without_instance);
    assert_eq!(evenkeel.addresses_of(name).len(), 1);

    // The project has an instance, and stays as it is.
    let refused = door.refuse("delete", "project", json!({ "name": "shop" }));
    assert_eq!(refused["code"], "has-instances", "{refused:#}");
    door.await_condition(&json!({ "name": "web" }), "serving");

    let began = Instant::now();
    let deleted = door.do_("delete", "instance", json!({ "name": "web" }));
    assert_eq!(deleted["condition"], "deleted", "{deleted:#}");
    assert_eq!(World::seen(&host), without_instance);
    let refusal = host.shell(&format!("dig {name} @10.200.0.1"));
    assert!(refusal.contains("status: NXDOMAIN"), "{refusal}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    let refused = door.refuse("info", "instance", json!({ "name": "web" }));
    assert_eq!(refused["code"], "not-found", "{refused:#}");

    // With its project, and two at once.
    for name in ["web", "www"] {
        door.do_(
            "create",
            "instance",
            instance_form(driver, json!({ "name": name })),
        );
    }
    let deleted = door.do_(
        "delete",
        "project",
        json!({ "name": "shop", "cascade": true }),
    );
    assert_eq!(deleted["condition"], "deleted", "{deleted:#}");
    eventually("everything of the project is gone", || {
        let world = World::seen(&host);
        if world == nothing { Ok(()) } else { Err(world) }
    });
    assert_eq!(
        door.do_("info", "project", json!({}))["projects"],
        json!([])
    );
    // The interface is the host's again, to be used for anything.
    host.shell("ip link set cable up && ip address add 1.1.1.1/24 dev cable");
    host.shell("curl --silent --fail --max-time 10 http://1.1.1.10:8080/");
}

fn what_is_deleted_before_it_ever_served_leaves_nothing_either(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let door = evenkeel.door();
    door.do_("create", "project", json!({ "name": "shop" }));
    let nothing = eventually("the project is there", || {
        let world = World::seen(&host);
        let is_there = format!("{world:?}").contains("namespace ek-p1");
        if is_there { Ok(world) } else { Err(world) }
    });
    let form = |name: &str| instance_form(driver, json!({ "name": name, "wait": false }));
    // One is deleted in the same breath, one while its VM is being made, one when its VM runs.
    let made = |at: &str| {
        eventually(at, || {
            let world = format!("{:?}", World::seen(&host));
            if world.contains(at) {
                Ok(())
            } else {
                Err(world)
            }
        });
    };
    for until in [None, Some("link host/ekf"), Some("process vm")] {
        door.do_("create", "instance", form("web"));
        until.into_iter().for_each(made);
        let deleted = door.do_("delete", "instance", json!({ "name": "web" }));
        assert_eq!(deleted["condition"], "deleted", "{deleted:#}");
        assert_eq!(World::seen(&host), nothing, "deleted at {until:?}");
    }
}

fn info_tells_how_each_vm_and_each_backend_stands(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let (cable, _running) = three_servers(&host);
    let door = evenkeel.door();
    door.do_("create", "project", json!({ "name": "shop" }));
    door.attach(SUBNET, &cable.interface);
    let mut form = instance_form(driver, json!({ "wait": false }));
    form["backend"]["entities"] =
        json!(["1.1.1.10:8080", { "address": "1.1.1.11", "port": 9, "weight": 3 }]);
    door.do_("create", "instance", form);
    let info = eventually("one backend is up and one is down", || {
        let info = door.instance("web");
        let health = |at: usize| info["backends"][at]["health"].clone();
        let are_known = (health(0), health(1)) == (json!("up"), json!("down"));
        match are_known && info["vms"][0]["state"] == "serving" {
            true => Ok(info),
            false => Err(info.to_string()),
        }
    });
    let _ = host.fetch(info["url"].as_str().expect("text"), 20);
    let info = eventually("the requests are counted", || {
        let info = door.instance("web");
        match info["vms"][0]["requests"].as_u64() {
            Some(20..) => Ok(info),
            _ => Err(info.to_string()),
        }
    });

    // The checker asks the VM twice a second, and no backend hears of it.
    throughout(
        Duration::from_millis(1_500),
        "only users' requests count",
        || {
            let info = door.instance("web");
            match (
                &info["vms"][0]["requests"],
                &info["backends"][0]["requests"],
            ) == (&json!(20), &json!(20))
            {
                true => Ok(()),
                false => Err(info.to_string()),
            }
        },
    );

    let is_moment = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.len() >= 20 && text.starts_with("20") && text.ends_with('Z')
    };
    let vm = &info["vms"][0];
    assert_eq!(
        (&vm["id"], &vm["state"]),
        (&json!(1), &json!("serving")),
        "{vm:#}"
    );
    assert!(is_moment(&vm["since"]), "{vm:#}");
    assert_eq!(
        vm["evidence"],
        "its heartbeats come and its hot path answers"
    );
    assert_eq!(info["addresses"], json!([vm["address"]]));
    assert!(
        vm["tenant_address"]
            .as_str()
            .is_some_and(|address| address.starts_with("1.1.1."))
    );
    let (driver_word, accelerator) = match driver {
        Driver::Machine | Driver::Restored | Driver::Pooled => ("qemu", "tcg"),
        Driver::Process => ("process", "process"),
    };
    assert_eq!(
        (&vm["driver"], &vm["accelerator"]),
        (&json!(driver_word), &json!(accelerator))
    );
    // The process that it names is the VM's, by the tag on its command line.
    let command = host.shell(&format!("tr '\\0' ' ' < /proc/{}/cmdline", vm["pid"]));
    assert!(command.contains("-vm1"), "{command}");

    let [up, down] = [0, 1].map(|at| &info["backends"][at]);
    let words = up["last_check"].as_str().expect("text");
    assert!(
        words.starts_with("200 Origin in ") && words.ends_with(" ms"),
        "{words}"
    );
    assert_eq!(up["entity"], "1.1.1.10:8080");
    assert_eq!(
        (&up["requests"], &down["requests"]),
        (&json!(20), &json!(0))
    );
    assert!(
        is_moment(&up["since"]) && is_moment(&down["since"]),
        "{info:#}"
    );
    assert_eq!(
        (&down["entity"], &down["weight"]),
        (&json!("1.1.1.11:9"), &json!(3))
    );
    assert_eq!(down["last_check"], "connection refused");
    assert_eq!(info["condition"], "degraded");
    assert_eq!(
        info["waiting_for"],
        json!([{ "for": "backend 1.1.1.11:9", "why": "connection refused" }])
    );

    let project = door.do_("info", "project", json!({ "name": "shop" }));
    assert_eq!(
        project["instances"],
        json!([{ "name": "web", "id": 1, "url": info["url"], "condition": "degraded" }])
    );
    door.do_("create", "project", json!({ "name": "empty" }));
    let all = door.do_("info", "project", json!({}));
    let names: Vec<_> = all["projects"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["shop", "empty"]);
}

end_to_end::over_both_drivers! {
    the_missions_own_words_make_a_url_that_all_backends_answer,
    a_tcp_instance_carries_bytes_both_ways_and_keeps_the_half_close,
    what_the_health_checker_asks_is_nobodys_traffic,
    the_number_of_vms_changes_while_no_request_is_lost,
    what_is_deleted_is_gone_from_the_world_within_seconds,
    what_is_deleted_before_it_ever_served_leaves_nothing_either,
    info_tells_how_each_vm_and_each_backend_stands,
}
