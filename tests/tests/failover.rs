//! VMs that come back, and damage done by hand.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use end_to_end::{
    Driver, Evenkeel, Host, Vm, Web, World, eventually, over_both_drivers, throughout,
};

over_both_drivers!(
    a_frozen_vm_that_goes_on_serves_nobody_until_it_is_believed_and_then_takes_its_place_back,
    what_was_changed_by_hand_is_put_right_under_the_vm_that_runs,
);

/// What the host's kernel tells the checker's packets by.
const CHECKER_MARK: &str = "0x656b0001";
/// Long enough that no VM is given up in a test.
const PATIENT: &str = "[failover]\ngrace_ms = 120000\n";

fn a_frozen_vm_that_goes_on_serves_nobody_until_it_is_believed_and_then_takes_its_place_back(
    driver: Driver,
) {
    let host = Host::new();
    let evenkeel = Evenkeel::start_with(&host, driver, PATIENT);
    let web = Web::create(&host, evenkeel.door(), 1);
    let frozen = only(&web);
    let mut kept = Kept::open(&host, &frozen.address);
    assert!(kept.ask().starts_with("HTTP/1.1 "));
    frozen.signal(&host, "STOP");
    let successor = eventually("another one serves in its place", || {
        let vms = web.vms();
        let successor = vms
            .iter()
            .find(|vm| vm.id != frozen.id && vm.state == "serving" && web.dig() == Ok(named(vm)));
        successor.cloned().ok_or(vms)
    });
    // A VM that the checker cannot reach is not believed, so this holds it behind its fence.
    host.shell(&format!(
        "nft 'add table ip cut
              add chain ip cut output {{ type filter hook output priority 0; }}
              add rule ip cut output ip daddr {} meta mark {CHECKER_MARK} drop'",
        frozen.address
    ));
    frozen.signal(&host, "CONT");
    eventually("its heartbeats come again", || {
        let vm = find(&web, frozen.id).ok_or("it is gone")?;
        match vm.evidence.contains("its heartbeats come again") {
            true => Ok(()),
            false => Err(vm.evidence),
        }
    });
    throughout(Duration::from_secs(3), "it serves nobody", || {
        match web.fetch_from(&frozen.address) {
            Ok(answer) => Err(answer),
            Err(_) => web.fetch_from(&successor.address).map(|_| ()),
        }
    });
    // The host resets it; by the balancer's own limits it could stay open for a minute.
    assert_eq!(kept.ask(), "", "a client that was there before is served");
    host.shell("nft delete table ip cut");
    eventually("it has its place back, and its replacement is gone", || {
        let vms = web.vms();
        let is_back = vms
            .iter()
            .all(|vm| vm.id == frozen.id && vm.state == "serving");
        match is_back && web.dig() == Ok(named(&frozen)) {
            true => web.fetch_from(&frozen.address),
            false => Err(format!("{vms:?}")),
        }
    });
    assert_told_in_order(
        &web,
        &["set-aside", "returned", "put-back", "leaving", "gone"],
    );
    World::await_told(&host, &evenkeel.door());
}

fn what_was_changed_by_hand_is_put_right_under_the_vm_that_runs(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start_with(&host, driver, PATIENT);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = only(&web);
    let rules = || host.shell("nft list ruleset | wc -l");
    let whole = rules();
    for damage in [
        "nft flush ruleset",
        "ip link set ekf1 nomaster",
        "ip link set ekf1 down",
        "ip link delete ek-front",
        "ip netns exec ek-p1 ip link delete br1",
        "ip netns exec ek-p1 ip link set ekt1 down",
    ] {
        host.shell(damage);
        eventually(&format!("all is well again after `{damage}`"), || {
            let answer = web.fetch()?;
            let condition = web.info()["condition"].to_string();
            match condition == "\"serving\"" && rules() == whole && links_are_up(&host) {
                true => Ok(answer),
                false => Err(format!("{condition}, {} rules of {whole}", rules())),
            }
        });
        assert_eq!(only(&web).pid, vm.pid, "after `{damage}`");
    }
}

#[test]
fn when_too_many_die_at_once_they_are_replaced_a_few_at_a_time() {
    let host = Host::new();
    let breaker = "[failover]\ngrace_ms = 3000\nbreaker_window_ms = 6000\n";
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, breaker);
    let web = Web::create(&host, evenkeel.door(), 6);
    let before = web.vms();
    let all: BTreeSet<String> = before.iter().map(|vm| vm.address.clone()).collect();
    let pids = before.iter().take(4).filter_map(|vm| vm.pid);
    let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
    // In one breath, as when a host runs out of memory.
    host.shell(&format!("kill -KILL {}", pids.join(" ")));
    let troubles = || {
        let told = evenkeel.door().do_("info", "system", serde_json::json!({}));
        told["troubles"].to_string()
    };
    eventually("the breaker is told of", || {
        let told = troubles();
        match told.contains("the breaker is open") {
            true => Ok(()),
            false => Err(told),
        }
    });
    // The first of them may have been acted on before the last was dead, but no more than three in the window.
    throughout(
        Duration::from_secs(3),
        "three at the most are replaced",
        || {
            let newest = web.vms().iter().map(|vm| vm.id).max();
            let named = web.dig().unwrap_or_default();
            match newest <= Some(9) && named.intersection(&all).count() >= 3 {
                true => Ok(()),
                false => Err(format!("{newest:?}, {named:?}")),
            }
        },
    );
    eventually("in the end all are", || {
        let vms = web.vms();
        let serving = vms.iter().filter(|vm| vm.state == "serving").count();
        match serving == 6 && vms.len() == 6 && troubles() == "[]" {
            true => Ok(()),
            false => Err(format!("{vms:?}, {}", troubles())),
        }
    });
    World::await_told(&host, &evenkeel.door());
}

/// Whether the VM's two links are up on their bridges.
fn links_are_up(host: &Host) -> bool {
    let up = |line: &str| {
        let shown = host.try_shell(line);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        text.contains("master") && text.contains(",UP")
    };
    up("ip link show dev ekf1") && up("ip netns exec ek-p1 ip link show dev ekt1")
}

/// A client that keeps its connection.
struct Kept {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Kept {
    /// Asks at each line, and says how each answer begins; nothing when none comes for three seconds.
    const SCRIPT: &str = r#"
        exec 3<>"/dev/tcp/$0/80"
        while read -r; do
            first=
            printf 'HEAD / HTTP/1.1\r\nHost: kept\r\n\r\n' >&3
            while IFS= read -r -t 3 -u 3 line && [ "$line" != $'\r' ]; do
                first=${first:-$line}
            done
            echo "$first"
        done
    "#;

    fn open(host: &Host, address: &str) -> Self {
        let mut child = host
            .command("bash")
            .args(["-c", Self::SCRIPT, address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has nsenter");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { child, answers }
    }

    /// How the answer to a request on that connection begins; nothing when there is none, or no connection.
    fn ask(&mut self) -> String {
        let asked = self.child.stdin.as_mut().expect("it is a pipe");
        let mut answer = String::new();
        // One whose connection was reset has ended.
        if writeln!(asked).is_ok() {
            self.answers
                .read_line(&mut answer)
                .expect("a pipe can be read");
        }
        answer.trim().to_owned()
    }
}

fn assert_told_in_order(web: &Web<'_>, kinds: &[&str]) {
    let info = web.info();
    let events = info["events"].as_array().expect("events are told");
    let mut told = events.iter().map(|event| event["kind"].as_str());
    for kind in kinds {
        assert!(
            told.any(|told| told == Some(kind)),
            "{kind} is not told in its order: {events:#?}"
        );
    }
}

fn find(web: &Web<'_>, id: u64) -> Option<Vm> {
    web.vms().into_iter().find(|vm| vm.id == id)
}

fn only(web: &Web<'_>) -> Vm {
    let [vm]: [Vm; 1] = web.vms().try_into().expect("it has one VM");
    vm
}

fn named(vm: &Vm) -> BTreeSet<String> {
    BTreeSet::from([vm.address.clone()])
}
