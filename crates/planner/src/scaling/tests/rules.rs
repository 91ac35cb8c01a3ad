//! Each rule by itself.

use super::*;

/// By so much a number can be kept for longer than the window.
const GRAIN_S: u64 = WINDOW_MS / 20_000;

#[test]
fn more_are_made_at_the_second_sample_and_as_many_as_are_asked_for() {
    let mut scaler = Scaler::new(1, 8);
    assert_eq!(scaler.seconds(10, 0.9), 1);
    assert_eq!(
        scaler.second(3.4),
        1,
        "one sample may be two VMs' same clients"
    );
    assert_eq!(scaler.second(3.4), 4);
    assert_eq!(scaler.changes.len(), 1);
}

#[test]
fn one_sample_that_stands_out_makes_no_vm() {
    let mut scaler = Scaler::new(1, 8);
    for _ in 0..100 {
        scaler.second(7.0);
        scaler.second(0.9);
    }
    assert_eq!(scaler.changes, []);
}

#[test]
fn figures_that_are_not_renewed_are_believed_after_a_while() {
    let mut scaler = Scaler::new(1, 8);
    let mut figures = Figures::requests(300.0, TARGET, None);
    figures.set_oldest_ms(9_000);
    let mut round = |ms| {
        scaler.now.0 += ms;
        decide_scale(&scaler.scaling, &figures, &mut scaler.scale, scaler.now);
        scaler.vms()
    };
    assert_eq!(round(0), 1);
    assert_eq!(round(LONGEST_DOUBT_MS - 1), 1);
    assert_eq!(round(1), 3);
}

#[test]
fn a_load_within_the_tolerance_asks_for_no_more() {
    for (before, load, vms) in [
        (1.0, 1.1, 1),
        (1.0, 1.12, 2),
        (2.0, 2.2, 2),
        (3.0, 3.3, 3),
        (3.0, 3.31, 4),
        (0.0, 0.0, 1),
    ] {
        let mut scaler = Scaler::new(1, 32);
        scaler.seconds(10, before);
        assert_eq!(scaler.seconds(10, load), vms, "{load}");
    }
}

#[test]
fn the_number_falls_to_the_most_that_was_needed_within_the_window() {
    let mut scaler = Scaler::new(1, 8);
    assert_eq!(scaler.seconds(20, 6.0), 6);
    assert_eq!(scaler.seconds(100, 0.5), 6);
    assert_eq!(scaler.seconds(10, 3.0), 6, "3 are needed in between");
    let window_s = WINDOW_MS / 1_000;
    assert_eq!(scaler.seconds(window_s - 110, 0.5), 6);
    assert_eq!(scaler.seconds(GRAIN_S + 1, 0.5), 3, "6 were longer ago");
    let settled_s = 10;
    assert_eq!(scaler.seconds(settled_s + window_s + GRAIN_S - 1, 0.5), 3);
    assert_eq!(scaler.second(0.5), 1, "the window began anew");
}

#[test]
fn a_vm_goes_only_when_the_load_could_grow_by_half() {
    let mut scaler = Scaler::new(1, 8);
    assert_eq!(scaler.seconds(10, 3.0), 3);
    assert_eq!(
        scaler.seconds(4_000, 1.5),
        3,
        "2 would carry 75 % of their target"
    );
    assert_eq!(scaler.seconds(2, 1.46), 2, "2 carry 73 %");
}

#[test]
fn of_many_vms_a_few_go_when_nothing_has_changed_for_an_hour() {
    let mut scaler = Scaler::new(1, 32);
    assert_eq!(scaler.seconds(10, 20.0), 20);
    scaler.seconds(1_000, 14.0);
    let few = scaler.vms();
    assert!(few >= 19, "{few}");
    assert_eq!(scaler.seconds(2_500, 13.0), 20, "18 would do");
    assert_eq!(scaler.seconds(1_000, 13.0), 18);
    assert_eq!(scaler.seconds(400, 8.0), 11, "a large change does not wait");
}

#[test]
fn what_is_not_known_sends_nobody_away_and_makes_nobody() {
    let mut scaler = Scaler::new(1, 8);
    scaler.seconds(10, 4.0);
    for _ in 0..2_000 {
        assert_eq!(scaler.second_without_a_figure(0.0), 4);
    }
    let window_s = WINDOW_MS / 1_000;
    assert_eq!(
        scaler.seconds(window_s - 1, 0.0),
        4,
        "the window begins anew"
    );
    assert_eq!(scaler.seconds(20, 0.0), 1);
    for _ in 0..100 {
        assert_eq!(scaler.second_without_a_figure(0.5), 1);
    }
}

#[test]
fn a_vm_without_figures_does_not_hide_that_the_others_need_more() {
    let mut scaler = Scaler::new(1, 8);
    scaler.second_without_a_figure(4.0);
    assert_eq!(scaler.second_without_a_figure(4.0), 4);
}

#[test]
fn the_number_stays_within_the_users_bounds_also_when_they_change() {
    let mut scaler = Scaler::new(2, 4);
    assert_eq!(scaler.second(0.0), 2);
    assert_eq!(scaler.seconds(10, 6.0), 4);
    assert_eq!(scaler.scale.wish, 6, "what is missing is known");
    scaler.scaling.max = 3;
    assert_eq!(scaler.vms(), 3);
    scaler.scaling.max = 8;
    assert_eq!(scaler.vms(), 6, "what was asked for is there at once");
    scaler.scaling.min = 7;
    assert_eq!(scaler.second(0.1), 7);
    scaler.scaling.min = 1;
    assert_eq!(scaler.second(0.1), 1, "no load has asked for them");
}

#[test]
fn with_no_more_than_the_least_nothing_is_stored() {
    let mut scaler = Scaler::new(2, 8);
    scaler.seconds(3_600, 1.9);
    assert_eq!((scaler.writes, scaler.scale), (0, ScaleLayout::default()));
}

#[test]
fn a_steady_load_is_not_written_down_again() {
    let mut scaler = Scaler::new(1, 8);
    scaler.seconds(60, 4.5);
    let writes = scaler.writes;
    assert_eq!(scaler.seconds(7_200, 4.5), 5);
    assert_eq!(scaler.writes, writes);
}

#[test]
fn a_load_that_comes_and_goes_is_written_down_a_few_times_in_a_window() {
    let mut scaler = Scaler::new(1, 8);
    scaler.seconds(10, 6.0);
    for _ in 0..1_800 {
        scaler.second(5.0);
        scaler.second(3.0);
    }
    let windows = 3_600_000 / WINDOW_MS;
    assert!(scaler.writes < 45 * windows as usize, "{}", scaler.writes);
}

#[test]
fn the_load_wants_no_more_than_a_bound_whatever_is_measured() {
    for load in [1e6, 1e300, f64::MAX / 1e3] {
        let mut scaler = Scaler::new(1, 8);
        scaler.seconds(3, load);
        assert_eq!((scaler.scale.wish, scaler.vms()), (MOST_WISHED, 8));
    }
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_longer_than_a_window() {
    let mut scaler = Scaler::new(1, 8);
    scaler.seconds(10, 5.0);
    scaler.seconds(10, 0.5);
    scaler.second(9.0);
    scaler.now.0 -= 86_400_000;
    bear_what_lies_ahead(&scaler.scaling, &mut scaler.scale, scaler.now);
    let span_s = WINDOW_MS / 1_000 + GRAIN_S + 1;
    assert_eq!(scaler.seconds(span_s, 0.5), 1);
    scaler.second(3.0);
    scaler.now.0 -= 86_400_000;
    bear_what_lies_ahead(&scaler.scaling, &mut scaler.scale, scaler.now);
    assert_eq!(scaler.second(3.0), 3);
}
