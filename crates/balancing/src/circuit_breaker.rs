//! Circuit breaking: requests to a backend that fails too often are not tried at all for a while.
//!
//! ```text
//!           too large a share failed            open_ms have passed
//!   closed ──────────────────────────▶ open ──────────────────────────▶ half-open
//!     ▲                                  ▲        one trial that failed     │ │
//!     │                                  └──────────────────────────────────┘ │
//!     └───────────────────────── one trial that succeeded ────────────────────┘
//! ```
//!
//! Source: Nygard, "Release It!" (2007), chapter 5, "Circuit Breaker". The counting of requests over a
//! sliding window is the caller's ([`SlidingWindow`](crate::SlidingWindow)), so that each thread can count
//! for itself. Half-open, one request at a time is tried; one that ends without telling anything (its client
//! left) makes room for the next.

use model::CircuitBreaker;

use crate::sliding_window::Tally;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circuit {
    /// Requests pass.
    #[default]
    Closed,
    /// No request passes before this time in milliseconds; from then on it is half-open.
    Open {
        /// When it becomes half-open.
        until: u64,
    },
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Pass.
    Pass,
    /// Pass as the trial on which the circuit's state hangs.
    Trial,
    /// Not pass.
    Refused,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The backend did what was asked of it.
    Well,
    /// It failed.
    Badly,
    /// Nobody can say.
    Untold,
}

/// What a request's end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The circuit has opened, until this time in milliseconds.
    Opened {
        /// When it becomes half-open.
        until: u64,
    },
    /// The circuit has closed.
    Closed,
}

/// One backend's circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    circuit: Circuit,
    trying: bool,
    counts_since: u64,
}

impl Breaker {
    /// Where the circuit stands.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// The time from which on requests count: those before the circuit last closed do not.
    #[must_use]
    pub fn counts_since(&self) -> u64 {
        self.counts_since
    }

    /// Asks for a request at `now` milliseconds.
    pub fn admit(&mut self, now: u64) -> Admission {
        match self.circuit {
            Circuit::Closed => Admission::Pass,
            Circuit::Open { until } if now < until || self.trying => Admission::Refused,
            Circuit::Open { .. } => {
                self.trying = true;
                Admission::Trial
            }
        }
    }

    /// A request that was the trial has ended.
    pub fn end_trial(
        &mut self,
        ended: Ended,
        settings: &CircuitBreaker,
        now: u64,
    ) -> Option<Switch> {
        if !std::mem::take(&mut self.trying) {
            return None;
        }
        match ended {
            Ended::Well => {
                self.circuit = Circuit::Closed;
                self.counts_since = now;
                Some(Switch::Closed)
            }
            Ended::Badly => Some(self.open(settings, now)),
            Ended::Untold => None,
        }
    }

    /// Any other request has failed; `tally` are the requests within the window, this one included, and
    /// those of them that failed.
    pub fn note_failure(
        &mut self,
        tally: Tally,
        settings: &CircuitBreaker,
        now: u64,
    ) -> Option<Switch> {
        let is_closed = self.circuit == Circuit::Closed;
        let enough = tally.all >= u64::from(settings.min_requests);
        let opens = is_closed && enough && tally.exceeds(u64::from(settings.failure_percent));
        opens.then(|| self.open(settings, now))
    }

    /// Breaking is no longer wanted.
    pub fn close(&mut self, now: u64) {
        *self = Self {
            counts_since: now,
            ..Self::default()
        };
    }

    fn open(&mut self, settings: &CircuitBreaker, now: u64) -> Switch {
        let until = now.saturating_add(settings.open_ms);
        self.circuit = Circuit::Open { until };
        Switch::Opened { until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlidingWindow;
    use proptest::prelude::*;

    const SETTINGS: CircuitBreaker = CircuitBreaker {
        failure_percent: 50,
        min_requests: 4,
        window_ms: 1_000,
        open_ms: 500,
    };

    fn tally(all: u64, marked: u64) -> Tally {
        Tally { all, marked }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        breaker.note_failure(tally(4, 4), &SETTINGS, 0);
        breaker
    }

    #[test]
    fn it_opens_when_more_than_the_share_of_enough_requests_failed() {
        for (all, failed, opens) in [
            (3, 3, false),
            (4, 2, false),
            (4, 3, true),
            (100, 50, false),
            (100, 51, true),
        ] {
            let switched = Breaker::default().note_failure(tally(all, failed), &SETTINGS, 7);
            let due = opens.then_some(Switch::Opened { until: 507 });
            assert_eq!(switched, due, "{failed} of {all}");
        }
    }

    #[test]
    fn one_trial_at_a_time_decides_after_the_time_is_over() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(499), Admission::Refused);
        assert_eq!(breaker.admit(500), Admission::Trial);
        assert_eq!(breaker.admit(500), Admission::Refused);
        assert_eq!(
            breaker.end_trial(Ended::Badly, &SETTINGS, 600),
            Some(Switch::Opened { until: 1_100 })
        );
        assert_eq!(breaker.admit(1_099), Admission::Refused);
        assert_eq!(breaker.admit(1_100), Admission::Trial);
        assert_eq!(
            breaker.end_trial(Ended::Well, &SETTINGS, 1_101),
            Some(Switch::Closed)
        );
        assert_eq!(breaker.admit(1_101), Admission::Pass);
        assert_eq!(breaker.counts_since(), 1_101);
    }

    #[test]
    fn a_trial_that_tells_nothing_makes_room_for_the_next() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(500), Admission::Trial);
        assert_eq!(breaker.end_trial(Ended::Untold, &SETTINGS, 501), None);
        assert_eq!(breaker.admit(501), Admission::Trial);
    }

    #[test]
    fn a_late_failure_does_not_open_it_again() {
        let mut breaker = opened();
        assert_eq!(breaker.note_failure(tally(9, 9), &SETTINGS, 400), None);
        assert_eq!(breaker.circuit(), Circuit::Open { until: 500 });
    }

    proptest! {
        /// Random traffic: whatever happens, the state changes only along the diagram's arrows.
        #[test]
        fn it_moves_only_along_the_diagram(
            steps in proptest::collection::vec((0u64..200, any::<bool>()), 1..300),
        ) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            let mut window = SlidingWindow::new(SETTINGS.window_ms);
            for (wait, well) in steps {
                now += wait;
                let before = breaker.circuit();
                match breaker.admit(now) {
                    Admission::Refused => {
                        let open = matches!(before, Circuit::Open { until } if now < until);
                        prop_assert!(open);
                    }
                    Admission::Trial => {
                        let due = matches!(before, Circuit::Open { until } if now >= until);
                        prop_assert!(due);
                        let ended = if well { Ended::Well } else { Ended::Badly };
                        let switch = breaker.end_trial(ended, &SETTINGS, now);
                        let due = if well {
                            Switch::Closed
                        } else {
                            Switch::Opened { until: now + SETTINGS.open_ms }
                        };
                        prop_assert_eq!(switch, Some(due));
                    }
                    Admission::Pass => {
                        prop_assert_eq!(before, Circuit::Closed);
                        window.add(now, tally(1, u64::from(!well)));
                        let sums = window.sums(now, breaker.counts_since());
                        if !well {
                            breaker.note_failure(sums, &SETTINGS, now);
                        }
                        let is_open = breaker.circuit() != Circuit::Closed;
                        prop_assert_eq!(is_open, !well && sums.all >= 4 && sums.marked * 2 > sums.all);
                    }
                }
            }
        }
    }
}
