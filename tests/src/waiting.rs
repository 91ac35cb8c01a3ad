//! Waiting for something to come true, with a deadline instead of a guess.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until `look` gives `Ok`, and returns what it gave.
///
/// # Panics
/// When it still gives `Err` after a minute, with the last one.
pub fn eventually<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, what, look)
}

/// Like [`eventually`], with a deadline of the caller's.
///
/// # Panics
/// When the deadline passes.
pub fn within<T, E: Debug>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(error) if began.elapsed() > deadline => {
                panic!("{what}: not within {deadline:?}; last seen: {error:?}")
            }
            Err(_) => sleep(PAUSE),
        }
    }
}

/// Looks again and again for this long, and holds that `look` gives `Ok` each time.
///
/// # Panics
/// When it gives `Err`.
pub fn throughout<E: Debug>(span: Duration, what: &str, mut look: impl FnMut() -> Result<(), E>) {
    let began = Instant::now();
    while began.elapsed() < span {
        if let Err(error) = look() {
            panic!("{what}: no longer after {:?}: {error:?}", began.elapsed());
        }
        sleep(PAUSE);
    }
}
