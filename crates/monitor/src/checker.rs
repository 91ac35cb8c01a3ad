//! The set of VMs that are watched, each by a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{CheckerCounts, ProbeSight, Timestamp, VmId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::means::Wants;
use crate::round::watch_vm;
use crate::{LagMeter, NotAsked, ProbeResult, ProbeTarget};

/// The longest row of equal results that is counted.
const LONGEST_STREAK: u32 = 3;

/// How often VMs are asked.
#[derive(Clone, Copy, Debug)]
pub struct ProbeTiming {
    /// Between two questions to a VM that has never answered: it is starting, and somebody waits for it.
    pub impatient: Duration,
    /// Between the beginnings of two questions to a VM that has.
    pub interval: Duration,
}

impl Default for ProbeTiming {
    fn default() -> Self {
        Self {
            impatient: Duration::from_millis(50),
            interval: Duration::from_millis(250),
        }
    }
}

/// One vantage point from which VMs are asked. Asks for as long as it lives.
pub struct Checker {
    means: Means,
    watched: BTreeMap<VmId, Watched>,
}

struct Watched {
    target: ProbeTarget,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the tasks work with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) timing: ProbeTiming,
    pub(crate) board: Arc<Board>,
    pub(crate) lag: Arc<LagMeter>,
    /// From when on the times count at which VMs are asked.
    pub(crate) began: Instant,
}

/// What the tasks write on.
pub(crate) struct Board {
    sights: Mutex<BTreeMap<VmId, ProbeSight>>,
    wants: Mutex<Wants>,
    counts: Mutex<CheckerCounts>,
    aside: Mutex<BTreeSet<VmId>>,
    changes: watch::Sender<u64>,
}

impl Checker {
    /// A checker that watches nothing yet. Must be used within a tokio runtime.
    #[must_use]
    pub fn new(timing: ProbeTiming) -> Self {
        let board = Board {
            sights: Mutex::default(),
            wants: Mutex::default(),
            counts: Mutex::default(),
            aside: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        let means = Means {
            timing,
            board: Arc::new(board),
            lag: Arc::new(LagMeter::start()),
            began: Instant::now(),
        };
        Self {
            means,
            watched: BTreeMap::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn means(&self) -> Means {
        self.means.clone()
    }

    /// Watches these VMs and no others. A VM that stays as it was is watched on without a break.
    pub fn set_targets(&mut self, targets: BTreeMap<VmId, ProbeTarget>) {
        self.watched
            .retain(|vm, watched| targets.get(vm) == Some(&watched.target));
        let watched = &self.watched;
        self.means
            .board
            .lock()
            .retain(|vm, _| watched.contains_key(vm));
        let wants = &self.means.board.wants;
        hold(wants).retain(|vm| watched.contains_key(&vm));
        for (vm, target) in targets {
            let means = &self.means;
            self.watched.entry(vm).or_insert_with(|| {
                let task = tokio::spawn(watch_vm(vm, target, means.clone()));
                Watched { target, task }
            });
        }
    }

    /// Takes note of which VMs are set aside: that they do not answer is counted apart.
    pub fn set_aside(&self, aside: BTreeSet<VmId>) {
        *hold(&self.means.board.aside) = aside;
    }

    /// The longest that this checker's own timers were late of late.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.means.lag.longest()
    }

    /// What each VM that was asked at least once answered.
    #[must_use]
    pub fn sights(&self) -> BTreeMap<VmId, ProbeSight> {
        let mut sights = self.means.board.lock().clone();
        // A task that was aborted a moment ago may have written its last result since.
        sights.retain(|vm, _| self.watched.contains_key(vm));
        sights
    }

    /// What keeps this checker from asking, in words with what to do; nothing of it is held against a VM. What was
    /// known of a VM that cannot be asked is in [`Self::sights`] no longer.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let wants = hold(&self.means.board.wants);
        let (count, all) = (wants.count(), self.watched.len());
        let why = wants.why()?;
        Some(format!(
            "the checker has no means to ask {count} of {all} VMs: {why}; give its host or its process more: open \
             files (`ulimit -n`, fs.file-max), memory, or ports (net.ipv4.ip_local_port_range)"
        ))
    }

    /// Whether there are VMs, and none of them can be asked: whoever asks nobody is no checker.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let count = hold(&self.means.board.wants).count();
        count > 0 && count >= self.watched.len()
    }

    /// How many questions it asked, and what became of them.
    #[must_use]
    pub fn counts(&self) -> CheckerCounts {
        *hold(&self.means.board.counts)
    }

    /// Changes whenever [`Self::sights`] does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.means.board.changes.subscribe()
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, ProbeSight>> {
        hold(&self.sights)
    }

    /// Takes note of an attempt at a question that was not asked.
    pub(crate) fn note_unasked(&self, vm: VmId, error: &NotAsked) {
        count(&mut hold(&self.counts).unasked);
        if hold(&self.wants).note(vm, error) {
            self.lock().remove(&vm);
            self.bump();
        }
    }

    fn bump(&self) {
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Takes note of one more result.
    pub(crate) fn note(&self, vm: VmId, result: ProbeResult, now: Timestamp) {
        let is_aside = hold(&self.aside).contains(&vm);
        let mut counts = hold(&self.counts);
        count(match result.answered {
            true => &mut counts.answered,
            false if is_aside => &mut counts.aside,
            false => &mut counts.failed,
        });
        drop(counts);
        hold(&self.wants).clear(vm);
        let mut sights = self.lock();
        let next = follow(sights.get(&vm), result, now);
        if sights.get(&vm) != Some(&next) {
            sights.insert(vm, next);
            drop(sights);
            self.bump();
        }
    }
}

/// The maps are whole between any two statements, so a panic elsewhere leaves nothing half-done.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// What is known after one more result.
fn follow(known: Option<&ProbeSight>, result: ProbeResult, now: Timestamp) -> ProbeSight {
    let ProbeResult { answered, evidence } = result;
    match known {
        Some(known) if known.answered == answered => {
            let streak = known.streak.saturating_add(1).min(LONGEST_STREAK);
            ProbeSight {
                answered,
                since: known.since,
                streak,
                evidence,
            }
        }
        _ => ProbeSight {
            answered,
            since: now,
            streak: 1,
            evidence,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use model::TrafficType;
    use tokio::net::TcpListener;

    use super::*;

    fn result(answered: bool) -> ProbeResult {
        ProbeResult {
            answered,
            evidence: answered.to_string(),
        }
    }

    #[test]
    fn a_streak_begins_anew_with_each_change_of_mind_and_is_bounded() {
        let mut sight: Option<ProbeSight> = None;
        let mut seen = Vec::new();
        for (at, answered) in [true, true, false, false, false, false, true]
            .into_iter()
            .enumerate()
        {
            let next = follow(sight.as_ref(), result(answered), Timestamp(at as u64));
            seen.push((next.answered, next.since.0, next.streak));
            sight = Some(next);
        }
        let expected = [
            (true, 0, 1),
            (true, 0, 2),
            (false, 2, 1),
            (false, 2, 2),
            (false, 2, 3),
            (false, 2, 3),
            (true, 6, 1),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn that_a_vm_that_is_set_aside_does_not_answer_is_counted_apart() {
        let checker = Checker::new(ProbeTiming::default());
        let note = |answered| {
            let board = &checker.means.board;
            board.note(VmId(1), result(answered), Timestamp(0));
        };
        let counted = |checker: &Checker| {
            let counts = checker.counts();
            (counts.answered, counts.failed, counts.aside)
        };
        note(false);
        assert_eq!(counted(&checker), (0, 1, 0));
        checker.set_aside([VmId(1)].into());
        note(false);
        note(true);
        assert_eq!(counted(&checker), (1, 1, 1));
        checker.set_aside([VmId(2)].into());
        note(false);
        assert_eq!(counted(&checker), (1, 2, 1));
    }

    #[tokio::test]
    async fn a_vm_is_watched_from_when_it_is_registered_until_it_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(bound) = listener.local_addr().unwrap() else {
            panic!("not IPv4")
        };
        let target = ProbeTarget {
            address: *bound.ip(),
            port: bound.port(),
            traffic: TrafficType::Tcp,
            from: None,
        };
        let nobody = ProbeTarget {
            address: Ipv4Addr::LOCALHOST,
            port: 1,
            traffic: TrafficType::Tcp,
            from: None,
        };
        let mut checker = Checker::new(ProbeTiming::default());
        let mut changes = checker.changes();
        checker.set_targets([(VmId(1), target), (VmId(2), nobody)].into());
        let expected: BTreeMap<VmId, bool> = [(VmId(1), true), (VmId(2), false)].into();
        loop {
            let seen: BTreeMap<_, _> = checker
                .sights()
                .into_iter()
                .map(|(vm, sight)| (vm, sight.answered))
                .collect();
            if seen == expected {
                break;
            }
            changes.changed().await.unwrap();
        }
        checker.set_targets([(VmId(1), target)].into());
        assert!(!checker.sights().contains_key(&VmId(2)));
    }
}
