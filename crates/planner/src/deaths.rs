//! How an instance whose VMs die one after the other is given new ones ever more slowly.

use std::sync::Arc;

use model::{InstanceLayout, MAX_VMS, Timestamp};

use crate::Inputs;

/// Doublings of the wait, from one second, before it has reached its bound.
const MOST_DOUBLINGS: u32 = 6;
/// The longest that a replacement is held back.
const LONGEST_WAIT_MS: u64 = 60_000;
/// Deaths of VMs that an instance remembers: enough for the longest wait of the largest instance.
const MOST_DOWNS: usize = (MAX_VMS + 2 + MOST_DOUBLINGS) as usize;

/// Adds deaths that were found just now, each with its cause, to an instance's memory, and drops the old ones
/// from it.
pub(crate) fn remember_deaths(
    inputs: Inputs<'_>,
    instance: &mut Arc<InstanceLayout>,
    found: Vec<String>,
) {
    let is_recent = |at: &Timestamp| inputs.now.since_ms(*at) < inputs.settings.windows.downs_ms;
    let has_old = instance.downs.is_empty() && instance.last_down.is_some();
    if found.is_empty() && !has_old && instance.downs.iter().all(is_recent) {
        return;
    }
    let instance = Arc::make_mut(instance);
    let downs = &mut instance.downs;
    downs.extend(std::iter::repeat_n(inputs.now, found.len()));
    downs.retain(is_recent);
    let surplus = downs.len().saturating_sub(MOST_DOWNS);
    downs.drain(..surplus);
    instance.last_down = match instance.downs.is_empty() {
        true => None,
        false => found.into_iter().next_back().or(instance.last_down.take()),
    };
}

/// The time before which an instance gets no further VM in place of a dead one, where it has to wait.
///
/// As many as it has VMs and one more are replaced at once; after that the wait doubles from one
/// second to a bound, so that an image that cannot boot does not busy the host.
pub(crate) fn replacement_due(instance: &InstanceLayout, wanted: usize) -> Option<Timestamp> {
    let last = instance.downs.last()?;
    let beyond = instance.downs.len().checked_sub(wanted.saturating_add(2))?;
    let doublings = u32::try_from(beyond).map_or(MOST_DOUBLINGS, |n| n.min(MOST_DOUBLINGS));
    let wait_ms = (1_000_u64 << doublings).min(LONGEST_WAIT_MS);
    Some(Timestamp(last.0.saturating_add(wait_ms)))
}

#[cfg(test)]
mod tests;
