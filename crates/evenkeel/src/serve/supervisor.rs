//! Keeps a role at work: one that fails is started again, while the others go on.
//!
//! ```text
//!            ends in an error, panics, or its watchdog starves
//!   at work ──────────────────────────────────────────────────▶ pausing, longer each time
//!      ▲                                                            │
//!      └────────────────────────────────────────────────────────────┘
//! ```
//!
//! A role that fails before it was at work for the first time ends the process instead: what keeps it from its
//! work, a port that is taken or a controller that is there already, is for whoever starts it to put right.

use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info};

use super::watchdog::Watchdog;

/// The pause after a first failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A role that was at work for this long has recovered from its failures before.
const RECOVERED: Duration = Duration::from_secs(60);
/// A role that is at work for this long is no trouble any more.
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks at the watchdog.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row that find the watchdog not fed, after which the role hangs. Looks are counted, and not
/// seconds, because a process that was stopped as a whole has not hung.
const MOST_IDLE_LOOKS: u32 = 15;
/// How long a role that hangs may take to let go of what it holds.
const FAREWELL: Duration = Duration::from_secs(2);

/// Starts lives of a role, one after the other, until one ends because it was asked to.
///
/// `live` begins a life; `tell` is given what is wrong, in words, or `None` when nothing is any more.
///
/// # Errors
/// What the first life failed with before it fed its watchdog.
pub(super) async fn supervise<F>(
    role: &str,
    mut live: impl FnMut(Watchdog) -> F,
    tell: impl Fn(Option<&str>),
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    tell(None);
    let (mut pause, mut has_worked) = (FIRST_PAUSE, false);
    loop {
        let (began, watchdog) = (Instant::now(), Watchdog::default());
        let life = tokio::spawn(live(watchdog.clone()));
        let Err(failure) = attend(life, &watchdog, || tell(None)).await else {
            return Ok(());
        };
        has_worked |= watchdog.meals() > 0;
        if !has_worked {
            return Err(failure);
        }
        if began.elapsed() >= RECOVERED {
            pause = FIRST_PAUSE;
        }
        let words = format!("the {role} role failed and is started again: {failure:#}");
        error!(%role, ?pause, error = format!("{failure:#}"), "the role failed and is started again");
        tell(Some(&words));
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        info!(%role, "the role is started again");
    }
}

/// Watches one life to its end. `settled` is called once it has been at work for a while.
async fn attend(
    mut life: JoinHandle<anyhow::Result<()>>,
    watchdog: &Watchdog,
    settled: impl Fn(),
) -> anyhow::Result<()> {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut meals, mut idle, mut at_work_since) = (0, 0, None);
    let mut has_settled = false;
    loop {
        tokio::select! {
            ended = &mut life => return ended.unwrap_or_else(|error| Err(in_words(error))),
            _ = look.tick() => {}
        }
        let fed = watchdog.meals();
        idle = if fed == meals { idle + 1 } else { 0 };
        meals = fed;
        if idle >= MOST_IDLE_LOOKS {
            life.abort();
            // Whether it lets go or not: the next life says what it lacks.
            let _ = timeout(FAREWELL, &mut life).await;
            anyhow::bail!("its loop stood still for {MOST_IDLE_LOOKS} s");
        }
        if fed > 0 && idle == 0 {
            let since = *at_work_since.get_or_insert_with(Instant::now);
            if !has_settled && since.elapsed() >= SETTLED {
                has_settled = true;
                settled();
            }
        }
    }
}

fn in_words(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
            anyhow::anyhow!("it panicked: {}", words.unwrap_or("without a word"))
        }
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use anyhow::bail;

    use super::*;

    /// What lives do, one after the other; the last one ends as asked.
    #[derive(Clone, Copy, Debug)]
    enum Life {
        /// Fails before it is at work.
        Stillborn,
        /// Fails after so many seconds of work.
        Fails(u64),
        Panics,
        Hangs,
        /// Is at work for so many seconds and ends because it was asked to.
        Ends(u64),
    }
    use Life::{Ends, Fails, Hangs, Panics, Stillborn};

    async fn work(watchdog: Watchdog, seconds: u64) {
        for _ in 0..=seconds {
            watchdog.feed();
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn play(life: Life, watchdog: Watchdog) -> anyhow::Result<()> {
        match life {
            Stillborn => bail!("no port"),
            Fails(seconds) => {
                work(watchdog, seconds).await;
                bail!("no store")
            }
            Panics => {
                work(watchdog, 1).await;
                panic!("a defect")
            }
            Hangs => {
                work(watchdog, 1).await;
                std::future::pending().await
            }
            Ends(seconds) => {
                work(watchdog, seconds).await;
                Ok(())
            }
        }
    }

    /// When each life began, in whole seconds, what was told, and how it ended.
    async fn supervised(lives: &[Life]) -> (Vec<u64>, Vec<Option<String>>, Result<(), String>) {
        let (start, begun) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let told = Mutex::new(Vec::new());
        let mut next = lives.iter().copied();
        let live = |watchdog| {
            begun.lock().unwrap().push(start.elapsed().as_secs());
            play(next.next().expect("the last one ends"), watchdog)
        };
        let tell = |words: Option<&str>| told.lock().unwrap().push(words.map(str::to_owned));
        let outcome = supervise("test", live, tell).await;
        let begun = begun.lock().unwrap().clone();
        (
            begun,
            told.into_inner().unwrap(),
            outcome.map_err(|error| error.to_string()),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_fails_panics_or_hangs_is_started_again_ever_more_slowly() {
        let lives = [Fails(1), Panics, Hangs, Stillborn, Ends(10)];
        let (begun, told, outcome) = supervised(&lives).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(begun, [0, 2, 5, 24, 28]);
        let told: Vec<_> = told.iter().map(Option::as_deref).collect();
        let failed = |why| format!("the test role failed and is started again: {why}");
        assert_eq!(
            told,
            [
                None,
                Some(&*failed("no store")),
                Some(&*failed("it panicked: a defect")),
                Some(&*failed("its loop stood still for 15 s")),
                Some(&*failed("no port")),
                None,
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_worked_long_begins_anew_with_a_short_pause() {
        let lives = [Fails(1), Fails(1), Fails(1), Fails(100), Fails(1), Ends(1)];
        let (begun, ..) = supervised(&lives).await;
        let pauses: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [2, 3, 4, 102, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_came_to_work_ends_with_its_own_words() {
        let (begun, _, outcome) = supervised(&[Stillborn]).await;
        assert_eq!((begun.len(), outcome), (1, Err("no port".into())));
    }
}
