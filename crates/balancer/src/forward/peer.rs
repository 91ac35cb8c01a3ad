//! A client's side of its connection.

use std::net::SocketAddrV4;

use rustix::io::Errno;

use super::context::{Context, tag};
use super::outbox::Outbox;
use super::pipe::Pipe;
use super::slots::Key;
use super::wheel::Timer;
use super::wire::{Received, Wire};
use crate::statistics::add;

/// A client's side of its connection: what every kind of session needs of it.
pub struct Peer {
    /// The client's key.
    pub key: Key,
    /// The connection.
    pub wire: Wire,
    /// The client's address.
    pub address: SocketAddrV4,
    /// Whether this is the balancer's own request or the checker's, which no figure counts, no limit holds and no
    /// backend gets.
    pub own: bool,
    /// Whether it takes one of the places that there are for connections.
    pub counted: bool,
    /// Whether it is one of those that its address may have.
    pub counted_client: bool,
    /// Whether what it says of a request's way is believed.
    pub trusted: bool,
    /// When whatever is waited for takes too long.
    pub timer: Timer,
    /// The time in milliseconds that no deadline goes beyond: the bound on a whole request.
    pub at_the_latest: u64,
    /// Bytes that came since the last entry of the access log.
    pub moved_in: u64,
    /// Bytes that went since then.
    pub moved_out: u64,
}

impl Peer {
    /// Reads what the client sent.
    pub fn receive(&mut self, into: &mut [u8], context: &Context) -> Received {
        let received = self.wire.receive(into);
        self.count_in(received, context);
        received
    }

    /// Sends to the client; see [`Wire::send`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(
        &mut self,
        parts: [&[u8]; 2],
        last: bool,
        context: &Context,
    ) -> Result<usize, Errno> {
        let sent = self.wire.send(parts, last)?;
        self.count_out(sent, context);
        Ok(sent)
    }

    /// Sends what waits for the client; see [`Outbox::send`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_waiting(&mut self, outbox: &mut Outbox, context: &Context) -> Result<usize, Errno> {
        let sent = outbox.send(&mut self.wire)?;
        self.count_out(sent, context);
        Ok(sent)
    }

    /// Moves bytes of the client into an empty pipe; see [`Wire::splice_in`].
    pub fn splice_in(&mut self, pipe: &mut Pipe, most: u64, context: &Context) -> Received {
        let received = self.wire.splice_in(pipe, most);
        self.count_in(received, context);
        received
    }

    /// Moves bytes out of a pipe to the client; see [`Wire::splice_out`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn splice_out(&mut self, pipe: &mut Pipe, context: &Context) -> Result<usize, Errno> {
        let sent = self.wire.splice_out(pipe)?;
        self.count_out(sent, context);
        Ok(sent)
    }

    fn count_in(&mut self, received: Received, context: &Context) {
        if let Received::Bytes(count) = received
            && !self.own
        {
            self.moved_in += count as u64;
            add(&context.counters().bytes_in, count as u64);
        }
    }

    fn count_out(&mut self, sent: usize, context: &Context) {
        if !self.own {
            self.moved_out += sent as u64;
            add(&context.counters().bytes_out, sent as u64);
        }
    }

    /// Moves the deadline to so many milliseconds from now, or to the bound on the whole request where that
    /// is earlier.
    pub fn expect_within(&mut self, wait_ms: u64, context: &mut Context) {
        let deadline = context.now.saturating_add(wait_ms).min(self.at_the_latest);
        let token = self.key.pack(tag::CLIENT);
        self.timer.set(deadline, &mut context.wheel, token);
    }

    /// Moves the deadline forward, unless it is sooner already.
    pub fn expect_no_later(&mut self, wait_ms: u64, context: &mut Context) {
        let wait_ms = wait_ms.min(self.timer.left_ms(context.now));
        self.expect_within(wait_ms, context);
    }
}

/// What came of one step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more to do.
    Again,
    /// Nothing can be done until an event or a timer.
    Blocked,
    /// The session has ended.
    Close,
    /// The session is cut off, and the client must see that.
    Reset,
    /// The bytes of both sides now pass through unread.
    Tunnel,
}
