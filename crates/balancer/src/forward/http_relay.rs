//! An exchange's bytes both ways at once; here the answer's way to the client.
//!
//! Bytes go from the scratch buffer of one read straight to the other side; only what that does not take
//! is held. The bytes of long bodies do not come by here: see [`super::http_splice`].

use model::Termination;

use super::admission::Outcome;
use super::context::{Context, Scratch};
use super::http::{Flight, HttpSession, Phase, land};
use super::http_request::HEAD_READ_BYTES;
use super::peer::{Peer, Step};
use super::wire::Received;
use crate::http::exchange::{AnswerStep, Closing, End, Moment};
use crate::http::malformed::Malformed;
use crate::http::reply::Reason;

/// What one read takes while an answer's head is expected: a body of 64 KiB comes with it, and of one that
/// is worth a pipe not much is copied. After such a one it is only [`HEAD_READ_BYTES`].
const FIRST_READ_BYTES: usize = 80 << 10;

/// Bodies of up to so many bytes are copied behind their head.
const JOINED_BYTES: usize = 4 << 10;

impl HttpSession {
    /// Moves what can be moved, once each way.
    pub(super) fn relay(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        if peer.wire.broken {
            return Step::Close;
        }
        if peer.wire.hung_up && self.client_has_gone(peer, context) {
            return Step::Close;
        }
        if self.waits_for_backend() {
            return Step::Blocked;
        }
        let upstream = self.flight.as_ref().and_then(|flight| flight.upstream);
        let Some(upstream) = upstream.and_then(|key| context.upstreams.get(key)) else {
            return Step::Reset;
        };
        if upstream.connecting {
            return self.await_connection(peer, context, scratch);
        }
        match self.forward_request(peer, context, scratch) {
            Step::Blocked => self.forward_answer(peer, context, scratch),
            step => step,
        }
    }

    fn forward_answer(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        if !self.outbox.is_empty() {
            return self.flush(peer, context);
        }
        let upstream = self.flight.as_ref().and_then(|flight| flight.upstream);
        match upstream.and_then(|key| context.upstreams.get(key)) {
            Some(upstream) if upstream.wire.readable => {
                if let Some(pipe) = self.pipe_for_answer(peer, context) {
                    self.splice_answer(pipe, peer, context, scratch)
                } else {
                    self.read_answer(peer, context, scratch)
                }
            }
            _ => Step::Blocked,
        }
    }

    /// Reads some of the answer.
    fn read_answer(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        let held = load_answer(flight, context, scratch);
        let room = context.read_bytes(&peer.wire);
        let Some(upstream) = flight
            .upstream
            .and_then(|key| context.upstreams.get_mut(key))
        else {
            return Step::Reset;
        };
        let room = match flight.exchange.answer_is_final() {
            true => room,
            false if upstream.gives_long_answers => room.min(HEAD_READ_BYTES),
            false => room.min(FIRST_READ_BYTES),
        };
        let end = held.saturating_add(room).min(scratch.input.len());
        let into = scratch.input.get_mut(held..end).unwrap_or_default();
        match upstream.wire.receive(into) {
            Received::Bytes(count) => self.pass_answer(held + count, peer, context, scratch),
            Received::Blocked => {
                let bytes = scratch.input.get(..held).unwrap_or_default();
                flight.answer = context.buffers.hold(bytes);
                Step::Blocked
            }
            Received::Failed(_) if flight.exchange.answer_is_final() => self.cut_off(context),
            Received::Failed(_) => self.unanswered(peer, context, scratch),
            Received::Ended => self.end_of_backend(peer, context, scratch),
        }
    }

    /// The backend's connection has ended, without an error.
    pub(super) fn end_of_backend(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        match flight.exchange.take_end() {
            End::Whole => self.finish_exchange(false, peer, context),
            End::Unanswered => self.unanswered(peer, context, scratch),
            End::CutOff => self.cut_off(context),
        }
    }

    /// Understands the first `filled` bytes of the scratch buffer and passes them on.
    fn pass_answer(
        &mut self,
        filled: usize,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            return Step::Reset;
        };
        scratch.out.clear();
        let input = scratch.input.get_mut(..filled).unwrap_or_default();
        let moment = Moment {
            leaving: context.ends_connections(),
            date: Some(context.date),
        };
        let (fields, out) = (&mut scratch.fields, &mut scratch.out);
        let awaited_client = flight.exchange.awaits_request();
        let AnswerStep { consumed, body } =
            match flight.exchange.take_answer(input, moment, fields, out) {
                Ok(step) => step,
                Err(malformed) => return self.refuse_answer(malformed, peer, context, scratch),
            };
        if flight.exchange.answer_is_final() {
            flight.request.let_go(&mut context.buffers);
        }
        flight.bulk.note(body.len());
        let whole = flight.exchange.answer_is_whole();
        let rest = input.get(consumed..).unwrap_or_default();
        let is_clean = rest.is_empty();
        if !whole {
            flight.answer = context.buffers.hold(rest);
        }
        if !flight.passed && flight.exchange.answer_is_final() {
            flight.passed = true;
            let took_us = context.now_us.saturating_sub(flight.began_us);
            context.latency().first_byte.note(took_us);
            let status = flight.exchange.status();
            context.counters().count_answer(status);
            if let Some(entry) = &mut self.entry {
                entry.first_byte(status, context);
            }
            if let Some(stay) = flight.stay {
                let outcome = Outcome::Answered(status);
                flight.dial.answered(stay, outcome, context);
            }
            note_kind(flight, context);
        }
        let is_tunnel = flight.exchange.is_tunnel();
        let final_has_come = flight.exchange.answer_is_final();
        let invites_client = !awaited_client && flight.exchange.awaits_request();
        let closes = flight.exchange.closing() == Closing::Closes;
        let last = whole && closes && !peer.wire.readable && self.held.is_empty();
        let body = input.get(body).unwrap_or_default();
        let parts = join_small(&mut scratch.out, body);
        if self.send_or_hold(parts, last, peer, context).is_err() {
            return Step::Close;
        }
        if whole {
            self.finish_exchange(is_clean, peer, context)
        } else if is_tunnel {
            Step::Tunnel
        } else {
            // What comes before the final head, interim answers included, does not begin the answer. But
            // after a `100` it is the client's turn.
            if final_has_come || invites_client {
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
            }
            Step::Again
        }
    }

    /// Sends to the client; what it does not take waits.
    fn send_or_hold(
        &mut self,
        parts: [&[u8]; 2],
        last: bool,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Result<(), rustix::io::Errno> {
        let [first, second] = parts;
        if first.is_empty() && second.is_empty() {
            return Ok(());
        }
        let sent = peer.send(parts, last, context)?;
        self.client_moved(sent, context);
        let rest = [
            first.get(sent.min(first.len())..).unwrap_or_default(),
            second
                .get(sent.saturating_sub(first.len())..)
                .unwrap_or_default(),
        ];
        self.outbox.refill(rest, &mut context.buffers);
        Ok(())
    }

    /// The answer is whole: the backend's connection is kept or closed, and the client's goes on.
    pub(super) fn finish_exchange(
        &mut self,
        is_clean: bool,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Step {
        let Some(mut flight) = self.flight.take() else {
            return Step::Reset;
        };
        if let Some(upstream) = flight.upstream.take() {
            if is_clean
                && !flight.private
                && flight.request.is_sent()
                && flight.exchange.backend_may_stay()
            {
                context.retire_upstream(upstream, flight.exchange.answer_is_silenced());
            } else {
                context.upstreams.remove(upstream);
            }
        }
        let closing = flight.exchange.closing();
        if !flight.exchange.request_is_whole() {
            // More of it may be on its way, and must not turn the close into a reset.
            peer.wire.readable = true;
        }
        let took_us = context.now_us.saturating_sub(flight.began_us);
        context.latency().whole.note(took_us);
        let outcome = Outcome::Answered(flight.exchange.status());
        land(flight, outcome, context);
        self.phase = Phase::Answering(closing);
        peer.expect_within(context.snapshot.timeouts.idle_ms, context);
        Step::Again
    }

    /// The answer cannot be understood in one way only.
    fn refuse_answer(
        &mut self,
        _malformed: Malformed,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        match &self.flight {
            Some(flight) if !flight.passed => {
                self.reply(Reason::MalformedResponse, peer, context, scratch)
            }
            _ => {
                self.break_off(Termination::MalformedInResponse);
                self.reset(Outcome::Failed(Reason::MalformedResponse), context)
            }
        }
    }

    /// The backend's connection ended within the answer, whose head was passed on.
    pub(super) fn cut_off(&mut self, context: &mut Context) -> Step {
        self.break_off(Termination::BackendClosedInResponse);
        self.reset(Outcome::Failed(Reason::BackendClosed), context)
    }

    /// The client has part of an answer that will never be whole.
    pub(super) fn reset(&mut self, outcome: Outcome, context: &mut Context) -> Step {
        self.give_up(outcome, context);
        Step::Reset
    }
}

/// A small body goes out behind its head as one piece: to copy it costs less than to have the kernel collect
/// two.
fn join_small<'a>(head: &'a mut Vec<u8>, body: &'a [u8]) -> [&'a [u8]; 2] {
    if head.is_empty() || body.len() > JOINED_BYTES {
        return [head, body];
    }
    head.extend_from_slice(body);
    [head, b""]
}

/// Puts the beginning of an answer's head back into the scratch buffer; returns how many bytes.
fn load_answer(flight: &mut Flight, context: &mut Context, scratch: &mut Scratch) -> usize {
    let held = std::mem::take(&mut flight.answer);
    if let Some(to) = scratch.input.get_mut(..held.len()) {
        to.copy_from_slice(&held);
    }
    let count = held.len();
    context.buffers.release(held);
    count
}

/// The answer's head has come: it says what the next answer on this connection is most likely to be.
fn note_kind(flight: &Flight, context: &mut Context) {
    let upstream = flight
        .upstream
        .and_then(|key| context.upstreams.get_mut(key));
    if let Some(upstream) = upstream {
        upstream.gives_long_answers = flight.exchange.answer_is_long(flight.bulk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_is_sent_with_its_head_and_a_large_one_is_not_copied() {
        let large = vec![b'x'; JOINED_BYTES + 1];
        for (head, body, pieces) in [
            (&b"head"[..], &b"body"[..], [&b"headbody"[..], b""]),
            (b"head", b"", [b"head", b""]),
            (b"", b"body", [b"", b"body"]),
            (b"head", &large, [b"head", &large]),
        ] {
            assert_eq!(join_small(&mut head.to_vec(), body), pieces);
        }
    }
}
