//! One direction of a session whose bytes are not looked at: from one end's socket to the other's.
//!
//! Bytes are copied through the scratch buffer until reads are so large, again and again, that moving them
//! through a pipe costs less; see [`Bulk`].

use rustix::io::Errno;

use super::context::{Context, Scratch, Upstream};
use super::outbox::Outbox;
use super::peer::Peer;
use super::pipe::Pipe;
use super::slots::Key;
use super::wire::{Received, Wire};
use crate::bulk::Bulk;
use crate::statistics::add;
use crate::tcp::{Act, Direction};

/// An end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

/// A connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub end: End,
    /// What the kernel says of it.
    pub error: Errno,
}

/// The backend's connection is gone.
const NO_BACKEND: Broken = Broken {
    end: End::Backend,
    error: Errno::NOTCONN,
};

/// Both ends of a session.
pub struct Ends<'a> {
    /// The client's side.
    pub peer: &'a mut Peer,
    /// The backend's connection.
    pub upstream: Option<Key>,
}

/// One direction of a session.
#[derive(Default)]
pub struct Lane {
    direction: Direction,
    outbox: Outbox,
    bulk: Bulk,
}

impl Lane {
    /// A direction that begins with bytes on their way.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Self {
            direction: Direction::new(!outbox.is_empty()),
            outbox,
            bulk: Bulk::default(),
        }
    }

    /// Whether everything has passed and the sink knows it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.direction.has_ended()
    }

    /// Whether the sink was given all that the source will ever give.
    #[must_use]
    pub fn has_delivered(&self) -> bool {
        self.direction.has_delivered()
    }

    /// The sink's connection is broken: what the source still says is thrown away.
    pub fn lose_sink(&mut self, context: &mut Context) {
        self.outbox.clear(&mut context.buffers);
        self.direction.lose_sink();
    }

    /// The source's connection is broken: it gives no more.
    pub fn lose_source(&mut self) {
        self.direction.end_of_source();
    }

    /// Moves bytes from `source` to the other end, or an end of its half; says whether anything was done.
    ///
    /// # Errors
    /// When either connection is broken.
    pub fn advance(
        &mut self,
        source: End,
        ends: &mut Ends<'_>,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<bool, Broken> {
        let sink = source.other();
        let readable = ends.wire(source, context)?.readable;
        let writable = ends.wire(sink, context)?.writable;
        let received = match self.direction.next(readable, writable) {
            Act::Read => self.pass(source, ends, context, scratch)?,
            Act::Write => {
                ends.send_waiting(sink, &mut self.outbox, context)?;
                self.outbox.forget_if_sent(&mut context.buffers);
                self.direction.wrote(!self.outbox.is_empty());
                return Ok(true);
            }
            Act::EndSink => {
                ends.wire(sink, context)?.end_sending();
                self.direction.end_of_sink();
                return Ok(true);
            }
            Act::Discard => ends.receive(source, &mut scratch.input, context)?,
            Act::Wait | Act::Nothing => return Ok(false),
        };
        match received {
            Received::Bytes(count) => {
                self.bulk.note(count);
                self.direction.wrote(!self.outbox.is_empty());
            }
            Received::Ended => self.direction.end_of_source(),
            Received::Blocked => return Ok(false),
            Received::Failed(error) => return Err(Broken { end: source, error }),
        }
        Ok(true)
    }

    /// Reads once and writes once, by the cheaper way.
    fn pass(
        &mut self,
        source: End,
        ends: &mut Ends<'_>,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<Received, Broken> {
        if self.bulk.is_sustained()
            && let room = ends.wire(source.other(), context)?.room()
            && let Some(pipe) = context.lend_pipe(room)
        {
            self.splice(pipe, source, ends, context)
        } else {
            self.copy(source, ends, context, scratch)
        }
    }

    fn copy(
        &mut self,
        source: End,
        ends: &mut Ends<'_>,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<Received, Broken> {
        let room = ends.read_bytes(source.other(), context)?;
        let input = scratch.input.get_mut(..room).unwrap_or_default();
        let received = ends.receive(source, input, context)?;
        if let Received::Bytes(count) = received {
            let bytes = input.get(..count).unwrap_or_default();
            let sent = ends.send(source.other(), bytes, context)?;
            let rest = bytes.get(sent..).unwrap_or_default();
            self.outbox.refill([rest, b""], &mut context.buffers);
        }
        Ok(received)
    }

    fn splice(
        &mut self,
        mut pipe: Box<Pipe>,
        source: End,
        ends: &mut Ends<'_>,
        context: &mut Context,
    ) -> Result<Received, Broken> {
        let received = ends.splice_in(source, &mut pipe, context);
        let mut sent = Ok(0);
        if let Ok(Received::Bytes(count)) = received {
            add(&context.counters().bytes_spliced, count as u64);
            sent = ends.splice_out(source.other(), &mut pipe, context);
        }
        self.outbox.refill_with_pipe(pipe, &mut context.buffers);
        sent.and(received)
    }

    /// Gives all memory back.
    pub fn end(&mut self, context: &mut Context) {
        self.outbox.clear(&mut context.buffers);
    }
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// The backend's connection may be gone, which is a break like any other.
impl Ends<'_> {
    fn upstream<'a>(&self, context: &'a mut Context) -> Result<&'a mut Upstream, Broken> {
        self.upstream
            .and_then(|key| context.upstreams.get_mut(key))
            .ok_or(NO_BACKEND)
    }

    fn wire<'a>(&'a mut self, end: End, context: &'a mut Context) -> Result<&'a mut Wire, Broken> {
        match end {
            End::Client => Ok(&mut self.peer.wire),
            End::Backend => Ok(&mut self.upstream(context)?.wire),
        }
    }

    /// How many bytes one read may take that go on to this end.
    fn read_bytes(&self, to: End, context: &Context) -> Result<usize, Broken> {
        let wire = match to {
            End::Client => &self.peer.wire,
            End::Backend => {
                let upstream = self.upstream.and_then(|key| context.upstreams.get(key));
                &upstream.ok_or(NO_BACKEND)?.wire
            }
        };
        Ok(context.read_bytes(wire))
    }

    fn receive(
        &mut self,
        from: End,
        into: &mut [u8],
        context: &mut Context,
    ) -> Result<Received, Broken> {
        match from {
            End::Client => Ok(self.peer.receive(into, context)),
            End::Backend => Ok(self.upstream(context)?.wire.receive(into)),
        }
    }

    fn send(&mut self, to: End, bytes: &[u8], context: &mut Context) -> Result<usize, Broken> {
        let sent = match to {
            End::Client => self.peer.send([bytes, b""], false, context),
            End::Backend => self.upstream(context)?.wire.send([bytes, b""], false),
        };
        sent.map_err(|error| Broken { end: to, error })
    }

    fn send_waiting(
        &mut self,
        to: End,
        outbox: &mut Outbox,
        context: &mut Context,
    ) -> Result<usize, Broken> {
        let sent = match to {
            End::Client => self.peer.send_waiting(outbox, context),
            End::Backend => outbox.send(&mut self.upstream(context)?.wire),
        };
        sent.map_err(|error| Broken { end: to, error })
    }

    fn splice_in(
        &mut self,
        from: End,
        pipe: &mut Pipe,
        context: &mut Context,
    ) -> Result<Received, Broken> {
        match from {
            End::Client => Ok(self.peer.splice_in(pipe, u64::MAX, context)),
            End::Backend => Ok(self.upstream(context)?.wire.splice_in(pipe, u64::MAX)),
        }
    }

    fn splice_out(
        &mut self,
        to: End,
        pipe: &mut Pipe,
        context: &mut Context,
    ) -> Result<usize, Broken> {
        let sent = match to {
            End::Client => self.peer.splice_out(pipe, context),
            End::Backend => self.upstream(context)?.wire.splice_out(pipe),
        };
        sent.map_err(|error| Broken { end: to, error })
    }
}
