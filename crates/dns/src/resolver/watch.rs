//! Keeps a set of names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use model::ResolvedName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Lookup;
use super::table::NameTable;

/// The most look-ups at a time; further names that are due wait for their turn.
const MAX_LOOKUPS: usize = 16;

/// Keeps a set of names resolved: each is looked up again when its answer's time is over, and a name
/// whose look-up fails keeps its last good answer, with the error beside it. Dropping it ends it.
#[derive(Debug)]
pub struct NameWatch {
    names: watch::Sender<BTreeSet<String>>,
    board: Arc<Board>,
    _task: JoinSet<()>,
}

/// Where the answers are posted.
#[derive(Debug)]
struct Board {
    resolved: RwLock<BTreeMap<String, ResolvedName>>,
    changes: watch::Sender<u64>,
}

impl NameWatch {
    /// Watches no names yet. Must be called within a tokio runtime.
    pub fn new(lookup: impl Lookup) -> Self {
        let (names, wanted) = watch::channel(BTreeSet::new());
        let board = Arc::new(Board {
            resolved: RwLock::default(),
            changes: watch::Sender::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(keep_resolved(Arc::new(lookup), wanted, board.clone()));
        Self {
            names,
            board,
            _task: task,
        }
    }

    /// Watches exactly these names from now on. Names that stay keep their answers; [`Self::snapshot`]
    /// shows the new set soon after.
    pub fn set_names(&self, names: BTreeSet<String>) {
        self.names.send_if_modified(|current| {
            let changed = *current != names;
            *current = names;
            changed
        });
    }

    /// What each name last resolved to. A name is missing until its first look-up is over; if that
    /// failed, it is there with an error and no addresses.
    pub fn snapshot(&self) -> BTreeMap<String, ResolvedName> {
        let resolved = &self.board.resolved;
        resolved
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A number that rises after each change of what [`Self::snapshot`] returns.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.board.changes.subscribe()
    }
}

impl Board {
    fn post(&self, resolved: BTreeMap<String, ResolvedName>) {
        let mut posted = self
            .resolved
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if *posted == resolved {
            return;
        }
        *posted = resolved;
        drop(posted);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// Looks up what is due and notes what comes of it, until the sender of the names is gone.
async fn keep_resolved(
    lookup: Arc<impl Lookup>,
    mut wanted: watch::Receiver<BTreeSet<String>>,
    board: Arc<Board>,
) {
    let mut table = NameTable::default();
    let mut lookups = JoinSet::new();
    loop {
        let free = MAX_LOOKUPS.saturating_sub(lookups.len());
        for name in table.take_due(Instant::now(), free) {
            let lookup = lookup.clone();
            lookups.spawn(async move {
                let resolution = lookup.resolve(&name).await;
                (name, resolution)
            });
        }
        // With no look-up free, the next thing to wait for is that one ends.
        let next_due = table.next_due().filter(|_| lookups.len() < MAX_LOOKUPS);
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => table.set_names(&wanted.borrow_and_update(), Instant::now()),
                Err(_) => return,
            },
            Some(ended) = lookups.join_next() => {
                // A look-up that panicked is made again after a while: the table sees to it.
                if let Ok((name, resolution)) = ended {
                    table.record(&name, resolution, Instant::now());
                }
            }
            () = until(next_due) => {}
        }
        board.post(table.snapshot());
    }
}

/// Waits until then, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::{Resolution, ResolveError, ResolvedAddresses};
    use super::*;

    /// Answers each name's look-ups in order from a script, the last line again and again, and notes
    /// when it was asked.
    #[derive(Default)]
    struct Script {
        lines: Mutex<BTreeMap<String, VecDeque<Resolution>>>,
        asked: Mutex<Vec<(String, Instant)>>,
        takes: Duration,
        now_open: AtomicUsize,
        most_open: AtomicUsize,
    }

    impl Lookup for Arc<Script> {
        async fn resolve(&self, name: &str) -> Resolution {
            let open = self.now_open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_open.fetch_max(open, Ordering::SeqCst);
            let asked = (name.to_owned(), Instant::now());
            self.asked.lock().unwrap().push(asked);
            tokio::time::sleep(self.takes).await;
            self.now_open.fetch_sub(1, Ordering::SeqCst);
            let mut lines = self.lines.lock().unwrap();
            let lines = lines.get_mut(name).unwrap();
            match lines.len() {
                1 => lines[0].clone(),
                _ => lines.pop_front().unwrap(),
            }
        }
    }

    fn answer(last_octet: u8, ttl_s: u64) -> Resolution {
        Ok(ResolvedAddresses {
            addresses: vec![Ipv4Addr::new(192, 0, 2, last_octet)],
            valid_for: Duration::from_secs(ttl_s),
        })
    }

    fn timed_out() -> Resolution {
        Err(ResolveError::Timeout {
            name: "a.test".to_owned(),
            file: "/etc/resolv.conf".to_owned(),
        })
    }

    fn script<const N: usize>(lines: [(&str, Vec<Resolution>); N]) -> Arc<Script> {
        let lines = lines.map(|(name, lines)| (name.to_owned(), lines.into()));
        Arc::new(Script {
            lines: Mutex::new(lines.into()),
            ..Script::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_holds_for_its_ttl_and_a_failure_keeps_the_last_good_one() {
        let script = script([(
            "a.test",
            vec![
                answer(1, 10),
                timed_out(),
                timed_out(),
                answer(2, 100),
                answer(2, 100),
            ],
        )]);
        let start = Instant::now();
        let watch = NameWatch::new(script.clone());
        let mut changes = watch.changes();
        watch.set_names(BTreeSet::from(["a.test".to_owned()]));

        // Time, octet of the address, whether there is an error. The second timeout, at 11 s, and the
        // same answer again, at 113 s, change nothing.
        for (at_s, octet, failed) in [(0, 1, false), (10, 1, true), (13, 2, false)] {
            changes.changed().await.unwrap();
            assert_eq!(start.elapsed().as_secs(), at_s);
            let known = &watch.snapshot()["a.test"];
            assert_eq!(known.addresses, [Ipv4Addr::new(192, 0, 2, octet)]);
            assert_eq!(known.error.is_some(), failed);
        }
        tokio::time::sleep(Duration::from_secs(101)).await;
        assert!(!changes.has_changed().unwrap());
        let asked = script.asked.lock().unwrap();
        let seconds: Vec<_> = asked
            .iter()
            .map(|(_, at)| (*at - start).as_secs())
            .collect();
        assert_eq!(seconds, [0, 10, 11, 13, 113]);
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_leave_the_set_leave_the_snapshot_and_are_not_asked_again() {
        let script = script([("a", vec![answer(1, 5)]), ("b", vec![answer(2, 5)])]);
        let watch = NameWatch::new(script.clone());
        let mut changes = watch.changes();
        watch.set_names(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        while watch.snapshot().len() < 2 {
            changes.changed().await.unwrap();
        }
        watch.set_names(BTreeSet::from(["b".to_owned()]));
        changes.changed().await.unwrap();
        assert_eq!(watch.snapshot().keys().collect::<Vec<_>>(), ["b"]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let asked = script.asked.lock().unwrap();
        let times = |name| asked.iter().filter(|(asked, _)| asked == name).count();
        assert_eq!(times("a"), 1);
        assert!(times("b") > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_are_looked_up_a_bounded_number_at_a_time() {
        let names: BTreeSet<String> = (0..100).map(|n| format!("name-{n}")).collect();
        let lines = names
            .iter()
            .map(|name| (name.clone(), [answer(1, 600)].into()));
        let script = Arc::new(Script {
            lines: Mutex::new(lines.collect()),
            takes: Duration::from_secs(1),
            ..Script::default()
        });
        let watch = NameWatch::new(script.clone());
        let mut changes = watch.changes();
        watch.set_names(names);
        while watch.snapshot().len() < 100 {
            changes.changed().await.unwrap();
        }
        assert_eq!(script.most_open.load(Ordering::SeqCst), MAX_LOOKUPS);
        assert_eq!(script.asked.lock().unwrap().len(), 100);
    }

    #[tokio::test]
    async fn a_dropped_watch_ends_its_task_and_lets_go_of_the_resolver() {
        let script = script([("a", vec![answer(1, 5)])]);
        let watch = NameWatch::new(script.clone());
        drop(watch);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while Arc::strong_count(&script) > 1 {
            assert!(std::time::Instant::now() < deadline, "the task still runs");
            tokio::task::yield_now().await;
        }
    }
}
