//! Names: those that Evenkeel gives, and those of backends that it looks up.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{
    Door, Driver, Evenkeel, Host, Servers, eventually, host_of, program_of_this_package,
    quick_checks,
};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";

fn backend(entities: &[&str]) -> Value {
    json!({ "entities": entities, "health-check": quick_checks(Driver::Process) })
}

fn url_of(info: &Value) -> String {
    info["url"].as_str().expect("a URL").to_owned()
}

#[test]
fn a_label_that_is_taken_gets_an_id_and_a_new_name_keeps_the_old_url() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let door = evenkeel.door();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24", "1.1.1.11/24"]);
    let _servers = [
        cable.http("one", "1.1.1.10:8080"),
        cable.http("two", "1.1.1.11:8080"),
    ];
    let create_project = |user: &str| {
        door.do_(
            "create",
            "project",
            json!({ "user": user, "name": "My Shop" }),
        );
    };
    create_project("john");
    create_project("mary");
    let create = |user: &str, name: &str, server: &str| {
        let info = door.do_(
            "create",
            "instance",
            json!({ "user": user, "name": name, "subnet": SUBNET, "backend": backend(&[server]), "wait": false }),
        );
        url_of(&info)
    };
    door.do_(
        "update",
        "subnet",
        json!({ "user": "john", "subnet": SUBNET, "attach": ["cable"] }),
    );
    let web = create("john", "web", "1.1.1.10:8080");
    assert_eq!(web, "http://web.my-shop.lb.evenkeel.test/");
    let clash = create("john", "Web!", "1.1.1.11:8080");
    assert_eq!(clash, "http://web-2.my-shop.lb.evenkeel.test/");
    let other_user = create("mary", "web", "1.1.1.10:8080");
    assert_eq!(other_user, "http://web.my-shop-2.lb.evenkeel.test/");
    let refused = door.refuse(
        "create",
        "instance",
        json!({ "user": "john", "name": "web", "subnet": SUBNET }),
    );
    assert_eq!(
        (&refused["code"], &refused["path"]),
        (&json!("name-taken"), &json!("info.name"))
    );

    let await_serving = |name: &str| {
        door.await_condition(&json!({ "user": "john", "name": name }), "serving");
    };
    await_serving("web");
    await_serving("Web!");
    assert_eq!(host.fetch(&web, 5)["one"], 5);
    assert_eq!(host.fetch(&clash, 5)["two"], 5);

    let renamed = door.do_(
        "update",
        "instance",
        json!({ "user": "john", "name": "web", "new-name": "front door" }),
    );
    assert_eq!(
        url_of(&renamed),
        "http://front-door.my-shop.lb.evenkeel.test/"
    );
    assert_eq!(host.fetch(&url_of(&renamed), 5)["one"], 5);
    assert_eq!(host.fetch(&web, 5)["one"], 5, "the old URL");
    // The name is free again, the label is not: the old URL still means the renamed instance.
    let successor = create("john", "web", "1.1.1.11:8080");
    assert_eq!(successor, "http://web-4.my-shop.lb.evenkeel.test/");
    await_serving("web");
    assert_eq!(host.fetch(&successor, 5)["two"], 5);
    assert_eq!(host.fetch(&web, 5)["one"], 5, "the old URL");

    // With the instance, all of its names go.
    door.do_(
        "delete",
        "instance",
        json!({ "user": "john", "name": "front door" }),
    );
    for url in [&web, &url_of(&renamed)] {
        let answer = host.shell(&format!("dig {} @10.200.0.1", host_of(url)));
        assert!(answer.contains("status: NXDOMAIN"), "{url}: {answer}");
    }
    assert_eq!(host.fetch(&successor, 5)["two"], 5);
}

/// A name server of the host's network, and the file that it answers from.
struct Names<'h> {
    host: &'h Host,
}

impl Names<'_> {
    fn set(&self, lines: &str) {
        // Replaced as a whole: the server reads it at any time.
        let (new, file) = (self.host.path("names.new"), self.host.path("names"));
        std::fs::write(&new, lines).expect("the host's directory can be written");
        std::fs::rename(new, file).expect("both are in one directory");
    }

    fn serve(&self) -> end_to_end::Running<'_> {
        let file = self.host.path("names");
        let file = file.to_str().expect("the path is text");
        let program = program_of_this_package("nameserver");
        self.host
            .start("nameserver", program, &["127.0.0.1:53", file])
    }
}

fn backends_of(door: &Door) -> (Vec<Value>, String) {
    let info = door.instance("web");
    let backends = info["backends"].as_array().expect("a list").clone();
    (backends, info.to_string())
}

#[test]
fn a_backends_name_is_followed_and_its_last_good_answer_is_kept() {
    let host = Host::new();
    let names = Names { host: &host };
    names.set("app.example.test 1.1.1.10\n");
    let mut resolv_conf = host.path("resolv.conf");
    std::fs::write(
        &resolv_conf,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .expect("the host's directory can be written");
    host.shell(&format!(
        "mount --bind {} $(readlink -f /etc/resolv.conf)",
        resolv_conf.display()
    ));
    resolv_conf.pop();
    let name_server = names.serve();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let door = evenkeel.door();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24", "1.1.1.11/24"]);
    let _servers = [
        cable.http("one", "1.1.1.10:8080"),
        cable.http("two", "1.1.1.11:8080"),
    ];
    door.attach(SUBNET, "cable");
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "web", "subnet": SUBNET, "backend": backend(&["app.example.test:8080"]) }),
    );
    let address = info["addresses"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    let url = format!("http://{address}/");
    let await_backends = |wanted: &[(&str, &str)]| {
        eventually(&format!("the backends are {wanted:?}"), || {
            let (backends, info) = backends_of(&door);
            let told = backends
                .iter()
                .map(|b| (b["address"].as_str(), b["health"].as_str()));
            let wanted = wanted
                .iter()
                .map(|(address, health)| (Some(*address), Some(*health)));
            if told.eq(wanted) {
                Ok(backends.clone())
            } else {
                Err(info)
            }
        })
    };
    let backends = await_backends(&[("1.1.1.10", "up")]);
    assert_eq!(backends[0]["entity"], "app.example.test:8080");
    assert_eq!(host.fetch(&url, 4)["one"], 4);

    // The name moves, and later stands for two.
    names.set("app.example.test 1.1.1.11\n");
    await_backends(&[("1.1.1.11", "up")]);
    assert_eq!(host.fetch(&url, 4)["two"], 4);
    names.set("app.example.test 1.1.1.11\napp.example.test 1.1.1.10\n");
    await_backends(&[("1.1.1.10", "up"), ("1.1.1.11", "up")]);
    assert_eq!(host.fetch(&url, 8).len(), 2);

    // An address that the VMs cannot reach is told, and those that they can reach go on.
    names.set("app.example.test 1.1.1.11\napp.example.test 9.9.9.9\n");
    let backends = await_backends(&[("1.1.1.11", "up"), ("9.9.9.9", "down")]);
    assert_eq!(
        backends[1]["last_check"],
        "9.9.9.9 is not in subnet 1.1.1.0/24 and cannot be reached"
    );
    assert_eq!(host.fetch(&url, 4)["two"], 4);
    names.set("app.example.test 1.1.1.11\napp.example.test 1.1.1.10\n");
    await_backends(&[("1.1.1.10", "up"), ("1.1.1.11", "up")]);

    // A dead name server takes nothing away; and who asks for a name that it never told is told so.
    name_server.kill();
    door.do_(
        "update",
        "instance",
        json!({ "name": "web", "backend": { "add": ["ghost.example.test:8080"] }, "wait": false }),
    );
    let ghost = |words: &str| {
        eventually("info tells that the name does not resolve", || {
            let (backends, info) = backends_of(&door);
            let ghost = backends.last().expect("there are backends");
            let told = ghost["last_check"].as_str().unwrap_or_default();
            match ghost["entity"] == "ghost.example.test:8080" && told.contains(words) {
                true => Ok(ghost.clone()),
                false => Err(info),
            }
        })
    };
    let told = ghost("its name does not resolve: ");
    assert_eq!(
        (&told["health"], &told["address"]),
        (&json!("unknown"), &Value::Null)
    );
    let (backends, info) = backends_of(&door);
    let kept: Vec<_> = backends
        .iter()
        .filter(|backend| backend["health"] == "up")
        .collect();
    assert_eq!(kept.len(), 2, "{info}");
    assert_eq!(host.fetch(&url, 8).len(), 2);

    // The name server is back and does not know it; then it does.
    let _name_server = names.serve();
    ghost("no such name");
    names.set("app.example.test 1.1.1.10\nghost.example.test 1.1.1.11\n");
    await_backends(&[("1.1.1.10", "up"), ("1.1.1.11", "up")]);
    assert_eq!(host.fetch(&url, 8).len(), 2);
    door.await_condition(&json!({ "name": "web" }), "serving");
}
