//! Snapshot and pool in a whole installation: VMs come from them, and nothing of them stays behind.

use end_to_end::{Door, Driver, Evenkeel, Host, Servers, World, eventually};
use serde_json::{Value, json};

/// The tags of this host's machines that begin with `what`: `trial`, `pool` or `vm`.
fn machines(host: &Host, what: &str) -> Vec<u32> {
    host.processes(&format!("^[^ ]*qemu[^ ]* -name evenkeel-[0-9a-f]*-{what}"))
}

/// Waits until so many machines have come to wait in the pool since the host began.
fn await_filled(host: &Host, times: usize) {
    let logs = host.directory().display().to_string();
    eventually("the pool is filled", || {
        let counted = host.shell(&format!(
            "cat {logs}/*.log | grep -c 'waits in the pool' || true"
        ));
        match counted.trim().parse::<usize>() {
            Ok(found) if found >= times => Ok(()),
            _ => Err(format!("filled {counted} times")),
        }
    });
}

fn create(door: &Door, name: &str) -> Value {
    door.do_(
        "create",
        "instance",
        json!({
            "name": name, "traffic_type": "http", "subnet": "1.1.1.0/24",
            "backend": { "entities": ["1.1.1.10:8080"] },
        }),
    )
}

/// Waits until all that is there is what `info` tells, and machines of the pool.
fn await_told(host: &Host, door: &Door) {
    eventually("the world is as info tells", || {
        let (seen, told) = (World::seen(host).without_pool(), World::told(door));
        match (seen.beyond(&told), told.beyond(&seen)) {
            (surplus, missing) if surplus.is_empty() && missing.is_empty() => Ok(()),
            (surplus, missing) => Err(format!("surplus {surplus:?}, missing {missing:?}")),
        }
    });
}

#[test]
fn an_instance_comes_from_the_pool_and_so_does_what_replaces_its_dead_vm() {
    let host = Host::new();
    host.use_own_dns();
    let servers = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _origin = servers.http("one", "1.1.1.10:8080");
    let evenkeel = Evenkeel::start(&host, Driver::Pooled);
    let door = evenkeel.door();
    door.attach("1.1.1.0/24", &servers.interface);
    await_filled(&host, 1);
    let waiting = machines(&host, "pool");
    let made = create(&door, "one");
    let pid = |instance: &Value| instance["vms"][0]["pid"].as_u64();
    let info = |name: &str| door.do_("info", "instance", json!({ "name": name }));
    let first = pid(&info("one")).expect("the VM runs");
    assert!(
        waiting.iter().any(|pid| u64::from(*pid) == first),
        "{made}: not of {waiting:?}"
    );
    await_told(&host, &door);

    await_filled(&host, 2);
    host.kill(u32::try_from(first).expect("a pid"));
    eventually("another VM serves", || {
        let vms = info("one")["vms"].clone();
        let serves = |vm: &Value| vm["state"] == "serving" && vm["pid"].as_u64() != Some(first);
        let found = vms.as_array().into_iter().flatten().any(serves);
        found.then_some(()).ok_or_else(|| vms.to_string())
    });
    door.do_("delete", "instance", json!({ "id": made["id"] }));
    await_told(&host, &door);
}

#[test]
fn a_server_that_is_killed_at_any_step_of_snapshot_and_pool_leaves_nothing() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Pooled);
    for step in ["trial", "pool", "pool"] {
        eventually(step, || match machines(&host, step).is_empty() {
            true => Err("none".to_owned()),
            false => Ok(()),
        });
        evenkeel.kill();
        evenkeel.resume();
    }
    await_filled(&host, 1);
    evenkeel.kill();
    let program = std::env::var("EVENKEEL_PROGRAM").expect("scripts/test sets it");
    let config = host.path("evenkeel.toml").display().to_string();
    host.shell(&format!("{program} cleanup --config {config}"));
    let left = World::seen(&host);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_that_ends_takes_its_pool_along() {
    let host = Host::new();
    let mut evenkeel = Evenkeel::start(&host, Driver::Pooled);
    await_filled(&host, 1);
    assert!(evenkeel.stop());
    eventually("its machines end", || match machines(&host, "pool").len() {
        0 => Ok(()),
        left => Err(format!("{left} machines")),
    });
    // The kernel takes a tap away a moment after the process that held it.
    eventually("nothing of them is left", || {
        let left = World::seen(&host).beyond(&World::front());
        match left.is_empty() {
            true => Ok(()),
            false => Err(left),
        }
    });
}
