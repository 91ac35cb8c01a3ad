//! TCP over sockets: carries out what [`crate::tcp`] decides, for sessions of TCP and for tunnels that an
//! HTTP exchange became.
//!
//! The backend is connected to before the client has sent a byte, since in many protocols the server
//! speaks first. A client that no backend takes is reset.
//!
//! ```text
//!  connecting ──▶ both lanes move ── both have ended ──────────────────────────▶ closed
//!                   │        │
//!                   │        └─ the client broke off ──────────────────────────▶ both are reset
//!                   └─ the backend broke off: what it had sent goes on to the client;
//!                      what the client says is thrown away
//!                        ├─ it had ended its half before ─▶ FIN to the client ─▶ closed
//!                        └─ it had not ── the client has acknowledged all ─────▶ reset
//! ```

use model::Termination;
use model::access::AccessKind;
use rustix::io::Errno;

use super::access::{Entry, termination_of};
use super::admission::{Outcome, Stay};
use super::context::{Context, Scratch};
use super::dial::{Dial, Dialed, Kept, Stage, reason_of};
use super::lane::{Broken, End, Ends, Lane};
use super::outbox::Outbox;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::wire::Received;
use crate::http::key::key_of_session;
use crate::http::reply::Reason;
use crate::line::Grant;
use crate::proxy_protocol;
use crate::statistics::add;

/// Milliseconds that a client is given to end its half, once its backend is gone and all is said.
const LINGER_MS: u64 = 2_000;
/// Milliseconds between two looks at whether a client has taken in all that its backend had sent.
const TAKEN_IN_MS: u64 = 20;

/// A client's connection whose bytes pass through unread.
pub struct TcpSession {
    upstream: Option<Key>,
    stay: Option<Stay>,
    dial: Dial,
    up: Lane,
    down: Lane,
    /// Whether the backend may not know yet that its connection has come about.
    unconfirmed: bool,
    /// The backend's connection has broken.
    lost: Option<Lost>,
    /// What is to be logged.
    entry: Option<Box<Entry>>,
}

/// What a backend whose connection has broken had said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// That it would send no more.
    Ended,
    /// No end: what it sent may be a part of something.
    CutOff,
}

impl TcpSession {
    /// Begins a session with a connection to a backend.
    pub fn begin(peer: &mut Peer, context: &mut Context) -> (Self, Step) {
        add(&context.counters().requests, 1);
        let algorithm = &context.snapshot.policy.algorithm;
        let key = key_of_session(algorithm, *peer.address.ip());
        let mut session = Self {
            upstream: None,
            stay: None,
            dial: Dial::new(key),
            up: Lane::new(announcement(peer, context)),
            down: Lane::default(),
            unconfirmed: false,
            lost: None,
            entry: context.open_entry(AccessKind::Tcp, peer),
        };
        let step = session.dial(peer, context);
        (session, step)
    }

    /// Goes on with connections that an exchange made; the outboxes hold what is on its way. The backend did
    /// what was asked of it.
    #[must_use]
    pub fn adopt(
        upstream: Key,
        stay: Stay,
        to_backend: Outbox,
        to_client: Outbox,
        entry: Option<Box<Entry>>,
        context: &mut Context,
    ) -> Self {
        context.note_outcome(stay, Outcome::Answered(101));
        Self {
            upstream: Some(upstream),
            stay: Some(settled(stay)),
            dial: Dial::new(0),
            up: Lane::new(to_backend),
            down: Lane::new(to_client),
            unconfirmed: false,
            lost: None,
            entry,
        }
    }

    fn dial(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        let dialed = self.dial.next(Kept::No, peer, context);
        self.take_dialed(dialed, context)
    }

    fn take_dialed(&mut self, dialed: Dialed, context: &mut Context) -> Step {
        match dialed {
            Dialed::Lent(stay, upstream) | Dialed::Begun(stay, upstream) => {
                if let Some(entry) = &mut self.entry {
                    entry.enter(stay, true, context);
                }
                self.stay = Some(stay);
                self.upstream = Some(upstream);
                self.dial.await_answer(context);
                Step::Blocked
            }
            Dialed::Waits => {
                if let Some(entry) = &mut self.entry {
                    entry.wait(context);
                }
                Step::Blocked
            }
            Dialed::Failed(reason) => self.fail(reason, context),
        }
    }

    /// A slot was granted to this client.
    pub fn take_grant(&mut self, grant: &Grant, peer: &mut Peer, context: &mut Context) -> Step {
        match self.dial.take_grant(grant, Kept::No, peer, context) {
            Some(dialed) => self.take_dialed(dialed, context),
            None => Step::Blocked,
        }
    }

    /// Backends have come or gone: waits no longer if that is not right any more.
    pub fn reconsider(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        if self.dial.gives_up_waiting(context) {
            self.dial(peer, context)
        } else {
            Step::Blocked
        }
    }

    /// The backend was taken out, and the time for what it had under way is over.
    pub fn cut_off_drained(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        let upstream = self.upstream.and_then(|key| context.upstreams.get(key));
        if upstream.is_some_and(|upstream| upstream.connecting) {
            return self.leave_and_go_on(Reason::Drained, peer, context);
        }
        if let Some(upstream) = upstream {
            upstream.wire.reset_on_close();
        }
        self.break_off(Termination::Drained)
    }

    /// The backend's connection, while there is one.
    #[must_use]
    pub fn upstream(&self) -> Option<Key> {
        self.upstream
    }

    /// Does the next thing that can be done.
    pub fn step(&mut self, peer: &mut Peer, context: &mut Context, scratch: &mut Scratch) -> Step {
        if self.dial.stage != Stage::AtBackend {
            return self.wait_for_backend(peer, context);
        }
        let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get(key)) else {
            return Step::Reset;
        };
        if upstream.connecting {
            return self.await_connection(peer, context);
        }
        let upstream = self.upstream;
        if self.lost == Some(Lost::CutOff) && self.down.has_delivered() {
            // A client that says all before it reads is not kept waiting.
            let ends = &mut Ends { peer, upstream };
            return match self.up.advance(End::Client, ends, context, scratch) {
                Ok(true) => Step::Again,
                Ok(false) => await_taking_in(peer, context),
                Err(broken) => self.take_break([Some(broken), None], context),
            };
        }
        let ends = &mut Ends { peer, upstream };
        let moved = [
            self.up.advance(End::Client, ends, context, scratch),
            self.down.advance(End::Backend, ends, context, scratch),
        ];
        if std::mem::take(&mut self.unconfirmed) && matches!(moved, [Ok(false), _]) {
            self.confirm_connection(context);
        }
        match moved {
            [Ok(false), Ok(false)] => Step::Blocked,
            [Ok(_), Ok(_)] if self.up.has_ended() && self.down.has_ended() => Step::Close,
            [Ok(_), Ok(_)] => {
                if self.lost.is_some() && self.down.has_ended() {
                    bound_from_now(LINGER_MS, peer, context);
                }
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                Step::Again
            }
            [up, down] => self.take_break([up.err(), down.err()], context),
        }
    }

    /// One of the connections is broken, or both are. Each side learns that the other is gone.
    fn take_break(&mut self, [up, down]: [Option<Broken>; 2], context: &mut Context) -> Step {
        let client_is_gone = [up, down].iter().flatten().any(|it| it.end == End::Client);
        let upstream = self.upstream.and_then(|key| context.upstreams.get_mut(key));
        let Some(upstream) = upstream else {
            return Step::Reset;
        };
        if client_is_gone {
            upstream.wire.reset_on_close();
            return self.break_off(Termination::ClientReset);
        }
        // What it had sent is read to the end, whatever the events say.
        upstream.wire.readable = true;
        // The kernel says EPIPE of a connection that was reset after the other side had ended its half.
        let had_ended = up.is_some_and(|up| up.error == Errno::PIPE) && down.is_none();
        self.lost.get_or_insert(match had_ended {
            true => Lost::Ended,
            false => Lost::CutOff,
        });
        self.up.lose_sink(context);
        self.break_off(match self.lost {
            Some(Lost::Ended) => Termination::BackendClosed,
            _ => Termination::BackendReset,
        });
        if down.is_some() {
            self.down.lose_source();
        }
        Step::Again
    }

    /// The handshake's last segment waits for what the client says and travels with it. A client that says
    /// nothing at first may be waiting for the server, and the server for that segment.
    fn confirm_connection(&self, context: &Context) {
        if let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get(key)) {
            upstream.wire.acknowledge();
        }
    }

    fn await_connection(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get_mut(key)) else {
            return Step::Reset;
        };
        if peer.wire.broken {
            self.break_off(Termination::ClientClosedWhileConnecting);
            return Step::Close;
        }
        if !upstream.wire.writable {
            return Step::Blocked;
        }
        if let Err(error) = upstream.wire.outcome() {
            return self.leave_and_go_on(reason_of(error), peer, context);
        }
        upstream.connecting = false;
        upstream.wire.readable = true;
        self.unconfirmed = true;
        self.dial.connected();
        if let Some(entry) = &mut self.entry {
            entry.connected(context);
        }
        if let Some(stay) = &mut self.stay {
            self.dial.answered(*stay, Outcome::Connected, context);
            context.note_outcome(*stay, Outcome::Connected);
            *stay = settled(*stay);
        }
        peer.expect_within(context.snapshot.timeouts.idle_ms, context);
        Step::Again
    }

    /// The deadline has passed: for a connection, the next backend is tried.
    pub fn time_out(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        match self.dial.stage {
            Stage::AtBackend => {}
            Stage::Pausing => return self.dial(peer, context),
            Stage::InLine(..) => {
                let reason = self.dial.time_out_line(context);
                return self.fail(reason, context);
            }
        }
        let upstream = self.upstream.and_then(|key| context.upstreams.get(key));
        if upstream.is_some_and(|upstream| upstream.connecting) {
            return self.leave_and_go_on(Reason::ConnectTimeout, peer, context);
        }
        match self.lost {
            Some(Lost::CutOff) if self.down.has_delivered() => await_taking_in(peer, context),
            Some(Lost::Ended) if self.down.has_ended() => Step::Close,
            _ => self.break_off(Termination::IdleTimeout),
        }
    }

    /// The connection did not come about: goes to the next backend.
    fn leave_and_go_on(&mut self, reason: Reason, peer: &mut Peer, context: &mut Context) -> Step {
        let stay = self.stay;
        self.leave_backend(Outcome::of(reason), context);
        if stay.is_some_and(|stay| self.dial.may_go_on(stay, reason, context)) {
            if let Some(entry) = &mut self.entry {
                entry.try_again();
            }
            self.dial(peer, context)
        } else {
            self.fail(reason, context)
        }
    }

    /// The session waits for a backend. A client that broke off has gone; one that has ended its half without a
    /// word is taken to have, where that is wanted.
    fn wait_for_backend(&mut self, peer: &Peer, context: &Context) -> Step {
        let aborts = context.snapshot.edge.aborts;
        let has_ended = aborts && peer.wire.hung_up && peer.wire.peek() == Received::Ended;
        if !peer.wire.broken && !has_ended {
            return Step::Blocked;
        }
        self.break_off(Termination::ClientClosedInQueue);
        Step::Close
    }

    /// No backend takes the session.
    fn fail(&mut self, reason: Reason, context: &Context) -> Step {
        add(&context.counters().errors, 1);
        self.break_off(termination_of(reason))
    }

    /// The session is cut off, for this reason.
    fn break_off(&mut self, termination: Termination) -> Step {
        if let Some(entry) = &mut self.entry {
            entry.blame(termination);
        }
        Step::Reset
    }

    fn leave_backend(&mut self, outcome: Outcome, context: &mut Context) {
        if let Some(upstream) = self.upstream.take() {
            context.upstreams.remove(upstream);
        }
        if let Some(stay) = self.stay.take() {
            context.leave(stay, outcome);
        }
    }

    /// Gives all memory back, at the connection's end.
    pub fn end(&mut self, peer: &mut Peer, context: &mut Context) {
        if let Some(mut entry) = self.entry.take() {
            if !(self.up.has_ended() && self.down.has_ended()) {
                entry.blame(match context.leaving {
                    true => Termination::BalancerEnded,
                    false => Termination::BalancerFault,
                });
            }
            context.write_entry(entry, peer);
        }
        self.dial.leave_line(context);
        self.leave_backend(Outcome::Untold, context);
        self.up.end(context);
        self.down.end(context);
    }
}

/// The backend broke off, and all that it had sent is on its way to the client: the reset that says so must
/// not overtake it.
fn await_taking_in(peer: &mut Peer, context: &mut Context) -> Step {
    bound_from_now(context.snapshot.timeouts.idle_ms, peer, context);
    if context.now >= peer.at_the_latest || peer.wire.unacknowledged() == 0 {
        return Step::Reset;
    }
    peer.expect_within(TAKEN_IN_MS, context);
    Step::Blocked
}

/// Bounds what is left of the session, from the first time that this is said.
fn bound_from_now(within_ms: u64, peer: &mut Peer, context: &Context) {
    if peer.at_the_latest == u64::MAX {
        peer.at_the_latest = context.now.saturating_add(within_ms);
    }
}

/// A stay of which all is told that a circuit wants to know.
fn settled(stay: Stay) -> Stay {
    Stay {
        is_trial: false,
        ..stay
    }
}

/// What a backend is told of the client before all else, where it is told.
fn announcement(peer: &Peer, context: &mut Context) -> Outbox {
    let edge = &context.snapshot.edge;
    let Some(version) = edge.proxy_header else {
        return Outbox::default();
    };
    let mut header = context.buffers.take();
    proxy_protocol::write(version, peer.address, edge.front, &mut header);
    Outbox::new(header, &mut context.buffers)
}
