//! What a checker lacks itself. Plain data.

use std::collections::BTreeMap;

use model::VmId;

use crate::NotAsked;

/// Attempts in a row that came to nothing before what was known of the VM is too old to be told.
const MOST_UNASKED: u32 = 3;

/// Which VMs could not be asked of late, each time anew, and why.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    unasked: BTreeMap<VmId, Unasked>,
}

#[derive(Debug)]
struct Unasked {
    attempts: u32,
    why: String,
}

impl Wants {
    /// Takes note of an attempt that came to nothing. Says whether the VM counts as not asked from now on.
    pub(crate) fn note(&mut self, vm: VmId, error: &NotAsked) -> bool {
        let (attempts, why) = (0, String::new());
        let known = self.unasked.entry(vm).or_insert(Unasked { attempts, why });
        known.attempts = known.attempts.saturating_add(1);
        known.why = error.to_string();
        known.attempts == MOST_UNASKED
    }

    /// Takes note that a VM was asked.
    pub(crate) fn clear(&mut self, vm: VmId) {
        self.unasked.remove(&vm);
    }

    /// Forgets all but these.
    pub(crate) fn retain(&mut self, keep: impl Fn(VmId) -> bool) {
        self.unasked.retain(|vm, _| keep(*vm));
    }

    /// How many VMs cannot be asked.
    pub(crate) fn count(&self) -> usize {
        self.standing().count()
    }

    /// Why they cannot, in the words of one of them.
    pub(crate) fn why(&self) -> Option<&str> {
        self.standing().next().map(|unasked| &*unasked.why)
    }

    fn standing(&self) -> impl Iterator<Item = &Unasked> {
        let all = self.unasked.values();
        all.filter(|unasked| unasked.attempts >= MOST_UNASKED)
    }
}
