//! Clients that are too slow: who is waited for, and what comes of it.
//!
//! The rate is looked at only when a connection can do nothing without its client, and by its one timer,
//! so a client that is not waited for costs nothing.

use super::context::Context;
use super::http::{HttpSession, Phase};
use super::http_request::is_blank;
use super::peer::Peer;
use crate::http::pace::{GRACE_MS, PROBE_MS, worth};

impl HttpSession {
    /// Nothing can be done now: moves the deadline forward to where the client is too slow, if it is the
    /// client that is waited for.
    pub(super) fn pace_client(&mut self, peer: &mut Peer, context: &mut Context) {
        if context.snapshot.edge.client_rate == 0 || self.phase == Phase::Reading {
            return;
        }
        if !self.awaits_client(context) {
            self.client_moved(0, context);
            return;
        }
        self.pace.wait(context.now);
        let left_ms = self.pace.left_ms(context.now);
        let probes = !self.outbox.is_empty() && !self.pace.knows_queue();
        let check_ms = if probes {
            PROBE_MS.min(left_ms)
        } else {
            left_ms
        };
        peer.expect_no_later(check_ms, context);
    }

    /// The client moved so many bytes.
    pub(super) fn client_moved(&mut self, bytes: usize, context: &Context) {
        let rate = context.snapshot.edge.client_rate;
        self.pace.moved(bytes, rate, context.now);
    }

    /// A part of a head is there: bounds what is left of it, by its time in all and by the rate.
    pub(super) fn pace_head(
        &mut self,
        begins: bool,
        bytes: usize,
        peer: &mut Peer,
        context: &mut Context,
    ) {
        if begins {
            self.pace = Default::default();
            self.pace.wait(context.now);
        }
        let rate = context.snapshot.edge.client_rate;
        let paid_ms = worth(bytes as u64, rate).as_millis();
        let paid_ms = u64::try_from(paid_ms).unwrap_or(u64::MAX);
        let head_ms = context.snapshot.timeouts.request_head_ms;
        let within_ms = head_ms.min(GRACE_MS.saturating_add(paid_ms));
        let waited_ms = self.pace.waited_ms(context.now);
        peer.expect_within(within_ms.saturating_sub(waited_ms), context);
    }

    /// The deadline has passed. Whether it was only for a look at the client's pace, and that is good
    /// enough; then the deadline has been moved on.
    pub(super) fn keeps_pace(&mut self, peer: &mut Peer, context: &mut Context) -> bool {
        let rate = context.snapshot.edge.client_rate;
        if rate == 0 || self.phase == Phase::Reading || !self.awaits_client(context) {
            return false;
        }
        let now = context.now;
        let idle_ms = context.snapshot.timeouts.idle_ms;
        if self.pace.waited_ms(now) >= idle_ms {
            return false;
        }
        if !self.outbox.is_empty() {
            self.pace.note_queue(peer.wire.unacknowledged(), rate, now);
        }
        let left_ms = self.pace.left_ms(now);
        peer.expect_within(left_ms.min(idle_ms), context);
        left_ms > 0
    }

    /// Whether nothing can be done before the client sends, or takes something in.
    pub(super) fn awaits_client(&self, context: &Context) -> bool {
        match self.phase {
            Phase::Reading => !is_blank(&self.held),
            Phase::Lingering => false,
            Phase::Answering(_) => !self.outbox.is_empty(),
            Phase::Exchanging => !self.outbox.is_empty() || self.awaits_body(context),
        }
    }

    /// Whether the backend is there and has taken all that came, and more of the request has to come.
    fn awaits_body(&self, context: &Context) -> bool {
        let Some(flight) = self.flight.as_deref() else {
            return false;
        };
        let upstream = flight.upstream.and_then(|key| context.upstreams.get(key));
        flight.request.is_sent()
            && flight.exchange.awaits_request()
            && upstream.is_some_and(|upstream| !upstream.connecting)
    }
}
