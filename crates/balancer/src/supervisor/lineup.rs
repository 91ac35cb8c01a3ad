//! Who takes connections, who comes next and who is leaving: plain data in, orders out.
//!
//! ```text
//!              ready                 the serving one has left
//!   preparing ───────▶ ready ──────────────────────────────▶ serving ───▶ leaving ───▶ ended
//!       │                │                                      │  a successor is ready
//!       │ too late, ended│                                      │ ended
//!       ▼                ▼                                      ▼
//!     killed: the serving one goes on            the successor serves, or a new one is started
//! ```
//!
//! At most one balancer is told to take connections at any time. While none is, they wait in the listening
//! sockets, which the supervisor holds as well.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::message::Message;

/// How long a successor may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long the serving one may take to stop taking connections. It is over in a turn of its loop.
const LEFT_WITHIN: Duration = Duration::from_secs(2);
/// Balancers that may be leaving at once. A further replacement waits until one has ended.
const MOST_LEAVING: usize = 8;

/// One balancer, by the order in which it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child(pub u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this one from the program that ran last.
    Start(Child),
    /// Start this one from the program as it lies on disk now.
    StartNew(Child),
    /// Hand over to it what was kept since it was started.
    HandOver(Child),
    /// Say this to it.
    Tell(Child, Message),
    /// End it at once.
    Kill(Child),
    /// The program that this one was started from is the one to start again.
    Adopt(Child),
    /// Write this down.
    Log(String),
}

#[derive(Debug)]
struct Serving {
    child: Child,
    since: Instant,
}

#[derive(Debug)]
struct Successor {
    child: Child,
    began: Instant,
    ready: bool,
    /// When the next step is overdue.
    deadline: Instant,
}

/// Who takes connections, who comes next and who is leaving.
#[derive(Debug, Default)]
pub struct Lineup {
    started: u64,
    serving: Option<Serving>,
    successor: Option<Successor>,
    leaving: Vec<Child>,
    /// When one is to be started, while none serves.
    start_at: Option<Instant>,
    /// What the next one is to write into its log.
    news: String,
    replace: bool,
    stopping: bool,
    was_ready: bool,
    backoff: Backoff,
}

impl Lineup {
    /// Nobody runs yet; the first is due at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            start_at: Some(now),
            ..Self::default()
        }
    }

    /// The one that takes connections.
    #[must_use]
    pub fn serving(&self) -> Option<Child> {
        self.serving.as_ref().map(|serving| serving.child)
    }

    /// How many have yet to end their last connections.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Whether any balancer has ever come so far as to be ready.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// When [`Lineup::advance`] has something to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let deadline = self.successor.as_ref().map(|successor| successor.deadline);
        [self.start_at, deadline].into_iter().flatten().min()
    }

    /// A new process is wanted in the place of the serving one.
    pub fn replace(&mut self) {
        self.replace = true;
    }

    /// Nobody is started any more.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.replace = false;
        self.start_at = None;
    }

    /// Does what is due at `now`.
    pub fn advance(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            let child = self.next();
            self.serving = Some(Serving { child, since: now });
            actions.push(Action::Start(child));
            let news = std::mem::take(&mut self.news);
            actions.push(Action::Tell(child, Message::Serve(news)));
        }
        match &self.successor {
            Some(successor) if now >= successor.deadline => self.overdue(now, &mut actions),
            None if self.may_replace() => {
                self.replace = false;
                self.begin_successor(now, &mut actions);
            }
            _ => {}
        }
        actions
    }

    fn may_replace(&self) -> bool {
        self.replace
            && self.was_ready
            && self.serving.is_some()
            && self.leaving.len() < MOST_LEAVING
    }

    fn next(&mut self) -> Child {
        self.started += 1;
        Child(self.started)
    }

    fn begin_successor(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let child = self.next();
        self.successor = Some(Successor {
            child,
            began: now,
            ready: false,
            deadline: now + READY_WITHIN,
        });
        actions.push(Action::StartNew(child));
    }

    fn overdue(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(successor) = &mut self.successor else {
            return;
        };
        if successor.ready {
            self.succeed(now, String::new(), actions);
            return;
        }
        // Its end is awaited, and told then.
        successor.deadline = now + READY_WITHIN;
        actions.push(Action::Kill(successor.child));
    }

    /// A balancer has said that it is ready.
    pub fn ready(&mut self, child: Child, now: Instant) -> Vec<Action> {
        self.was_ready = true;
        let Some(successor) = self.successor.as_mut().filter(|s| s.child == child) else {
            return Vec::new();
        };
        successor.ready = true;
        successor.deadline = now + LEFT_WITHIN;
        match &self.serving {
            Some(serving) => vec![Action::Tell(serving.child, Message::Leave)],
            None => Vec::new(),
        }
    }

    /// A balancer has said that it takes no more connections.
    pub fn left(&mut self, child: Child, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.serving() == Some(child) {
            if self.successor.is_some() {
                self.succeed(now, String::new(), &mut actions);
            } else if let Some(serving) = self.serving.take() {
                // Its successor died after it was told to leave.
                self.leaving.push(serving.child);
                self.start_at = (!self.stopping).then_some(now);
            }
        }
        actions
    }

    /// The successor takes the serving one's place.
    fn succeed(&mut self, now: Instant, news: String, actions: &mut Vec<Action>) {
        let Some(successor) = self.successor.take() else {
            return;
        };
        let (child, since) = (successor.child, successor.began);
        let before = self.serving.replace(Serving { child, since });
        self.leaving.extend(before.map(|serving| serving.child));
        self.start_at = None;
        let took_ms = now.saturating_duration_since(since).as_millis();
        actions.push(Action::Adopt(child));
        actions.push(Action::HandOver(child));
        actions.push(Action::Tell(child, Message::Serve(news)));
        actions.push(Action::Log(format!(
            "a new process serves after {took_ms} ms; {} are leaving",
            self.leaving.len()
        )));
    }

    /// A balancer has ended, or could not be started; `how` says how.
    pub fn ended(&mut self, child: Child, how: &str, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.serving() == Some(child) {
            self.serving_ended(how, now, &mut actions);
        } else if self.successor.as_ref().is_some_and(|s| s.child == child) {
            // A serving one that was told to leave already is followed by another as soon as it has left.
            self.successor = None;
            let text = format!("the new process {how}; the one before goes on");
            actions.push(Action::Log(text));
        } else {
            self.leaving.retain(|&leaving| leaving != child);
        }
        actions
    }

    fn serving_ended(&mut self, how: &str, now: Instant, actions: &mut Vec<Action>) {
        let life = match self.serving.take() {
            Some(serving) => now.saturating_duration_since(serving.since),
            None => Duration::ZERO,
        };
        if self.stopping {
            return;
        }
        let news = format!("the balancer {how}");
        if self.successor.is_some() {
            // It takes connections as soon as it can.
            actions.push(Action::Log(format!("{news}; its successor serves")));
            self.succeed(now, news, actions);
            return;
        }
        let pause = self.backoff.after(life);
        let pause_ms = pause.as_millis();
        self.start_at = Some(now + pause);
        let text = format!("{news}; starting it again in {pause_ms} ms");
        actions.push(Action::Log(text));
        self.news = format!("{news}; this is another one");
    }
}

#[cfg(test)]
#[path = "lineup_tests.rs"]
mod tests;
