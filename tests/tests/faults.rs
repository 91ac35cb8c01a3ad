//! What a host may lack for a while: each is told with what to do about it, costs nothing that was there, and is
//! over by itself when the cause is.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use end_to_end::{Door, Driver, Evenkeel, Host, Web, World, eventually, over_both_drivers};
use serde_json::{Value, json};

over_both_drivers!(a_nic_that_is_taken_away_is_found_and_traffic_comes_back);

/// Orders that a full disk may still take, because the store's log has room that was used before.
const MOST_ORDERS: u32 = 500;
/// Who ask for the same at the same time.
const RIVALS: u32 = 100;

#[test]
fn a_full_disk_is_told_refuses_orders_and_costs_nothing_but_those() {
    let host = Host::new();
    let state = host.path("state").display().to_string();
    host.shell(&format!(
        "mkdir -m 700 {state} && mount -t tmpfs -o size=2m tmpfs {state}"
    ));
    let mut evenkeel = Evenkeel::start(&host, Driver::Process);
    let door = evenkeel.door();
    let web = Web::create(&host, evenkeel.door(), 2);
    let fill = format!("dd if=/dev/zero of={state}/fill bs=4k 2>&1 | grep -q 'No space left'");
    host.shell(&fill);
    let mut weight = 1;
    let refusal = (0..MOST_ORDERS).find_map(|_| {
        let answer = reweigh(&door, weight + 1);
        if answer["status"] == "successful" {
            weight += 1;
            return None;
        }
        Some(answer["info"].to_string())
    });
    let refusal = refusal.expect("the store's log does not grow for ever");
    assert!(refusal.contains("no space is left"), "{refusal}");
    assert!(refusal.contains("free some"), "{refusal}");
    let [dead, other] = web.vms().try_into().expect("it has two");
    host.kill(dead.pid.expect("it serves"));
    eventually("status says why nothing is done", || {
        let troubles = troubles(&door);
        let is_told = troubles.contains("no space is left") && troubles.contains("free some");
        if is_told { Ok(()) } else { Err(troubles) }
    });
    web.fetch_from(&other.address)
        .expect("the other one serves");
    // Neither a restart on a full disk nor one after it loses anything.
    evenkeel.kill();
    evenkeel.resume();
    web.fetch_from(&other.address)
        .expect("the other one serves");
    host.shell(&format!("rm {state}/fill"));
    eventually("the dead one is replaced", || {
        let vms = web.vms();
        let whole = vms.len() == 2 && vms.iter().all(|vm| vm.state == "serving");
        let is_replaced = vms.iter().all(|vm| vm.id != dead.id);
        let stays = vms.iter().any(|vm| vm.pid == other.pid);
        if whole && is_replaced && stays {
            Ok(())
        } else {
            Err(vms)
        }
    });
    eventually("the trouble is over", || {
        let troubles = troubles(&door);
        if troubles == "[]" {
            Ok(())
        } else {
            Err(troubles)
        }
    });
    let entity = web.info()["backend"]["entities"][0].clone();
    let stands = entity["weight"].as_u64().unwrap_or(1);
    assert_eq!(
        stands,
        u64::from(weight),
        "what was confirmed stands, and what was refused does not"
    );
    assert_eq!(reweigh(&door, 7)["status"], "successful");
    web.await_condition("serving");
    World::await_told(&host, &door);
}

#[test]
fn a_qemu_that_does_not_start_is_told_with_its_own_words_and_tried_until_it_does() {
    let host = Host::new();
    let qemu = host.path("qemu");
    let words = "cannot set up guest memory";
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exec qemu-system-x86_64 \"$@\";; esac\necho {words} >&2; exit 1\n"
    );
    fs::write(&qemu, script).expect("the host's directory can be written");
    fs::set_permissions(&qemu, PermissionsExt::from_mode(0o755)).expect("it was made");
    let config = Evenkeel::configure(&host, Driver::Machine, "");
    let text = fs::read_to_string(&config).expect("it was written");
    let text = text.replace(
        "[compute]",
        &format!("[compute]\nqemu = '{}'", qemu.display()),
    );
    fs::write(&config, text).expect("it can be written");
    let mut evenkeel = Evenkeel::stopped(&host);
    evenkeel.resume();
    let web = Web::ask_for(&host, evenkeel.door(), 1);
    eventually("the account of the instance has QEMU's words", || {
        let waiting = web.info()["waiting_for"].to_string();
        if waiting.contains(words) {
            Ok(())
        } else {
            Err(waiting)
        }
    });
    host.shell(&format!(
        "ln -sf $(command -v qemu-system-x86_64) {}",
        qemu.display()
    ));
    web.await_condition("serving");
    eventually("the URL answers", || web.fetch());
    World::await_told(&host, &evenkeel.door());
}

fn a_nic_that_is_taken_away_is_found_and_traffic_comes_back(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    for link in ["ekf", "ekt"] {
        let vm = web.vms().pop().expect("it has one");
        let at = if link == "ekf" { "" } else { "-n ek-p1" };
        host.shell(&format!("ip {at} link delete {link}{}", vm.id));
        eventually("the URL answers, from a VM with both NICs", || {
            let answer = web.fetch()?;
            let vm = web.vms().pop().ok_or("it has none")?;
            let both = format!("ip link show ekf{0} && ip -n ek-p1 link show ekt{0}", vm.id);
            match host.try_shell(&both).status.success() {
                true => Ok(answer),
                false => Err(format!("{vm:?} lacks a NIC")),
            }
        });
        web.await_condition("serving");
        World::await_told(&host, &evenkeel.door());
    }
}

#[test]
fn of_changes_during_changes_the_newest_wins_and_a_delete_always_gets_there() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let door = evenkeel.door();
    let web = Web::ask_for(&host, evenkeel.door(), 1);
    // Nothing waits for the VM, or for what the order before asked for.
    for round in 0..10 {
        let vms = 1 + round % 3;
        let change = json!({
            "project": "p", "name": "web", "wait": false,
            "backend": {
                "entities": [format!("1.1.1.{}:8080", 10 + (round + 1) % 2)],
                "auto-scaling": { "min": vms, "max": vms },
            },
        });
        door.do_("update", "instance", change);
    }
    web.await_condition("serving");
    let vms = eventually("the last order stands, which asked for one", || {
        let vms = web.vms();
        if vms.len() == 1 { Ok(vms) } else { Err(vms) }
    });
    web.await_servers(&vms, &["a"]);
    World::await_told(&host, &door);
    // It is deleted while it changes, by several at once; one of them did it, and nobody is told a lie.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for weight in 1..20 {
                let answer = reweigh(&door, weight);
                let is_gone = answer["info"]["code"] == "not-found";
                assert!(answer["status"] == "successful" || is_gone, "{answer:#}");
            }
        });
        let delete = || {
            let named = json!({ "project": "p", "name": "web", "wait": false });
            door.ask("delete", "instance", named)
                .expect("the door answers")
        };
        let deletes: Vec<_> = (0..4).map(|_| scope.spawn(delete)).collect();
        let answers = deletes
            .into_iter()
            .map(|asked| asked.join().expect("it does not panic"));
        let answers: Vec<Value> = answers.collect();
        let done = answers
            .iter()
            .filter(|answer| answer["status"] == "successful");
        assert!(done.count() >= 1, "{answers:?}");
    });
    eventually("it is gone", || {
        let info = door.ask("info", "instance", json!({ "project": "p", "name": "web" }));
        let info = info.expect("the door answers");
        if info["status"] == "fail" {
            Ok(())
        } else {
            Err(info.to_string())
        }
    });
    door.do_("delete", "project", json!({ "name": "p", "cascade": true }));
    eventually("nothing is left", || {
        let left = World::seen(&host).beyond(&World::front());
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn of_a_hundred_creates_of_one_name_at_once_one_wins_and_the_others_are_told_so() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let door = evenkeel.door();
    door.do_("create", "project", json!({ "name": "p" }));
    let create = |rival: u32| {
        let entity = format!("1.1.1.{}:8080", 100 + rival);
        let form = json!({
            "project": "p", "name": "web", "subnet": "1.1.1.0/24", "wait": false,
            "backend": { "entities": [entity.clone()] },
        });
        let answer = door.ask("create", "instance", form);
        (entity, answer.expect("the door answers"))
    };
    let answers: Vec<(String, Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..RIVALS)
            .map(|rival| scope.spawn(move || create(rival)))
            .collect();
        let answers = asked.into_iter().map(|asked| asked.join());
        answers.collect::<Result<_, _>>().expect("none panics")
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(_, answer)| answer["status"] == "successful");
    let [(entity, made)] = &won[..] else {
        panic!("{} of them won", won.len());
    };
    for (_, answer) in &lost {
        assert_eq!(answer["info"]["code"], "name-taken", "{answer:#}");
        let words = format!(
            "has an instance `web` already, with the id {}",
            made["info"]["id"]
        );
        assert!(answer.to_string().contains(&words), "{answer:#}");
    }
    let named = json!({ "project": "p", "name": "web" });
    let info = eventually("its VM serves", || {
        let info = door.do_("info", "instance", named.clone());
        let serves = info["vms"][0]["state"] == "serving";
        if serves {
            Ok(info)
        } else {
            Err(info.to_string())
        }
    });
    assert!(
        info["backend"]["entities"].to_string().contains(entity),
        "{info:#}"
    );
    assert_eq!(info["vms"].as_array().map(Vec::len), Some(1));
    World::await_told(&host, &door);
}

/// Gives the first backend another weight, without waiting.
fn reweigh(door: &Door, weight: u32) -> Value {
    let change = json!({
        "project": "p", "name": "web", "wait": false,
        "backend": { "entities": [
            { "address": "1.1.1.10", "port": 8080, "weight": weight }, "1.1.1.11:8080",
        ] },
    });
    door.ask("update", "instance", change)
        .expect("the door answers")
}

fn troubles(door: &Door) -> String {
    door.do_("info", "system", json!({}))["troubles"].to_string()
}
