use model::{Timestamp, VmId};

use crate::samples::{Bench, instance_of, silent};

const HOUR_MS: u64 = 3_600_000;

/// Three VMs of which one died, left nothing, and was replaced, and one is down and waits for its return.
fn bench() -> Bench {
    let mut bench = Bench::with([instance_of(1, 3)]);
    bench.observed.boot_id = "one".into();
    bench.now = Timestamp(100 * HOUR_MS);
    bench.observed.uptime_ms = Some(HOUR_MS);
    bench.plan();
    bench.make_all_serve();
    bench.plan();
    bench.publish();
    bench.vanish(1);
    bench.plan();
    bench.pass(1);
    bench.plan();
    bench.observed.vms.insert(VmId(2), silent());
    bench.kill(2);
    bench.plan();
    bench.publish();
    bench
}

/// The host's clock is set while so much time passes.
fn set_the_clock(bench: &mut Bench, by_ms: i64, passed_ms: u64) {
    bench.pass(passed_ms);
    bench.now = Timestamp(bench.now.0.saturating_add_signed(by_ms));
}

#[test]
fn no_wait_is_cut_short_or_drawn_out_when_the_clock_is_set() {
    for by_ms in [5_000, -5_000, 1_000_000_000, -10_000_000] {
        let mut bench = bench();
        let grace_ms = bench.settings.windows.grace_ms;
        let rests = |bench: &Bench| bench.layout.ledger.resting.len();
        set_the_clock(&mut bench, by_ms, grace_ms - 1);
        bench.plan();
        assert!(
            bench.vm(2).leaving.is_none(),
            "it has a moment left: {by_ms}"
        );
        assert_eq!(rests(&bench), 1);
        bench.pass(1);
        bench.plan();
        assert!(bench.vm(2).leaving.is_some(), "its grace is over: {by_ms}");
        bench.pass(bench.settings.windows.rest_ms - grace_ms);
        bench.plan();
        assert_eq!(rests(&bench), 0, "it has rested: {by_ms}");
    }
}

#[test]
fn after_a_start_of_the_machine_an_address_rests_anew_for_nobody_knows_how_long_it_was_off() {
    let mut bench = bench();
    let rest_ms = bench.settings.windows.rest_ms;
    let rests = |bench: &Bench| bench.layout.ledger.resting.len();
    bench.observed.boot_id = "two".into();
    bench.observed.uptime_ms = Some(0);
    set_the_clock(&mut bench, i64::try_from(rest_ms).unwrap(), 0);
    bench.plan();
    assert_eq!(rests(&bench), 1, "the clock alone says that it has rested");
    bench.pass(rest_ms - 1);
    bench.plan();
    assert_eq!(rests(&bench), 1);
    bench.pass(1);
    bench.plan();
    assert_eq!(rests(&bench), 0);
}

#[test]
fn a_clock_that_is_kept_right_changes_nothing() {
    let mut bench = bench();
    let before = bench.layout.clone();
    set_the_clock(&mut bench, 999, 10);
    bench.plan();
    assert_eq!(bench.layout, before);
}

#[test]
fn after_a_start_of_the_machine_the_clock_says_anew_when_that_was() {
    let mut bench = bench();
    let known = bench.layout.host.started_at;
    bench.observed.boot_id = "two".into();
    bench.observed.uptime_ms = Some(10);
    bench.plan();
    assert_eq!(
        bench.layout.host.started_at,
        Some(Timestamp(bench.now.0 - 10))
    );
    assert_ne!(bench.layout.host.started_at, known);
}
