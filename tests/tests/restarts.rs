//! A server that ends, by force or when asked, and comes back.

use std::fs;
use std::time::Duration;

use end_to_end::{
    Driver, Evenkeel, Host, Load, Vm, Web, World, eventually, over_both_drivers, throughout,
};
use serde_json::json;

over_both_drivers!(
    while_the_server_is_dead_no_request_fails_and_its_successor_takes_the_vms_over,
    a_vm_that_dies_while_the_server_is_dead_is_replaced_when_it_is_back,
    a_firewall_that_was_flushed_is_whole_again_when_the_server_is_back,
);

fn a_firewall_that_was_flushed_is_whole_again_when_the_server_is_back(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let before = web.vms();
    let rules = |host: &Host| host.shell("nft list ruleset | grep -c 'ether saddr'");
    let whole = rules(&host);
    evenkeel.kill();
    host.shell("nft flush ruleset");
    evenkeel.resume();
    eventually("the rules are back", || {
        let now = host
            .try_shell("nft list ruleset | grep -c 'ether saddr'")
            .stdout;
        let now = String::from_utf8_lossy(&now).into_owned();
        if now == whole { Ok(()) } else { Err(now) }
    });
    web.await_condition("serving");
    assert_eq!(
        identities(&web.vms()),
        identities(&before),
        "no VM is replaced"
    );
    for vm in &before {
        eventually("the VM answers", || web.fetch_from(&vm.address).map(drop));
    }
    World::await_told(&host, &evenkeel.door());
}

fn while_the_server_is_dead_no_request_fails_and_its_successor_takes_the_vms_over(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 2);
    let before = web.vms();
    let loads = load(&host, &before, 8);
    evenkeel.kill();
    throughout(Duration::from_secs(3), "every VM answers", || {
        before
            .iter()
            .try_for_each(|vm| web.fetch_from(&vm.address).map(drop))
    });
    evenkeel.resume();
    web.await_condition("serving");
    assert_eq!(
        identities(&web.vms()),
        identities(&before),
        "each VM is taken over as it is"
    );
    assert_flawless(loads);
    update_reaches_every_vm(&web, &evenkeel);
    assert_eq!(identities(&web.vms()), identities(&before), "and stays");
    World::await_told(&host, &evenkeel.door());
}

#[test]
fn of_all_requests_none_fails_while_the_server_is_killed_and_stopped_again_and_again() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 2);
    let before = web.vms();
    let loads = load(&host, &before, 12);
    for round in 0..6 {
        match round % 2 {
            0 => evenkeel.kill(),
            _ => assert!(evenkeel.stop(), "it ends well when it is asked to"),
        }
        evenkeel.resume();
        web.await_condition("serving");
        update_reaches_every_vm(&web, &evenkeel);
    }
    assert!(
        assert_flawless(loads) > 1_000,
        "too few requests to prove anything"
    );
    assert_eq!(identities(&web.vms()), identities(&before));
}

fn a_vm_that_dies_while_the_server_is_dead_is_replaced_when_it_is_back(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 2);
    let [dead, alive] = web.vms().try_into().expect("it has two");
    evenkeel.kill();
    host.kill(dead.pid.expect("it serves"));
    evenkeel.resume();
    eventually("it is replaced, and the other stays", || {
        let vms = web.vms();
        let stays = vms.iter().any(|vm| vm.pid == alive.pid);
        let whole = vms.len() == 2 && vms.iter().all(|vm| vm.state == "serving");
        match whole && stays && vms.iter().all(|vm| vm.id != dead.id) {
            true => Ok(()),
            false => Err(vms),
        }
    });
    World::await_told(&host, &evenkeel.door());
}

#[test]
fn what_was_only_seen_may_be_lost_between_two_runs() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 2);
    let before = web.vms();
    evenkeel.stop();
    host.shell(&format!("rm {}*", host.path("run/status.db").display()));
    evenkeel.resume();
    web.await_condition("serving");
    assert_eq!(identities(&web.vms()), identities(&before));
    update_reaches_every_vm(&web, &evenkeel);
}

#[test]
fn a_store_that_is_damaged_is_refused_by_name_and_no_vm_is_touched() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let before = web.vms();
    evenkeel.stop();
    let file = host.path("state/evenkeel.db");
    let whole = fs::read(&file).expect("it was stopped");
    let half = whole.len() / 2;
    for length in [0, 50, 512, half, whole.len() - 4096] {
        fs::write(&file, &whole[..length]).expect("it can be written");
        let said = serve_and_fail(&host);
        assert!(
            said.contains("state/evenkeel.db"),
            "{length} bytes of {}: {said}",
            whole.len()
        );
        assert!(
            said.contains("damaged"),
            "{length} bytes of {}: {said}",
            whole.len()
        );
        web.fetch_from(&before[0].address).expect("the VM goes on");
    }
    fs::write(&file, &whole).expect("it can be written");
    evenkeel.resume();
    web.await_condition("serving");
    assert_eq!(identities(&web.vms()), identities(&before));
}

/// Runs the server, which must end by itself, and returns what it said.
fn serve_and_fail(host: &Host) -> String {
    let program = std::env::var("EVENKEEL_PROGRAM").expect("the tests know the program");
    let config = host.path("evenkeel.toml");
    let line = format!("timeout 10 {program} serve --config {}", config.display());
    let output = host.try_shell(&line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let begun = format!(
        "it began to serve, or worse: {said}\n{}",
        host.shell(&format!("ls -la {}", host.path("state").display()))
    );
    assert_eq!(output.status.code(), Some(1), "{begun}");
    said
}

/// Takes one server away and brings it back; each VM has to hear of it.
fn update_reaches_every_vm(web: &Web<'_>, evenkeel: &Evenkeel<'_>) {
    for (change, expected) in [("remove", &["a"][..]), ("add", &["a", "b"])] {
        let info = evenkeel.door().do_(
            "update",
            "instance",
            json!({ "project": "p", "name": "web", "backend": { change: ["1.1.1.11:8080"] } }),
        );
        web.await_servers(&Vm::read(&info), expected);
    }
}

/// To each VM requests over connections that stay, and over one connection for each.
fn load(host: &Host, vms: &[Vm], seconds: u32) -> Vec<Load> {
    let kinds = vms.iter().flat_map(|vm| [(vm, false), (vm, true)]);
    kinds
        .map(|(vm, anew)| Load::begin(host, &vm.address, seconds, anew))
        .collect()
}

fn assert_flawless(loads: Vec<Load>) -> u64 {
    loads.into_iter().map(Load::assert_flawless).sum()
}

fn identities(vms: &[Vm]) -> Vec<(u64, Option<u32>, &str)> {
    vms.iter()
        .map(|vm| (vm.id, vm.pid, vm.address.as_str()))
        .collect()
}
