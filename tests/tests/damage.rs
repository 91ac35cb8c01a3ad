//! What somebody takes away by hand while the server runs comes back by itself.

use end_to_end::{Driver, Evenkeel, Host, Vm, Web, World, eventually, over_both_drivers};

over_both_drivers!(rules_and_bridges_that_are_taken_away_come_back_under_the_same_vm,);

fn rules_and_bridges_that_are_taken_away_come_back_under_the_same_vm(driver: Driver) {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, driver);
    let web = Web::create(&host, evenkeel.door(), 1);
    let before = web.vms();
    let rules = || host.shell("nft list ruleset; ip netns exec ek-p1 nft list ruleset");
    for deed in [
        "nft flush ruleset",
        "ip netns exec ek-p1 nft flush ruleset",
        "nft flush chain inet ek input",
        "ip link del ek-front",
        "ip -n ek-p1 link del br1",
        "for port in $(ip -br link | grep -o '^ekf[0-9]*'); do ip link set $port nomaster; done",
    ] {
        let whole = rules();
        host.shell(deed);
        eventually("the rules are back", || {
            let now = rules();
            if now == whole { Ok(()) } else { Err(now) }
        });
        World::await_told(&host, &evenkeel.door());
        eventually("the URL answers", || web.fetch());
        web.await_condition("serving");
        assert_eq!(identities(&web.vms()), identities(&before), "{deed}");
    }
}

fn identities(vms: &[Vm]) -> Vec<(u64, Option<u32>)> {
    vms.iter().map(|vm| (vm.id, vm.pid)).collect()
}
