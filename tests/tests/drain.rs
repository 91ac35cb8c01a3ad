//! VMs that leave while clients are on them: nobody loses a request by it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use end_to_end::{Crowd, Driver, Evenkeel, Host, Kinds, Web, over_both_drivers, within};
use serde_json::{Value, json};

over_both_drivers!(
    scaling_in_costs_no_client_a_request,
    a_vm_that_makes_room_for_one_that_came_back_costs_no_client_a_request,
);

/// For how long an answer of DNS is used.
const TTL: Duration = Duration::from_secs(1);
/// How long a departure may take, and the boot before it.
const PATIENCE: Duration = Duration::from_secs(90);
/// Clients of all kinds that end by themselves.
const PASSERS_BY: Kinds = Kinds {
    kept: 4,
    resting: 2,
    new: 2,
    tunnels: 0,
    downloads: 1,
};
/// Those that stay at one VM, whatever DNS says: one whose connection goes on, and one that comes again and again.
const FAITHFUL: Kinds = Kinds {
    kept: 0,
    resting: 0,
    new: 1,
    tunnels: 1,
    downloads: 0,
};

fn at(address: &str) -> SocketAddr {
    format!("{address}:80").parse().expect("it is an address")
}

fn change(evenkeel: &Evenkeel<'_>, backend: Value) {
    let form = json!({ "project": "p", "name": "web", "backend": backend });
    evenkeel.door().do_("update", "instance", form);
}

fn reason_of(web: &Web<'_>, id: u64) -> Option<String> {
    let info = web.info();
    let vms = info.get("vms")?.as_array()?;
    let vm = vms.iter().find(|vm| vm.get("id") == Some(&json!(id)))?;
    Some(vm.get("leaving")?.as_str()?.to_owned())
}

/// Waits until this holds, while the crowd looks its address up whenever the last answer's time is over.
fn following<T>(
    web: &Web<'_>,
    crowd: &Crowd,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let mut looked_up = None::<Instant>;
    within(PATIENCE, what, || {
        if looked_up.is_none_or(|at| at.elapsed() >= TTL) {
            let named: BTreeSet<String> = web.dig()?;
            crowd.turn_to(named.iter().map(|address| at(address)).collect());
            looked_up = Some(Instant::now());
        }
        look()
    })
}

fn has_gone(web: &Web<'_>, id: u64) -> Result<(), String> {
    match web.vms().iter().all(|vm| vm.id != id) {
        true => Ok(()),
        false => Err(format!("{:?}", reason_of(web, id))),
    }
}

fn assert_told(web: &Web<'_>, words: &str) {
    let info = web.info();
    let events = info.get("events").map(ToString::to_string);
    let events = events.unwrap_or_default();
    assert!(events.contains(words), "{events}");
}

fn scaling_in_costs_no_client_a_request(driver: Driver) {
    let host = Host::new();
    host.use_own_dns();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 2);
    let vms = web.vms();
    web.await_servers(&vms, &["a", "b"]);
    let [_, leaver] = vms.as_slice() else {
        panic!("two were asked for: {vms:?}");
    };
    let everywhere = vms.iter().map(|vm| at(&vm.address)).collect();
    let crowd = Crowd::begin_at(&host, everywhere, PASSERS_BY);
    let faithful = Crowd::begin(&host, at(&leaver.address), FAITHFUL);
    change(&evenkeel, json!({ "auto-scaling": { "min": 1, "max": 1 } }));
    following(&web, &crowd, "it waits for its clients", || {
        let reason = reason_of(&web, leaver.id).unwrap_or_default();
        match reason.contains("still open, for at most") {
            true => Ok(()),
            false => Err(reason),
        }
    });
    // It takes what it is told like any other, and serves whoever comes.
    change(&evenkeel, json!({ "entities": ["1.1.1.10:8080"] }));
    web.await_servers(std::slice::from_ref(leaver), &["a"]);
    let count = faithful.end_without_failure();
    assert!(count.echoes() > 20);
    following(&web, &crowd, "it is gone", || has_gone(&web, leaver.id));
    let count = crowd.end_without_failure();
    println!(
        "{} answers, {} downloads",
        count.answers(),
        count.downloads()
    );
    assert_told(
        &web,
        &format!("VM {} is removed: no client is left", leaver.id),
    );
}

fn a_vm_that_makes_room_for_one_that_came_back_costs_no_client_a_request(driver: Driver) {
    let host = Host::new();
    host.use_own_dns();
    let patient = "[failover]\ngrace_ms = 120000\n";
    let evenkeel = Evenkeel::start_with(&host, driver, patient);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vms = web.vms();
    let [frozen] = vms.as_slice() else {
        panic!("one was asked for: {vms:?}");
    };
    frozen.signal(&host, "STOP");
    let successor = within(PATIENCE, "another one serves in its place", || {
        let vms = web.vms();
        let named = web.dig();
        let successor = vms.iter().find(|vm| {
            let alone = BTreeSet::from([vm.address.clone()]);
            vm.id != frozen.id && vm.state == "serving" && named == Ok(alone)
        });
        successor.cloned().ok_or(vms)
    });
    web.await_servers(std::slice::from_ref(&successor), &["a", "b"]);
    let crowd = Crowd::begin(&host, at(&successor.address), PASSERS_BY);
    frozen.signal(&host, "CONT");
    following(&web, &crowd, "its replacement is gone", || {
        has_gone(&web, successor.id)
    });
    let left: Vec<u64> = web.vms().iter().map(|vm| vm.id).collect();
    assert_eq!(left, [frozen.id]);
    let count = crowd.end_without_failure();
    println!(
        "{} answers, {} downloads",
        count.answers(),
        count.downloads()
    );
}

#[test]
fn a_connection_that_does_not_end_is_waited_for_as_long_as_was_set() {
    let host = Host::new();
    host.use_own_dns();
    let short = "[failover]\ngrace_ms = 3000\ndrain_ms = 2000\n";
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, short);
    let web = Web::create(&host, evenkeel.door(), 2);
    let vms = web.vms();
    web.await_servers(&vms, &["a", "b"]);
    let [_, leaver] = vms.as_slice() else {
        panic!("two were asked for: {vms:?}");
    };
    let faithful = Crowd::begin(&host, at(&leaver.address), FAITHFUL);
    change(&evenkeel, json!({ "auto-scaling": { "min": 1, "max": 1 } }));
    within(PATIENCE, "it is gone", || has_gone(&web, leaver.id));
    assert_told(&web, "its 2 s to drain are over, and ");
    assert!(faithful.end().failures() > 0, "it was cut off");
}
