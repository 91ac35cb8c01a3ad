use std::sync::Arc;

use model::{Effect, Heartbeat, InstanceId, Report, VmId};

use crate::samples::{Bench, backend, instance_of};

/// Two VMs, of which the second leaves and is out of DNS, with its heartbeat as given.
fn leaving(change: impl Fn(&mut Heartbeat)) -> Bench {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench.asked(1).auto_scaling = model::AutoScaling::between(1, 1);
    hear(&mut bench, change);
    bench.plan();
    bench.publish();
    bench.plan();
    bench
}

/// The leaving VM says something else from now on.
fn hear(bench: &mut Bench, change: impl Fn(&mut Heartbeat)) {
    let heard = bench.sight(2).heartbeat.as_mut().expect("it is heard");
    change(&mut heard.heartbeat);
}

/// The same after the TTL.
fn draining(change: impl Fn(&mut Heartbeat)) -> Bench {
    let mut bench = leaving(change);
    bench.pass(bench.settings.windows.ttl_ms);
    bench.plan();
    bench
}

fn with_clients(open: u64) -> impl Fn(&mut Heartbeat) {
    move |heartbeat| {
        heartbeat.counters.open_connections = open;
        heartbeat.draining = Some(true);
        heartbeat.deserted_ms = None;
    }
}

fn is_told(bench: &Bench) -> bool {
    bench.diff().contains(&Effect::Drain { vm: VmId(2) })
}

fn is_removed(bench: &Bench) -> bool {
    bench.diff().contains(&Effect::RemoveVm { vm: VmId(2) })
}

fn words(report: &Report) -> String {
    let mut reports = report.instances.values().flat_map(|report| &report.vms);
    let vm = reports.find(|vm| vm.id == VmId(2)).expect("it stands");
    vm.leaving.clone().expect("it leaves")
}

#[test]
fn it_is_told_to_drain_once_nobody_knows_it_from_dns_and_each_time_it_forgets() {
    let mut bench = leaving(|heartbeat| heartbeat.deserted_ms = Some(9_000));
    bench.pass(bench.settings.windows.ttl_ms - 1);
    let report = bench.plan();
    assert!(!is_told(&bench) && !is_removed(&bench));
    assert_eq!(
        words(&report),
        "fewer VMs are wanted; clients may know it from DNS for 1 s more"
    );
    bench.pass(1);
    bench.plan();
    assert!(is_told(&bench), "from now on clients that leave stay away");
    assert!(!is_removed(&bench), "a client may be on its way to it");
    hear(&mut bench, with_clients(1));
    assert!(!is_told(&bench));
    hear(&mut bench, |heartbeat| heartbeat.draining = Some(false));
    assert!(is_told(&bench), "another balancer took its place");
}

#[test]
fn it_is_removed_when_its_last_client_has_gone() {
    let mut bench = draining(with_clients(2));
    bench.pass(9_500);
    let report = bench.plan();
    assert!(!is_removed(&bench));
    assert_eq!(
        words(&report),
        "fewer VMs are wanted; 2 connections are still open, for at most 21 s more"
    );
    hear(&mut bench, with_clients(0));
    hear(&mut bench, |heartbeat| heartbeat.deserted_ms = Some(999));
    bench.plan();
    assert!(!is_removed(&bench), "its last answer may be on its way");
    hear(&mut bench, |heartbeat| heartbeat.deserted_ms = Some(1_000));
    let told = bench.plan_and_tell();
    assert!(is_removed(&bench));
    assert_eq!(words(&bench.report), "fewer VMs are wanted");
    let texts: Vec<_> = told.iter().map(|(_, event)| event.text.as_str()).collect();
    assert_eq!(texts, ["VM 2 is removed: no client is left"]);
}

#[test]
fn the_drain_has_a_bound() {
    let mut bench = draining(with_clients(2));
    bench.pass(bench.settings.windows.drain_ms - 1);
    bench.plan();
    assert!(!is_removed(&bench));
    bench.pass(1);
    let told = bench.plan_and_tell();
    assert!(is_removed(&bench));
    let texts: Vec<_> = told.iter().map(|(_, event)| event.text.as_str()).collect();
    assert_eq!(
        texts,
        ["VM 2 is removed: its 30 s to drain are over, and 2 connections are still open"]
    );
}

#[test]
fn what_is_not_known_of_its_clients_lets_it_have_its_whole_time() {
    let old: fn(&mut Heartbeat) = |heartbeat| {
        heartbeat.draining = None;
        heartbeat.deserted_ms = None;
    };
    let silent: fn(&mut Heartbeat) = |heartbeat| {
        heartbeat.draining = Some(true);
        heartbeat.deserted_ms = Some(60_000);
    };
    for (says, age_ms) in [(old, 100), (silent, 10_000)] {
        let mut bench = draining(says);
        let heard = bench.sight(2).heartbeat.as_mut().expect("it is heard");
        heard.age_ms = age_ms;
        let standing = bench.layout.instances.get_mut(&InstanceId(1));
        let standing = Arc::make_mut(standing.expect("it stands"));
        let vm = standing.vms.get_mut(&VmId(2)).expect("it stands");
        let leaving = vm.leaving.as_mut().expect("it leaves");
        leaving.let_go = None;
        bench.pass(bench.settings.windows.drain_ms - 1);
        bench.plan();
        assert!(!is_told(&bench) && !is_removed(&bench), "{age_ms}");
        bench.pass(1);
        bench.plan();
        assert!(is_removed(&bench), "{age_ms}");
    }
}

#[test]
fn it_takes_every_configuration_until_it_is_removed() {
    let mut bench = draining(with_clients(1));
    bench.asked(1).backends.push(backend("1.1.1.11"));
    bench.plan();
    let pushed = |bench: &Bench| {
        let mut effects = bench.diff().into_iter();
        effects.any(|effect| matches!(effect, Effect::PushConfig { vm: VmId(2), .. }))
    };
    assert!(pushed(&bench));
    let generation = bench
        .layout
        .instances
        .values()
        .next()
        .map(|i| i.config.generation);
    hear(&mut bench, |heartbeat| heartbeat.generation = generation);
    assert!(!pushed(&bench), "it has it");
    hear(&mut bench, |heartbeat| heartbeat.generation = None);
    bench.pass(bench.settings.windows.drain_ms);
    bench.plan();
    assert!(is_removed(&bench) && !pushed(&bench));
}

#[test]
fn one_that_dies_while_it_drains_is_not_waited_for() {
    let mut bench = draining(with_clients(1));
    bench.kill(2);
    bench.plan();
    assert!(is_removed(&bench) && !is_told(&bench));
}
