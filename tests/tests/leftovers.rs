//! What is left on a host, and who may take it away.

use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Web, World, over_both_drivers, within};
use serde_json::json;

over_both_drivers!(
    a_deleted_project_leaves_nothing_but_the_front_network,
    cleanup_leaves_nothing_and_the_next_server_makes_all_of_it_anew,
);

fn a_deleted_project_leaves_nothing_but_the_front_network(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 2);
    World::await_told(&host, &evenkeel.door());
    evenkeel
        .door()
        .do_("delete", "project", json!({ "name": "p", "cascade": true }));
    let left = World::seen(&host).beyond(&World::front());
    assert!(
        left.is_empty(),
        "when the answer came, there was still {left:?}"
    );
    assert_eq!(web.dig(), Ok([].into()));
    let cable = host.shell("ip -o link show cable");
    assert!(
        !cable.contains("master"),
        "the host has its interface back: {cable}"
    );
}

fn cleanup_leaves_nothing_and_the_next_server_makes_all_of_it_anew(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    // More at once than are believed to have died by themselves.
    let vms = if driver == Driver::Process { 5 } else { 2 };
    let web = Web::create(&host, evenkeel.door(), vms);
    let (before, addresses) = (World::seen(&host), web.dig());
    evenkeel.kill();
    let (status, said) = cleanup(&host);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        World::seen(&host).is_empty(),
        "there is still {:?}",
        World::seen(&host)
    );
    host.shell("ip link show cable");
    evenkeel.resume();
    let soon = Duration::from_secs(if driver == Driver::Process { 20 } else { 60 });
    within(soon, "the URL leads to new VMs", || web.fetch());
    web.await_condition("serving");
    assert_eq!(web.dig(), addresses, "each VM has its own again");
    World::await_told(&host, &evenkeel.door());
    assert_eq!(
        World::seen(&host).len(),
        before.len(),
        "{:?} before",
        before
    );
}

#[test]
fn cleanup_is_refused_while_a_controller_runs() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    let (vms, before) = (web.vms(), World::seen(&host));
    let (status, said) = cleanup(&host);
    assert_eq!(status, Some(1), "{said}");
    let lock = host.path("run/controller.lock").display().to_string();
    assert!(
        said.contains("stop that server first") && said.contains(&lock),
        "{said}"
    );
    assert_eq!(World::seen(&host), before);
    assert_eq!(web.vms(), vms);
}

#[test]
fn cleanup_of_an_installation_that_never_ran_is_done_at_once() {
    let host = Host::new();
    Evenkeel::configure(&host, Driver::Process, "");
    for _ in 0..2 {
        let (status, said) = cleanup(&host);
        assert_eq!(status, Some(0), "{said}");
    }
    assert!(World::seen(&host).is_empty());
}

#[test]
fn what_another_has_named_alike_is_left_alone() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let _web = Web::create(&host, evenkeel.door(), 1);
    host.shell(
        "ip netns add other-p1 && ip link add ekx0 type veth peer name ekx1 && nft add table ip ek",
    );
    evenkeel
        .door()
        .do_("delete", "project", json!({ "name": "p", "cascade": true }));
    evenkeel.stop();
    assert_eq!(cleanup(&host).0, Some(0));
    host.shell("ip netns exec other-p1 true && ip link show ekx0 && nft list table ip ek");
}

/// Runs `evenkeel cleanup`, and returns its exit code and what it said.
fn cleanup(host: &Host) -> (Option<i32>, String) {
    let program = std::env::var("EVENKEEL_PROGRAM").expect("the tests know the program");
    let config = host.path("evenkeel.toml");
    let output = host.try_shell(&format!("{program} cleanup --config {}", config.display()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}
