//! Guests that reset themselves and come back as what they were, and links that fail and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::{
    Driver, Evenkeel, Host, Vm, Web, World, eventually, over_both_drivers, throughout,
};

over_both_drivers!(
    a_vm_whose_link_fails_is_suspect_and_serves_again_in_its_own_place_when_the_link_is_back,
);

/// Long enough that no VM is given up in a test.
const PATIENT: &str = "[failover]\ngrace_ms = 120000\n";

/// What the host's kernel tells the checker's packets by.
const CHECKER_MARK: &str = "0x656b0001";

/// Overwrites all that a guest has in its memory, of which its processor makes a triple fault. That is QEMU's
/// mapping of this size: a file's copy if the guest was restored, or else nameless.
const WIPE: &str = r#"while read range mode offset device inode path; do
  from=$((16#${range%-*})) size=$((16#${range#*-} - from))
  [ $mode = rw-p ] && [ $size = $((128 << 20)) ] || continue
  case "$path" in *memfd*) restored=$from ;; *) booted=$from ;; esac
done < /proc/@pid@/maps
dd if=/dev/zero of=/proc/@pid@/mem bs=1M count=128 seek=${restored:-$booted} oflag=seek_bytes conv=notrunc"#;

#[test]
fn a_booted_guest_that_resets_itself_takes_its_place_back() {
    let host = Host::new();
    let evenkeel = Evenkeel::start_with(&host, Driver::Machine, PATIENT);
    let web = Web::create(&host, evenkeel.door(), 1);
    reset_and_return(&host, &web);
    World::await_told(&host, &evenkeel.door());
}

/// Its NICs had other MACs when it was made than it has as this VM.
#[test]
fn a_guest_from_the_pool_that_resets_itself_takes_its_place_back() {
    let host = Host::new();
    let evenkeel = Evenkeel::start_with(&host, Driver::Pooled, PATIENT);
    eventually("a machine waits in the pool", || {
        let log = host.shell(&format!("cat {}/*.log", host.directory().display()));
        match log.contains("waits in the pool") {
            true => Ok(()),
            false => Err("none"),
        }
    });
    let web = Web::create(&host, evenkeel.door(), 1);
    let pid = only(&web).pid.expect("it serves");
    let line = host.shell(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"));
    assert!(line.contains("-pool"), "{line}");
    reset_and_return(&host, &web);
}

/// A guest that resets itself is fenced and replaced. In the same machine it comes back as the same VM, serves
/// nobody until the checker has believed it, and then takes its place back.
fn reset_and_return(host: &Host, web: &Web<'_>) {
    let before = only(web);
    let pid = before.pid.expect("it serves");
    // So that it cannot come back before this was looked at.
    cut_off_from_the_checker(host, &before);
    let wipe = WIPE.replace("@pid@", &pid.to_string());
    let wiped = host.command("bash").args(["-c", &wipe]).output();
    let wiped = wiped.expect("Debian has bash");
    let said = String::from_utf8_lossy(&wiped.stderr).into_owned();
    assert!(wiped.status.success(), "{said}");
    let successor = eventually("another one serves in its place", || {
        let vms = web.vms();
        let serves = |vm: &&Vm| vm.id != before.id && vm.state == "serving";
        let successor = vms
            .iter()
            .find(|vm| serves(vm) && web.dig() == Ok(named(vm)));
        successor.cloned().ok_or(vms)
    });
    eventually("it runs the newest configuration again", || {
        let vms = web.vms();
        let vm = vms.iter().find(|vm| vm.id == before.id);
        let vm = vm.ok_or("it is gone")?;
        match vm.evidence.contains("does not answer the checker") {
            true => Ok(()),
            false => Err(vm.evidence.clone()),
        }
    });
    throughout(Duration::from_secs(2), "it serves nobody", || {
        match web.fetch_from(&before.address) {
            Ok(answer) => Err(answer),
            Err(_) => web.fetch_from(&successor.address).map(|_| ()),
        }
    });
    host.shell("nft delete table ip cut");
    eventually("it has its place back, and its replacement is gone", || {
        let vms = web.vms();
        let is_back = |vm: &Vm| vm.id == before.id && vm.state == "serving";
        match vms.iter().all(is_back) && web.dig() == Ok(named(&before)) {
            true => web.fetch_from(&before.address),
            false => Err(format!("{vms:?}")),
        }
    });
    assert_eq!(only(web).pid, Some(pid), "it is another machine");
}

fn cut_off_from_the_checker(host: &Host, vm: &Vm) {
    host.shell(&format!(
        "nft 'add table ip cut
              add chain ip cut output {{ type filter hook output priority 0; }}
              add rule ip cut output ip daddr {} meta mark {CHECKER_MARK} drop'",
        vm.address
    ));
}

/// The bridge's port is closed, as by a switch: a link that is set down by hand is set up again at once.
fn a_vm_whose_link_fails_is_suspect_and_serves_again_in_its_own_place_when_the_link_is_back(
    driver: Driver,
) {
    let host = Host::new();
    let evenkeel = Evenkeel::start_with(&host, driver, PATIENT);
    let web = Web::create(&host, evenkeel.door(), 1);
    let before = only(&web);
    host.shell("bridge link set dev ekf1 state 0");
    web.fetch().expect_err("its link is down");
    let is = |state: &str| {
        let vms = web.vms();
        match vms.iter().all(|vm| vm.id == before.id && vm.state == state) {
            true => Ok(()),
            false => Err(vms),
        }
    };
    eventually("it is suspect", || is("suspect"));
    throughout(Duration::from_secs(3), "it is suspect and stays", || {
        is("suspect")
    });
    host.shell("bridge link set dev ekf1 state 3");
    eventually("it serves again", || is("serving"));
    web.fetch().expect("its link is up");
    assert_eq!(only(&web).pid, before.pid);
}

fn only(web: &Web<'_>) -> Vm {
    let [vm]: [Vm; 1] = web.vms().try_into().expect("it has one VM");
    vm
}

fn named(vm: &Vm) -> BTreeSet<String> {
    BTreeSet::from([vm.address.clone()])
}
