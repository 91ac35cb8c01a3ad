//! The parts of the server, each in a process of its own: what goes on when one of them is gone.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::{
    Door, Driver, Evenkeel, Host, Running, Vm, Web, World, eventually, throughout, within,
};
use serde_json::json;

const ROLES: [&str; 5] = ["controller", "checker", "dns", "api", "monitor"];
/// A role that is dead for this long is known to be, and what it told is forgotten.
const LONG_ENOUGH: Duration = Duration::from_secs(6);

/// A process for each.
struct Apart<'h> {
    host: &'h Host,
    running: Vec<(&'static str, Running<'h>)>,
}

impl<'h> Apart<'h> {
    fn start(host: &'h Host) -> Self {
        Evenkeel::configure(host, Driver::Process, "");
        let mut apart = Self {
            host,
            running: Vec::new(),
        };
        ROLES.into_iter().for_each(|role| apart.resume(role));
        apart
    }

    fn resume(&mut self, role: &'static str) {
        let running = self.host.start(
            role,
            program(),
            &["serve", "--config", &config(self.host), "--role", role],
        );
        self.running.push((role, running));
        if role == "api" {
            eventually("the door opens", || {
                self.door().ask("info", "system", json!({}))
            });
        }
    }

    fn kill(&mut self, role: &str) {
        let place = self
            .running
            .iter()
            .position(|(running, _)| *running == role);
        self.running.remove(place.expect("it runs")).1.kill();
    }

    fn door(&self) -> Door {
        Door::at(&self.host.path("run/evenkeel.sock"))
    }

    /// The roles that `status` knows to be there.
    fn known(&self) -> BTreeSet<String> {
        let roles = self.door().do_("info", "system", json!({}))["roles"].clone();
        roles
            .as_object()
            .into_iter()
            .flatten()
            .map(|(role, _)| role.clone())
            .collect()
    }
}

#[test]
fn a_process_for_each_role_serves_as_one_for_all_does() {
    let host = Host::new();
    let apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    web.fetch().expect("the URL answers");
    eventually("status knows them all", || {
        let known = apart.known();
        if known == ROLES.map(str::to_owned).into() {
            Ok(())
        } else {
            Err(known)
        }
    });
    await_metrics(&host, "figures of all roles", |text| {
        let is_up = |role| text.contains(&format!("evenkeel_up{{role=\"{role}\"}} 1\n"));
        ROLES.into_iter().all(is_up)
            && text.contains("evenkeel_monitor_answers 1\n")
            && text
                .contains("evenkeel_lb_requests_total{user=\"root\",project=\"p\",lb=\"web\"} 1\n")
    });
    World::await_told(&host, &apart.door());
    apart
        .door()
        .do_("delete", "project", json!({ "name": "p", "cascade": true }));
    assert!(World::seen(&host).beyond(&World::front()).is_empty());
}

#[test]
fn without_a_controller_traffic_and_dns_go_on_and_orders_wait_for_it() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    let before = web.vms();
    apart.kill("controller");
    let ordered = apart.door().do_(
        "update",
        "instance",
        json!({ "project": "p", "name": "web", "wait": false, "backend": { "remove": ["1.1.1.11:8080"] } }),
    );
    let waiting = ordered["waiting_for"].to_string();
    assert!(waiting.contains("controller"), "{waiting}");
    await_metrics(&host, "that the controller is away", |text| {
        text.contains("evenkeel_up{role=\"controller\"} 0\n")
    });
    throughout(LONG_ENOUGH, "the URL answers through DNS", || {
        web.fetch().map(drop)
    });
    eventually("status knows the others, and no controller", || {
        let known = apart.known();
        let others = ROLES.into_iter().filter(|role| *role != "controller");
        match known == others.map(str::to_owned).collect() {
            true => Ok(()),
            false => Err(known),
        }
    });
    apart.resume("controller");
    web.await_condition("serving");
    assert_eq!(identities(&web.vms()), identities(&before));
    web.await_servers(&before, &["a"]);
}

/// The checker has seen a VM silent for many times what a verdict takes, and nobody was there to act. What was so is
/// over when a controller comes, and it finds out for itself.
#[test]
fn a_controller_that_comes_late_does_not_act_on_what_was_seen_before() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    let before = web.vms();
    let [frozen, _] = before.as_slice() else {
        panic!("it has two");
    };
    apart.kill("controller");
    frozen.signal(&host, "STOP");
    let is_silent = |times: u32| {
        let silent = (0..times).all(|_| web.fetch_from(&frozen.address).is_err());
        if silent { Ok(()) } else { Err("it answers") }
    };
    eventually("it is silent", || is_silent(3));
    frozen.signal(&host, "CONT");
    apart.resume("controller");
    throughout(LONG_ENOUGH, "the VMs are the same", || {
        let vms = web.vms();
        match identities(&vms) == identities(&before) {
            true => Ok(()),
            false => Err(vms),
        }
    });
    web.await_condition("serving");
    let verdicts = json!({ "instance": "web", "kind": ["verdict", "set-aside"] });
    let told = apart.door().do_("info", "events", verdicts).to_string();
    assert!(
        !told.contains("is down") && !told.contains("set aside"),
        "{told}"
    );
}

#[test]
fn a_second_monitor_is_refused_and_the_first_goes_on() {
    let host = Host::new();
    let apart = Apart::start(&host);
    // Whoever is first is the first.
    eventually("the first is at work", || {
        let log = std::fs::read_to_string(host.path("monitor.log")).unwrap_or_default();
        match log.contains("figures are taken in") {
            true => Ok(()),
            false => Err(log),
        }
    });
    let line = format!("serve --config {} --role monitor", config(&host));
    let output = host.try_shell(&format!("timeout 30 {} {line}", program()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another monitor is at work"), "{said}");
    let status = apart.door().do_("info", "system", json!({}));
    assert_eq!(status["troubles"], json!([]));
}

#[test]
fn without_an_api_all_but_requests_goes_on() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    let [killed, other] = web.vms().try_into().expect("it has two");
    apart.kill("api");
    assert!(
        apart.door().ask("info", "system", json!({})).is_err(),
        "nobody is there to answer"
    );
    host.kill(killed.pid.expect("it serves"));
    eventually("the dead VM is replaced in DNS", || {
        let named = web.dig()?;
        let replaced = !named.contains(&killed.address) && named.contains(&other.address);
        if replaced && named.len() == 2 {
            Ok(())
        } else {
            Err(format!("{named:?}"))
        }
    });
    web.fetch().expect("the URL answers");
    apart.resume("api");
    web.await_condition("serving");
    eventually("the dead VM is gone", || {
        match web.vms().iter().all(|vm| vm.id != killed.id) {
            true => Ok(()),
            false => Err("it is still told of"),
        }
    });
}

#[test]
fn without_a_checker_no_vm_is_replaced_but_a_dead_one_and_new_ones_come_to_serve() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    let before = web.vms();
    apart.kill("checker");
    throughout(LONG_ENOUGH, "each VM stays and serves", || {
        let vms = web.vms();
        let serve = vms.iter().all(|vm| vm.state == "serving");
        if serve && identities(&vms) == identities(&before) {
            Ok(())
        } else {
            Err(vms)
        }
    });
    host.kill(before[0].pid.expect("it serves"));
    eventually(
        "the dead one is replaced, by the heartbeat's word alone",
        || {
            let vms = web.vms();
            let whole = vms.len() == 2 && vms.iter().all(|vm| vm.state == "serving");
            if whole && vms.iter().all(|vm| vm.id != before[0].id) {
                Ok(())
            } else {
                Err(vms)
            }
        },
    );
    apart.resume("checker");
    let evidence = "its heartbeats come and its hot path answers";
    eventually("it is probed again", || {
        let vms = web.vms();
        if vms.iter().all(|vm| vm.evidence == evidence) {
            Ok(())
        } else {
            Err(vms)
        }
    });
}

#[test]
fn without_a_dns_server_known_addresses_answer_and_a_change_of_the_zone_is_waited_for() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 1);
    let first = web.vms();
    apart.kill("dns");
    web.dig().expect_err("nobody is there to answer");
    web.fetch_from(&first[0].address).expect("the VM answers");
    let two = json!({ "project": "p", "name": "web", "wait": false, "auto-scaling": { "min": 2, "max": 2 } });
    apart.door().do_("update", "instance", two);
    let waiting = eventually("the second VM serves", || {
        let vms = web.vms();
        let serve = vms.len() == 2 && vms.iter().all(|vm| vm.state == "serving");
        if serve {
            Ok(web.info()["waiting_for"].to_string())
        } else {
            Err(vms)
        }
    });
    assert!(waiting.contains("DNS"), "{waiting}");
    apart.resume("dns");
    web.await_condition("serving");
    assert_eq!(web.dig().expect("it answers").len(), 2);
}

#[test]
fn the_dns_server_alone_keeps_urls_alive_until_the_others_are_back() {
    let host = Host::new();
    let mut apart = Apart::start(&host);
    let web = Web::create(&host, apart.door(), 2);
    let before = web.vms();
    let others = ["controller", "checker", "api"];
    others.into_iter().for_each(|role| apart.kill(role));
    throughout(LONG_ENOUGH, "the URL answers through DNS", || {
        web.fetch().map(drop)
    });
    others.into_iter().for_each(|role| apart.resume(role));
    let fewer =
        json!({ "project": "p", "name": "web", "backend": { "remove": ["1.1.1.11:8080"] } });
    apart.door().do_("update", "instance", fewer);
    web.await_servers(&before, &["a"]);
    web.await_condition("serving");
    assert_eq!(identities(&web.vms()), identities(&before));
}

#[test]
fn a_second_controller_is_refused_and_the_first_goes_on_undisturbed() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let before = (web.vms(), World::seen(&host));
    let lock = host.path("run/controller.lock").display().to_string();
    for roles in ["--role controller", ""] {
        let said = refused(&host, roles);
        assert!(
            said.contains("stop that server first") && said.contains(&lock),
            "{roles}: {said}"
        );
    }
    assert_eq!((web.vms(), World::seen(&host)), before);
    web.fetch().expect("the URL answers");
    let system = evenkeel.door().do_("info", "system", json!({}));
    assert_eq!(
        system["troubles"],
        json!([]),
        "whoever was refused left its troubles behind"
    );
    assert_eq!(
        system["roles"].as_object().map(serde_json::Map::len),
        Some(ROLES.len()),
        "{system:#}"
    );
}

#[test]
fn a_second_door_at_the_same_place_is_refused_by_name_and_the_first_stays_open() {
    let host = Host::new();
    let apart = Apart::start(&host);
    let said = refused(&host, "--role api");
    assert!(
        said.contains("127.0.0.1:7400") && said.contains("in use"),
        "{said}"
    );
    let config = std::fs::read_to_string(config(&host)).expect("it was written");
    std::fs::write(self::config(&host), format!("{config}[api]\nlisten = []\n"))
        .expect("it can be");
    let said = refused(&host, "--role api");
    let socket = host.path("run/evenkeel.sock").display().to_string();
    assert!(said.contains(&socket), "{said}");
    throughout(LONG_ENOUGH, "the door is open", || {
        apart.door().ask("info", "system", json!({})).map(drop)
    });
    eventually("status knows who holds it", || {
        let known = apart.known();
        if known.contains("api") {
            Ok(())
        } else {
            Err(known)
        }
    });
}

#[test]
fn a_dns_port_that_another_holds_is_told_and_taken_when_it_is_free() {
    let host = Host::new();
    let holder = host.start("holder", "nc", &["-u", "-l", "-k", "0.0.0.0", "53"]);
    eventually("it holds the port", || {
        let listening = host.shell("ss -Hlun");
        if listening.contains(":53 ") {
            Ok(())
        } else {
            Err(listening)
        }
    });
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::ask_for(&host, evenkeel.door(), 1);
    let troubles = eventually("status names the trouble", || {
        let troubles = evenkeel.door().do_("info", "system", json!({}))["troubles"].clone();
        if troubles == json!([]) {
            Err("none")
        } else {
            Ok(troubles)
        }
    });
    let words = troubles.to_string();
    assert!(
        words.contains("10.200.0.1:53: another program does"),
        "{words}"
    );
    eventually("its VM serves", || {
        let vms = web.vms();
        if vms.iter().all(|vm| vm.state == "serving") {
            Ok(())
        } else {
            Err(vms)
        }
    });
    let info = web.info();
    assert!(info["waiting_for"].to_string().contains("DNS"), "{info:#}");
    let troubles = evenkeel.door().do_("info", "system", json!({}))["troubles"].clone();
    assert_eq!(
        troubles.as_array().map(Vec::len),
        Some(1),
        "told once: {troubles:#}"
    );
    holder.kill();
    within(Duration::from_secs(10), "DNS answers", || web.fetch());
    web.await_condition("serving");
    eventually("the trouble is over", || {
        let troubles = evenkeel.door().do_("info", "system", json!({}))["troubles"].clone();
        if troubles == json!([]) {
            Ok(())
        } else {
            Err(troubles)
        }
    });
}

/// Runs a server that must end by itself, and returns what it said.
fn refused(host: &Host, roles: &str) -> String {
    let line = format!(
        "timeout 10 {} serve --config {} {roles}",
        program(),
        config(host)
    );
    let output = host.try_shell(&line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(1),
        "it began to serve, or worse: {said}"
    );
    said
}

/// Waits until `/metrics` tells what is expected.
fn await_metrics(host: &Host, what: &str, is_told: impl Fn(&str) -> bool) {
    eventually(what, || {
        let text = host.shell("curl --silent http://127.0.0.1:7400/metrics");
        if is_told(&text) { Ok(()) } else { Err(text) }
    });
}

fn program() -> String {
    std::env::var("EVENKEEL_PROGRAM").expect("the tests know the program")
}

fn config(host: &Host) -> String {
    host.path("evenkeel.toml").display().to_string()
}

fn identities(vms: &[Vm]) -> Vec<(u64, Option<u32>)> {
    vms.iter().map(|vm| (vm.id, vm.pid)).collect()
}
