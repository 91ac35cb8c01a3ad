//! VMs that die, freeze or only seem to.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use end_to_end::{
    Driver, Evenkeel, Host, Vm, Web, World, eventually, over_both_drivers, throughout, within,
};

over_both_drivers!(
    the_only_vm_killed_is_replaced_and_dns_follows,
    while_another_vm_serves_dns_is_never_empty_and_drops_the_killed_one,
    a_frozen_vm_is_replaced_and_removed,
    a_vm_that_only_the_checker_cannot_reach_is_suspect_and_stays,
);

/// From a death to the next answer. Far above what an idle machine needs: a VM boots in this time beside
/// other tests.
fn bound(driver: Driver) -> Duration {
    Duration::from_secs(match driver {
        Driver::Process => 10,
        Driver::Machine | Driver::Restored | Driver::Pooled => 40,
    })
}

fn the_only_vm_killed_is_replaced_and_dns_follows(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let killed = only(web.vms());
    host.kill(killed.pid.expect("it serves"));
    let began = Instant::now();
    within(bound(driver), "the URL leads to another VM", || {
        match web.dig()?.contains(&killed.address) {
            true => Err("DNS still names the killed one".to_owned()),
            false => web.fetch(),
        }
    });
    println!(
        "{driver:?}: the URL answered again after {:?}",
        began.elapsed()
    );
    let successor = await_replacement(&web, &[&killed]);
    assert_ne!(successor.address, killed.address, "an address has to rest");
    assert_eq!(web.dig(), Ok(BTreeSet::from([successor.address])));
    World::await_told(&host, &evenkeel.door());
}

fn while_another_vm_serves_dns_is_never_empty_and_drops_the_killed_one(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 2);
    let [killed, other] = web.vms().try_into().expect("it has two");
    let look_up = || {
        let named = web.dig().expect("DNS answers");
        assert!(
            named.contains(&other.address),
            "it serves, and DNS said {named:?}"
        );
        named
    };
    host.kill(killed.pid.expect("it serves"));
    let began = Instant::now();
    within(Duration::from_secs(3), "the killed one leaves DNS", || {
        let named = look_up();
        if named.contains(&killed.address) {
            Err(named)
        } else {
            Ok(())
        }
    });
    println!("{driver:?}: it left DNS after {:?}", began.elapsed());
    eventually("another one enters DNS", || {
        let named = look_up();
        let whole = named.len() == 2 && !named.contains(&killed.address);
        if whole { Ok(()) } else { Err(named) }
    });
    let successor = await_replacement(&web, &[&killed, &other]);
    assert_eq!(
        look_up(),
        BTreeSet::from([other.address.clone(), successor.address])
    );
}

fn a_frozen_vm_is_replaced_and_removed(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let frozen = only(web.vms());
    let pid = frozen.pid.expect("it serves");
    // Under the process driver the process that forwards is a child of the VM's.
    host.shell(&format!("kill -STOP {pid} $(pgrep --parent {pid})"));
    let silence = Duration::from_secs(3);
    within(
        bound(driver) + silence,
        "the URL leads to another VM",
        || match web.dig()?.contains(&frozen.address) {
            true => Err("DNS still names the frozen one".to_owned()),
            false => web.fetch(),
        },
    );
    await_replacement(&web, &[&frozen]);
    assert!(
        !host.try_shell(&format!("kill -0 {pid}")).status.success(),
        "it is still there"
    );
    World::await_told(&host, &evenkeel.door());
}

fn a_vm_that_only_the_checker_cannot_reach_is_suspect_and_stays(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = only(web.vms());
    let address = &vm.address;
    host.shell(&format!(
        "nft 'add table ip cut
              add chain ip cut output {{ type filter hook output priority 0; }}
              add rule ip cut output ip daddr {address} tcp dport 80 drop'"
    ));
    let state = |wanted: &str| {
        let seen = only(web.vms());
        match (seen.id, seen.pid, seen.state.as_str()) == (vm.id, vm.pid, wanted) {
            true => Ok(()),
            false => Err(seen),
        }
    };
    eventually("it is suspect", || state("suspect"));
    let evidence = only(web.vms()).evidence;
    assert!(
        evidence.contains("its front address does not answer"),
        "{evidence}"
    );
    // Longer than any silence that condemns a VM, and than its hot path may stand still.
    throughout(Duration::from_secs(6), "it is suspect and stays", || {
        state("suspect")
    });
    assert_eq!(
        web.dig(),
        Ok(BTreeSet::from([address.clone()])),
        "it may well serve others"
    );
    host.shell("nft delete table ip cut");
    eventually("it is trusted again", || state("serving"));
}

/// Waits until the instance is whole again without the first of its VMs, and returns the new one.
fn await_replacement(web: &Web<'_>, before: &[&Vm]) -> Vm {
    eventually("the VM is replaced, and nothing is left of it", || {
        let vms = web.vms();
        let (gone, others) = before.split_first().expect("one is to be replaced");
        let whole = web.info()["condition"] == "serving" && vms.len() == before.len();
        let stayed = others
            .iter()
            .all(|other| vms.iter().any(|vm| vm.pid == other.pid));
        let fresh = vms
            .iter()
            .find(|vm| before.iter().all(|known| known.id != vm.id));
        match fresh.filter(|_| whole && stayed && vms.iter().all(|vm| vm.id != gone.id)) {
            Some(fresh) => Ok(fresh.clone()),
            None => Err(vms),
        }
    })
}

fn only(vms: Vec<Vm>) -> Vm {
    let [vm]: [Vm; 1] = vms.try_into().expect("it has one VM");
    vm
}
