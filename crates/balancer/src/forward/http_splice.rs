//! Long bodies through a pipe: from one socket to the other without being copied.
//!
//! A pipe is lent for one move. What the other side does not take stays in it and waits as bytes in an
//! outbox do, so all that is true of waiting bytes is true here: nothing is read meanwhile, deadlines move
//! with what is taken, and the backend's connection is free as soon as its last byte is in the pipe.
//!
//! Only bodies with a length, or that last until the connection's end, come this way. Chunks are looked
//! at, and so are copied. The last piece of a body may come either way.

use super::context::{Context, Scratch};
use super::http::HttpSession;
use super::http_upload::{expect_progress, look_for_answer};
use super::peer::{Peer, Step};
use super::pipe::Pipe;
use super::wire::Received;
use crate::statistics::add;

impl HttpSession {
    /// A pipe, when what is left of the answer is worth one.
    pub(super) fn pipe_for_answer(&self, peer: &Peer, context: &mut Context) -> Option<Box<Pipe>> {
        let flight = self.flight.as_ref()?;
        let suits = flight.exchange.answer_is_long(flight.bulk) && flight.answer.is_empty();
        suits.then(|| context.lend_pipe(peer.wire.room()))?
    }

    /// Moves some of the answer's body.
    pub(super) fn splice_answer(
        &mut self,
        mut pipe: Box<Pipe>,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            context.buffers.pipes.give(pipe);
            return Step::Reset;
        };
        let Some(upstream) = flight
            .upstream
            .and_then(|key| context.upstreams.get_mut(key))
        else {
            context.buffers.pipes.give(pipe);
            return Step::Reset;
        };
        let most = flight.exchange.opaque_answer();
        let received = upstream.wire.splice_in(&mut pipe, most);
        let (mut sent, mut whole) = (Ok(0), false);
        if let Received::Bytes(count) = received {
            flight.bulk.note(count);
            flight.exchange.pass_answer(count as u64);
            whole = flight.exchange.answer_is_whole();
            if whole {
                upstream.wire.look_again();
            }
            add(&context.counters().bytes_spliced, count as u64);
            sent = peer.splice_out(&mut pipe, context);
        }
        self.outbox.refill_with_pipe(pipe, &mut context.buffers);
        let Ok(sent) = sent else {
            return Step::Close;
        };
        self.client_moved(sent, context);
        match received {
            Received::Bytes(_) if whole => self.finish_exchange(true, peer, context),
            Received::Bytes(_) => {
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                Step::Again
            }
            Received::Blocked => Step::Blocked,
            Received::Ended => self.end_of_backend(peer, context, scratch),
            Received::Failed(_) => self.cut_off(context),
        }
    }

    /// A pipe, when what is left of the request is worth one.
    pub(super) fn pipe_for_request(&self, context: &mut Context) -> Option<Box<Pipe>> {
        let flight = self.flight.as_ref()?;
        let suits = flight.exchange.request_is_long();
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        let room = upstream.filter(|_| suits)?.wire.room();
        context.lend_pipe(room)
    }

    /// Moves some of the request's body.
    pub(super) fn splice_request(
        &mut self,
        mut pipe: Box<Pipe>,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Step {
        let Some(flight) = self.flight.as_mut() else {
            context.buffers.pipes.give(pipe);
            return Step::Reset;
        };
        let most = flight.exchange.opaque_request();
        let count = match peer.splice_in(&mut pipe, most, context) {
            Received::Bytes(count) => count,
            nothing => {
                // What was sent of the request stays held: nothing has followed it.
                context.buffers.pipes.give(pipe);
                return match nothing {
                    Received::Blocked => Step::Blocked,
                    _ => Step::Close,
                };
            }
        };
        let rate = context.snapshot.edge.client_rate;
        self.pace.moved(count, rate, context.now);
        flight.exchange.pass_request(count as u64);
        add(&context.counters().bytes_spliced, count as u64);
        let upstream = flight
            .upstream
            .and_then(|key| context.upstreams.get_mut(key));
        let wire = upstream.map(|upstream| &mut upstream.wire);
        flight
            .request
            .follow_through(pipe, wire, &mut context.buffers);
        look_for_answer(flight, context);
        expect_progress(flight, peer, context);
        Step::Again
    }
}
