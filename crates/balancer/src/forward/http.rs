//! HTTP over sockets: carries out what [`crate::http`] decides.
//!
//! ```text
//!                 ┌─────────────── answer sent, connection stays ───────────────┐
//!                 ▼                                                             │
//!  accepted ─▶ Reading ── whole head ──▶ Exchanging ── answer whole ──▶ Answering
//!                 │                        │      │                        ▲ │
//!                 │ malformed, too slow    │ 101  └── no good answer ──────┤ │
//!                 └────────────────────────│───────── own answer ──────────┘ │
//!                                          ▼                                 ▼ closes
//!                                       tunnel                          Lingering ─▶ closed
//! ```
//!
//! Nothing is read from one side while bytes wait for the other: that is all the backpressure there is,
//! and it bounds what one connection can make wait to one scratch buffer each way.
//!
//! A client that ends its half after its request still gets the whole answer, also when it waits for a backend:
//! its FIN says that no further request comes, and cannot be told from that of a client that closed. One that
//! has gone shows as a reset, and the exchange is given up, the backend's connection with it. Where
//! [`ClientClose::Abort`](model::ClientClose) is set, a FIN does the same until the answer begins.

use model::Termination;
use model::access::AccessKind;

use super::access::Entry;
use super::admission::{Outcome, Stay};
use super::buffers::Buffers;
use super::context::{Context, Scratch};
use super::dial::{Dial, Stage};
use super::http_request::is_blank;
use super::outbox::Outbox;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::upload::Upload;
use super::wire::Received;
use crate::bulk::Bulk;
use crate::http::exchange::{Closing, Exchange};
use crate::http::head::HeadScanner;
use crate::http::pace::Pace;
use crate::http::reply::{Reason, Recipient, write_reply};
use crate::statistics::add;

/// Milliseconds for a client to take an answer in before its connection is closed under unread bytes.
pub(super) const LINGER_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Reading,
    Exchanging,
    Answering(Closing),
    Lingering,
}

/// A request under way.
pub struct Flight {
    pub(super) exchange: Exchange,
    /// The request on its way to the backend. What was sent stays, so that it can be sent again, until
    /// the answer's final head has come or the body has to be streamed.
    pub(super) request: Upload,
    /// Whether any byte of the final answer was passed on.
    pub(super) passed: bool,
    /// The beginning of an answer's head.
    pub(super) answer: Vec<u8>,
    /// When all of the request's head had come, in microseconds of the process's clock.
    pub(super) began_us: u64,
    /// How much of the answer's body comes at a time.
    pub(super) bulk: Bulk,
    pub(super) upstream: Option<Key>,
    /// The backend that it is at.
    pub(super) stay: Option<Stay>,
    /// The search for one.
    pub(super) dial: Dial,
    /// The backend's connection is this request's alone.
    pub(super) private: bool,
}

impl Flight {
    /// Whether the request may be sent once more.
    pub(super) fn may_repeat(&self) -> bool {
        self.exchange.may_repeat(self.request.sent())
    }

    /// Begins again with another connection: forgets what has come of an answer over the last one.
    pub(super) fn begin_again(&mut self, buffers: &mut Buffers) {
        self.request.rewind();
        self.exchange.forget_answer();
        buffers.release(std::mem::take(&mut self.answer));
    }
}

/// A client's connection that carries HTTP.
pub struct HttpSession {
    pub(super) phase: Phase,
    pub(super) scanner: HeadScanner,
    /// Bytes of the client that are not understood yet: a part of a head, or pipelined requests.
    pub(super) held: Vec<u8>,
    /// Whether `held` may have a whole head in it.
    pub(super) unscanned: bool,
    /// What is on its way to the client.
    pub(super) outbox: Outbox,
    pub(super) flight: Option<Box<Flight>>,
    /// How slow the client is.
    pub(super) pace: Pace,
    /// What is to be logged of the request under way.
    pub(super) entry: Option<Box<Entry>>,
}

impl Default for HttpSession {
    fn default() -> Self {
        Self {
            phase: Phase::Reading,
            scanner: HeadScanner::default(),
            held: Vec::new(),
            unscanned: false,
            outbox: Outbox::default(),
            flight: None,
            pace: Pace::default(),
            entry: None,
        }
    }
}

impl HttpSession {
    /// Does the next thing that can be done.
    pub fn step(&mut self, peer: &mut Peer, context: &mut Context, scratch: &mut Scratch) -> Step {
        let step = match self.phase {
            Phase::Reading => self.read_request(peer, context, scratch),
            Phase::Exchanging => self.relay(peer, context, scratch),
            Phase::Answering(closing) => self.finish_answer(closing, peer, context),
            Phase::Lingering => linger(peer, context, scratch),
        };
        match step {
            Step::Blocked => self.pace_client(peer, context),
            Step::Close => self.blame_client(context),
            _ => {}
        }
        step
    }

    /// The deadline has passed.
    pub fn time_out(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let in_time = context.now < peer.at_the_latest;
        if in_time && self.keeps_pace(peer, context) {
            return Step::Blocked;
        }
        if in_time && self.awaits_client(context) {
            add(&context.counters().slow_clients, 1);
        }
        match self.phase {
            Phase::Reading if is_blank(&self.held) => self.end_quiet(peer, context),
            Phase::Reading => self.reply(Reason::RequestTimeout, peer, context, scratch),
            Phase::Exchanging => self.time_out_exchange(peer, context, scratch),
            Phase::Answering(_) => self.break_off(Termination::ClientTimeoutInResponse),
            Phase::Lingering => self.end_lingering(in_time, peer, context),
        }
    }

    /// Whether the client waits for nothing, so that its connection can be closed without loss.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Reading && is_blank(&self.held)
    }

    /// Whether it waits for the backend alone.
    #[must_use]
    pub fn awaits_backend(&self) -> bool {
        let whole = |flight: &Flight| flight.exchange.request_is_whole();
        self.outbox.is_empty() && self.flight.as_deref().is_some_and(whole)
    }

    /// Sends what is left of an answer, then goes on with the next request or ends.
    fn finish_answer(&mut self, closing: Closing, peer: &mut Peer, context: &mut Context) -> Step {
        if !self.outbox.is_empty() {
            let step = self.flush(peer, context);
            if !self.outbox.is_empty() {
                return step;
            }
        }
        self.outbox.clear(&mut context.buffers);
        peer.at_the_latest = u64::MAX;
        self.close_entry(peer, context);
        match closing {
            Closing::Stays => {
                self.phase = Phase::Reading;
                self.scanner = HeadScanner::default();
                self.unscanned = !self.held.is_empty();
                peer.expect_within(context.keep_alive_ms(), context);
                // Also when the thread leaves: the answer has promised the client a further request.
                Step::Again
            }
            // Closing with bytes unread would be a reset, which can take the answer from the client. One that did
            // not ask for the end may have sent more; and what it has yet to take in must not go with the VM.
            Closing::Closes if context.draining || peer.wire.readable || !self.held.is_empty() => {
                self.begin_to_linger(peer, context)
            }
            Closing::Closes => Step::Close,
        }
    }

    /// Sends what waits for the client.
    pub(super) fn flush(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        if !peer.wire.writable {
            return Step::Blocked;
        }
        match peer.send_waiting(&mut self.outbox, context) {
            Ok(count) => {
                self.client_moved(count, context);
                if count > 0 {
                    peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                }
                if self.outbox.is_empty() {
                    self.outbox.clear(&mut context.buffers);
                    Step::Again
                } else {
                    Step::Blocked
                }
            }
            Err(_) => Step::Close,
        }
    }

    /// Answers by the balancer itself; whatever is under way is given up.
    pub(super) fn reply(
        &mut self,
        reason: Reason,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        self.note_reply(reason, peer, context);
        if !self.outbox.is_empty() {
            // An interim answer is half-way out: nothing else can begin here.
            return self.reset(Outcome::of(reason), context);
        }
        let recipient = self
            .flight
            .as_ref()
            .map_or(Recipient::UNKNOWN, |flight| Recipient {
                version: flight.exchange.client_version(),
                to_head: flight.exchange.is_to_head(),
                closing: flight
                    .exchange
                    .closing_after_own_reply(context.ends_connections()),
            });
        let is_whole = |flight: &Flight| flight.exchange.request_is_whole();
        if !self.flight.as_deref().is_some_and(is_whole) {
            // More of it may be on its way, and must not turn the close into a reset.
            peer.wire.readable = true;
        }
        let counters = context.counters();
        // The checker's and the balancer's own questions are no traffic.
        if !peer.own && reason != Reason::Progress {
            match reason {
                Reason::LastHop | Reason::NotAllowed => {}
                Reason::Rejected(_) | Reason::RequestTimeout => add(&counters.rejected, 1),
                _ => add(&counters.errors, 1),
            }
            counters.count_answer(reason.status());
        }
        self.give_up(Outcome::of(reason), context);
        peer.at_the_latest = u64::MAX;
        scratch.out.clear();
        write_reply(reason, recipient, context.date, &mut scratch.out);
        self.outbox
            .refill([&scratch.out, b""], &mut context.buffers);
        self.phase = Phase::Answering(recipient.closing);
        peer.expect_within(context.snapshot.timeouts.idle_ms, context);
        Step::Again
    }

    /// Ends the exchange under way, if there is one, and closes its backend's connection.
    pub(super) fn give_up(&mut self, outcome: Outcome, context: &mut Context) {
        if let Some(mut flight) = self.flight.take() {
            flight.dial.leave_line(context);
            if let Some(upstream) = flight.upstream.take() {
                context.upstreams.remove(upstream);
            }
            land(flight, outcome, context);
        }
    }

    /// Gives all memory back, at the connection's end.
    pub fn end(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(entry) = &mut self.entry {
            entry.blame(match context.leaving {
                true => Termination::BalancerEnded,
                false => Termination::BalancerFault,
            });
        }
        self.close_entry(peer, context);
        self.give_up(Outcome::Untold, context);
        self.outbox.clear(&mut context.buffers);
        context.buffers.release(std::mem::take(&mut self.held));
    }
}

impl HttpSession {
    /// The connection is cut off under the exchange, for this reason.
    pub(super) fn break_off(&mut self, termination: Termination) -> Step {
        if let Some(entry) = &mut self.entry {
            entry.blame(termination);
        }
        Step::Reset
    }

    /// The balancer answers by itself. What the checker and the balancer itself ask has no entry.
    fn note_reply(&mut self, reason: Reason, peer: &Peer, context: &mut Context) {
        if reason == Reason::Progress {
            return;
        }
        if self.entry.is_none() {
            self.open_late(peer, context);
        }
        if let Some(entry) = &mut self.entry {
            entry.answer(reason);
        }
    }

    /// Opens the entry of a request whose head was never understood.
    fn open_late(&mut self, peer: &Peer, context: &mut Context) {
        self.entry = context.open_entry(AccessKind::Http, peer);
        if let Some(entry) = &mut self.entry {
            entry.began_before(self.pace.waited_ms(context.now));
        }
    }

    /// The client has gone within a request's head.
    pub(super) fn lose_head(&mut self, peer: &Peer, context: &mut Context) {
        self.open_late(peer, context);
        self.break_off(Termination::ClientClosedInRequestHead);
    }

    /// The client has gone: says at which stage.
    fn blame_client(&mut self, context: &Context) {
        let Some(entry) = &mut self.entry else {
            return;
        };
        let Some(flight) = self.flight.as_deref() else {
            entry.blame(Termination::ClientClosedInResponse);
            return;
        };
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        entry.blame(if flight.passed {
            Termination::ClientClosedInResponse
        } else if flight.dial.stage != Stage::AtBackend {
            Termination::ClientClosedInQueue
        } else if !flight.exchange.request_is_whole() {
            Termination::ClientClosedInRequestBody
        } else if upstream.is_some_and(|upstream| upstream.connecting) {
            Termination::ClientClosedWhileConnecting
        } else {
            Termination::ClientClosedBeforeResponse
        });
    }

    /// The request has ended, one way or another.
    pub(super) fn close_entry(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(entry) = self.entry.take() {
            context.write_entry(entry, peer);
        }
    }
}

/// The exchange has left its backend: counts it, and keeps its memory.
pub(super) fn land(mut flight: Box<Flight>, outcome: Outcome, context: &mut Context) {
    if let Some(stay) = flight.stay.take() {
        context.leave(stay, outcome);
    }
    flight.request.clear(&mut context.buffers);
    context.buffers.release(std::mem::take(&mut flight.answer));
    context.flights.land(flight);
}

/// Takes what the client still sends and throws it away, until it ends or the time is up.
fn linger(peer: &mut Peer, context: &mut Context, scratch: &mut Scratch) -> Step {
    if !peer.wire.readable {
        return Step::Blocked;
    }
    match peer.receive(&mut scratch.input, context) {
        Received::Bytes(_) => Step::Again,
        Received::Blocked => Step::Blocked,
        Received::Ended | Received::Failed(_) => Step::Close,
    }
}
