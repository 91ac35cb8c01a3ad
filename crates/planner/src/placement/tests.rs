use crate::samples::{
    Bench, answered, backend, healthy, instance, instance_of, silent, unanswered, whole,
};
use model::{AutoScaling, Driver, InstanceId, Verdict, VmId};

fn scale(bench: &mut Bench, vms: u32) {
    bench.asked(1).auto_scaling = AutoScaling::between(vms, vms);
}

fn leaves(bench: &Bench, vm: u64) -> &str {
    let leaving = bench.vm(vm).leaving.as_ref();
    &leaving.expect("it leaves").reason
}

fn is_removed(bench: &Bench, vm: u64) -> bool {
    bench
        .diff()
        .contains(&model::Effect::RemoveVm { vm: VmId(vm) })
}

#[test]
fn an_instance_gets_as_many_vms_as_it_wants_at_once() {
    let mut bench = Bench::with([instance_of(1, 3), instance(2)]);
    bench.plan();
    assert_eq!((bench.stay(1), bench.stay(2)), (vec![1, 2, 3], vec![4]));
}

#[test]
fn a_dead_vm_is_replaced_at_once_and_its_identity_never_used_again() {
    let mut bench = Bench::serving([instance(1)]);
    bench.kill(1);
    bench.plan();
    assert_eq!(bench.stay(1), [2]);
    assert!(
        bench.vms(1).contains_key(&VmId(1)),
        "it has time to come back"
    );
    bench.pass(bench.settings.windows.grace_ms);
    bench.plan();
    assert_eq!(
        leaves(&bench, 1),
        "it did not come back within 300 s: its process ended: killed by signal 9"
    );
    assert!(is_removed(&bench, 1));
    bench.vanish(1);
    bench.plan();
    assert_eq!(bench.vms(1).len(), 1);
    assert!(
        bench
            .layout
            .ledger
            .resting
            .contains_key(&"10.200.0.2".parse().expect("an address"))
    );
}

#[test]
fn a_vm_that_vanished_is_found_dead_and_replaced_and_forgotten_by_the_next_plan() {
    let mut bench = Bench::serving([instance(1)]);
    bench.vanish(1);
    bench.plan();
    assert_eq!(bench.stay(1), [2]);
    assert_eq!(bench.standing(1).downs, [bench.now]);
    bench.pass(1);
    bench.plan();
    assert_eq!(bench.vms(1).keys().copied().collect::<Vec<_>>(), [VmId(2)]);
}

#[test]
fn a_vm_is_not_forgotten_while_anything_of_it_is_seen_or_under_way() {
    let mut bench = Bench::serving([instance(1)]);
    bench.kill(1);
    bench.plan();
    bench.vanish(1);
    bench.observed.network.vm_nics.insert(VmId(1), whole());
    bench.plan();
    assert!(bench.vms(1).contains_key(&VmId(1)));
    bench.vanish(1);
    bench.observed.in_flight.insert(model::vm_key(VmId(1)));
    bench.plan();
    assert!(bench.vms(1).contains_key(&VmId(1)));
    bench.observed.in_flight.clear();
    bench.plan();
    bench.pass(1);
    bench.plan();
    assert!(!bench.vms(1).contains_key(&VmId(1)));
}

#[test]
fn a_failing_probe_alone_never_replaces_a_vm() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench.probes().insert(VmId(1), unanswered(10_000));
    for _ in 0..100 {
        bench.pass(60_000);
        bench.plan();
    }
    assert_eq!(
        (bench.stay(1), bench.vm(1).verdict),
        (vec![1, 2], Verdict::Suspect)
    );
}

/// Kills an instance's VMs as they come, until it has to wait for the next.
fn die_until_held(bench: &mut Bench) {
    while let [vm] = bench.stay(1)[..] {
        bench.observed.vms.entry(VmId(vm)).or_insert_with(silent);
        bench.kill(vm);
        bench.plan();
    }
    assert_eq!(bench.stay(1), [0; 0]);
}

#[test]
fn the_wait_after_many_deaths_holds_replacements_and_not_growth() {
    let mut bench = Bench::serving([instance(1)]);
    die_until_held(&mut bench);
    // The death of three VMs would be borne at once where five are wanted, so it takes more.
    let deaths = vec![bench.now; 12];
    let standing = bench.layout.instances.get_mut(&InstanceId(1));
    std::sync::Arc::make_mut(standing.expect("it stands")).downs = deaths;
    scale(&mut bench, 3);
    bench.plan();
    let grown = bench.stay(1);
    assert_eq!(
        grown.len(),
        2,
        "what is wanted more is there at once: {grown:?}"
    );
    for _ in 0..10 {
        bench.pass(1_000);
        bench.plan();
    }
    assert_eq!(bench.stay(1), grown, "and the dead one is waited for");

    // Those that grew and died are replacements like any other.
    for vm in grown {
        bench.observed.vms.insert(VmId(vm), silent());
        bench.kill(vm);
    }
    bench.plan();
    assert_eq!(bench.stay(1), [0; 0]);
    bench.pass(60_000);
    bench.plan();
    assert_eq!(bench.stay(1).len(), 3);
}

#[test]
fn growth_that_finds_no_address_is_made_up_for_when_there_is_one() {
    let mut bench = Bench::serving([instance(1)]);
    bench.settings.front = "10.200.0.1/30".parse().expect("a network");
    scale(&mut bench, 2);
    bench.plan();
    assert_eq!(bench.stay(1).len(), 1);
    assert_eq!(bench.standing(1).staffed, 1);
    bench.settings.front = "10.200.0.1/24".parse().expect("a network");
    bench.plan();
    assert_eq!((bench.stay(1).len(), bench.standing(1).staffed), (2, 2));
}

/// The replacement of VM 1, which is silent, is VM 2, and the host has no memory for it.
fn without_memory_for_a_replacement() -> Bench {
    let mut bench = Bench::serving([instance(1)]);
    hang(&mut bench, 1);
    assert_eq!(bench.stay(1), [2]);
    lack_room_for(&mut bench, 2);
    bench
}

fn hang(bench: &mut Bench, vm: u64) {
    bench.observed.vms.insert(VmId(vm), silent());
    bench.probes().insert(VmId(vm), unanswered(3));
    bench.plan();
}

fn lack_room_for(bench: &mut Bench, vm: u64) {
    let failure = model::Failure {
        message: "it waits for memory".into(),
        since: bench.now,
        attempts: 1,
        lacks_room: true,
    };
    bench
        .observed
        .failures
        .insert(model::vm_key(VmId(vm)), failure);
}

#[test]
fn a_vm_that_is_down_gives_its_memory_to_its_replacement_where_the_host_has_no_more() {
    let mut bench = without_memory_for_a_replacement();
    bench.plan();
    let reason = "it is down, and another VM needs its memory";
    assert_eq!(leaves(&bench, 1), reason);
    assert!(is_removed(&bench, 1));
    assert_eq!(bench.stay(1), [2]);
}

#[test]
fn its_memory_does_not_wait_for_another_vm_that_parts_from_its_clients() {
    let mut bench = Bench::serving([instance_of(1, 3)]);
    scale(&mut bench, 2);
    bench.plan();
    hang(&mut bench, 1);
    assert_eq!(bench.stay(1), [2, 4]);
    lack_room_for(&mut bench, 4);
    bench.plan();
    assert!(!is_removed(&bench, 3), "DNS still names it");
    assert!(is_removed(&bench, 1));
}

#[test]
fn one_that_came_back_or_has_no_process_is_not_sent_away_for_its_memory() {
    let mut came_back = without_memory_for_a_replacement();
    let generation = came_back.standing(1).config.generation;
    came_back.observed.vms.insert(VmId(1), healthy(generation));
    came_back.probes().insert(VmId(1), answered());
    let mut dead = without_memory_for_a_replacement();
    dead.kill(1);
    for bench in [&mut came_back, &mut dead] {
        bench.plan();
        assert_eq!(bench.vm(1).leaving, None);
    }
}

#[test]
fn vms_that_die_one_after_the_other_are_replaced_ever_more_slowly() {
    let mut bench = Bench::serving([instance(1)]);
    let mut waits_s = Vec::new();
    while waits_s.len() < 9 {
        if let [vm] = bench.stay(1)[..] {
            bench.observed.vms.entry(VmId(vm)).or_insert_with(silent);
            bench.kill(vm);
            bench.plan();
        }
        let death = *bench.standing(1).downs.last().expect("it died");
        while bench.stay(1).is_empty() {
            bench.pass(250);
            bench.plan();
        }
        waits_s.push(bench.now.since_ms(death) / 1_000);
    }
    assert_eq!(waits_s, [0, 0, 1, 2, 4, 8, 16, 32, 60]);
}

#[test]
fn scaling_in_sends_away_the_youngest_that_serve_and_drains_them() {
    let mut bench = Bench::serving([instance_of(1, 3)]);
    scale(&mut bench, 1);
    bench.plan();
    assert_eq!(bench.stay(1), [1]);
    assert_eq!(leaves(&bench, 3), "fewer VMs are wanted");
    bench.pass(60_000);
    bench.plan();
    assert!(!is_removed(&bench, 2), "DNS still names it");
    bench.publish();
    bench.plan();
    assert!(!is_removed(&bench, 2), "its clients have had no time yet");
    bench.pass(bench.settings.windows.ttl_ms);
    bench.plan();
    assert!(!is_removed(&bench, 2), "its clients may be there");
    bench.pass(bench.settings.windows.drain_ms);
    bench.plan();
    assert!(is_removed(&bench, 2) && is_removed(&bench, 3) && !is_removed(&bench, 1));
}

#[test]
fn clients_have_all_of_their_time_though_nobody_saw_when_dns_dropped_the_vm() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    scale(&mut bench, 1);
    bench.plan();
    bench.pass(60_000);
    bench.publish();
    bench.plan();
    assert!(!is_removed(&bench, 2), "it may have been just now");
    bench.pass(bench.settings.windows.ttl_ms);
    bench.plan();
    bench.pass(bench.settings.windows.drain_ms - 1);
    bench.plan();
    assert!(!is_removed(&bench, 2));
    bench.pass(1);
    bench.plan();
    assert!(is_removed(&bench, 2));
}

#[test]
fn scaling_in_sends_away_what_does_not_serve_first_and_at_once() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    scale(&mut bench, 3);
    bench.plan();
    bench.observed.vms.insert(VmId(3), silent());
    scale(&mut bench, 2);
    bench.plan();
    assert_eq!(bench.stay(1), [1, 2]);
    assert!(is_removed(&bench, 3), "it was never in DNS");
}

#[test]
fn scaling_in_waits_until_enough_of_those_that_stay_serve() {
    let mut bench = Bench::with([instance_of(1, 3)]);
    bench.plan();
    scale(&mut bench, 1);
    bench.plan();
    assert_eq!(bench.stay(1), [1, 2, 3]);
    bench
        .observed
        .vms
        .insert(VmId(3), healthy(model::Generation(1)));
    bench.probes().insert(VmId(3), answered());
    bench.plan();
    assert_eq!(
        bench.stay(1),
        [3],
        "the one that serves stays, though it is the youngest"
    );
}

#[test]
fn a_vm_whose_tenant_address_a_backend_was_given_makes_room_when_its_stand_in_serves() {
    let mut bench = Bench::serving([instance(1), instance(2)]);
    bench.asked(2).backends.push(backend("1.1.1.253"));
    bench.plan();
    assert_eq!(bench.stay(1), [1, 3]);
    bench.make_all_serve();
    bench.plan();
    assert_eq!(bench.stay(1), [3]);
    assert_eq!(leaves(&bench, 1), "a backend has its tenant address");
    assert_eq!(bench.stay(2), [2]);
}

#[test]
fn a_deleted_instances_vms_are_removed_at_once_and_its_subnet_goes_with_the_last() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench.intent.instances.clear();
    bench.plan();
    assert_eq!(bench.stay(1), [0; 0]);
    assert!(is_removed(&bench, 1) && is_removed(&bench, 2));
    assert!(bench.layout.dns.records.is_empty());
    bench.vanish(1);
    bench.plan();
    assert_eq!(
        bench
            .layout
            .networks
            .values()
            .next()
            .map(|n| n.subnets.len()),
        Some(1)
    );
    bench.vanish(2);
    bench.plan();
    assert!(bench.layout.instances.is_empty());
    assert_eq!(
        bench
            .layout
            .networks
            .values()
            .next()
            .map(|n| n.subnets.len()),
        Some(0)
    );
}

#[test]
fn an_address_rests_for_its_time_and_for_as_long_as_published_dns_is_behind() {
    let mut bench = Bench::serving([instance(1)]);
    let address = bench.vm(1).front.address;
    bench.intent.instances.clear();
    bench.plan();
    bench.vanish(1);
    bench.plan();
    bench.publish();
    let rests = |bench: &Bench| bench.layout.ledger.resting.contains_key(&address);
    bench.pass(bench.settings.windows.rest_ms - 1);
    bench.plan();
    assert!(rests(&bench));
    bench.observed.dns_serial = Some(1);
    bench.pass(1_000_000);
    bench.plan();
    assert!(rests(&bench), "published DNS may name it");
    bench.publish();
    bench.plan();
    assert!(!rests(&bench));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_for_longer_than_its_window() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    scale(&mut bench, 1);
    bench.plan();
    bench.publish();
    for vm in [1, 3, 4] {
        bench.observed.vms.entry(VmId(vm)).or_insert_with(silent);
        bench.kill(vm);
        bench.plan();
        bench.vanish(vm);
        bench.plan();
    }
    bench.now.0 -= 500_000;
    bench.plan();
    assert_eq!(bench.stay(1), [0; 0], "three deaths hold the next one back");
    bench.pass(1_000);
    bench.plan();
    assert_eq!(bench.stay(1), [5]);
    bench.pass(bench.settings.windows.ttl_ms);
    bench.plan();
    bench.pass(bench.settings.windows.drain_ms);
    bench.plan();
    assert!(is_removed(&bench, 2), "its drain is over");
    bench.pass(bench.settings.windows.rest_ms);
    bench.plan();
    assert!(bench.layout.ledger.resting.is_empty());
}

#[test]
fn a_vm_of_a_driver_that_is_no_longer_chosen_makes_room_unless_it_runs() {
    let mut bench = Bench::with([instance(1)]);
    bench.plan();
    assert_eq!(bench.stay(1), [1]);
    bench.settings.driver = Driver::Qemu;
    bench.plan();
    assert_eq!(bench.stay(1), [2], "one that never came to be is replaced");
    let mut bench = Bench::serving([instance(1)]);
    bench.settings.driver = Driver::Qemu;
    bench.plan();
    assert_eq!(bench.stay(1), [1], "one that serves goes on");
}
