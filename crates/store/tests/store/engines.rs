//! The engines under test, and what tests wait with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use store::{Clock, Durability, ManualClock, Store};
use tempfile::TempDir;

/// How long anything that must happen may take before the test gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs the test on each engine, with time that the test moves.
pub fn on_each_engine(test: impl Fn(&Store, &ManualClock)) {
    let clock = ManualClock::default();
    test(&Store::in_memory_with_clock(clock.clone()), &clock);
    for durability in [Durability::Full, Durability::Volatile] {
        let (directory, path) = fresh_path();
        let clock = ManualClock::default();
        test(
            &Store::open_with_clock(&path, durability, Clock::Manual(clock.clone())).unwrap(),
            &clock,
        );
        drop(directory);
    }
}

/// The engines on the machine's clock.
pub fn on_the_machines_clock() -> Vec<(&'static str, Store, TempDir)> {
    let (directory, path) = fresh_path();
    vec![
        ("memory", Store::in_memory(), tempfile::tempdir().unwrap()),
        (
            "sqlite",
            Store::open(&path, Durability::Volatile).unwrap(),
            directory,
        ),
    ]
}

pub fn fresh_path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("evenkeel.store");
    (directory, path)
}

pub fn open(path: &Path) -> Store {
    Store::open(path, Durability::Full).unwrap()
}

/// Waits for the condition by looking again and again.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
