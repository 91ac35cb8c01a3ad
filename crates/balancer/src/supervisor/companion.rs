//! A program beside the balancer that is kept running, and whose end is nobody's trouble.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::backoff::Backoff;

/// The kernel's measure of whom to end first when memory is short: rather this one than the balancer.
const EXPENDABLE: &str = "1000";

/// A program that is started again whenever it ends, ever more slowly if it ends soon.
#[derive(Debug)]
pub struct Companion {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    process: Option<Pid>,
    born: Instant,
    start_at: Instant,
    backoff: Backoff,
}

impl Companion {
    /// Nothing runs yet. `name` is for the log.
    #[must_use]
    pub fn new(name: &'static str, program: PathBuf, arguments: Vec<OsString>) -> Self {
        let now = Instant::now();
        Self {
            name,
            program,
            arguments,
            process: None,
            born: now,
            start_at: now,
            backoff: Backoff::default(),
        }
    }

    /// Has it started only after a pause.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.start_at += pause;
        self
    }

    /// When it is to be started, unless it runs.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.process.is_none().then_some(self.start_at)
    }

    /// Starts it when that is due. Returns a line for the log when it could not be.
    pub(super) fn advance(&mut self, now: Instant) -> Option<String> {
        if self.process.is_some() || now < self.start_at {
            return None;
        }
        self.born = now;
        let spawned = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn();
        match spawned {
            Ok(child) => {
                let _as_it_is =
                    std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), EXPENDABLE);
                self.process = Some(Pid::from_child(&child));
                None
            }
            Err(error) => {
                self.start_at = now + self.backoff.after(Duration::ZERO);
                Some(format!("{} could not be started: {error}", self.name))
            }
        }
    }

    /// Takes note of a process's end, if it was this one's, and says so for the log.
    pub(super) fn ended(&mut self, pid: Pid, how: &str, now: Instant) -> Option<String> {
        if self.process != Some(pid) {
            return None;
        }
        self.process = None;
        let life = now.saturating_duration_since(self.born);
        self.start_at = now + self.backoff.after(life);
        Some(format!("{} {how}; it is started again", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_started_again_after_its_end_and_ever_later_if_it_ends_soon() {
        let mut companion = Companion::new("true", "/bin/true".into(), Vec::new());
        let mut now = companion.wake_at().unwrap();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert_eq!(companion.advance(now), None);
            let pid = companion.process.expect("it was started");
            assert_eq!(companion.wake_at(), None);
            assert_eq!(
                companion.ended(Pid::INIT, "ended", now),
                None,
                "another one"
            );
            let said = companion.ended(pid, "exited with status 0", now).unwrap();
            assert_eq!(said, "true exited with status 0; it is started again");
            pauses.push((companion.start_at - now).as_millis());
            now = companion.wake_at().unwrap();
        }
        assert_eq!(pauses, [0, 10, 20, 40]);
    }

    #[test]
    fn one_that_is_to_wait_is_not_started_before() {
        let pause = Duration::from_secs(1);
        let mut companion = Companion::new("true", "/bin/true".into(), Vec::new()).after(pause);
        let due = companion.wake_at().unwrap();
        assert_eq!(companion.advance(due - Duration::from_millis(1)), None);
        assert!(companion.process.is_none());
        assert_eq!(companion.advance(due), None);
        assert!(companion.process.is_some());
    }

    #[test]
    fn one_that_is_not_there_is_told_and_tried_again() {
        let mut companion = Companion::new("nobody", "/nowhere/nobody".into(), Vec::new());
        let now = companion.wake_at().unwrap();
        let said = companion.advance(now).unwrap();
        assert!(said.starts_with("nobody could not be started"), "{said}");
        assert!(companion.wake_at().is_some());
    }
}
