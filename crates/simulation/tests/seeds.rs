//! Many worlds, each for more than an hour, and what must hold of all of them.

use simulation::{Scenario, soak};

const HOUR_MS: u64 = 3_600_000;

/// Holds the worlds of a hundred seeds to everything; `make simulate` takes any number.
fn hold(hundred: u64) {
    let seeds = hundred * 100..(hundred + 1) * 100;
    let all = soak(seeds, 1, false, Scenario::of_seed);
    let told: Vec<String> = all.failures.iter().take(3).map(|f| f.in_words()).collect();
    let failed = all.failures.len();
    assert!(
        told.is_empty(),
        "{failed} seeds failed\n{}",
        told.join("\n")
    );
    assert_eq!(all.seeds, 100);
    let (instances, faults, virtual_ms) = all.least.expect("a hundred worlds ended well");
    assert!(instances >= 20 && faults >= 10 && virtual_ms >= HOUR_MS);
    println!(
        "{} seeds, {} virtual hours in {:?}, {} faults, {} rounds",
        all.seeds,
        all.virtual_ms / HOUR_MS,
        all.took,
        all.faults,
        all.rounds
    );
}

/// A thousand worlds, in tests that can run beside each other.
mod a_hundred_worlds_of_faults_break_no_rule_and_come_to_rest_as_asked {
    macro_rules! hundreds {
        ($($name:ident: $hundred:literal),*) => {
            $(
                #[test]
                fn $name() {
                    super::hold($hundred);
                }
            )*
        };
    }

    hundreds! {
        seeds_0: 0, seeds_100: 1, seeds_200: 2, seeds_300: 3, seeds_400: 4,
        seeds_500: 5, seeds_600: 6, seeds_700: 7, seeds_800: 8, seeds_900: 9
    }
}

#[test]
fn the_same_seed_gives_the_same_run_step_by_step() {
    let run = || {
        let scenario = Scenario {
            trace: true,
            ..Scenario::of_seed(4_711)
        };
        let outcome = scenario.run();
        (outcome.rounds, outcome.virtual_ms, outcome.trace)
    };
    assert_eq!(run(), run());
}
