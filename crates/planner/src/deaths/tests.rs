use super::*;
use crate::samples::{Bench, instance};

fn waits_ms(wanted: usize, deaths: usize) -> Option<u64> {
    let mut bench = Bench::serving([instance(1)]);
    let mut standing = Arc::new(bench.standing(1).clone());
    bench.now = Timestamp(1_000_000);
    remember_deaths(bench.inputs(), &mut standing, causes(deaths));
    replacement_due(&standing, wanted).map(|due| due.since_ms(bench.now))
}

#[test]
fn the_first_deaths_are_replaced_at_once_and_later_ones_ever_more_slowly() {
    for (wanted, deaths, wait_ms) in [
        (1, 0, None),
        (1, 1, None),
        (1, 2, None),
        (1, 3, Some(1_000)),
        (1, 4, Some(2_000)),
        (1, 8, Some(32_000)),
        (1, 9, Some(60_000)),
        (1, 10_000, Some(60_000)),
        (3, 4, None),
        (3, 5, Some(1_000)),
        (32, 33, None),
        (32, 34, Some(1_000)),
        (32, 40, Some(60_000)),
        (32, 10_000, Some(60_000)),
    ] {
        assert_eq!(
            waits_ms(wanted, deaths),
            wait_ms,
            "{wanted} wanted, {deaths} deaths"
        );
    }
}

#[test]
fn deaths_are_forgotten_after_a_while_and_only_so_many_are_remembered() {
    let mut bench = Bench::serving([instance(1)]);
    let mut standing = Arc::new(bench.standing(1).clone());
    remember_deaths(bench.inputs(), &mut standing, causes(1_000));
    assert_eq!(standing.downs.len(), MOST_DOWNS);
    bench.pass(bench.settings.windows.downs_ms - 1);
    remember_deaths(bench.inputs(), &mut standing, causes(0));
    assert_eq!(standing.downs.len(), MOST_DOWNS);
    bench.pass(1);
    remember_deaths(bench.inputs(), &mut standing, causes(1));
    assert_eq!(standing.downs, [bench.now]);
    assert_eq!(standing.last_down.as_deref(), Some("cause 0"));
    bench.pass(bench.settings.windows.downs_ms);
    remember_deaths(bench.inputs(), &mut standing, causes(0));
    assert_eq!(standing.last_down, None);
}

fn causes(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("cause {n}")).collect()
}
