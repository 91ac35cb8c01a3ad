//! One client's connection, whatever it carries.

use rustix::event::epoll::EventFlags;

use super::context::{Context, Scratch, tag};
use super::http::HttpSession;
use super::outbox::Outbox;
use super::peer::{Peer, Step};
use super::slots::Key;
use super::tcp::TcpSession;
use super::wire::Received;
use crate::line::Grant;
use crate::statistics::subtract;

/// Steps that one connection may take before the others have their turn.
const STEPS: usize = 32;

/// What a connection carries.
pub enum Session {
    /// Nothing yet: a PROXY header comes first.
    Announced,
    /// HTTP/1.1.
    Http(HttpSession),
    /// Bytes that are not looked at.
    Tcp(Box<TcpSession>),
}

impl Session {
    /// The backend's connection, while there is one.
    fn upstream(&self) -> Option<Key> {
        match self {
            Self::Announced => None,
            Self::Http(session) => session.flight.as_ref()?.upstream,
            Self::Tcp(session) => session.upstream(),
        }
    }
}

/// One client's connection.
pub struct Client {
    /// The client's side.
    pub peer: Peer,
    /// What it carries.
    pub session: Session,
    /// Whether it waits to have its events delivered.
    pub unwatched: bool,
    /// Whether it is among those that have more to do in the next turn.
    pub is_ready: bool,
}

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for an event or a timer.
    Waits,
    /// It waits, and its events are not delivered yet.
    WaitsUnwatched,
    /// It has more to do.
    Ready,
    /// It has ended.
    Ended,
}

impl Client {
    /// Takes an event in.
    pub fn note(&mut self, flags: EventFlags) {
        self.peer.wire.note(flags);
    }

    /// Does what can be done now.
    pub fn drive(&mut self, context: &mut Context, scratch: &mut Scratch) -> Fate {
        for _ in 0..STEPS {
            let step = match &mut self.session {
                Session::Announced => self.read_announcement(context, scratch),
                Session::Http(session) => session.step(&mut self.peer, context, scratch),
                Session::Tcp(session) => session.step(&mut self.peer, context, scratch),
            };
            match self.conclude(step, context) {
                Fate::Ready => {}
                fate => return fate,
            }
        }
        Fate::Ready
    }

    /// The deadline has passed.
    pub fn time_out(&mut self, context: &mut Context, scratch: &mut Scratch) -> Fate {
        let step = match &mut self.session {
            Session::Announced => Step::Close,
            Session::Http(session) => session.time_out(&mut self.peer, context, scratch),
            Session::Tcp(session) => session.time_out(&mut self.peer, context),
        };
        self.conclude(step, context)
    }

    /// A slot of a backend was granted, for which it waited.
    pub fn take_grant(
        &mut self,
        grant: &Grant,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Fate {
        let step = match &mut self.session {
            Session::Announced => {
                context.return_grant(&grant.record);
                Step::Blocked
            }
            Session::Http(session) => session.take_grant(grant, &mut self.peer, context, scratch),
            Session::Tcp(session) => session.take_grant(grant, &mut self.peer, context),
        };
        self.conclude(step, context)
    }

    /// Backends have come or gone while it waited for one.
    pub fn reconsider(&mut self, context: &mut Context, scratch: &mut Scratch) -> Fate {
        let step = match &mut self.session {
            Session::Announced => Step::Blocked,
            Session::Http(session) => session.reconsider(&mut self.peer, context, scratch),
            Session::Tcp(session) => session.reconsider(&mut self.peer, context),
        };
        self.conclude(step, context)
    }

    /// Its backend was taken out, and the time for what was under way is over.
    pub fn cut_off_drained(&mut self, context: &mut Context, scratch: &mut Scratch) -> Fate {
        let step = match &mut self.session {
            Session::Announced => Step::Blocked,
            Session::Http(session) => session.cut_off_drained(&mut self.peer, context, scratch),
            Session::Tcp(session) => session.cut_off_drained(&mut self.peer, context),
        };
        self.conclude(step, context)
    }

    /// What one step means for the connection.
    pub fn conclude(&mut self, step: Step, context: &mut Context) -> Fate {
        match step {
            Step::Again => Fate::Ready,
            Step::Blocked => self.wait(context),
            Step::Close => Fate::Ended,
            Step::Reset => {
                self.peer.wire.reset_on_close();
                Fate::Ended
            }
            Step::Tunnel => self.become_tunnel(context),
        }
    }

    /// Has events delivered before waiting. While a first request is at a backend that can wait: most
    /// connections that carry one request are over by then, and save the call.
    fn wait(&mut self, context: &mut Context) -> Fate {
        if let Some(upstream) = self.session.upstream()
            && !context.watch_upstream(upstream)
        {
            return Fate::Ended;
        }
        if !self.peer.wire.is_unwatched() {
            return Fate::Waits;
        }
        match &self.session {
            _ if self.peer.wire.is_registered() => self.watch(context),
            Session::Http(session) if session.awaits_backend() && self.unwatched => Fate::Waits,
            Session::Http(session) if session.awaits_backend() => {
                self.unwatched = true;
                Fate::WaitsUnwatched
            }
            _ => self.watch(context),
        }
    }

    /// Has events delivered from now on.
    pub fn watch(&mut self, context: &mut Context) -> Fate {
        let token = self.peer.key.pack(tag::CLIENT);
        match self.peer.wire.ensure_watched(context.epoll(), token) {
            Ok(()) => Fate::Waits,
            Err(_) => Fate::Ended,
        }
    }

    fn become_tunnel(&mut self, context: &mut Context) -> Fate {
        let Session::Http(session) = &mut self.session else {
            return Fate::Ended;
        };
        let Some(tunnel) = session.take_tunnel(context) else {
            return Fate::Ended;
        };
        self.peer.at_the_latest = u64::MAX;
        let idle_ms = context.snapshot.timeouts.idle_ms;
        self.peer.expect_within(idle_ms, context);
        self.session = Session::Tcp(Box::new(tunnel));
        Fate::Ready
    }

    /// Whether the client waits for nothing and nothing has come from it, so that its connection can be
    /// closed without loss.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        let is_idle = match &self.session {
            Session::Announced => true,
            Session::Http(session) => session.is_idle(),
            Session::Tcp(_) => false,
        };
        is_idle && self.peer.wire.peek() == Received::Blocked
    }

    /// Gives all memory back, at the connection's end.
    pub fn end(&mut self, context: &mut Context) {
        match &mut self.session {
            Session::Announced => {}
            Session::Http(session) => session.end(&mut self.peer, context),
            Session::Tcp(session) => session.end(&mut self.peer, context),
        }
        if self.peer.counted {
            context.free_place();
        }
        if self.peer.counted_client {
            let connections = &context.shared.connections;
            connections.leave_client(*self.peer.address.ip());
        }
        if !self.peer.own {
            subtract(&context.counters().open_connections, 1);
        }
    }
}

impl HttpSession {
    /// The connections of an exchange that became a tunnel, with what is on its way each way.
    fn take_tunnel(&mut self, context: &mut Context) -> Option<TcpSession> {
        let mut flight = self.flight.take()?;
        let (upstream, stay) = (flight.upstream.take()?, flight.stay.take()?);
        flight.request.clear(&mut context.buffers);
        let held = std::mem::take(&mut self.held);
        let mut to_backend = Outbox::default();
        to_backend.refill([&held, b""], &mut context.buffers);
        context.buffers.release(held);
        let to_client = std::mem::take(&mut self.outbox);
        context.flights.land(flight);
        Some(TcpSession::adopt(
            upstream,
            stay,
            to_backend,
            to_client,
            self.entry.take(),
            context,
        ))
    }
}
