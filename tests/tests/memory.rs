//! VMs come as far as the host has memory for them, and what is made ahead comes after them.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{Driver, Evenkeel, Host, Vm, Web, eventually};
use serde_json::{Value, json};

/// As many MiB as two machines are promised, with 128 MiB for each guest, and not three.
const ROOM_FOR_TWO: u64 = 500;

/// What `status` names as troubles.
fn troubles(evenkeel: &Evenkeel<'_>) -> Value {
    evenkeel.door().do_("info", "system", json!({}))["troubles"].clone()
}

fn configure(host: &Host, driver: Driver, line: &str) {
    let path = Evenkeel::configure(host, driver, "");
    let config = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, format!("{config}{line}\n")).expect("it can be written");
}

fn running(web: &Web<'_>) -> Vec<Vm> {
    let vms = web.vms().into_iter();
    vms.filter(|vm| vm.pid.is_some()).collect()
}

/// All three are wanted at once, so none of them has taken its memory when the next is looked at.
#[test]
fn a_vm_without_room_waits_and_says_why_and_starts_by_itself_when_there_is_room() {
    let host = Host::new();
    configure(
        &host,
        Driver::Machine,
        &format!("memory_limit_mib = {ROOM_FOR_TWO}"),
    );
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::ask_for(&host, evenkeel.door(), 3);
    let before = eventually("two serve", || {
        let serving = web.vms().into_iter().filter(|vm| vm.state == "serving");
        let serving: Vec<Vm> = serving.collect();
        match serving.len() {
            2 => Ok(serving),
            _ => Err(serving),
        }
    });
    let tells = |text: &str| {
        let needed = [
            "waits for memory",
            "needs 224 MiB",
            "compute.memory_limit_mib",
        ];
        needed.iter().all(|words| text.contains(words))
    };
    let told = eventually("it is told what is waited for", || {
        let waiting = web.info()["waiting_for"].to_string();
        match tells(&waiting) {
            true => Ok(waiting),
            false => Err(waiting),
        }
    });
    assert_eq!(told.matches("waits for memory").count(), 1, "{told}");
    let status = evenkeel.cli("status");
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(tells(&status), "{status}");
    assert_eq!(running(&web), before, "those that run stay as they are");
    web.fetch().expect("those that run serve");

    // One that is asked for no more makes room, and no hand is needed.
    let door = evenkeel.door();
    let fewer = json!({ "project": "p", "name": "web", "backend": { "auto-scaling": { "min": 1, "max": 1 } } });
    door.do_("update", "instance", fewer);
    eventually("one is left", || match web.vms().len() {
        1 => Ok(()),
        _ => Err(web.vms()),
    });
    let again = json!({ "project": "p", "name": "web", "backend": { "auto-scaling": { "min": 2, "max": 2 } } });
    door.do_("update", "instance", again);
    web.await_condition("serving");
    eventually("nothing is told any more", || match troubles(&evenkeel) {
        none if none == json!([]) => Ok(()),
        left => Err(left),
    });
}

#[test]
fn a_vm_that_hangs_gives_its_memory_to_its_replacement() {
    let host = Host::new();
    configure(&host, Driver::Machine, "memory_limit_mib = 300");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::create(&host, evenkeel.door(), 1);
    let hangs = running(&web)[0].clone();
    let pid = hangs.pid.expect("it runs");
    host.shell(&format!("kill -STOP {pid}"));
    eventually("another one serves in its place", || {
        let vms = web.vms();
        let serves = |vm: &&Vm| vm.id != hangs.id && vm.state == "serving";
        match vms.iter().find(serves) {
            Some(vm) => web.fetch_from(&vm.address),
            None => Err(format!("{vms:?}")),
        }
    });
    let events = web.info()["events"].to_string();
    assert!(events.contains("another VM needs its memory"), "{events}");
}

#[test]
fn a_vm_that_waits_comes_when_another_goes() {
    let host = Host::new();
    configure(&host, Driver::Machine, "memory_limit_mib = 300");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::create(&host, evenkeel.door(), 1);
    let door = evenkeel.door();
    let mut second = Web::form(1);
    second["name"] = json!("second");
    door.do_("create", "instance", second);
    let of_second = || {
        door.do_(
            "info",
            "instance",
            json!({ "project": "p", "name": "second" }),
        )
    };
    eventually("the second one waits", || {
        let waiting = of_second()["waiting_for"].to_string();
        match waiting.contains("waits for memory") {
            true => Ok(()),
            false => Err(waiting),
        }
    });
    let pid = running(&web)[0].pid;
    door.do_(
        "delete",
        "instance",
        json!({ "project": "p", "name": "web" }),
    );
    let served = eventually("it serves", || {
        let info = of_second();
        match info["condition"] == "serving" {
            true => Ok(info),
            false => Err(info["waiting_for"].to_string()),
        }
    });
    assert_ne!(served["vms"][0]["pid"].as_u64(), pid.map(u64::from));
}

/// The reserve is more than any host has.
#[test]
fn a_host_without_memory_starts_nothing_and_makes_nothing_ahead() {
    let host = Host::new();
    configure(&host, Driver::Pooled, "memory_reserve_mib = 1000000000");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::ask_for(&host, evenkeel.door(), 1);
    eventually("both are told", || {
        let told = troubles(&evenkeel).to_string();
        match told.contains("VM 1 cannot be started: it waits for memory") {
            true => Ok(()),
            false => Err(told),
        }
    });
    assert_eq!(running(&web), []);
    let machines = host.processes("^[^ ]*qemu[^ ]* -name evenkeel-");
    assert_eq!(machines, Vec::<u32>::new());
}

#[test]
fn the_pool_takes_no_room_from_vms_and_is_not_filled_again_without_any() {
    let host = Host::new();
    configure(
        &host,
        Driver::Pooled,
        &format!("memory_limit_mib = {ROOM_FOR_TWO}"),
    );
    let path = host.path("evenkeel.toml");
    let config = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, config.replace("pool = 1", "pool = 2")).expect("it can be written");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let log = || host.shell(&format!("cat {}/*.log", host.directory().display()));
    let filled = |times| {
        eventually("the pool is filled", || {
            match log().matches("waits in the pool").count() >= times {
                true => Ok(()),
                false => Err(()),
            }
        });
    };
    filled(2);
    // Machines of the pool are promised what a VM is, and so there is room for no other.
    let web = Web::create(&host, evenkeel.door(), 2);
    assert_eq!(running(&web).len(), 2);
    eventually("it is told that none can be made ahead", || {
        let told = troubles(&evenkeel).to_string();
        match told.contains("for want of memory") {
            true => Ok(()),
            false => Err(told),
        }
    });
    web.fetch().expect("they serve");
}

#[test]
fn why_no_snapshot_can_be_made_is_told_in_status_and_in_the_log_until_one_can() {
    let host = Host::new();
    Evenkeel::configure(&host, Driver::Pooled, "");
    std::fs::create_dir_all(host.path("state")).expect("the host's directory can be written");
    std::fs::write(host.path("state/snapshots"), "in the way").expect("it can be written");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let told = "VMs are booted, since no snapshot of one can be made";
    let is_tried = "it is tried again";
    eventually("it is told", || {
        let status = evenkeel.cli("status");
        let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
        match status.contains(told) && status.contains(is_tried) {
            true => Ok(()),
            false => Err(status),
        }
    });
    let log = host.shell(&format!("cat {}/*.log", host.directory().display()));
    assert!(log.contains(told) && log.contains(is_tried), "{log}");
    let _serves_all_the_same = Web::create(&host, evenkeel.door(), 1);
    std::fs::remove_file(host.path("state/snapshots")).expect("it was written");
    eventually("nothing is told any more", || match troubles(&evenkeel) {
        none if none == json!([]) => Ok(()),
        left => Err(left),
    });
}
