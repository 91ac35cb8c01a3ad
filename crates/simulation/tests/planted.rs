//! The simulation proves its worth: it finds each bug that was planted.

use std::thread::available_parallelism;

use clap::ValueEnum;
use simulation::{Bug, Scenario, soak};

/// Each bug is found within so many seeds.
const SEEDS: u64 = 1_000;
/// Some show only when much goes on at once.
const MANY: usize = 60;

fn find(bug: Bug) {
    let threads = available_parallelism().map_or(1, Into::into);
    let all = soak(0..SEEDS, threads, true, |seed| Scenario {
        faults: MANY,
        changes: MANY,
        ..Scenario::of_seed(seed).with_bug(bug)
    });
    let found = all.failures.first();
    let found = found.unwrap_or_else(|| panic!("{SEEDS} seeds do not find {bug:?}"));
    let (violation, seed) = (&found.violation, found.scenario.seed);
    assert_ne!(violation.rule, "nothing panics", "{}", violation.what);
    let without = Scenario {
        bug: None,
        ..found.scenario.clone()
    };
    assert_eq!(without.run().violation, None, "it is the bug that is found");
    println!("{bug:?} was found by seed {seed}: {violation}");
    let words = found.in_words();
    let replay = words.lines().last().unwrap_or_default();
    assert!(replay.contains(&format!("make simulate SEED={seed} BUG=")));
}

macro_rules! planted {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                find(Bug::$bug);
            }
        )*

        #[test]
        fn every_bug_that_can_be_planted_has_its_test() {
            let tested = [$(Bug::$bug),*];
            assert!(Bug::value_variants().iter().all(|bug| tested.contains(bug)));
        }
    };
}

planted! {
    two_owners_of_one_address_are_found: DoubleOwner,
    an_address_that_is_used_again_too_early_is_found: NoRest,
    a_leaked_port_is_found: LeakedPort,
    a_leaked_bridge_is_found: LeakedBridge,
    a_leaked_vm_is_found: LeakedVm,
    a_mass_failover_is_found: MassFailover,
    a_zone_of_an_older_generation_is_found: StaleZone,
    records_that_change_under_one_serial_are_found: SilentZoneChange,
    an_empty_answer_is_found: EmptyZone,
    a_lost_update_of_the_layout_is_found: LostUpdate,
    a_controller_that_does_not_hear_users_is_found: DeafToUsers,
    a_configuration_that_is_pushed_only_once_is_found: PushedOnce,
    a_vm_that_is_removed_while_in_use_is_found: RemovedInUse,
    a_zombie_that_is_believed_is_found: ZombieBelieved,
    a_fence_that_is_not_set_is_found: NoFence,
    a_fence_that_is_not_lifted_is_found: FenceForEver,
    an_effect_that_is_never_tried_again_is_found: NoRetry,
    a_verdict_by_one_probe_is_found: OneProbeKills,
    a_controller_that_kills_when_it_begins_is_found: RestartKills,
    a_controller_that_forgot_what_was_decided_is_found: Amnesia,
    an_effect_before_its_layout_is_stored_is_found: ActsFirst,
    a_number_of_vms_that_flaps_is_found: Flapping,
    a_dead_vm_that_is_not_replaced_is_found: NoReplacement,
    damage_by_hand_that_is_not_repaired_is_found: NoRepair,
}
