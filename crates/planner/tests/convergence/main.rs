//! Rounds of plan, store, diff and apply in a world of faults: what must hold after each of them, and
//! that everything comes to rest as asked when the faults stop.

#[cfg(test)]
mod invariants;
#[cfg(test)]
mod run;
#[cfg(test)]
mod users;
#[cfg(test)]
mod world;

use proptest::prelude::*;

use run::Run;
use users::{Event, events};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_through_every_fault_and_all_comes_to_rest_as_asked(
        seed in any::<u64>(),
        events in events(),
    ) {
        let mut run = Run::new(seed);
        run.users.act(&Event::CreateProject);
        for event in &events {
            run.happen(event);
        }
        run.come_to_rest();
        run.delete_everything();
    }
}
