//! Series that nothing is written to any more: VMs that are gone, as a rule.
//!
//! They leave their places to others, and their past can still be asked for, within bounds. Each owner has a bound of his
//! own. Where all together are too many, those who have most give: nobody loses his past by what others make, as long as
//! he has no more than an equal share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::State;

/// Series that nothing is written to any more, for each that may be: their past can still be asked for.
const MOST_IDLE: usize = 4;
/// A series to which nothing was written for so many seconds leaves its place to another.
const IDLE_SECONDS: i64 = 3_600;

/// What becomes of a series that nothing is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It leaves its place.
    Idle(u32),
    /// It is forgotten, since nothing is known of it any more.
    Empty(u32),
    /// It is forgotten with its past, since its owner has too many.
    Forgotten(u32),
}

/// What an owner lost of the past, since he had too many series that nothing is written to any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// Series that were forgotten.
    pub(crate) series: u64,
    /// When something was written to one of them last, in seconds since the Unix epoch. What is asked of before that may
    /// lack something.
    pub(crate) until: i64,
}

/// By owner, when each was written to last.
type Idle = BTreeMap<u64, Vec<(i64, u32)>>;

impl State {
    /// Which series are idle and are to leave their places, and which are to be forgotten, since there is no room for them
    /// or no segment tells of them any more: the oldest that there is has the number `oldest`.
    pub(crate) fn to_retire(&self, oldest: u64) -> Vec<Retired> {
        let now = self.now_ms / 1_000;
        let (mut idle, mut retired) = (Idle::new(), Vec::new());
        for (id, series) in &self.series {
            if series.is_live {
                if now.saturating_sub(series.written) <= IDLE_SECONDS {
                    continue;
                }
                retired.push(Retired::Idle(*id));
            }
            if series.has_past(oldest) {
                let of_owner = idle.entry(series.owner).or_default();
                of_owner.push((series.written, *id));
            } else {
                retired.push(Retired::Empty(*id));
            }
        }
        let most = self.most_idle(&idle);
        for of_owner in idle.values_mut() {
            of_owner.sort_unstable();
            let surplus = of_owner.len().saturating_sub(most);
            let forgotten = of_owner.iter().take(surplus);
            retired.extend(forgotten.map(|(_, id)| Retired::Forgotten(*id)));
        }
        retired
    }

    /// How many an owner may have.
    fn most_idle(&self, idle: &Idle) -> usize {
        let in_all = self.options.most_series.saturating_mul(MOST_IDLE);
        let own = self.options.most_series_per_owner.saturating_mul(MOST_IDLE);
        let counts = idle.values().map(Vec::len).collect();
        own.min(equal_share(counts, in_all))
    }

    /// What an owner lost of the past.
    pub(crate) fn forgotten(&self, owner: u64) -> Forgotten {
        let of_owner = self.owners.get(&owner);
        of_owner.map_or_else(Forgotten::default, |of_owner| of_owner.forgotten)
    }

    /// All owners who lost something.
    pub(crate) fn all_forgotten(&self) -> Vec<(u64, Forgotten)> {
        let owners = self.owners.iter();
        let owners = owners.map(|(owner, of_owner)| (*owner, of_owner.forgotten));
        owners
            .filter(|(_, forgotten)| self.still_counts(forgotten))
            .collect()
    }

    /// Whether anything of what was forgotten would be there otherwise.
    fn still_counts(&self, forgotten: &Forgotten) -> bool {
        let levels = self.options.levels.iter();
        let longest = levels
            .map(|level| i64::from(level.keep) + i64::from(level.segment))
            .max();
        let since = (self.now_ms / 1_000).saturating_sub(longest.unwrap_or(0));
        forgotten.series > 0 && forgotten.until >= since
    }

    /// Forgets owners of whom nothing is known any more.
    pub(crate) fn forget_owners(&mut self) {
        let losers: BTreeSet<u64> = self
            .all_forgotten()
            .iter()
            .map(|(owner, _)| *owner)
            .collect();
        self.owners
            .retain(|owner, of_owner| !of_owner.ids.is_empty() || losers.contains(owner));
    }

    /// Notes what an owner has lost.
    pub(crate) fn note_forgotten(&mut self, owner: u64, forgotten: Forgotten) {
        self.owners.entry(owner).or_default().forgotten = forgotten;
    }

    /// Does what [`Self::to_retire`] said.
    pub(crate) fn retire(&mut self, retired: Retired) {
        match retired {
            Retired::Idle(id) => {
                if let Some(series) = self.series.get_mut(&id).filter(|series| series.is_live) {
                    Arc::make_mut(series).is_live = false;
                    self.leave_place(id);
                }
            }
            Retired::Empty(id) => self.forget(id),
            Retired::Forgotten(id) => {
                if let Some(series) = self.series.get(&id) {
                    let (owner, written) = (series.owner, series.written);
                    let known = Some(self.forgotten(owner));
                    let known = known.filter(|known| self.still_counts(known));
                    let mut forgotten = known.unwrap_or_default();
                    forgotten.series = forgotten.series.saturating_add(1);
                    forgotten.until = forgotten.until.max(written);
                    self.note_forgotten(owner, forgotten);
                    self.forget(id);
                }
            }
        }
    }

    fn leave_place(&mut self, id: u32) {
        let owner = self.series.get(&id).map(|series| series.owner);
        if let Some(of_owner) = owner.and_then(|owner| self.owners.get_mut(&owner)) {
            of_owner.live = of_owner.live.saturating_sub(1);
        }
    }

    pub(super) fn forget(&mut self, id: u32) {
        self.retire(Retired::Idle(id));
        let Some(series) = self.series.remove(&id) else {
            return;
        };
        if let Some(of_owner) = self.owners.get_mut(&series.owner) {
            of_owner.ids.remove(&series.name);
        }
    }
}

/// How many each may have at most, so that all together have no more than `in_all`, and nobody less for the sake of one who
/// has more: max-min fairness.
fn equal_share(mut counts: Vec<usize>, in_all: usize) -> usize {
    counts.sort_unstable();
    let (mut left, mut owners) = (in_all, counts.len());
    for count in counts {
        let share = left / owners.max(1);
        if count > share {
            return share;
        }
        left -= count;
        owners -= 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_gives_and_nobody_else() {
        for (counts, in_all, expected) in [
            (vec![], 10, usize::MAX),
            (vec![3, 3, 4], 10, usize::MAX),
            (vec![100, 2], 10, 8),
            (vec![1, 100, 100], 11, 5),
            (vec![5, 5, 5], 10, 3),
            (vec![1, 1, 1], 2, 0),
        ] {
            assert_eq!(equal_share(counts.clone(), in_all), expected, "{counts:?}");
        }
    }
}
