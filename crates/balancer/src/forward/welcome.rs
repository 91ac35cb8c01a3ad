//! The beginning of a client's connection: whose it is, whether it is served, and what it carries.
//!
//! The address that counts is the client's: the one in the PROXY header, where the connection begins with
//! one that is believed, else the connection's own. It is held to the allowed networks and the bounds for
//! one client, and it is what backends are told.

use model::{Termination, TrafficType, contains};

use super::client::{Client, Session};
use super::context::{Context, Scratch};
use super::http::HttpSession;
use super::peer::Step;
use super::tcp::TcpSession;
use super::wire::Received;
use crate::http::reply::Reason;
use crate::proxy_protocol::{V2_BYTES, parse};
use crate::statistics::add;

impl Client {
    /// Whether the connection has to begin with a PROXY header.
    pub(super) fn is_announced(&self, context: &Context) -> bool {
        let snapshot = &context.snapshot;
        let proxies = &snapshot.policy.proxy_protocol.accept_from;
        snapshot.edge.reads_proxy_header
            && !self.peer.own
            && contains(proxies, *self.peer.address.ip())
    }

    /// Reads the PROXY header, and not one byte more: what has come is looked at where it is until the
    /// header is whole, so nothing is held meanwhile.
    pub(super) fn read_announcement(
        &mut self,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        if !self.peer.wire.readable {
            return Step::Blocked;
        }
        let room = scratch.input.get_mut(..V2_BYTES).unwrap_or_default();
        let count = match self.peer.wire.peek_into(room) {
            Received::Bytes(count) => count,
            Received::Blocked => 0,
            Received::Ended | Received::Failed(_) => return Step::Close,
        };
        match parse(room.get(..count).unwrap_or_default()) {
            Ok(Some(header)) => {
                let header_bytes = room.get_mut(..header.length).unwrap_or_default();
                let taken = self.peer.receive(header_bytes, context);
                if taken != Received::Bytes(header.length) {
                    return Step::Reset;
                }
                self.peer.address = header.client.unwrap_or(self.peer.address);
                self.welcome(context, scratch)
            }
            Ok(None) if self.peer.wire.hung_up => Step::Close,
            Ok(None) => {
                // The next byte is an event.
                self.peer.wire.readable = false;
                Step::Blocked
            }
            Err(_) => {
                add(&context.counters().rejected, 1);
                context.log_refusal(Termination::MalformedProxyHeader, &mut self.peer);
                Step::Reset
            }
        }
    }

    /// The client is known: begins what the connection carries, if it is to be served.
    pub(super) fn welcome(&mut self, context: &mut Context, scratch: &mut Scratch) -> Step {
        let (edge, address) = (&context.snapshot.edge, *self.peer.address.ip());
        let checked = edge.checks_clients && !self.peer.own;
        if checked && !contains(&context.snapshot.policy.allowed_clients, address) {
            return self.turn_away(context, scratch);
        }
        if let Some(most) = edge.connections_per_client.filter(|_| !self.peer.own) {
            self.peer.counted_client = context.shared.connections.enter_client(address, most);
            if !self.peer.counted_client {
                add(&context.counters().crowding_clients, 1);
                context.log_refusal(Termination::TooManyConnections, &mut self.peer);
                return Step::Reset;
            }
        }
        self.judge_trust(context);
        match context.snapshot.traffic {
            TrafficType::Http => {
                self.session = Session::Http(HttpSession::default());
                let wait_ms = context.snapshot.timeouts.request_head_ms;
                self.peer.expect_within(wait_ms, context);
                Step::Again
            }
            TrafficType::Tcp => {
                let (session, step) = TcpSession::begin(&mut self.peer, context);
                self.session = Session::Tcp(Box::new(session));
                step
            }
        }
    }

    /// The client is not to be served. Under HTTP it is told so before it has asked: that costs one
    /// answer, and spares people the search for a broken network.
    fn turn_away(&mut self, context: &mut Context, scratch: &mut Scratch) -> Step {
        add(&context.counters().refused_clients, 1);
        if context.snapshot.traffic == TrafficType::Tcp {
            context.log_refusal(Termination::ClientNotAllowed, &mut self.peer);
            return Step::Reset;
        }
        let mut session = HttpSession::default();
        let step = session.reply(Reason::NotAllowed, &mut self.peer, context, scratch);
        self.session = Session::Http(session);
        step
    }

    /// Says whether what the client sends of a request's way is believed.
    pub(super) fn judge_trust(&mut self, context: &Context) {
        let snapshot = &context.snapshot;
        let proxies = &snapshot.policy.forwarding.trusted_proxies;
        self.peer.trusted =
            snapshot.edge.trusts_proxies && contains(proxies, *self.peer.address.ip());
    }

    /// Counts a connection that was open before its kind was counted.
    pub(super) fn count(&mut self, context: &Context) {
        let (edge, connections) = (&context.snapshot.edge, &context.shared.connections);
        if self.peer.own {
            return;
        }
        if edge.connections.is_some() && !self.peer.counted {
            connections.enter_anyway();
            self.peer.counted = true;
        }
        let is_known = !matches!(self.session, Session::Announced);
        if edge.connections_per_client.is_some() && is_known && !self.peer.counted_client {
            self.peer.counted_client = connections.enter_client(*self.peer.address.ip(), u32::MAX);
        }
    }
}
