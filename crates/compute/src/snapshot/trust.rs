//! Whether machines are made from the snapshot now, and when the next attempt is due.
//!
//! ```text
//!                a machine from it fails by its fault
//!   trusted ─────────────────────────────────────────▶ thrown away, and made anew after a pause
//!     │  ▲                                                            │
//!     │  └────────────────────── made ────────────────────────────────┘
//!     │  ▲
//!     ▼  │ the pause is over
//!   rests: the host, or the load on it, stood in the way
//! ```
//!
//! Whoever fails for want of disk, memory or descriptors says nothing about the snapshot, so it is kept. Nor is one
//! machine that is late a proof of anything, on a host that is starved; but a row of them, after ever longer pauses,
//! is. Nothing here is for good: pauses grow up to a bound, and failures are forgotten when a VM has come from
//! the snapshot, or after a while without any.

use std::time::{Duration, Instant};

use super::SnapshotError;

/// Until the attempt that follows a first failure; the pause doubles with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(4);

/// Doublings of the pause before it has reached its bound of some four minutes.
const MOST_DOUBLINGS: u32 = 6;

/// After which, without another failure, all are forgotten.
const MEMORY: Duration = Duration::from_secs(3_600);

/// Machines that must be late in a row before that speaks against the snapshot.
const LATE_ONES: u32 = 3;

/// What a failure speaks against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// What is in the snapshot.
    Snapshot,
    /// The host: it lacks something, or somebody ended the machine.
    Host,
    /// Either: a machine did not come in time.
    Unclear,
}

/// What came of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// Whether the snapshot is to be thrown away.
    pub is_guilty: bool,
    /// Until the next attempt.
    pub pause: Duration,
}

/// The memory of failures. Time is passed in.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    failures: u32,
    late: u32,
    last: Option<Instant>,
    rests_until: Option<Instant>,
}

impl Trust {
    /// Whether snapshots are made, and machines from them, at `now`.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| until <= now)
    }

    /// Takes note of an attempt that failed.
    pub(crate) fn fail(&mut self, error: &SnapshotError, now: Instant) -> Consequence {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= MEMORY)
        {
            *self = Self::default();
        }
        let blame = error.blame();
        // Attempts that were under way together fail together: that is one failure.
        if let Some(until) = self.rests_until.filter(|until| *until > now) {
            let pause = until.saturating_duration_since(now);
            let is_guilty = blame == Blame::Snapshot;
            return Consequence { is_guilty, pause };
        }
        self.late = match blame {
            Blame::Unclear => self.late.saturating_add(1),
            Blame::Snapshot | Blame::Host => 0,
        };
        let is_guilty = blame == Blame::Snapshot || self.late >= LATE_ONES;
        if is_guilty {
            self.late = 0;
        }
        let pause = SHORTEST_PAUSE * (1 << self.failures.min(MOST_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now);
        self.rests_until = Some(now + pause);
        Consequence { is_guilty, pause }
    }

    /// Takes note of a VM that has come from the snapshot.
    pub(crate) fn succeed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const FULL: i32 = libc::ENOSPC;

    fn full() -> SnapshotError {
        SnapshotError::File("start QEMU", io::Error::from_raw_os_error(FULL))
    }

    fn damaged() -> SnapshotError {
        SnapshotError::Machine("QEMU refused it".to_owned())
    }

    fn late() -> SnapshotError {
        SnapshotError::Late("it is silent for 10 s".to_owned())
    }

    /// Plays failures, each as soon as it may be tried; a character for each: `!` threw the snapshot away.
    fn play(errors: &[fn() -> SnapshotError]) -> (String, Trust, Instant) {
        let (mut trust, mut now) = (Trust::default(), Instant::now());
        let mut told = String::new();
        for error in errors {
            assert!(trust.may_try(now));
            let came = trust.fail(&error(), now);
            told.push(if came.is_guilty { '!' } else { '.' });
            assert!(!trust.may_try(now + came.pause - Duration::from_millis(1)));
            now += came.pause;
        }
        (told, trust, now)
    }

    #[test]
    fn what_the_host_lacks_never_speaks_against_the_snapshot() {
        assert_eq!(play(&[full as fn() -> _; 50]).0, ".".repeat(50));
    }

    #[test]
    fn what_is_wrong_with_it_does_and_only_a_row_of_late_machines() {
        assert_eq!(play(&[damaged as fn() -> _; 5]).0, "!!!!!");
        assert_eq!(play(&[late as fn() -> _; 7]).0, "..!..!.");
        assert_eq!(
            play(&[late, late, full, late, late, damaged, late]).0,
            ".....!."
        );
    }

    #[test]
    fn failures_that_come_together_are_one() {
        let (mut trust, now) = (Trust::default(), Instant::now());
        let pauses = [late(), late(), late(), full()].map(|error| trust.fail(&error, now));
        let once = Consequence {
            is_guilty: false,
            pause: SHORTEST_PAUSE,
        };
        assert_eq!(pauses, [once; 4]);
        assert!(trust.fail(&damaged(), now).is_guilty);
    }

    #[test]
    fn a_pause_grows_to_a_bound_is_over_some_time_and_forgotten_by_success_or_by_time() {
        let (_, mut trust, now) = play(&[damaged as fn() -> _; 30]);
        assert!(trust.may_try(now), "distrust is not for good");
        let longest = trust.fail(&damaged(), now).pause;
        assert_eq!(longest, SHORTEST_PAUSE * 64);
        let later = trust.fail(&damaged(), now + longest + MEMORY).pause;
        assert_eq!(later, SHORTEST_PAUSE);
        let (_, mut trust, now) = play(&[late as fn() -> _; 2]);
        trust.succeed();
        assert!(trust.may_try(now - Duration::from_secs(1)));
        let next = trust.fail(&late(), now);
        assert_eq!((next.is_guilty, next.pause), (false, SHORTEST_PAUSE));
    }
}
