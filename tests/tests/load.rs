//! What VMs have to do, as they tell it by collectd, reaches whoever asks.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Load, Web, eventually, over_both_drivers, within};
use serde_json::Value;

/// A VM's figures are told again within so many milliseconds, on a busy machine.
const FRESH_MS: f64 = 4_000.0;

/// What the only VM has to do, once all of it is known and new.
fn load(web: &Web<'_>) -> Result<[f64; 3], Value> {
    let load = web.info()["vms"][0]["load"].clone();
    let figure = |name: &str| load[name].as_f64().ok_or_else(|| load.clone());
    if figure("age_ms")? > FRESH_MS {
        return Err(load);
    }
    Ok([
        figure("cpu_percent")?,
        figure("connections")?,
        figure("requests_per_second")?,
    ])
}

/// Waits until the figures are as they should be.
fn await_load(web: &Web<'_>, what: &str, holds: impl Fn([f64; 3]) -> bool) -> [f64; 3] {
    within(Duration::from_secs(30), what, || match load(web) {
        Ok(figures) if holds(figures) => Ok(figures),
        Ok(figures) => Err(format!("{figures:?}")),
        Err(unknown) => Err(unknown.to_string()),
    })
}

fn load_rises_with_traffic_and_falls_when_it_ends(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let address = web.vms()[0].address.clone();
    let [_, _, idle] = await_load(&web, "the VM tells its load", |_| true);
    assert!(idle < 20.0, "{idle} requests in a second, and nobody asks");
    let wrk = Load::begin(&host, &address, 8, false);
    let all = f64::from(Load::CONNECTIONS);
    let is_busy = |[cpu, connections, requests]: [f64; 3]| {
        cpu > 5.0 && (all..all + 12.0).contains(&connections) && requests > 100.0
    };
    await_load(&web, "the load rises", is_busy);
    let table = evenkeel.cli("instance info web");
    assert!(
        table.contains("% cpu") && table.contains(" open"),
        "{table}"
    );
    wrk.assert_flawless();
    await_load(&web, "the load falls", |[_, connections, requests]| {
        connections < all && requests < 20.0
    });
}

fn a_server_that_was_started_again_knows_the_load_of_the_vms_that_it_finds(driver: Driver) {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    await_load(&web, "the VM tells its load", |_| true);
    let before = web.vms();
    evenkeel.kill();
    evenkeel.resume();
    await_load(&web, "it tells it again", |_| true);
    eventually("the VM is as it was", || {
        let after = web.vms();
        (after == before).then_some(()).ok_or(after)
    });
    keeps_the_key_to_itself(&host, &web);
}

/// The VM's key is in a file that is root's alone, and nowhere else that one can look.
fn keeps_the_key_to_itself(host: &Host, web: &Web<'_>) {
    let path = host.path(&format!("run/vms/vm{}/vm.json", web.vms()[0].id));
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let record: Value =
        serde_json::from_slice(&fs::read(&path).expect("root reads it")).expect("it is JSON");
    let key = record["boot"]["monitor"]["key"].as_str().expect("a key");
    assert_eq!(key.len(), 64);
    assert!(!web.info().to_string().contains(key));
    let log = fs::read_to_string(host.path("evenkeel.log")).expect("it has a log");
    assert!(!log.contains(key));
    let lines = host.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert!(!lines.contains(key));
}

over_both_drivers!(
    load_rises_with_traffic_and_falls_when_it_ends,
    a_server_that_was_started_again_knows_the_load_of_the_vms_that_it_finds,
);

#[test]
fn a_flood_of_what_no_vm_sent_is_counted_and_takes_no_figure_away() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let web = Web::create(&host, evenkeel.door(), 1);
    await_load(&web, "the VM tells its load", |_| true);
    // From the VM's own address, and from one that is nobody's.
    let flood = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        for n in range(20000): s.sendto(bytes([n % 256]) * (n % 1000), ('10.200.0.1', 25826))";
    fs::write(host.path("flood.py"), flood).expect("the host's directory can be written");
    let flood = host.path("flood.py");
    let namespace = format!("/run/netns/ek-v{}", web.vms()[0].id);
    host.shell(&format!("python3 {}", flood.display()));
    host.shell(&format!(
        "nsenter --net={namespace} python3 {}",
        flood.display()
    ));
    await_load(&web, "its figures go on", |_| true);
    eventually("what was refused is told", || {
        let log = fs::read_to_string(host.path("evenkeel.log")).expect("it has a log");
        match log.contains("figures that came were refused") && log.contains("stranger") {
            true => Ok(()),
            false => Err("not told yet"),
        }
    });
    let roles = evenkeel.door().ask("info", "system", serde_json::json!({}));
    let system = roles.expect("the door answers");
    assert!(system.to_string().contains("\"monitor\""), "{system}");
}
