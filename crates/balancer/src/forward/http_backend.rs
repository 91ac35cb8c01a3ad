//! Which connection carries an exchange: choosing, connecting, and trying again.

use rustix::io::Errno;

use super::backends::Ask;
use super::context::{Context, Scratch};
use super::http::{ATTEMPTS, Flight, HttpSession};
use super::peer::{Peer, Step};
use crate::http::reply::Reason;

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
        while flight.attempts < ATTEMPTS {
            let ask = Ask {
                key: flight.key,
                tried: &flight.tried,
                now_us: context.now_us,
            };
            let Some(place) = context.backends.pick(ask) else {
                break;
            };
            flight.attempts += 1;
            flight.place = Some(place);
            context.backends.begin(place);
            if !flight.fresh {
                let careful = !flight.exchange.is_idempotent();
                flight.upstream = context.take_idle_upstream(place, peer.key, careful);
            }
            if flight.upstream.is_some() {
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                return Step::Again;
            }
            match context.connect_upstream(place, peer.key) {
                Ok(upstream) => {
                    flight.upstream = Some(upstream);
                    peer.expect_within(context.snapshot.timeouts.connect_ms, context);
                    return Step::Blocked;
                }
                Err(error) => leave_backend(flight, reason_of(error), true, context),
            }
        }
        let failure = flight.failure;
        self.reply(failure, peer, context, scratch)
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
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                Step::Again
            }
            Err(error) => {
                leave_backend(flight, reason_of(error), true, context);
                self.dial(peer, context, scratch)
            }
        }
    }

    /// The backend's connection ended without a byte of an answer.
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
        let was_kept = upstream.is_some_and(|upstream| upstream.reused);
        let may_repeat = flight.exchange.may_repeat(flight.sent());
        leave_backend(flight, Reason::BackendClosed, !was_kept, context);
        if !may_repeat {
            return self.reply(Reason::BackendClosed, peer, context, scratch);
        }
        if was_kept {
            // The backend had only grown tired of waiting: it is asked again, over a new connection.
            flight.tried.pop();
            flight.fresh = true;
        }
        flight.request.rewind();
        flight.refused = false;
        self.dial(peer, context, scratch)
    }

    /// The exchange's deadline has passed.
    pub(super) fn time_out_exchange(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        if upstream.is_some_and(|upstream| upstream.connecting) {
            leave_backend(flight, Reason::ConnectTimeout, true, context);
            return self.dial(peer, context, scratch);
        }
        if flight.passed {
            return Step::Reset;
        }
        let client_is_slow = !flight.exchange.request_is_whole() && flight.request.is_empty();
        let reason = if client_is_slow {
            Reason::RequestTimeout
        } else {
            Reason::ResponseTimeout
        };
        self.reply(reason, peer, context, scratch)
    }
}

/// The exchange leaves its backend: the connection is closed, and the backend is not tried again.
fn leave_backend(flight: &mut Flight, failure: Reason, failed: bool, context: &mut Context) {
    if let Some(upstream) = flight.upstream.take() {
        context.upstreams.remove(upstream);
    }
    if let Some(place) = flight.place.take() {
        context.backends.end(place, failed);
        flight.tried.push(place);
    }
    flight.failure = failure;
}

fn reason_of(error: Errno) -> Reason {
    match error {
        Errno::CONNREFUSED => Reason::ConnectRefused,
        Errno::TIMEDOUT => Reason::ConnectTimeout,
        _ => Reason::ConnectFailed,
    }
}
