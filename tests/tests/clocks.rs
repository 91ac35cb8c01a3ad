//! A wall clock that jumps while the server runs: as when a machine's clock is set, or its battery was empty.

use std::fs;
use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Visitors, Web, World, eventually, throughout};
use serde_json::json;

/// It has a program see another wall clock, which a file tells; the monotonic clock stays what it is.
const FALSE_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Longer than any silence for which a VM is condemned.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Sets the server's clock so many hours away from the true one.
fn set_clock(host: &Host, hours: i32) {
    let draft = host.path("clock.new");
    fs::write(&draft, format!("{:+}\n", hours * 3_600)).expect("the directory can be written");
    fs::rename(&draft, host.path("clock")).expect("the directory is the same");
}

/// A server whose clock is the host's own until it is set.
fn start(host: &Host) -> Evenkeel<'_> {
    set_clock(host, 0);
    Evenkeel::configure(host, Driver::Process, "");
    let mut evenkeel = Evenkeel::stopped(host);
    let clock = host.path("clock").display().to_string();
    for (name, value) in [
        ("LD_PRELOAD", FALSE_CLOCK),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        evenkeel.set_variable(name, value);
    }
    evenkeel.resume();
    evenkeel
}

#[test]
fn a_clock_that_jumps_costs_no_vm_and_no_request_and_a_death_after_it_is_healed_as_soon() {
    let host = Host::new();
    host.use_own_dns();
    let evenkeel = start(&host);
    let door = evenkeel.door();
    let web = Web::create(&host, evenkeel.door(), 2);
    let before = web.vms();
    let visitors = Visitors::begin(&host, &format!("http://{}/", web.name));
    for (round, hours) in [1, -1, 24, 0].into_iter().enumerate() {
        set_clock(&host, hours);
        let what = format!("{hours} hours away, each VM stays and serves");
        throughout(LONG_ENOUGH, &what, || {
            let vms = web.vms();
            if vms == before { Ok(()) } else { Err(vms) }
        });
        let server = json!({ "address": "1.1.1.10", "port": 8080, "weight": round + 2 });
        let change = json!({
            "project": "p", "name": "web", "backend": { "entities": [server, "1.1.1.11:8080"] },
        });
        door.do_("update", "instance", change);
        let hour = host.shell(&format!("date --utc --date '{hours} hours' +%Y-%m-%dT%H"));
        let last = web.info()["events"].as_array().and_then(|events| {
            let told = events.last()?["at"].as_str()?;
            Some(told.starts_with(hour.trim()))
        });
        assert_eq!(last, Some(true), "its clock is {hours} hours away: {hour}");
    }
    visitors.end().assert_flawless(100);
    for (hours, killed) in [(1, &before[0]), (-1, &before[1])] {
        set_clock(&host, hours);
        host.kill(killed.pid.expect("it serves"));
        eventually("the dead one is replaced", || {
            let vms = web.vms();
            let whole = vms.len() == 2 && vms.iter().all(|vm| vm.state == "serving");
            match whole && vms.iter().all(|vm| vm.id != killed.id) {
                true => Ok(()),
                false => Err(vms),
            }
        });
    }
    eventually("the URL answers", || web.fetch());
    World::await_told(&host, &door);
}
