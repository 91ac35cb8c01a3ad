//! The questions to one VM that are open, and what may be concluded from each.
//!
//! ```text
//!            answered in time, or refused
//!   open ─────────────────────────────────────────▶ told
//!     │ deadline                                      ▲
//!     ▼                                               │
//!   overdue: told as failed ── answered after all ────┘
//!     │ given up
//!     ▼
//!   forgotten
//! ```
//!
//! An answer always counts, however late: the VM lives. A missing one counts only if the VM has answered no
//! question since that is as new, and if the checker could listen: the deadline moves by what it lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ProbeResult;
use crate::patience::Patience;

/// By how much a deadline is moved at most. A checker that is starved for longer still has turns in
/// between, in which an answer would have been read.
const MOST_EXCUSED: Duration = Duration::from_secs(5);

/// The state of asking one VM. Time and what the checker lost so far are passed in.
#[derive(Debug)]
pub(crate) struct Questions {
    patience: Patience,
    open: BTreeMap<u64, Open>,
    next: u64,
    /// The newest question that was answered.
    answered: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    began: Instant,
    lost: Duration,
    overdue: bool,
}

impl Questions {
    /// None is open. An answer is waited for `shortest` or, where the VM is slow, longer.
    pub(crate) fn new(shortest: Duration) -> Self {
        Self {
            patience: Patience::new(shortest),
            open: BTreeMap::new(),
            next: 0,
            answered: None,
        }
    }

    /// A question begins. Returns its number.
    pub(crate) fn begin(&mut self, now: Instant, lost: Duration) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let overdue = false;
        self.open.insert(
            number,
            Open {
                began: now,
                lost,
                overdue,
            },
        );
        number
    }

    /// A question has ended. Returns what is to be told of it.
    pub(crate) fn end(
        &mut self,
        number: u64,
        result: ProbeResult,
        now: Instant,
        lost: Duration,
    ) -> Option<ProbeResult> {
        let open = self.open.remove(&number)?;
        if result.answered {
            let took = now.saturating_duration_since(open.began);
            let took = took.saturating_sub(lost.saturating_sub(open.lost));
            self.patience.learn(took, now);
            self.answered = self.answered.max(Some(number));
            return Some(result);
        }
        (!open.overdue && self.is_news(number)).then_some(result)
    }

    /// A question was not asked after all.
    pub(crate) fn withdraw(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// When [`Self::overdue`] has something to do next, as far as is known.
    pub(crate) fn due(&self, now: Instant, lost: Duration) -> Option<Instant> {
        let deadline = self.patience.deadline(now);
        let open = self.open.values().filter(|open| !open.overdue);
        open.map(|open| open.due(deadline, lost)).min()
    }

    /// The results of questions whose time is over, in their order.
    pub(crate) fn overdue(&mut self, now: Instant, lost: Duration) -> Vec<ProbeResult> {
        let deadline = self.patience.deadline(now);
        let mut failed = Vec::new();
        let late = |open: &Open| !open.overdue && open.due(deadline, lost) <= now;
        for (number, open) in self.open.iter_mut().filter(|(_, open)| late(open)) {
            open.overdue = true;
            failed.push(*number);
        }
        failed.retain(|number| self.is_news(*number));
        let evidence = format!("no answer within {} ms", deadline.as_millis());
        let result = ProbeResult {
            answered: false,
            evidence,
        };
        vec![result; failed.len()]
    }

    fn is_news(&self, number: u64) -> bool {
        self.answered.is_none_or(|answered| number > answered)
    }
}

impl Open {
    fn due(&self, deadline: Duration, lost: Duration) -> Instant {
        let lost = lost.saturating_sub(self.lost).min(MOST_EXCUSED);
        self.began + deadline + lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(100);

    /// What was told of a VM, a character for each result.
    #[derive(Default)]
    struct Told(String);

    impl Told {
        fn hear(&mut self, results: impl IntoIterator<Item = ProbeResult>) {
            let words = results.into_iter();
            self.0
                .extend(words.map(|r| if r.answered { 'a' } else { 'f' }));
        }
    }

    enum Step {
        Begin,
        Answer(u64),
        Refuse(u64),
        /// The checker was late by so many milliseconds.
        Lose(u64),
    }
    use Step::{Answer, Begin, Lose, Refuse};

    /// Plays steps at their milliseconds, looking at deadlines every 10 ms in between, to 2 s.
    fn play(steps: &[(u64, Step)]) -> String {
        let (start, mut told) = (Instant::now(), Told::default());
        let (mut questions, mut lost) = (Questions::new(SHORTEST), Duration::ZERO);
        let result = |answered: bool| ProbeResult {
            answered,
            evidence: String::new(),
        };
        for at_ms in (0..2_000).step_by(10) {
            let now = start + Duration::from_millis(at_ms);
            for (_, step) in steps.iter().filter(|(at, _)| *at == at_ms) {
                match step {
                    Begin => drop(questions.begin(now, lost)),
                    Answer(n) => told.hear(questions.end(*n, result(true), now, lost)),
                    Refuse(n) => told.hear(questions.end(*n, result(false), now, lost)),
                    Lose(ms) => lost += Duration::from_millis(*ms),
                }
            }
            if questions.due(now, lost).is_some_and(|due| due <= now) {
                told.hear(questions.overdue(now, lost));
            }
        }
        told.0
    }

    #[test]
    fn each_question_is_told_once_and_an_answer_always() {
        for (steps, told) in [
            (&[(0, Begin), (10, Answer(0))][..], "a"),
            (&[(0, Begin), (10, Refuse(0))], "f"),
            (&[(0, Begin)], "f"),
            (&[(0, Begin), (50, Begin), (60, Begin)], "fff"),
            // It lives, though it is slow, and is waited for from then on.
            (&[(0, Begin), (150, Answer(0))], "fa"),
            (
                &[(0, Begin), (150, Answer(0)), (200, Begin), (590, Answer(1))],
                "faa",
            ),
            // Given up after it was told as failed.
            (&[(0, Begin), (200, Refuse(0))], "f"),
            // An older question says nothing against a newer answer.
            (&[(0, Begin), (50, Begin), (60, Answer(1))], "a"),
            (
                &[(0, Begin), (50, Begin), (60, Answer(1)), (70, Refuse(0))],
                "a",
            ),
            (&[(0, Begin), (50, Begin), (60, Answer(0))], "af"),
            // Unknown numbers are nobody's.
            (&[(0, Answer(7))], ""),
        ] {
            assert_eq!(play(steps), told);
        }
    }

    #[test]
    fn what_the_checker_lost_is_not_held_against_the_vm() {
        for (steps, told) in [
            (&[(0, Begin), (60, Lose(50)), (140, Answer(0))][..], "a"),
            (&[(0, Begin), (90, Lose(500)), (590, Answer(0))], "a"),
            (&[(0, Begin), (90, Lose(500))], "f"),
            // What was lost before is none of its business.
            (&[(0, Lose(500)), (10, Begin), (140, Answer(0))], "fa"),
            // A bound: who loses all the time still has to say something.
            (&[(0, Begin), (90, Lose(5_000))], ""),
            (&[(0, Begin), (90, Lose(60_000))], ""),
        ] {
            assert_eq!(play(steps), told);
        }
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut questions = Questions::new(SHORTEST);
        questions.begin(start, Duration::ZERO);
        assert_eq!(questions.overdue(start + s(5), s(60)).len(), 0);
        assert_eq!(questions.overdue(start + s(6), s(60)).len(), 1);
    }
}
