//! Whether a sample is new: neither sent again by somebody who listened, nor of another time.
//!
//! A sample tells its time by its VM's clock, which was set when the VM was born and may stray, and the monitor's
//! own clock may be set while VMs go on. So a time is right when it is near to what this clock says, or to what
//! the VM's clock should say by now going by what it said last. And it must be newer than the last of its series,
//! unless this clock was set in between: a VM that shares it may then tell an earlier time and be right.

use std::time::Duration;

use collectd::Time;

/// How far from the expected a sample's time may be.
pub(super) const WINDOW: Duration = Duration::from_secs(300);
/// A wall clock that strays further than this from the monotonic one between two looks was set.
const STEP: Duration = Duration::from_secs(2);

/// When something is done, by both clocks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since some beginning, by a clock that is never set.
    pub monotonic: Duration,
    /// Since the Unix epoch, by the wall clock.
    pub wall: Duration,
}

/// The monitor's wall clock: how often it was set.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    last: Option<Moment>,
    times_set: u32,
}

impl WallClock {
    /// Takes note of a moment, and says how often the clock was set until then.
    pub(crate) fn look(&mut self, now: Moment) -> u32 {
        if let Some(last) = self.last {
            let passed = now.monotonic.saturating_sub(last.monotonic);
            let strayed = now.wall.abs_diff(last.wall.saturating_add(passed));
            self.times_set = self.times_set.wrapping_add(u32::from(strayed > STEP));
        }
        self.last = Some(now);
        self.times_set
    }
}

/// What a VM's clock said when the newest of its samples came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VmClock {
    said: Duration,
    at: Duration,
}

/// What the last sample of a series was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    /// Its time, by the VM's clock.
    pub(crate) time: Time,
    /// How often the wall clock had been set when it came.
    pub(crate) times_set: u32,
}

/// Whether a sample with this time is news in its series, of which `last` came last.
pub(crate) fn is_news(
    time: Time,
    last: Option<Last>,
    clock: Option<VmClock>,
    now: Moment,
    times_set: u32,
) -> bool {
    let told = time.to_duration();
    let by_wall = told.abs_diff(now.wall) <= WINDOW;
    let goes_on = clock.is_some_and(|clock| {
        let expected = clock.said + now.monotonic.saturating_sub(clock.at);
        told.abs_diff(expected) <= WINDOW
    });
    let newer = last.is_none_or(|last| time > last.time);
    let was_set = last.is_some_and(|last| last.times_set != times_set);
    (newer && (by_wall || goes_on)) || (was_set && by_wall)
}

impl VmClock {
    /// What it says at `now`.
    pub(crate) fn at(time: Time, now: Moment) -> Self {
        Self {
            said: time.to_duration(),
            at: now.monotonic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: u64 = 1_795_000_000;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(monotonic: u64, wall: u64) -> Moment {
        Moment {
            monotonic: secs(monotonic),
            wall: secs(wall),
        }
    }

    #[test]
    fn a_sample_is_news_once_and_in_its_time() {
        let last = |time, times_set| {
            Some(Last {
                time: Time::from_secs(time),
                times_set,
            })
        };
        let clock = |said, at| {
            Some(VmClock {
                said: secs(said),
                at: secs(at),
            })
        };
        let now = moment(1_000, BORN);
        let hour = 3_600;
        for (what, time, last, clock, times_set, expected) in [
            ("first", BORN, None, None, 0, true),
            ("first, of long ago", BORN - 301, None, None, 0, false),
            ("first, of the future", BORN + 301, None, None, 0, false),
            (
                "newer",
                BORN,
                last(BORN - 1, 0),
                clock(BORN - 1, 999),
                0,
                true,
            ),
            ("again", BORN, last(BORN, 0), clock(BORN, 1_000), 0, false),
            (
                "older",
                BORN - 1,
                last(BORN, 0),
                clock(BORN, 1_000),
                0,
                false,
            ),
            (
                "of a clock that strayed far, bit by bit",
                BORN - hour,
                last(BORN - hour - 1, 0),
                clock(BORN - hour - 1, 999),
                0,
                true,
            ),
            (
                "of a clock that jumped ahead",
                BORN + hour,
                last(BORN, 0),
                clock(BORN, 999),
                0,
                false,
            ),
            (
                "earlier, after this clock was set back",
                BORN,
                last(BORN + hour, 0),
                clock(BORN + hour, 999),
                1,
                true,
            ),
            (
                "again, after that",
                BORN,
                last(BORN, 1),
                clock(BORN, 999),
                1,
                false,
            ),
            (
                "of before, when this clock was set",
                BORN - hour,
                last(BORN - hour, 0),
                clock(BORN - hour, 999),
                1,
                false,
            ),
        ] {
            let found = is_news(Time::from_secs(time), last, clock, now, times_set);
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_runs_is_not() {
        let mut clock = WallClock::default();
        assert_eq!(clock.look(moment(5, BORN)), 0);
        assert_eq!(clock.look(moment(65, BORN + 61)), 0);
        assert_eq!(clock.look(moment(66, BORN + 3_661)), 1);
        assert_eq!(clock.look(moment(67, BORN + 3_662)), 1);
        assert_eq!(clock.look(moment(68, BORN + 63)), 2);
    }
}
