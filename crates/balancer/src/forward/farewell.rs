//! Clients that are to go elsewhere, since their VM is to go.
//!
//! Nobody is refused and nothing is broken off: whoever comes is served. But each answer says that its connection
//! ends with it, and a connection on which nothing is asked for a while is ended. Tunnels and sessions of TCP go on;
//! how long they are waited for is the host's to say.
//!
//! HTTP/1.1 knows no moment at which an idle connection can be closed without meeting a request that is on its
//! way. One that was quiet for seconds hardly does; and it is looked at once more before it is ended, in halves,
//! so that a request that came too late is met by an end and not by a reset, as if nobody had read it (RFC 9112,
//! section 9.6; the client may ask again elsewhere, section 9.3.1).

use super::client::Session;
use super::context::Context;
use super::http::{HttpSession, LINGER_MS, Phase};
use super::peer::{Peer, Step};
use super::slots::Key;
use super::wire::Received;
use super::worker::Worker;

/// Milliseconds for which a client that is to go may ask nothing over its connection.
const QUIET_MS: u64 = 5_000;

impl Worker {
    /// From now on clients are to go elsewhere.
    pub(super) fn drain(&mut self) {
        if std::mem::replace(&mut self.context.draining, true) {
            return;
        }
        let keys: Vec<Key> = self.clients.keys().collect();
        for key in keys {
            let client = self.clients.get_mut(key);
            let idle = client.filter(
                |client| matches!(&client.session, Session::Http(session) if session.is_idle()),
            );
            if let Some(client) = idle {
                client.peer.expect_no_later(QUIET_MS, &mut self.context);
            }
        }
    }
}

impl Context {
    /// Milliseconds for which a client's connection is kept for a further request.
    pub(super) fn keep_alive_ms(&self) -> u64 {
        let keep_alive_ms = self.snapshot.timeouts.keep_alive_ms;
        match self.draining {
            true => keep_alive_ms.min(QUIET_MS),
            false => keep_alive_ms,
        }
    }
}

impl HttpSession {
    /// Nothing was asked for as long as a connection is kept.
    pub(super) fn end_quiet(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        if !context.draining {
            return Step::Close;
        }
        if peer.wire.peek() != Received::Blocked {
            peer.wire.readable = true;
            let head_ms = context.snapshot.timeouts.request_head_ms;
            peer.expect_within(head_ms, context);
            return Step::Again;
        }
        self.begin_to_linger(peer, context)
    }

    /// Ends this side's half, and waits for the client to end its own.
    pub(super) fn begin_to_linger(&mut self, peer: &mut Peer, context: &mut Context) -> Step {
        peer.wire.end_sending();
        if context.draining {
            let idle_ms = context.snapshot.timeouts.idle_ms;
            peer.at_the_latest = context.now.saturating_add(idle_ms);
        }
        peer.expect_within(LINGER_MS, context);
        self.phase = Phase::Lingering;
        Step::Again
    }

    /// The client has not ended its half. It is given up, unless the VM would go with what it has yet to take in.
    pub(super) fn end_lingering(
        &self,
        in_time: bool,
        peer: &mut Peer,
        context: &mut Context,
    ) -> Step {
        if !in_time || !context.draining || peer.wire.unacknowledged() == 0 {
            return Step::Close;
        }
        peer.expect_within(LINGER_MS, context);
        Step::Blocked
    }
}
