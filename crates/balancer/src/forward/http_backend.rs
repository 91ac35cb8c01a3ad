//! Which connection carries an exchange. [`Dial`](super::dial::Dial) finds it; here it is put to use, and
//! what failed is told the client or tried again.

use model::Termination;

use super::admission::Outcome;
use super::context::{Context, Scratch};
use super::dial::{Dialed, Kept, Stage, reason_of};
use super::http::{Flight, HttpSession};
use super::peer::{Peer, Step};
use super::wire::Received;
use crate::http::reply::Reason;
use crate::line::Grant;

impl HttpSession {
    /// Gives the exchange to the next backend that it has not tried, or tells the client why there is
    /// none.
    pub(super) fn dial(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let dialed = flight.dial.next(kept(flight), peer, context);
        self.take_dialed(dialed, peer, context, scratch)
    }

    fn take_dialed(
        &mut self,
        dialed: Dialed,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let (stay, upstream, step) = match dialed {
            Dialed::Lent(stay, upstream) => (stay, upstream, Step::Again),
            Dialed::Begun(stay, upstream) => (stay, upstream, Step::Blocked),
            Dialed::Waits => {
                if let Some(entry) = &mut self.entry {
                    entry.wait(context);
                }
                return Step::Blocked;
            }
            Dialed::Failed(reason) => return self.reply(reason, peer, context, scratch),
        };
        if let Some(entry) = &mut self.entry {
            entry.enter(stay, step == Step::Blocked, context);
        }
        flight.stay = Some(stay);
        flight.upstream = Some(upstream);
        step
    }

    /// Whether the exchange waits for a backend, in the line or for a moment.
    pub(super) fn waits_for_backend(&self) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.dial.stage != Stage::AtBackend)
    }

    /// Whether nobody waits for the exchange any more: the client has ended its half before the answer began,
    /// where that is taken for its end; or within its request, which waits for a backend in vain.
    pub(super) fn client_has_gone(&self, peer: &Peer, context: &Context) -> bool {
        let Some(flight) = self.flight.as_deref() else {
            return false;
        };
        let is_over = if flight.exchange.request_is_whole() {
            context.snapshot.edge.aborts && !flight.passed
        } else {
            flight.dial.stage != Stage::AtBackend
        };
        is_over && self.held.is_empty() && peer.wire.peek() == Received::Ended
    }

    /// A slot was granted to this client.
    pub fn take_grant(
        &mut self,
        grant: &Grant,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            context.return_grant(&grant.record);
            return Step::Blocked;
        };
        let kept = kept(flight);
        match flight.dial.take_grant(grant, kept, peer, context) {
            Some(dialed) => self.take_dialed(dialed, peer, context, scratch),
            None => Step::Blocked,
        }
    }

    /// Backends have come or gone: waits no longer if that is not right any more.
    pub fn reconsider(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let flight = self.flight.as_mut();
        if flight.is_some_and(|flight| flight.dial.gives_up_waiting(context)) {
            self.dial(peer, context, scratch)
        } else {
            Step::Blocked
        }
    }

    /// A connection is being made: looks whether it came about.
    pub(super) fn await_connection(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let upstream = flight
            .upstream
            .and_then(|key| context.upstreams.get_mut(key));
        let Some(upstream) = upstream else {
            return Step::Reset;
        };
        if !upstream.wire.writable {
            return Step::Blocked;
        }
        match upstream.wire.outcome() {
            Ok(()) => {
                upstream.connecting = false;
                flight.dial.connected();
                if let Some(entry) = &mut self.entry {
                    entry.connected(context);
                }
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                Step::Again
            }
            Err(error) => self.leave_and_go_on(reason_of(error), peer, context, scratch),
        }
    }

    /// The backend failed before it saw anything, or what it saw may be repeated.
    fn leave_and_go_on(
        &mut self,
        reason: Reason,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let stay = flight.stay;
        leave_backend(flight, Outcome::of(reason), context);
        if !stay.is_some_and(|stay| flight.dial.may_go_on(stay, reason, context)) {
            return self.reply(reason, peer, context, scratch);
        }
        flight.begin_again(&mut context.buffers);
        if let Some(entry) = &mut self.entry {
            entry.try_again();
        }
        self.dial(peer, context, scratch)
    }

    /// The backend's connection ended before the final head of an answer.
    pub(super) fn unanswered(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        let is_unheard = !flight.exchange.answer_has_begun();
        let was_kept = is_unheard && upstream.is_some_and(|upstream| upstream.reused);
        let may_repeat = flight.may_repeat();
        if may_repeat && !was_kept {
            return self.leave_and_go_on(Reason::BackendClosed, peer, context, scratch);
        }
        if was_kept {
            // The backend had only grown tired of waiting, which is no failure.
            leave_backend(flight, Outcome::Untold, context);
        }
        if !may_repeat {
            return self.reply(Reason::BackendClosed, peer, context, scratch);
        }
        // It is asked again, over a new connection.
        flight.dial.go_fresh();
        flight.begin_again(&mut context.buffers);
        self.dial(peer, context, scratch)
    }

    /// The exchange's deadline has passed.
    pub(super) fn time_out_exchange(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        if context.now >= peer.at_the_latest {
            return self.time_out_whole(peer, context, scratch);
        }
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        match flight.dial.stage {
            Stage::AtBackend => {}
            Stage::Pausing => return self.dial(peer, context, scratch),
            Stage::InLine(..) => {
                let reason = flight.dial.time_out_line(context);
                return self.reply(reason, peer, context, scratch);
            }
        }
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        if upstream.is_some_and(|upstream| upstream.connecting) {
            return self.leave_and_go_on(Reason::ConnectTimeout, peer, context, scratch);
        }
        if flight.passed {
            return self.break_off_answer(context);
        }
        let client_is_slow = flight.exchange.awaits_request() && !flight.request.waits();
        let reason = if client_is_slow {
            Reason::RequestTimeout
        } else {
            Reason::ResponseTimeout
        };
        self.reply(reason, peer, context, scratch)
    }

    /// The request has taken too long in all.
    fn time_out_whole(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        match &self.flight {
            // Of a client that takes its time nothing can be said against the backend.
            Some(flight) if !flight.passed && self.awaits_client(context) => {
                self.reply(Reason::RequestTimeout, peer, context, scratch)
            }
            Some(flight) if !flight.passed => {
                self.reply(Reason::TotalTimeout, peer, context, scratch)
            }
            _ => self.break_off(Termination::TotalTimeout),
        }
    }

    /// Within the answer nothing has moved for too long.
    fn break_off_answer(&mut self, context: &Context) -> Step {
        let reason = match self.awaits_client(context) {
            true => Termination::ClientTimeoutInResponse,
            false => Termination::BackendTimeoutInResponse,
        };
        self.break_off(reason)
    }

    /// The backend was taken out, and the time for what it had under way is over.
    pub fn cut_off_drained(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        match &self.flight {
            Some(flight) if flight.passed => self.break_off(Termination::Drained),
            Some(flight) if flight.may_repeat() => {
                self.leave_and_go_on(Reason::Drained, peer, context, scratch)
            }
            Some(_) => self.reply(Reason::Drained, peer, context, scratch),
            None => Step::Blocked,
        }
    }
}

/// Whether a kept connection will do: one may have been closed unseen, which what cannot be sent twice must
/// not meet, and none says whose the request is where the backend is to be told.
fn kept(flight: &Flight) -> Kept {
    if flight.private {
        Kept::No
    } else if flight.exchange.is_idempotent() {
        Kept::Yes
    } else {
        Kept::Careful
    }
}

/// The exchange leaves its backend, and the connection is closed.
fn leave_backend(flight: &mut Flight, outcome: Outcome, context: &mut Context) {
    if let Some(upstream) = flight.upstream.take() {
        context.upstreams.remove(upstream);
    }
    if let Some(stay) = flight.stay.take() {
        context.leave(stay, outcome);
    }
}
