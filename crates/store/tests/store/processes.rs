//! Several processes on one file, and processes that die.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use store::{
    BUSY_TIMEOUT, Durability, Outcome, POLL_INTERVAL, Revision, Store, StoreError, Transaction,
};
use tokio::time::timeout;

use crate::children::{path_given_to_child, spawn};
use crate::engines::{DEADLINE, fresh_path, open, wait_until};
use crate::watches::has_changed;

/// Adds one to the counter, by compare-and-swap until nobody else was faster.
pub fn increment(store: &Store, key: &str) {
    const ATTEMPTS: usize = 100_000;
    for _ in 0..ATTEMPTS {
        let counter = store.get_json::<u64>(key).unwrap();
        let (value, modified) =
            counter.map_or((0, Revision::ZERO), |entry| (entry.value, entry.modified));
        let swap = Transaction::new()
            .when_modified(key, modified)
            .put_json(key, &(value + 1))
            .unwrap();
        if let Outcome::Applied(_) = store.commit(swap).unwrap() {
            return;
        }
    }
    panic!("no swap succeeded in {ATTEMPTS} attempts");
}

#[test]
fn processes_that_compare_and_swap_lose_no_update() {
    const NAME: &str = "processes::processes_that_compare_and_swap_lose_no_update";
    const ROUNDS: u64 = 300;
    if let Some(path) = path_given_to_child() {
        let store = open(&path);
        return (0..ROUNDS).for_each(|_| increment(&store, "counter"));
    }
    let (_directory, path) = fresh_path();
    // No store yet: the children race to make it as well.
    let children = [spawn(NAME, &path), spawn(NAME, &path), spawn(NAME, &path)];
    children.into_iter().for_each(|child| child.finish());
    let counter = open(&path).get_json::<u64>("counter").unwrap().unwrap();
    assert_eq!(
        (counter.value, counter.modified),
        (3 * ROUNDS, Revision::new(3 * ROUNDS))
    );
}

/// Commits pairs that agree, for ever, and says on standard error which commits have returned.
fn write_pairs(path: &Path) {
    let durability = if path.ends_with("full") {
        Durability::Full
    } else {
        Durability::Volatile
    };
    let store = Store::open(path, durability).unwrap();
    let mut number = store
        .get_json::<u64>("pair/a")
        .unwrap()
        .map_or(0, |entry| entry.value);
    loop {
        number += 1;
        // Sizes from nothing to several pages, deletes among the writes, so that the log holds all kinds of frames.
        let filler = vec![7; (number as usize % 11) * 2000];
        let transaction = Transaction::new()
            .put_json("pair/a", &number)
            .unwrap()
            .put_json("pair/b", &number)
            .unwrap()
            .delete_range("filler/")
            .put(format!("last/{}", number % 3), filler);
        assert!(matches!(
            store.commit(transaction).unwrap(),
            Outcome::Applied(_)
        ));
        eprintln!("committed {number}");
    }
}

/// The greatest number that the child said it had committed.
fn last_commit_said(output: &str) -> u64 {
    let whole_lines = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let said = whole_lines
        .lines()
        .filter_map(|line| line.split("committed ").nth(1));
    said.map(|number| number.parse().unwrap())
        .max()
        .unwrap_or(0)
}

fn pair(store: &Store) -> (u64, Revision) {
    let (revision, entries) = store.range_json::<u64>("pair/").unwrap();
    let values: Vec<u64> = entries.iter().map(|entry| entry.value).collect();
    let first = values.first().copied().unwrap_or(0);
    assert!(
        values.is_empty() || values == [first, first],
        "a transaction was applied by half: {values:?}"
    );
    (first, revision)
}

#[test]
fn a_writer_killed_at_any_moment_leaves_all_that_it_committed_and_nothing_by_half() {
    const NAME: &str =
        "processes::a_writer_killed_at_any_moment_leaves_all_that_it_committed_and_nothing_by_half";
    const KILLS: u64 = 50;
    if let Some(path) = path_given_to_child() {
        return write_pairs(&path);
    }
    let (directory, _) = fresh_path();
    let (mut before, mut total) = ([(0, Revision::ZERO); 2], 0);
    for kill in 0..KILLS {
        let kind = kill as usize % 2;
        let path = directory.path().join(["full", "volatile"][kind]);
        let mut child = spawn(NAME, &path);
        // In every second pair of rounds another process, this one, has the file open all the while.
        let bystander = (kill % 4 < 2).then(|| open(&path));
        child.wait_for("committed ");
        // Not to wait for anything: to die at another moment each time.
        std::thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
        let said = last_commit_said(&child.kill());
        assert!(
            said > before[kind].0,
            "kill {kill}: the child began before the last commit"
        );
        let after = pair(&bystander.unwrap_or_else(|| open(&path)));
        assert!(
            after.0 >= said,
            "kill {kill}: commit {said} returned, but only {} is there",
            after.0
        );
        assert!(after.1 > before[kind].1, "kill {kill}: revisions went back");
        total += after.0 - before[kind].0;
        before[kind] = after;
    }
    assert!(total >= KILLS, "{total} commits in all");
}

#[test]
fn a_process_killed_while_it_makes_the_store_leaves_one_that_opens() {
    const NAME: &str = "processes::a_process_killed_while_it_makes_the_store_leaves_one_that_opens";
    if let Some(path) = path_given_to_child() {
        return write_pairs(&path);
    }
    for kill in 0..40 {
        let (directory, path) = fresh_path();
        let child = spawn(NAME, &path);
        // Until it begins to make the file; then to die at another moment each time.
        wait_until("the child makes the store", || {
            std::fs::read_dir(directory.path())
                .unwrap()
                .next()
                .is_some()
        });
        std::thread::sleep(Duration::from_micros(kill * 97));
        child.kill();
        pair(&open(&path));
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Answers each `ask/<n>` with `answer/<n>`, whose value is the time of the commit.
async fn answer(store: &Store, rounds: usize) {
    let mut watch = store.watch("ask/");
    for round in 0..rounds {
        while store.get(&format!("ask/{round}")).unwrap().is_none() {
            timeout(DEADLINE, watch.changed())
                .await
                .expect("the child is asked");
        }
        let answer = Transaction::new()
            .put_json(format!("answer/{round}"), &monotonic())
            .unwrap();
        store.commit(answer).unwrap();
    }
}

#[tokio::test]
async fn a_watch_sees_another_processs_commit_within_the_polling_interval() {
    const NAME: &str =
        "processes::a_watch_sees_another_processs_commit_within_the_polling_interval";
    const ROUNDS: usize = 25;
    if let Some(path) = path_given_to_child() {
        return answer(&open(&path), ROUNDS).await;
    }
    let (_directory, path) = fresh_path();
    let store = open(&path);
    let child = spawn(NAME, &path);
    let (mut answers, mut beside) = (store.watch("answer/"), store.watch("besides/"));
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        store
            .commit(Transaction::new().put(format!("ask/{round}"), ""))
            .unwrap();
        timeout(DEADLINE, answers.changed())
            .await
            .expect("the watch wakes");
        let seen = monotonic();
        let answer = store
            .get_json::<Duration>(&format!("answer/{round}"))
            .unwrap();
        delays.push(
            seen.saturating_sub(
                answer
                    .expect("a watch on answers wakes for an answer only")
                    .value,
            ),
        );
    }
    child.finish();
    delays.sort_unstable();
    let median = delays[ROUNDS / 2];
    println!("median {median:?}, all {delays:?}");
    // On an idle machine the median is half the interval. A busy machine may be late, but not as a rule.
    assert!(
        median <= POLL_INTERVAL * 2,
        "median {median:?} of {delays:?}"
    );
    assert!(
        !has_changed(&mut beside).await,
        "woken by another process's key beside its prefix"
    );
}

#[test]
fn a_process_that_holds_the_file_for_long_is_named_busy_and_does_not_keep_others_from_reading() {
    let (_directory, path) = fresh_path();
    let store = open(&path);
    store.commit(Transaction::new().put("key", "1")).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| store.commit(Transaction::new().put("key", "2")));
        while !commit.is_finished() {
            let begun = Instant::now();
            assert_eq!(store.get("key").unwrap().unwrap().value, b"1");
            assert!(
                begun.elapsed() < BUSY_TIMEOUT / 2,
                "a read waits for the writer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let refused = commit.join().unwrap();
        assert!(
            matches!(refused, Err(StoreError::Busy { .. })),
            "{refused:?}"
        );
    });
    other.execute_batch("ROLLBACK").unwrap();
    store
        .commit(Transaction::new().put("key", "2"))
        .expect("the file is free");
}

#[test]
fn a_lease_left_by_a_killed_process_ends_for_the_others() {
    const NAME: &str = "processes::a_lease_left_by_a_killed_process_ends_for_the_others";
    const TTL: Duration = Duration::from_millis(300);
    if let Some(path) = path_given_to_child() {
        let store = open(&path);
        let lease = store.grant_lease(TTL).unwrap();
        store
            .commit(Transaction::new().put_leased("leader", "child", lease))
            .unwrap();
        loop {
            store.keep_alive(lease).unwrap();
            std::thread::sleep(TTL / 10);
        }
    }
    let (_directory, path) = fresh_path();
    let store = open(&path);
    let child = spawn(NAME, &path);
    wait_until("the child leads", || store.get("leader").unwrap().is_some());
    let begun = Instant::now();
    while begun.elapsed() < TTL * 3 {
        assert!(
            store.get("leader").unwrap().is_some(),
            "lost while its holder lives"
        );
        std::thread::sleep(TTL / 10);
    }
    child.kill();
    wait_until("its lease ends", || store.get("leader").unwrap().is_none());
}
