//! The request's way to the backend: what was read with its head, then the rest of its body as it comes.
//!
//! As long as nothing but the first piece was sent it is held, so that it can be sent again.

use model::Termination;

use super::admission::Outcome;
use super::context::{Context, Scratch};
use super::http::{Flight, HttpSession};
use super::http_request::HEAD_READ_BYTES;
use super::peer::{Peer, Step};
use super::wire::Received;
use crate::http::reply::Reason;

/// What one read takes of a request's body that comes in chunks.
const CHUNKS_READ_BYTES: u64 = 48 << 10;

impl HttpSession {
    /// Sends what waits of the request, or reads more of it.
    pub(super) fn forward_request(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        if flight.request.is_refused() {
            Step::Blocked
        } else if flight.request.waits() {
            send_request(flight, peer, context)
        } else if !flight.exchange.request_is_whole() && peer.wire.readable {
            match self.pipe_for_request(context) {
                Some(pipe) => self.splice_request(pipe, peer, context),
                None => self.stream_request(peer, context, scratch),
            }
        } else {
            Step::Blocked
        }
    }

    /// Reads more of the request's body and sends it on.
    fn stream_request(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        let Some(upstream) = upstream else {
            return Step::Reset;
        };
        let room = context.read_bytes(&upstream.wire).min(body_room(flight));
        let input = scratch.input.get_mut(..room).unwrap_or_default();
        let count = match peer.receive(input, context) {
            Received::Bytes(count) => count,
            Received::Blocked => return Step::Blocked,
            Received::Ended | Received::Failed(_) => return Step::Close,
        };
        let rate = context.snapshot.edge.client_rate;
        self.pace.moved(count, rate, context.now);
        let input = input.get_mut(..count).unwrap_or_default();
        let body = match flight.exchange.take_request(input) {
            Ok(body) => body,
            Err(_) if flight.passed => {
                self.break_off(Termination::MalformedRequestBody);
                return self.reset(Outcome::Untold, context);
            }
            Err(malformed) => {
                return self.reply(Reason::Rejected(malformed), peer, context, scratch);
            }
        };
        self.held = context
            .buffers
            .hold(input.get(body.consumed..).unwrap_or_default());
        let kept = input.get(..body.kept).unwrap_or_default();
        let upstream = flight
            .upstream
            .and_then(|key| context.upstreams.get_mut(key));
        let wire = upstream.map(|upstream| &mut upstream.wire);
        flight.request.follow(kept, wire, &mut context.buffers);
        look_for_answer(flight, context);
        expect_progress(flight, peer, context);
        Step::Again
    }
}

/// What one read of a request's body takes: hardly more than what is left of it, for the same reason as
/// [`HEAD_READ_BYTES`].
fn body_room(flight: &Flight) -> usize {
    let left = flight.exchange.request_left().unwrap_or(CHUNKS_READ_BYTES);
    usize::try_from(left)
        .unwrap_or(usize::MAX)
        .saturating_add(HEAD_READ_BYTES)
}

/// Sends what waits of the request.
fn send_request(flight: &mut Flight, peer: &mut Peer, context: &mut Context) -> Step {
    let Some(upstream) = flight
        .upstream
        .and_then(|key| context.upstreams.get_mut(key))
    else {
        return Step::Reset;
    };
    if !upstream.wire.writable {
        return Step::Blocked;
    }
    flight.request.send(&mut upstream.wire);
    look_for_answer(flight, context);
    expect_progress(flight, peer, context);
    if flight.request.waits() {
        Step::Blocked
    } else {
        Step::Again
    }
}

/// Where the backend takes no more of the request, an answer may have come before it stopped.
pub(super) fn look_for_answer(flight: &Flight, context: &mut Context) {
    let upstream = flight
        .upstream
        .filter(|_| flight.request.is_refused())
        .and_then(|key| context.upstreams.get_mut(key));
    if let Some(upstream) = upstream {
        upstream.wire.readable = true;
    }
}

/// Waits for the answer to begin once all of the request is sent, or for leave to send the rest, and until
/// then for any byte.
pub(super) fn expect_progress(flight: &mut Flight, peer: &mut Peer, context: &mut Context) {
    let exchange = &flight.exchange;
    let backend_is_next = !flight.request.waits() && !exchange.awaits_request();
    let timeouts = &context.snapshot.timeouts;
    let wait_ms = if backend_is_next && !exchange.answer_is_final() {
        if exchange.request_is_whole() {
            flight.dial.await_answer(context);
        }
        timeouts.response_ms
    } else {
        timeouts.idle_ms
    };
    peer.expect_within(wait_ms, context);
}
