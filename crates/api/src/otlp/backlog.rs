//! What waits to be delivered, and when it is tried again. Pure: the time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

/// Bytes that wait at the most. The oldest go first: counts are cumulative, so what is lost is how they stood then.
const MOST_BYTES: usize = 32 << 20;
/// Requests that wait at the most.
const MOST_WAITING: usize = 64;
/// The pause after a first failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts, also where the receiver asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Requests in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Attempts in a row that failed.
    failures: u32,
    /// Nothing is tried before.
    not_before: Option<Instant>,
    /// Requests that were given up.
    pub lost: u64,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver does not want it, and will not another time.
    Refused(String),
    /// It may go better later; the receiver may have said when.
    Failed(String, Option<Duration>),
}

impl Backlog {
    /// Adds a request, and gives up the oldest where there are too many.
    pub fn push(&mut self, request: impl Into<Bytes>) {
        let request = request.into();
        self.bytes = self.bytes.saturating_add(request.len());
        self.waiting.push_back(request);
        while self.waiting.len() > 1
            && (self.bytes > MOST_BYTES || self.waiting.len() > MOST_WAITING)
        {
            self.pop();
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The request that is to be sent, if one is due.
    pub fn due(&self, now: Instant) -> Option<Bytes> {
        let rests = self.not_before.is_some_and(|at| at > now);
        self.waiting.front().filter(|_| !rests).cloned()
    }

    /// When something is due next; never while nothing waits.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let not_before = self.not_before.unwrap_or(now);
        self.waiting.front().map(|_| not_before.max(now))
    }

    /// Takes note of what came of sending the first. `jitter` is from 0 to 1: those who failed together are not to
    /// come back together.
    pub fn note(&mut self, outcome: &Outcome, now: Instant, jitter: f64) {
        match outcome {
            Outcome::Delivered => {
                self.pop();
                (self.failures, self.not_before) = (0, None);
            }
            Outcome::Refused(_) => {
                self.pop();
                self.lost = self.lost.saturating_add(1);
            }
            Outcome::Failed(_, asked) => {
                let own = pause(self.failures, jitter);
                self.failures = self.failures.saturating_add(1);
                let pause = asked.map_or(own, |asked| asked.max(own));
                self.not_before = Some(now + pause.min(LONGEST_PAUSE));
            }
        }
    }

    fn pop(&mut self) {
        if let Some(gone) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(gone.len());
        }
    }
}

/// After so many failures before this one: half of it is certain, half left to chance.
fn pause(failures: u32, jitter: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.min(16));
    let whole = whole.min(LONGEST_PAUSE);
    whole / 2 + whole.mul_f64(jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(after: Option<Duration>) -> Outcome {
        Outcome::Failed("away".into(), after)
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_slowly_and_in_its_order() {
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        backlog.push(vec![1]);
        backlog.push(vec![2]);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(backlog.due(now), Some(vec![1].into()));
            backlog.note(&failed(None), now, 1.0);
            assert_eq!(backlog.due(now), None);
            let next = backlog.next(now).unwrap();
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backlog.note(&Outcome::Delivered, now, 0.0);
        assert_eq!(backlog.due(now), Some(vec![2].into()));
        backlog.note(&failed(None), now, 0.0);
        assert_eq!(backlog.next(now), Some(now + SECOND / 2), "it begins anew");
    }

    #[test]
    fn the_receiver_may_ask_for_patience_within_a_bound() {
        for (asked, waited) in [(5, 5), (0, 1), (3_600, 60)] {
            let (mut backlog, now) = (Backlog::default(), Instant::now());
            backlog.push(vec![1]);
            backlog.note(&failed(Some(asked * SECOND)), now, 1.0);
            assert_eq!(backlog.next(now), Some(now + waited * SECOND), "{asked}");
        }
    }

    #[test]
    fn what_is_refused_is_not_sent_again() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.push(vec![1]);
        backlog.note(&Outcome::Refused("400".into()), now, 0.0);
        assert_eq!((backlog.due(now), backlog.next(now)), (None, None));
        assert_eq!(backlog.lost, 1);
    }

    #[test]
    fn the_oldest_gives_way_and_the_newest_stays_however_large() {
        let mut backlog = Backlog::default();
        for number in 0..=MOST_WAITING {
            backlog.push(vec![number as u8]);
        }
        assert_eq!((backlog.waiting.len(), backlog.lost), (MOST_WAITING, 1));
        backlog.push(vec![0; MOST_BYTES]);
        assert_eq!((backlog.waiting.len(), backlog.bytes), (1, MOST_BYTES));
        backlog.push(vec![0; MOST_BYTES + 1]);
        assert_eq!((backlog.waiting.len(), backlog.bytes), (1, MOST_BYTES + 1));
    }
}
