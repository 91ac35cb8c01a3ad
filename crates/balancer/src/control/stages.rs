//! From the first to the last connection of one process: waiting for its turn, serving, leaving.
//!
//! ```text
//!                  Serve                  Leave, or SIGTERM
//!   Waiting ─────────────────▶ Serving ─────────────────────▶ Leaving ──▶ ended
//!      │ ready: said once         │ keeps with the supervisor     │ left: said once
//!      │ its configuration runs   │ what the next one needs       │ all threads accept no more
//! ```
//!
//! Without a supervisor a process serves from the beginning. While it serves it may be told to drain: then it goes
//! on to take connections, and has each end with its answer.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::agent::{AWAITING_BOOT, Agent, DEFAULT_HEARTBEAT_MS};
use super::channel::Channel;
use super::journal::Level;
use super::progress::Progress;
use super::supervision::{Inheritance, Request, Supervision};
use crate::shared::{Leave, Order};
use crate::supervisor::message::Message;

/// What is under way when the process is told to end is given so many milliseconds.
const LEAVE_WITHIN_MS: u64 = 10_000;
/// The same when another process has taken over: downloads, tunnels and TCP sessions may take that long.
const REPLACED_WITHIN_MS: u64 = 30 * 60 * 1_000;
/// Between two looks whether the threads have stopped accepting; they do within a turn.
const LEAVING_PAUSE: Duration = Duration::from_millis(1);

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Another process serves, and this one is to come after it.
    Waiting,
    /// This process takes connections and is the host's partner.
    Serving,
    /// No connections are taken any more.
    Leaving,
}

impl Agent {
    /// Goes on with what another process had.
    pub(super) fn inherit(&mut self, kept: Inheritance, now: Instant) {
        self.deployment.inherit(kept.listeners, kept.verdicts);
        if let Some(boot) = kept.boot {
            self.take_boot(boot, now);
        }
        if let Some(config) = kept.config {
            self.take_config(config, now);
        }
    }

    /// Where this process sends requests of its own: nowhere while another one may accept them.
    pub(super) fn proves_progress(&self) -> Option<SocketAddrV4> {
        let serves = self.stage == Stage::Serving;
        self.deployment.listening().filter(|_| serves)
    }

    /// How long to sleep at most while threads are leaving.
    pub(super) fn leaving_pause(&self) -> Option<Duration> {
        let pause = if self.supervision.is_some() && !self.said_left {
            LEAVING_PAUSE
        } else {
            AWAITING_BOOT
        };
        (self.stage == Stage::Leaving).then_some(pause)
    }

    pub(super) fn obey_supervisor(&mut self, now: Instant) {
        while let Some(request) = self.supervision.as_mut().and_then(Supervision::next) {
            match request {
                Request::Serve(news, kept) => self.serve(&news, *kept, now),
                Request::Leave => self.make_room(now),
                Request::NoteLeaving(count) => self.predecessors = count,
            }
        }
        if self.supervision.as_mut().is_some_and(Supervision::owes) {
            self.keep_all(now);
        }
    }

    /// It is this process's turn.
    fn serve(&mut self, news: &str, kept: Inheritance, now: Instant) {
        if self.stage != Stage::Waiting {
            return;
        }
        self.stage = Stage::Serving;
        self.speak_at = now;
        self.inherit(kept, now);
        self.keep_all(now);
        if !news.is_empty() {
            self.journal.write(Level::Error, news.to_owned());
            // The one before may have ended within a line.
            self.channel.iter_mut().for_each(Channel::end_line);
        }
    }

    /// Has kept whatever the next process needs, but for listening sockets, which are with their threads.
    fn keep_all(&mut self, now: Instant) {
        let backends = self.heartbeat(now).backends;
        let Some(supervision) = &mut self.supervision else {
            return;
        };
        supervision.keep_token(&self.shared.own_target);
        supervision.keep_verdicts(&backends);
        self.boot
            .iter()
            .for_each(|boot| supervision.keep_boot(boot));
        let running = self.deployment.running().into_iter();
        running.for_each(|config| supervision.keep_config(config));
    }

    /// Has listening sockets that are new kept, and gives them to the threads.
    pub(super) fn open_doors(&mut self) {
        if self.stage != Stage::Serving {
            return;
        }
        let listeners = self.deployment.take_listeners();
        if listeners.is_empty() {
            return;
        }
        if let Some(supervision) = &mut self.supervision {
            supervision.keep_listeners(&listeners);
        }
        for (desk, listener) in self.shared.threads.iter().zip(listeners) {
            desk.order(Order::Listen(listener));
        }
    }

    /// Tells the supervisor, once each, that this process is ready, and that it takes no connections.
    pub(super) fn say_how_far(&mut self) {
        let Some(supervision) = &self.supervision else {
            return;
        };
        if !self.said_ready && (self.deployment.running().is_some() || !self.expects_config) {
            supervision.say(&Message::Ready);
            self.said_ready = true;
        }
        let desks = &self.shared.threads;
        let all_left = || {
            desks
                .iter()
                .all(|desk| desk.has_left.load(Ordering::Acquire))
        };
        if self.stage == Stage::Leaving && !self.said_left && all_left() {
            supervision.say(&Message::Left);
            self.said_left = true;
        }
    }

    /// Has clients told to leave. A process that comes after this one is told by the host, which hears from it
    /// that it does not do so.
    pub(super) fn drain(&mut self, now: Instant) {
        self.speak_at = now;
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let text = "draining: each answer ends its client's connection";
        self.journal.write(Level::Info, text.to_owned());
        for desk in &self.shared.threads {
            desk.order(Order::Drain);
        }
    }

    /// Ends: no new connections; what is under way has a bound. The second time, at once.
    pub(super) fn leave(&mut self) {
        if self.ending {
            std::process::exit(1);
        }
        self.ending = true;
        self.stage = Stage::Leaving;
        self.journal.write(
            Level::Info,
            "leaving: no new connections are taken".to_owned(),
        );
        self.order_to_leave(Leave {
            within_ms: LEAVE_WITHIN_MS,
            has_successor: false,
        });
    }

    /// Another process takes connections and speaks with the host from now on.
    fn make_room(&mut self, now: Instant) {
        if self.stage != Stage::Serving {
            return;
        }
        self.stage = Stage::Leaving;
        self.channel = None;
        // A request of this process's own must not reach the next one.
        self.progress = Progress::new(Arc::clone(&self.shared), DEFAULT_HEARTBEAT_MS, now);
        let text = "leaving: a new process takes the connections".to_owned();
        self.journal.write(Level::Info, text);
        self.order_to_leave(Leave {
            within_ms: REPLACED_WITHIN_MS,
            has_successor: true,
        });
    }

    fn order_to_leave(&self, leave: Leave) {
        for desk in &self.shared.threads {
            desk.order(Order::Leave(leave));
        }
    }

    pub(super) fn has_left(&self) -> bool {
        self.stage == Stage::Leaving && self.workers.iter().all(JoinHandle::is_finished)
    }
}
