use super::*;
use crate::samples::{Bench, answered, healthy, instance, instance_of, silent, unanswered, whole};
use model::{Effect, Generation, NicSight, ProbeSight};

fn aside(bench: &Bench, vm: u64) -> &Aside {
    bench.vm(vm).aside.as_ref().expect("it is set aside")
}

fn fence(bench: &mut Bench, vm: u64, fenced: bool) {
    let nics = NicSight {
        fenced: Some(fenced),
        ..whole()
    };
    bench.observed.network.vm_nics.insert(VmId(vm), nics);
}

fn fences(bench: &Bench) -> Vec<(u64, bool)> {
    let effects = bench.diff().into_iter();
    let fences = effects.filter_map(|effect| match effect {
        Effect::SetFence { vm, fenced } => Some((vm.0, fenced)),
        _ => None,
    });
    fences.collect()
}

/// Its process stops: nothing is heard, and no probe is answered.
fn freeze(bench: &mut Bench, vm: u64) {
    let heard = bench.sight(vm).heartbeat.as_mut().expect("it was heard");
    heard.age_ms = 10_000;
    bench.probes().insert(VmId(vm), unanswered(3));
}

/// It goes on where it was stopped, with a configuration.
fn thaw(bench: &mut Bench, vm: u64, generation: u64) {
    bench
        .observed
        .vms
        .insert(VmId(vm), healthy(Generation(generation)));
    bench.probes().insert(VmId(vm), answered());
}

/// One VM of two is frozen, fenced and replaced, and its replacement serves.
fn replaced() -> Bench {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    freeze(&mut bench, 1);
    bench.plan();
    fence(&mut bench, 1, true);
    bench.observed.vms.insert(VmId(3), healthy(Generation(1)));
    bench.observed.network.vm_nics.insert(VmId(3), whole());
    bench.probes().insert(VmId(3), answered());
    bench.plan();
    bench.publish();
    bench
}

#[test]
fn a_vm_that_is_down_is_fenced_replaced_and_out_of_dns_at_once() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    let address = bench.vm(1).front.address;
    freeze(&mut bench, 1);
    bench.plan();
    assert!(bench.vm(1).is_fenced());
    assert_eq!(fences(&bench), [(1, true)]);
    assert_eq!(bench.stay(1), [2, 3]);
    assert!(!bench.record("i1.p1").contains(&address));
}

#[test]
fn a_vm_that_is_down_for_the_whole_grace_period_is_removed() {
    let mut bench = replaced();
    bench.pass(bench.settings.windows.grace_ms - 1);
    bench.plan();
    assert!(bench.vm(1).leaving.is_none());
    bench.pass(1);
    bench.plan();
    assert!(bench.vm(1).leaving.is_some() && bench.vm(1).is_fenced());
    assert!(bench.diff().contains(&Effect::RemoveVm { vm: VmId(1) }));
}

#[test]
fn a_vm_that_comes_back_is_told_the_newest_configuration_before_its_fence_is_lifted() {
    let mut bench = replaced();
    bench.asked(1).backends.clear();
    bench.plan();
    thaw(&mut bench, 1, 1);
    bench.pass(60_000);
    bench.plan();
    assert!(bench.vm(1).is_fenced(), "it runs an old configuration");
    let is_told = |effect: &Effect| matches!(effect, Effect::PushConfig { vm, .. } if vm.0 == 1);
    assert!(bench.diff().iter().any(is_told));
    thaw(&mut bench, 1, 2);
    bench.plan();
    assert!(bench.vm(1).is_fenced(), "it has just come back");
    bench.pass(bench.settings.windows.steady_ms);
    bench.plan();
    assert_eq!(fences(&bench), [(1, false)]);
    assert_eq!(bench.stay(1), [2, 3], "its ports are closed still");
}

#[test]
fn a_vm_that_came_back_is_put_back_and_the_youngest_drains() {
    let mut bench = replaced();
    thaw(&mut bench, 1, 1);
    bench.plan();
    bench.pass(bench.settings.windows.steady_ms);
    fence(&mut bench, 1, false);
    bench.plan();
    let report = bench.plan();
    assert_eq!(bench.stay(1), [1, 2], "{report:#?}");
    assert!(bench.vm(3).leaving.is_some() && !bench.vm(3).is_fenced());
    let address = bench.vm(1).front.address;
    assert!(bench.record("i1.p1").contains(&address));
}

#[test]
fn a_fence_opens_for_good_though_most_checkers_cannot_look_behind_it_and_they_have_the_last_word() {
    let mut bench = replaced();
    thaw(&mut bench, 1, 1);
    let elsewhere = |bench: &mut Bench, sight: ProbeSight| {
        for checker in ["east", "west"] {
            let seen = bench.observed.probes.entry(checker.to_owned());
            seen.or_default().insert(VmId(1), sight.clone());
        }
    };
    elsewhere(&mut bench, unanswered(9));
    bench.plan();
    bench.pass(bench.settings.windows.steady_ms);
    bench.plan();
    assert_eq!(fences(&bench), [(1, false)]);
    fence(&mut bench, 1, false);
    for _ in 0..3 {
        bench.plan();
        assert!(!bench.vm(1).is_fenced(), "it opens once");
        assert_eq!(bench.stay(1), [2, 3], "most have yet to find it well");
    }
    elsewhere(&mut bench, answered());
    bench.plan();
    bench.plan();
    assert_eq!(bench.stay(1), [1, 2]);
}

#[test]
fn what_a_vm_knew_of_its_backends_before_it_was_down_does_not_put_it_back() {
    let mut bench = replaced();
    let checked_ago = |bench: &mut Bench, ms| {
        thaw(bench, 1, 1);
        let heard = bench.sight(1).heartbeat.as_mut().expect("it is heard");
        heard.heartbeat.backends.push(BackendStatus {
            address: "1.1.1.10".parse().expect("an address"),
            port: 8080,
            health: BackendHealth::Up,
            health_age_ms: 90_000,
            last_check: Some("200 OK in 3 ms".into()),
            last_check_age_ms: Some(ms),
            requests: 0,
            errors: 0,
            active: 0,
            passive: model::PassiveStatus::default(),
        });
    };
    checked_ago(&mut bench, 80_000);
    bench.plan();
    bench.pass(bench.settings.windows.steady_ms);
    fence(&mut bench, 1, false);
    bench.plan();
    bench.pass(1_000);
    // Of which the heartbeat is a hundred old.
    checked_ago(&mut bench, 901);
    bench.plan();
    assert!(
        bench.vm(1).aside.is_some(),
        "it was checked behind the fence"
    );
    checked_ago(&mut bench, 900);
    bench.plan();
    assert!(bench.vm(1).aside.is_none());
}

#[test]
fn a_vm_that_goes_down_again_is_fenced_again_and_its_grace_period_goes_on() {
    let mut bench = replaced();
    let since = aside(&bench, 1).since;
    thaw(&mut bench, 1, 1);
    bench.plan();
    bench.pass(bench.settings.windows.steady_ms);
    bench.plan();
    assert!(!bench.vm(1).is_fenced());
    freeze(&mut bench, 1);
    bench.plan();
    assert!(bench.vm(1).is_fenced());
    assert_eq!(aside(&bench, 1).since, since);
}

#[test]
fn one_answer_is_not_enough_to_be_believed() {
    let mut bench = replaced();
    thaw(&mut bench, 1, 1);
    bench.plan();
    bench.pass(bench.settings.windows.steady_ms / 2);
    bench.probes().insert(VmId(1), unanswered(1));
    bench.plan();
    for _ in 0..10 {
        bench.pass(bench.settings.windows.steady_ms);
        bench.plan();
        assert!(bench.vm(1).is_fenced());
    }
}

#[test]
fn a_vm_that_is_well_when_its_time_is_over_is_not_given_up() {
    let mut bench = replaced();
    bench.pass(bench.settings.windows.grace_ms);
    thaw(&mut bench, 1, 1);
    bench.plan();
    assert!(bench.vm(1).leaving.is_none());
}

#[test]
fn a_vm_that_never_served_is_not_kept() {
    let mut bench = Bench::with([instance(1)]);
    bench.plan();
    bench.observed.vms.insert(VmId(1), silent());
    bench.kill(1);
    bench.plan();
    assert!(bench.vm(1).leaving.is_some() && bench.vm(1).aside.is_none());
}

#[test]
fn no_more_than_a_few_that_are_down_are_kept() {
    let mut bench = Bench::serving([instance_of(1, 20)]);
    for vm in 1..=5 {
        freeze(&mut bench, vm);
    }
    bench.plan();
    let kept = |bench: &Bench| {
        let vms = bench.vms(1).values();
        vms.filter(|vm| vm.aside.is_some() && vm.leaving.is_none())
            .count()
    };
    assert_eq!(kept(&bench), MOST_ASIDE);
}

#[test]
fn the_breaker_holds_everything_where_it_is_when_too_many_are_down_at_once() {
    let mut bench = Bench::serving([instance_of(1, 6)]);
    let named = bench.record("i1.p1");
    for vm in 1..=4 {
        freeze(&mut bench, vm);
    }
    let report = bench.plan();
    assert_eq!(bench.stay(1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.record("i1.p1"), named);
    assert_eq!(fences(&bench), []);
    let trouble = report.troubles.first().expect("it is said");
    assert!(trouble.contains("the breaker is open"), "{trouble}");
}

#[test]
fn the_breaker_closes_when_they_answer_again() {
    let mut bench = Bench::serving([instance_of(1, 6)]);
    (1..=4).for_each(|vm| freeze(&mut bench, vm));
    bench.plan();
    (1..=4).for_each(|vm| thaw(&mut bench, vm, 1));
    let report = bench.plan();
    assert_eq!(report.troubles, [""; 0]);
    assert_eq!(bench.layout.host.breaker_open_since, None);
    assert_eq!(bench.stay(1).len(), 6);
}

/// How many of an instance's ten VMs the breaker does not hold, after each of the next windows.
fn replaced_in_windows(bench: &mut Bench, windows: usize) -> Vec<usize> {
    let next = |bench: &mut Bench| {
        bench.plan();
        let held = bench.vms(1).values().filter(|vm| breaker::is_held(vm));
        let held = held.count();
        bench.pass(bench.settings.breaker.window_ms);
        10 - held
    };
    (0..windows).map(|_| next(bench)).collect()
}

#[test]
fn of_those_that_stay_down_one_is_tried_in_a_window_until_a_new_one_serves_and_then_no_more_than_may_be()
 {
    let mut bench = Bench::serving([instance_of(1, 10)]);
    (1..=10).for_each(|vm| freeze(&mut bench, vm));
    assert_eq!(replaced_in_windows(&mut bench, 4), [0, 1, 2, 3]);
    let trouble = bench.plan().troubles;
    let trouble = trouble.first().expect("it is said");
    assert!(trouble.contains("one is replaced to see"), "{trouble}");
    thaw(&mut bench, 11, 1);
    bench.observed.network.vm_nics.insert(VmId(11), whole());
    assert_eq!(replaced_in_windows(&mut bench, 3), [6, 9, 10]);
    assert_eq!(bench.layout.host.breaker_open_since, None);
}

#[test]
fn another_wave_ends_the_trials() {
    let mut bench = Bench::serving([instance_of(1, 10), instance_of(2, 10)]);
    (1..=10).for_each(|vm| freeze(&mut bench, vm));
    assert_eq!(replaced_in_windows(&mut bench, 2), [0, 1]);
    (11..=20).for_each(|vm| freeze(&mut bench, vm));
    assert_eq!(replaced_in_windows(&mut bench, 2), [1, 2]);
}

#[test]
fn what_a_user_deleted_does_not_count_for_the_breaker() {
    let mut bench = Bench::serving([instance_of(1, 3), instance_of(2, 1)]);
    (1..=3).for_each(|vm| freeze(&mut bench, vm));
    bench.plan();
    bench.intent.instances.remove(&InstanceId(1));
    freeze(&mut bench, 4);
    bench.plan();
    assert_eq!(bench.layout.host.breaker_open_since, None);
    assert!(bench.vm(4).aside.is_some());
}

#[test]
fn vms_that_vanish_one_by_one_and_are_forgotten_count_for_the_breaker() {
    let mut bench = Bench::serving([instance_of(1, 10)]);
    for vm in 1..=6 {
        bench.vanish(vm);
        bench.plan();
    }
    assert!(!bench.vms(1).contains_key(&VmId(1)), "it is forgotten");
    let held = bench.vms(1).values().filter(|vm| breaker::is_held(vm));
    assert_eq!(held.count(), 3, "as many as may be were replaced before");
    assert!(bench.layout.host.breaker_open_since.is_some());
}

#[test]
fn what_the_breaker_held_does_not_open_it_again_when_it_is_set_aside() {
    let mut bench = Bench::serving([instance_of(1, 10)]);
    (1..=6).for_each(|vm| freeze(&mut bench, vm));
    bench.plan();
    bench.pass(bench.settings.breaker.window_ms);
    (1..=4).for_each(|vm| thaw(&mut bench, vm, 1));
    freeze(&mut bench, 7);
    // The bench holds each plan to be a fixed point.
    bench.plan();
    assert_eq!(bench.layout.host.breaker_open_since, None);
    let aside = bench.vms(1).values().filter(|vm| vm.aside.is_some());
    assert_eq!(aside.count(), 3);
}

#[test]
fn vms_that_are_put_back_were_taken_out_all_the_same() {
    let mut bench = replaced();
    let named = |bench: &Bench| bench.layout.host.set_aside.len();
    assert_eq!(named(&bench), 1);
    thaw(&mut bench, 1, 1);
    for _ in 0..2 {
        bench.plan();
        fence(&mut bench, 1, false);
        bench.pass(bench.settings.windows.steady_ms);
    }
    bench.plan();
    assert_eq!(bench.vm(1).aside, None);
    assert_eq!(named(&bench), 1);
    bench.pass(bench.settings.breaker.window_ms);
    bench.plan();
    assert_eq!(named(&bench), 0);
}

#[test]
fn after_the_machine_was_started_anew_every_vm_is_made_again_as_it_was() {
    let mut bench = Bench::serving([instance_of(1, 6)]);
    bench.observed.boot_id = "one".into();
    bench.plan();
    assert_eq!(bench.stay(1).len(), 6, "the first mark says nothing");
    bench.observed.boot_id = "two".into();
    bench.observed.vms.clear();
    bench.observed.probes.clear();
    bench.observed.network.vm_nics.clear();
    let named = bench.record("i1.p1");
    bench.plan();
    assert_eq!(bench.stay(1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.record("i1.p1"), named);
    let made = bench.diff().into_iter();
    let made = made.filter(|effect| matches!(effect, Effect::EnsureVm { .. }));
    assert_eq!(made.count(), 6);
}

#[test]
fn a_vm_that_lost_a_nic_for_good_is_replaced_unless_a_step_works_on_it() {
    let lost = NicSight {
        tenant: false,
        lost: true,
        ..whole()
    };
    for verdict in [Verdict::Serving, Verdict::Starting] {
        let mut bench = Bench::serving([instance(1)]);
        let vm = bench.standing_mut(1).vms.get_mut(&VmId(1));
        vm.expect("it stands").verdict = verdict;
        bench.probes().clear();
        bench.observed.network.vm_nics.insert(VmId(1), lost);
        bench.observed.in_flight.insert(model::vm_key(VmId(1)));
        bench.plan();
        assert_eq!(bench.stay(1), [1], "{verdict:?}");
        bench.observed.in_flight.clear();
        bench.plan();
        assert_eq!(bench.stay(1), [2], "{verdict:?}");
    }
}
