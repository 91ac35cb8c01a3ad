//! TCP over sockets: carries out what [`crate::tcp`] decides, for sessions of TCP and for tunnels that an
//! HTTP exchange became.
//!
//! The backend is connected to before the client has sent a byte, since in many protocols the server
//! speaks first. A client that no backend takes is reset.

use rustix::io::Errno;

use super::backends::{Ask, Place};
use super::buffers::Outbox;
use super::context::{Context, Scratch, Upstream};
use super::http::ATTEMPTS;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::wire::Received;
use crate::statistics::add;
use crate::tcp::{Act, Direction};

/// A client's connection whose bytes pass through unread.
pub struct TcpSession {
    upstream: Option<Key>,
    place: Option<Place>,
    tried: Vec<Place>,
    attempts: usize,
    to_backend: Outbox,
    to_client: Outbox,
    up: Direction,
    down: Direction,
}

impl TcpSession {
    /// Begins a session with a connection to a backend.
    pub fn begin(peer: &mut Peer, context: &mut Context) -> (Self, Step) {
        add(&context.counters().requests, 1);
        let mut session = Self {
            upstream: None,
            place: None,
            tried: Vec::new(),
            attempts: 0,
            to_backend: Outbox::default(),
            to_client: Outbox::default(),
            up: Direction::default(),
            down: Direction::default(),
        };
        let step = session.dial(peer, context);
        (session, step)
    }

    /// Goes on with connections that an exchange made; the outboxes hold what is on its way.
    #[must_use]
    pub fn adopt(upstream: Key, place: Place, to_backend: Outbox, to_client: Outbox) -> Self {
        Self {
            upstream: Some(upstream),
            place: Some(place),
            tried: Vec::new(),
            attempts: ATTEMPTS,
            up: Direction::new(!to_backend.is_empty()),
            down: Direction::new(!to_client.is_empty()),
            to_backend,
            to_client,
        }
    }

    fn dial(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        while self.attempts < ATTEMPTS {
            let ask = Ask {
                key: 0,
                tried: &self.tried,
                now_us: context.now_us,
            };
            let Some(place) = context.backends.pick(ask) else {
                break;
            };
            self.attempts += 1;
            self.place = Some(place);
            context.backends.begin(place);
            match context.connect_upstream(place, peer.key) {
                Ok(upstream) => {
                    self.upstream = Some(upstream);
                    peer.expect_within(context.snapshot.timeouts.connect_ms, context);
                    return Step::Blocked;
                }
                Err(_) => self.leave_backend(true, context),
            }
        }
        add(&context.counters().errors, 1);
        Step::Reset
    }

    /// Does the next thing that can be done.
    pub fn step(&mut self, peer: &mut Peer, context: &mut Context, scratch: &mut Scratch) -> Step {
        let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get(key)) else {
            return Step::Reset;
        };
        if upstream.connecting {
            return self.await_connection(peer, context);
        }
        let moved = [
            self.move_up(peer, context, scratch),
            self.move_down(peer, context, scratch),
        ];
        match moved {
            [Ok(false), Ok(false)] => Step::Blocked,
            [Ok(_), Ok(_)] if self.up.has_ended() && self.down.has_ended() => Step::Close,
            [Ok(_), Ok(_)] => {
                peer.expect_within(context.snapshot.timeouts.idle_ms, context);
                Step::Again
            }
            _ => {
                // Each side learns that the other is gone.
                if let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get(key)) {
                    upstream.wire.reset_on_close();
                }
                Step::Reset
            }
        }
    }

    fn await_connection(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        let Some(upstream) = self.upstream.and_then(|key| context.upstreams.get_mut(key)) else {
            return Step::Reset;
        };
        if peer.wire.broken {
            return Step::Close;
        }
        if !upstream.wire.writable {
            return Step::Blocked;
        }
        if upstream.wire.outcome().is_err() {
            self.leave_backend(true, context);
            return self.dial(peer, context);
        }
        upstream.connecting = false;
        upstream.wire.readable = true;
        peer.expect_within(context.snapshot.timeouts.idle_ms, context);
        Step::Again
    }

    /// Moves bytes from the client to the backend; says whether anything was done.
    fn move_up(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<bool, Errno> {
        let sink = upstream_of(self.upstream, &mut *context)?;
        match self.up.next(peer.wire.readable, sink.wire.writable) {
            Act::Read => {
                let room = context.read_bytes();
                let input = scratch.input.get_mut(..room).unwrap_or_default();
                let count = match peer.receive(input, context) {
                    Received::Bytes(count) => count,
                    Received::Blocked => return Ok(false),
                    Received::Ended => {
                        self.up.end_of_source();
                        return Ok(true);
                    }
                    Received::Failed(error) => return Err(error),
                };
                let bytes = input.get(..count).unwrap_or_default();
                let sent = upstream_of(self.upstream, context)?
                    .wire
                    .send([bytes, b""], false)?;
                let rest = bytes.get(sent..).unwrap_or_default();
                self.to_backend.refill([rest, b""], &mut context.buffers);
            }
            Act::Write => {
                let sent = sink.wire.send([self.to_backend.rest(), b""], false)?;
                self.to_backend.advance(sent);
                self.to_backend.forget_if_sent(&mut context.buffers);
            }
            Act::EndSink => {
                sink.wire.end_sending();
                self.up.end_of_sink();
            }
            Act::Wait | Act::Nothing => return Ok(false),
        }
        self.up.wrote(!self.to_backend.is_empty());
        Ok(true)
    }

    /// Moves bytes from the backend to the client; says whether anything was done.
    fn move_down(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<bool, Errno> {
        let room = context.read_bytes();
        let source = upstream_of(self.upstream, context)?;
        match self.down.next(source.wire.readable, peer.wire.writable) {
            Act::Read => {
                let input = scratch.input.get_mut(..room).unwrap_or_default();
                let count = match source.wire.receive(input) {
                    Received::Bytes(count) => count,
                    Received::Blocked => return Ok(false),
                    Received::Ended => {
                        self.down.end_of_source();
                        return Ok(true);
                    }
                    Received::Failed(error) => return Err(error),
                };
                let bytes = input.get(..count).unwrap_or_default();
                let sent = peer.send([bytes, b""], false, context)?;
                let rest = bytes.get(sent..).unwrap_or_default();
                self.to_client.refill([rest, b""], &mut context.buffers);
            }
            Act::Write => {
                let sent = peer.send([self.to_client.rest(), b""], false, context)?;
                self.to_client.advance(sent);
                self.to_client.forget_if_sent(&mut context.buffers);
            }
            Act::EndSink => {
                peer.wire.end_sending();
                self.down.end_of_sink();
            }
            Act::Wait | Act::Nothing => return Ok(false),
        }
        self.down.wrote(!self.to_client.is_empty());
        Ok(true)
    }

    /// The deadline has passed: for a connection, the next backend is tried.
    pub fn time_out(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        let upstream = self.upstream.and_then(|key| context.upstreams.get(key));
        if upstream.is_some_and(|upstream| upstream.connecting) {
            self.leave_backend(true, context);
            self.dial(peer, context)
        } else {
            Step::Reset
        }
    }

    fn leave_backend(&mut self, failed: bool, context: &mut Context) {
        if let Some(upstream) = self.upstream.take() {
            context.upstreams.remove(upstream);
        }
        if let Some(place) = self.place.take() {
            context.backends.end(place, failed);
            self.tried.push(place);
        }
    }

    /// Gives all memory back, at the connection's end.
    pub fn end(&mut self, context: &mut Context) {
        self.leave_backend(false, context);
        self.to_backend.clear(&mut context.buffers);
        self.to_client.clear(&mut context.buffers);
    }
}

fn upstream_of(key: Option<Key>, context: &mut Context) -> Result<&mut Upstream, Errno> {
    key.and_then(|key| context.upstreams.get_mut(key))
        .ok_or(Errno::NOTCONN)
}
