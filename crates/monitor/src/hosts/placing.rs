//! At which time a figure is kept that a host tells: at its own, where the monitor log still takes that.
//!
//! ```text
//!        too late │ window: kept at its own time │ of a clock that is ahead
//!   ──────────────┼──────────────────────────┬───┼──────────▶
//!              now - 8 s                    now  now + 3 s
//! ```
//!
//! Daemons send when a packet is full, so a host that measures little tells a figure several times in a packet, and the
//! first of them late. Of what is too late the newest of each figure is kept as of the window's edge: no host is without
//! figures since it measures little, or since its clock is behind. The others are refused, or several would be one.
//! What is ahead was made by a clock that is: nobody sends what he has yet to measure. All of its packet is
//! moved back by as much.

use std::collections::BTreeMap;
use std::time::Duration;

use collectd::{Time, ValueList};

use crate::Moment;

/// What is older is too late for the monitor log, which waits for 10 s, and for whom the way there takes a while.
const OLDEST: Duration = Duration::from_secs(8);
/// What is further ahead is of a clock that is.
const NEWEST: Duration = Duration::from_secs(3);

/// Where the figures of one host in one packet belong.
pub(super) struct Placing<'a> {
    oldest: Duration,
    /// By how much the host's clock is ahead, and more than that is taken.
    ahead: Duration,
    newest: BTreeMap<[&'a str; 4], Time>,
}

impl<'a> Placing<'a> {
    /// For these lists, which came now.
    pub(super) fn of(lists: &[&'a ValueList], now: Moment) -> Self {
        let mut newest = BTreeMap::new();
        for list in lists {
            let known = newest.entry(identity(list)).or_insert(list.time);
            *known = list.time.max(*known);
        }
        let last = newest
            .values()
            .max()
            .map_or(Duration::ZERO, |last| last.to_duration());
        Self {
            oldest: now.wall.saturating_sub(OLDEST),
            ahead: last.saturating_sub(now.wall.saturating_add(NEWEST)),
            newest,
        }
    }

    /// The time at which a list of this packet is kept; none where it is too late.
    pub(super) fn place(&self, list: &ValueList) -> Option<Duration> {
        let told = list.time.to_duration().saturating_sub(self.ahead);
        let is_newest = self.newest.get(&identity(list)) == Some(&list.time);
        (told >= self.oldest || is_newest).then(|| told.max(self.oldest))
    }
}

/// What a list is of, but for the host.
fn identity(list: &ValueList) -> [&str; 4] {
    [
        &list.plugin,
        &list.plugin_instance,
        &list.kind,
        &list.kind_instance,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_kept_at_its_own_time_or_is_too_late() {
        let now = Moment {
            monotonic: Duration::ZERO,
            wall: Duration::from_secs(100),
        };
        let list = |what: &str, second| ValueList {
            plugin: what.into(),
            time: Time::from_secs(second),
            ..ValueList::default()
        };
        for (told, expected) in [
            (vec![("a", 95), ("a", 98)], vec![Some(95), Some(98)]),
            (vec![("a", 98), ("a", 93)], vec![Some(98), Some(93)]),
            (
                vec![("a", 70), ("b", 70), ("a", 80), ("b", 95)],
                vec![None, None, Some(92), Some(95)],
            ),
            (vec![("a", 80), ("a", 70)], vec![Some(92), None]),
            (vec![("a", 103)], vec![Some(103)]),
            (vec![("a", 250), ("a", 246)], vec![Some(103), Some(99)]),
        ] {
            let lists: Vec<_> = told.iter().map(|(what, at)| list(what, *at)).collect();
            let lists: Vec<&ValueList> = lists.iter().collect();
            let placing = Placing::of(&lists, now);
            let found: Vec<_> = lists.iter().map(|list| placing.place(list)).collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|at| at.map(Duration::from_secs))
                .collect();
            assert_eq!(found, expected, "{told:?}");
        }
    }
}
