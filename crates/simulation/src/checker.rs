//! Vantage points from which VMs are asked, each with its own sight of them.

use std::collections::BTreeMap;

use model::{ProbeSight, Timestamp, VmId};

/// Milliseconds between two probes of one VM.
const PROBE_MS: u64 = 250;
/// The longest row of equal results that a checker counts.
const MOST_STREAK: u64 = 100;
/// A checker that says nothing for this long is forgotten.
pub(crate) const LEASE_MS: u64 = 3_000;

/// One checker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checker {
    pub(crate) name: String,
    /// Whether it lost its network: every probe of its fails.
    pub(crate) is_cut: bool,
    /// Since when it says nothing.
    pub(crate) silent_ms: Option<u64>,
    seen: BTreeMap<VmId, Seen>,
}

/// The results for one VM: since when they have been the same.
#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: bool,
    since_ms: u64,
    since: Timestamp,
}

impl Checker {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Whether its last word still counts.
    pub(crate) fn is_heard(&self, now_ms: u64) -> bool {
        self.silent_ms
            .is_none_or(|ms| now_ms.saturating_sub(ms) < LEASE_MS)
    }

    /// A VM answers, or does not, from now on. A checker that is silent learns nothing.
    pub(crate) fn learn(&mut self, vm: VmId, answers: bool, now_ms: u64, wall: Timestamp) {
        if self.silent_ms.is_some() {
            return;
        }
        let answered = answers && !self.is_cut;
        if self.seen.get(&vm).is_none_or(|s| s.answered != answered) {
            let seen = Seen {
                answered,
                since_ms: now_ms,
                since: wall,
            };
            self.seen.insert(vm, seen);
        }
    }

    pub(crate) fn forget(&mut self, vm: VmId) {
        self.seen.remove(&vm);
    }

    /// Whether its last probe of the VM was answered; absent when it has not asked.
    pub(crate) fn answered(&self, vm: VmId) -> Option<bool> {
        self.seen.get(&vm).map(|seen| seen.answered)
    }

    /// What it tells.
    pub(crate) fn sights(&self, now_ms: u64) -> BTreeMap<VmId, ProbeSight> {
        let until_ms = self.silent_ms.unwrap_or(now_ms);
        let sight = |seen: &Seen| {
            let row = until_ms.saturating_sub(seen.since_ms) / PROBE_MS + 1;
            ProbeSight {
                answered: seen.answered,
                since: seen.since,
                streak: u32::try_from(row.min(MOST_STREAK)).unwrap_or(u32::MAX),
                evidence: if seen.answered {
                    "answered"
                } else {
                    "timed out"
                }
                .into(),
            }
        };
        let seen = self.seen.iter();
        seen.map(|(id, seen)| (*id, sight(seen))).collect()
    }
}
