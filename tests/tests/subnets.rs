//! Projects' networks: apart from each other, and there for as long as they are needed.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Door, Driver, Evenkeel, Host, Servers, eventually, host_of, quick_checks};
use serde_json::{Value, json};

const SUBNET: &str = "1.1.1.0/24";

/// What `info` tells of a project's instance.
fn instance(door: &Door, project: &str, name: &str) -> Value {
    door.do_(
        "info",
        "instance",
        json!({ "project": project, "name": name }),
    )
}

/// Two projects with the same subnet: in `red`, HTTP servers are at .10 and .20; in `blue`, TCP servers
/// are at .10 and .30, and nobody at .20. Each has an instance over .10 and .20.
fn two_projects_use_the_same_subnet_and_reach_nothing_of_each_other(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    host.use_own_dns();
    let door = evenkeel.door();
    let red = Servers::new(&host, "red", &["1.1.1.10/24", "1.1.1.20/24"]);
    let blue = Servers::new(&host, "blue", &["1.1.1.10/24", "1.1.1.30/24"]);
    let _servers = [
        red.http("red-ten", "1.1.1.10:8080"),
        red.http("red-twenty", "1.1.1.20:8080"),
        blue.tcp("blue-ten", "1.1.1.10:8080"),
        blue.tcp("blue-thirty", "1.1.1.30:8080"),
    ];
    for (project, cable) in [("red", &red), ("blue", &blue)] {
        door.do_("create", "project", json!({ "name": project }));
        door.do_(
            "update",
            "subnet",
            json!({ "project": project, "subnet": SUBNET, "attach": [cable.interface] }),
        );
    }
    let create = |project: &str, traffic: Value| {
        let mut form = json!({
            "project": project, "name": "lb", "subnet": SUBNET,
            "backend": { "entities": ["1.1.1.10:8080", "1.1.1.20:8080"], "health-check": quick_checks(driver) },
        });
        let fields = form.as_object_mut().expect("it is an object");
        fields.extend(traffic.as_object().expect("it is an object").clone());
        let info = door.do_("create", "instance", form);
        info["url"].as_str().expect("a URL").to_owned()
    };
    let red_url = create("red", json!({}));
    let blue_url = create("blue", json!({ "traffic_type": "tcp", "port": 8000 }));

    // 1.1.1.20 is there for red's VM, and for blue's it is not, although both ask on their own subnet.
    let await_health = |project: &str, wanted: [&str; 2]| {
        eventually(&format!("the backends of {project} are {wanted:?}"), || {
            let info = instance(&door, project, "lb");
            match [0, 1].map(|at| &info["backends"][at]["health"]) == wanted {
                true => Ok(info["backends"][1]["last_check"]
                    .as_str()
                    .map(str::to_owned)),
                false => Err(info.to_string()),
            }
        })
    };
    await_health("red", ["up", "up"]);
    let why = await_health("blue", ["up", "down"]).expect("it is told in words");
    assert!(
        why == "no route to host" || why.starts_with("no answer within "),
        "{why}"
    );

    // The same address on the same subnet is another server in each.
    assert_eq!(
        host.fetch(&red_url, 20),
        [("red-ten".into(), 10), ("red-twenty".into(), 10)].into()
    );
    let echo = format!(
        "printf 'hello\\n' | timeout 20 nc -N {} 8000",
        host_of(&blue_url)
    );
    for _ in 0..4 {
        assert_eq!(host.shell(&echo), "blue-ten\nhello\n");
    }

    // Nor do the tenants' own hosts reach each other; and what a tenant reaches ends at its subnet.
    let connects_from = |cable: &Servers<'_>, address: &str, port: u16| {
        let answer = cable.shell(&format!(
            "sh -c 'nc -z -w 1 {address} {port} && echo yes || echo no'"
        ));
        answer == "yes\n"
    };
    red.shell("ip route add default dev eth0");
    blue.shell("ip route add default dev eth0");
    for (address, of_red) in [("1.1.1.20", true), ("1.1.1.30", false)] {
        let reached = [&red, &blue].map(|cable| connects_from(cable, address, 8080));
        assert_eq!(reached, [of_red, !of_red], "{address} from red, from blue");
    }
    let front = |project: &str| {
        let info = instance(&door, project, "lb");
        info["addresses"][0]
            .as_str()
            .expect("an address")
            .to_owned()
    };
    for (address, port) in [
        ("10.200.0.1".into(), 53),
        (front("red"), 80),
        (front("blue"), 8000),
    ] {
        let line = format!("nc -z -w 1 {address} {port}");
        assert!(
            host.try_shell(&line).status.success(),
            "the host itself reaches {address}"
        );
        for cable in [&red, &blue] {
            assert!(!connects_from(cable, &address, port), "{address}");
        }
    }

    // From within a VM: its own backend is in reach, the other project's VM is not, by either network.
    if driver == Driver::Process {
        let vm = |project: &str| format!("ek-v{}", instance(&door, project, "lb")["vms"][0]["id"]);
        let connects = |from: &str, address: &str, port: u16| {
            let line = format!("ip netns exec {from} nc -z -w 1 {address} {port}");
            host.try_shell(&line).status.success()
        };
        let (red_vm, blue_vm) = (vm("red"), vm("blue"));
        assert!(connects(&red_vm, "1.1.1.10", 8080) && connects(&blue_vm, "1.1.1.10", 8080));
        assert!(
            connects(&red_vm, &front("red"), 80),
            "its own front address is in reach"
        );
        assert!(
            !connects(&blue_vm, &front("red"), 80),
            "over the front network"
        );
        assert!(
            !connects(&red_vm, &front("blue"), 8000),
            "over the front network"
        );
        assert!(connects(&red_vm, "1.1.1.20", 8080) && !connects(&blue_vm, "1.1.1.20", 8080));
    }
}

/// The links in the only project's namespace, or none where there is no such namespace.
fn links(host: &Host) -> Vec<String> {
    let shown = host.try_shell("ip -n ek-p1 -br link show");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let names = shown
        .lines()
        .filter_map(|line| line.split([' ', '@']).next());
    let mut names: Vec<_> = names
        .filter(|name| *name != "lo")
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn await_links(host: &Host, wanted: &[&str]) {
    eventually("the project has these links", || {
        let links = links(host);
        if links == wanted { Ok(()) } else { Err(links) }
    });
}

#[test]
fn a_bridge_appears_with_the_first_vm_or_port_and_goes_with_the_last() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let door = evenkeel.door();
    let cable = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let on_the_host = || host.try_shell("ip link show cable").status.success();
    door.do_("create", "project", json!({ "name": "shop" }));
    eventually("the project has its namespace", || {
        let namespaces = host.shell("ip netns list");
        if namespaces.contains("ek-p1") {
            Ok(())
        } else {
            Err(namespaces)
        }
    });
    assert_eq!(links(&host), [""; 0], "nobody needs a bridge yet");

    // With the first port, and with the last one away again, which comes back to the host.
    door.attach(SUBNET, &cable.interface);
    await_links(&host, &["br1", "cable"]);
    assert!(!on_the_host());
    let detach = || {
        door.do_(
            "update",
            "subnet",
            json!({ "subnet": SUBNET, "detach": [cable.interface] }),
        )
    };
    detach();
    await_links(&host, &[]);
    assert!(on_the_host());

    // With the first VM, and with the last one away again.
    let form = json!({
        "name": "web", "subnet": SUBNET, "wait": false,
        "backend": { "entities": ["1.1.1.10:8080"], "health-check": quick_checks(Driver::Process) },
    });
    door.do_("create", "instance", form.clone());
    await_links(&host, &["br2", "ekt1"]);
    door.do_("delete", "instance", json!({ "name": "web" }));
    await_links(&host, &[]);

    // With both, it stays until neither is left.
    door.do_("create", "instance", form);
    door.attach(SUBNET, &cable.interface);
    await_links(&host, &["br3", "cable", "ekt2"]);
    detach();
    await_links(&host, &["br3", "ekt2"]);
    door.attach(SUBNET, &cable.interface);
    await_links(&host, &["br3", "cable", "ekt2"]);
    door.do_("delete", "instance", json!({ "name": "web" }));
    await_links(&host, &["br3", "cable"]);
    let told = &door.do_("info", "subnet", json!({ "subnet": SUBNET }))["subnets"][0];
    assert_eq!(
        (&told["interfaces"], &told["instances"]),
        (&json!(["cable"]), &json!([]))
    );
    detach();
    await_links(&host, &[]);
    assert!(on_the_host());
}

#[test]
fn an_interface_that_is_missing_is_named_and_used_when_it_appears() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    host.use_own_dns();
    let door = evenkeel.door();
    door.do_("create", "project", json!({ "name": "default" }));
    door.attach(SUBNET, "later0");
    let info = door.do_(
        "create",
        "instance",
        json!({ "name": "lb", "subnet": SUBNET, "wait": false,
                "backend": { "entities": ["1.1.1.10:8080"], "health-check": quick_checks(Driver::Process) } }),
    );
    let lb = json!({ "name": "lb" });
    let why = eventually("info names the interface", || {
        let info = instance(&door, "default", "lb");
        let waiting = info["waiting_for"].as_array().expect("a list").iter();
        let mut port = waiting.filter(|item| item["for"] == "interface later0");
        let why = port
            .next()
            .and_then(|item| item["why"].as_str().map(str::to_owned));
        why.ok_or(info.to_string())
    });
    assert!(why.contains("later0"), "{why}");
    door.await_condition(&lb, "degraded");
    eventually("the backend is out of reach", || {
        let info = instance(&door, "default", "lb");
        let is_down = info["backends"][0]["health"] == "down";
        if is_down {
            Ok(())
        } else {
            Err(info.to_string())
        }
    });

    let cable = Servers::new(&host, "later0", &["1.1.1.10/24"]);
    let _server = cable.http("one", "1.1.1.10:8080");
    let healed = door.await_condition(&lb, "serving");
    assert_eq!(healed["waiting_for"], json!([]), "{healed:#}");
    assert_eq!(
        host.fetch(info["url"].as_str().expect("a URL"), 5)["one"],
        5
    );

    // One that Evenkeel has itself is refused by name, and does no harm.
    door.attach(SUBNET, "ek-front");
    eventually("info names the refused interface", || {
        let info = instance(&door, "default", "lb");
        let waiting = info["waiting_for"].as_array().expect("a list").iter();
        let named = waiting
            .map(|item| &item["for"])
            .any(|what| what == "interface ek-front");
        if named { Ok(()) } else { Err(info.to_string()) }
    });
    assert_eq!(
        host.fetch(info["url"].as_str().expect("a URL"), 5)["one"],
        5
    );
}

end_to_end::over_both_drivers! {
    two_projects_use_the_same_subnet_and_reach_nothing_of_each_other,
}
