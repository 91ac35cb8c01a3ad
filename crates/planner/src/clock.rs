//! A host's clock that is set back.
//!
//! Liveness rests on ages from a monotonic clock, but what spans minutes, and must outlive the
//! controller, is kept by the host's clock. A time that lies ahead of that clock was written before it was
//! set back; waiting for it would take as long as the jump was wide.

use model::{Layout, Timestamp};

use crate::{Inputs, scaling};

/// Counts every wait that was begun in what is the future by now from now on.
pub(crate) fn bear_a_clock_set_back(inputs: Inputs<'_>, layout: &mut Layout) {
    let now = inputs.now;
    for (id, instance) in &mut layout.instances {
        instance.downs.iter_mut().for_each(|at| *at = now.min(*at));
        let asked = inputs.intent.instances.get(id);
        if let Some(scaling) = asked.and_then(|asked| asked.auto_scaling.by_load()) {
            scaling::bear_a_clock_set_back(scaling, &mut instance.scale, now);
        }
        for vm in instance.vms.values_mut() {
            let leaving = vm.leaving.iter_mut();
            let leaving = leaving.flat_map(|leaving| {
                std::iter::once(&mut leaving.since).chain(leaving.dropped_at.as_mut())
            });
            let aside = vm.aside.iter_mut();
            let aside = aside.flat_map(|aside| {
                std::iter::once(&mut aside.since).chain(aside.open_since.as_mut())
            });
            let times = std::iter::once(&mut vm.since).chain(leaving).chain(aside);
            times.for_each(|at| *at = now.min(*at));
        }
    }
    let breaker = layout.host.breaker_open_since.iter_mut();
    let set_aside = layout.host.set_aside.iter_mut();
    let set_aside = set_aside.flat_map(|one| [&mut one.found_at, &mut one.at]);
    breaker.chain(set_aside).for_each(|at| *at = now.min(*at));
    let longest_rest = Timestamp(now.0.saturating_add(inputs.settings.windows.rest_ms));
    let rests = layout.ledger.resting.values_mut();
    rests.for_each(|free_at| *free_at = longest_rest.min(*free_at));
}
