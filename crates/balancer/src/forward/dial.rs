//! Finding a backend for one request or session: choosing, waiting, connecting, and trying again.
//!
//! ```text
//!            ┌── a connection ─────────────────────────▶ at a backend ── fails ─┐
//!            │                                                 ▲               │
//!   next ────┼── all in use ──▶ in line ── granted ────────────┘               │
//!     ▲      │                     └── time over ──▶ 503                       │
//!     │      └── all have refused ──▶ pausing ─┐                               │
//!     └────────────────────────────────────────┴───────────────────────────────┘
//! ```
//!
//! A connection that is refused cost its backend nothing and no backend has seen the request, so that is no
//! retry: others are tried at once, and when all have refused they are tried again after a short pause, until
//! [`Timeouts::connect_ms`](model::Timeouts) is over. So a backend that is being started again costs
//! waiting and no request.
//!
//! When descriptors have run out, idle connections are closed for the new one; see
//! [`Context::connect_upstream`].
//!
//! What is a retry is counted and has a budget: once more after a connection did not come about in time, or
//! after a backend may have seen the request.

use balancing::Turn;
use rustix::io::Errno;

use super::admission::{Outcome, Stay};
use super::backends::{Ask, Place};
use super::context::{Context, tag};
use super::gate::Lack;
use super::peer::Peer;
use super::slots::Key;
use crate::health::is_our_own;
use crate::http::reply::Reason;
use crate::line::{Grant, Waiter};
use crate::statistics::add;

/// The first pause in milliseconds when all have refused; each further one is twice as long.
const FIRST_PAUSE_MS: u64 = 16;
/// The longest.
const LAST_PAUSE_MS: u64 = 200;

/// Where a request or session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// At a backend, or on its way there.
    #[default]
    AtBackend,
    /// In the line, since a time in milliseconds.
    InLine(Turn, u64),
    /// Waiting for a moment, since every backend has refused.
    Pausing,
}

/// The search of one request or session.
#[derive(Debug)]
pub struct Dial {
    /// Where it is.
    pub stage: Stage,
    /// Hash of what the algorithm hashes.
    pub key: u64,
    /// Since when its answer is waited for, in microseconds of the process's clock: for
    /// HTTP since the request was sent, for a session since its connection was begun.
    asked_us: Option<u64>,
    /// No kept connection is wanted, since one has failed.
    fresh: bool,
    tried: Vec<Place>,
    /// How often it was given to a backend that had taken the connection.
    attempts: u32,
    pauses: u32,
    refused_since: Option<u64>,
    line_by: Option<u64>,
    /// The place in the line that it had first, and has again if it comes back.
    turn: Option<Turn>,
    failure: Reason,
}

/// What came of a search.
#[derive(Debug)]
pub enum Dialed {
    /// A kept connection.
    Lent(Stay, Key),
    /// A connection that is being made.
    Begun(Stay, Key),
    /// Nothing yet; a grant or the timer goes on.
    Waits,
    /// There is no backend for it.
    Failed(Reason),
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It will.
    Yes,
    /// It will if its socket itself says that it is sound: for what cannot be sent twice.
    Careful,
    /// It will not.
    No,
}

impl Dial {
    /// A search that has not begun.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self {
            stage: Stage::AtBackend,
            key,
            asked_us: None,
            fresh: false,
            tried: Vec::new(),
            attempts: 0,
            pauses: 0,
            refused_since: None,
            line_by: None,
            turn: None,
            failure: Reason::NoHealthyBackend,
        }
    }

    /// Goes to the next backend.
    pub fn next(&mut self, kept: Kept, peer: &mut Peer, context: &mut Context) -> Dialed {
        self.stage = Stage::AtBackend;
        loop {
            let ask = Ask {
                key: self.key,
                tried: &self.tried,
                now_us: context.now_us,
            };
            let stay = match context.enter(ask) {
                Ok(stay) => stay,
                Err(Lack::Full) => return self.join_line(peer, context),
                Err(lack) => return self.pause(lack, peer, context),
            };
            match self.connect(stay, kept, peer, context) {
                Ok(dialed) => return dialed,
                Err(reason) => {
                    if !self.may_go_on(stay, reason, context) {
                        return Dialed::Failed(reason);
                    }
                }
            }
        }
    }

    /// A backend was entered: lends a connection to it or begins one.
    fn connect(
        &mut self,
        stay: Stay,
        kept: Kept,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Result<Dialed, Reason> {
        if kept != Kept::No && !self.fresh {
            let careful = kept == Kept::Careful;
            if let Some(upstream) = context.take_idle_upstream(stay.place, peer.key, careful) {
                self.attempts += 1;
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                return Ok(Dialed::Lent(stay, upstream));
            }
        }
        match context.connect_upstream(stay.place, peer.key) {
            Ok(upstream) => {
                peer.expect_within(context.snapshot.timeouts.connect_ms, context);
                Ok(Dialed::Begun(stay, upstream))
            }
            Err(error) => {
                let reason = reason_of(error);
                let outcome = match is_our_own(error) {
                    true => Outcome::Untold,
                    false => Outcome::of(reason),
                };
                context.leave(stay, outcome);
                Err(reason)
            }
        }
    }

    /// The connection has come about.
    pub fn connected(&mut self) {
        self.attempts += 1;
        self.pauses = 0;
        self.refused_since = None;
    }

    /// The backend's answer is waited for from now on.
    pub fn await_answer(&mut self, context: &Context) {
        self.asked_us = Some(context.now_us);
    }

    /// The backend has begun to answer, or taken the connection of a session.
    pub fn answered(&mut self, stay: Stay, outcome: Outcome, context: &mut Context) {
        if let Some(asked_us) = self.asked_us.take() {
            let took_us = context.now_us.saturating_sub(asked_us);
            let now_us = context.now_us;
            let failed = outcome.is_failure();
            let backends = &mut context.backends;
            backends.count_answer(stay.place, took_us);
            if backends.measures() {
                backends.observe(stay.place, took_us, failed, now_us);
            }
        }
    }

    /// A kept connection failed that had only grown old: the same backend is asked over a new one.
    pub fn go_fresh(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.fresh = true;
        self.failure = Reason::BackendClosed;
    }

    /// Whether another backend may be tried, or the same one once more, after this one has failed.
    pub fn may_go_on(&mut self, stay: Stay, reason: Reason, context: &mut Context) -> bool {
        self.tried.push(stay.place);
        self.failure = reason;
        let retry = &context.snapshot.policy.retry;
        let most = retry.attempts.max(1);
        match reason {
            Reason::ConnectRefused | Reason::ConnectFailed => {
                let since = *self.refused_since.get_or_insert(context.now);
                let connect_ms = context.snapshot.timeouts.connect_ms;
                context.now < since.saturating_add(connect_ms)
            }
            Reason::ConnectTimeout => {
                self.attempts += 1;
                self.attempts < most && context.take_retry()
            }
            Reason::Drained => self.attempts < most,
            _ => self.attempts < most && context.take_retry(),
        }
    }

    /// Nobody is left to try: waits for a moment, if that may help.
    fn pause(&mut self, lack: Lack, peer: &mut Peer, context: &mut Context) -> Dialed {
        let reason = match (self.tried.is_empty(), lack) {
            (true, Lack::Open) => Reason::CircuitOpen,
            _ => self.failure,
        };
        // One that did not take the connection in time was given all its time.
        let may_help = !self.tried.is_empty()
            && self.failure != Reason::ConnectTimeout
            && context.backends.has_eligible();
        let since = *self.refused_since.get_or_insert(context.now);
        let left = since
            .saturating_add(context.snapshot.timeouts.connect_ms)
            .saturating_sub(context.now);
        if !may_help || left == 0 {
            return Dialed::Failed(reason);
        }
        let pause_ms = (FIRST_PAUSE_MS << self.pauses.min(8)).min(LAST_PAUSE_MS);
        self.pauses += 1;
        self.tried.clear();
        self.stage = Stage::Pausing;
        peer.expect_within(pause_ms.min(left), context);
        Dialed::Waits
    }

    /// All that may take it are full: waits for its turn.
    fn join_line(&mut self, peer: &mut Peer, context: &mut Context) -> Dialed {
        let queue = &context.snapshot.policy.queue;
        let by = *self
            .line_by
            .get_or_insert(context.now.saturating_add(queue.timeout_ms));
        let length = usize::try_from(queue.length).unwrap_or(usize::MAX);
        let bound = length.saturating_mul(context.backends.bounded().count());
        let waiter = Waiter {
            thread: context.thread,
            client: peer.key.pack(tag::CLIENT),
            except: self.addresses_tried(context),
        };
        let turn = match self.turn {
            Some(turn) => {
                context.shared.line.rejoin(turn, waiter);
                turn
            }
            None => {
                let Some(turn) = context.shared.line.join(waiter, bound) else {
                    add(&context.counters().queue_full, 1);
                    return Dialed::Failed(Reason::QueueFull);
                };
                add(&context.counters().queued, 1);
                turn
            }
        };
        self.turn = Some(turn);
        self.stage = Stage::InLine(turn, context.now);
        context.waiters.insert(turn, peer.key);
        peer.expect_within(by.saturating_sub(context.now), context);
        context.serve_line();
        Dialed::Waits
    }

    fn addresses_tried(&self, context: &Context) -> Vec<std::net::SocketAddrV4> {
        let tried = self.tried.iter();
        tried
            .filter_map(|place| Some(context.backends.record(*place)?.address))
            .collect()
    }

    /// Waits in the line no longer.
    pub fn leave_line(&mut self, context: &mut Context) {
        if let Stage::InLine(turn, _) = self.stage {
            context.shared.line.leave(turn);
            self.end_waiting(context);
        }
    }

    fn end_waiting(&mut self, context: &mut Context) {
        if let Stage::InLine(turn, since) = self.stage {
            context.waiters.remove(&turn);
            let waited = context.now.saturating_sub(since);
            add(&context.counters().queued_ms, waited);
            self.stage = Stage::AtBackend;
        }
    }

    /// The time in the line is over.
    pub fn time_out_line(&mut self, context: &mut Context) -> Reason {
        self.leave_line(context);
        add(&context.counters().queue_timeouts, 1);
        Reason::QueueTimeout
    }

    /// Takes a slot that was granted. Nothing when it is not for this search, which then goes on as it
    /// was; the slot is given back.
    pub fn take_grant(
        &mut self,
        grant: &Grant,
        kept: Kept,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Option<Dialed> {
        match self.stage {
            Stage::InLine(turn, _) if turn == grant.turn => {}
            _ => {
                context.return_grant(&grant.record);
                return None;
            }
        }
        self.end_waiting(context);
        let Some(stay) = context.enter_granted(&grant.record) else {
            return Some(self.next(kept, peer, context));
        };
        match self.connect(stay, kept, peer, context) {
            Ok(dialed) => Some(dialed),
            Err(reason) if self.may_go_on(stay, reason, context) => {
                Some(self.next(kept, peer, context))
            }
            Err(reason) => Some(Dialed::Failed(reason)),
        }
    }

    /// Whether waiting in the line is no longer right, since backends have come or gone. If so it has left
    /// the line, and is to go to the next backend.
    pub fn gives_up_waiting(&mut self, context: &mut Context) -> bool {
        let Stage::InLine(turn, _) = self.stage else {
            return false;
        };
        // One that was served meanwhile has its grant on the way.
        let goes =
            !context.backends.is_right_to_wait(&self.tried) && context.shared.line.leave(turn);
        if goes {
            self.end_waiting(context);
        }
        goes
    }
}

/// Why a connection did not come about.
pub fn reason_of(error: Errno) -> Reason {
    match error {
        Errno::CONNREFUSED => Reason::ConnectRefused,
        Errno::TIMEDOUT => Reason::ConnectTimeout,
        _ => Reason::ConnectFailed,
    }
}
