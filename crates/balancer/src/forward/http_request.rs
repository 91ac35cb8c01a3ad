//! Reading: from the first byte of a request to the exchange that it begins.

use model::access::AccessKind;

use super::context::{Context, FRUGAL_BYTES, Scratch};
use super::dial::Dial;
use super::http::{Flight, HttpSession, Phase};
use super::peer::{Peer, Step};
use super::upload::Upload;
use super::wire::Received;
use crate::bulk::Bulk;
use crate::http::exchange::Exchange;
use crate::http::head::HeadSpan;
use crate::http::key::key_of_request;
use crate::http::malformed::Malformed;
use crate::http::pace::Pace;
use crate::http::provenance::{Origin, RequestId};
use crate::http::reply::Reason;
use crate::http::request::RequestHead;
use crate::http::rewrite::write_request;
use crate::proxy_protocol;
use crate::statistics::add;

/// What one read takes while a head is expected. A client that pipelines has what lies behind its first
/// request copied with each answer, so that must not be much.
pub(super) const HEAD_READ_BYTES: usize = 16 << 10;

/// Whether nothing of a request has come yet: an empty line before it is none of it (RFC 9112, section 2.2).
pub(super) fn is_blank(held: &[u8]) -> bool {
    matches!(held, b"" | b"\r" | b"\r\n")
}

impl HttpSession {
    pub(super) fn read_request(
        &mut self,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let held = self.load_held(context, scratch);
        let (known, filled) = if std::mem::take(&mut self.unscanned) {
            (0, held)
        } else {
            match self.receive_head(held, peer, context, scratch) {
                Ok(filled) => (held, filled),
                Err(step) => return step,
            }
        };
        let bytes = scratch.input.get(..filled).unwrap_or_default();
        let bounds = context.snapshot.edge.head_bounds;
        match self.scanner.find_within(bytes, bounds) {
            Ok(Some(span)) => self.begin(span, filled, peer, context, scratch),
            Ok(None) if filled > FRUGAL_BYTES && context.refuses_large_heads() => {
                self.reject(Malformed::HeadTooLarge, peer, context, scratch)
            }
            Ok(None) => {
                self.held = context.buffers.hold(bytes);
                let had_begun = !is_blank(bytes.get(..known).unwrap_or_default());
                if !is_blank(bytes) {
                    self.pace_head(!had_begun, filled, peer, context);
                }
                Step::Again
            }
            Err(malformed) => self.reject(malformed, peer, context, scratch),
        }
    }

    /// Puts the bytes that were held at the scratch buffer's beginning; returns how many.
    fn load_held(&mut self, context: &mut Context, scratch: &mut Scratch) -> usize {
        let held = std::mem::take(&mut self.held);
        if let Some(to) = scratch.input.get_mut(..held.len()) {
            to.copy_from_slice(&held);
        }
        let count = held.len();
        context.buffers.release(held);
        count
    }

    /// Reads after what was held; returns how many bytes there are now.
    fn receive_head(
        &mut self,
        held: usize,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Result<usize, Step> {
        let end = held.saturating_add(context.head_bytes().min(HEAD_READ_BYTES));
        let end = end.min(scratch.input.len());
        let received = if peer.wire.readable {
            peer.receive(
                scratch.input.get_mut(held..end).unwrap_or_default(),
                context,
            )
        } else {
            Received::Blocked
        };
        match received {
            Received::Bytes(count) => Ok(held + count),
            Received::Blocked => {
                let bytes = scratch.input.get(..held).unwrap_or_default();
                self.held = context.buffers.hold(bytes);
                Err(Step::Blocked)
            }
            Received::Ended | Received::Failed(_) => {
                if !is_blank(scratch.input.get(..held).unwrap_or_default()) {
                    self.lose_head(peer, context);
                }
                Err(Step::Close)
            }
        }
    }

    /// A whole head is there: finds it sound and gives it to a backend, or refuses it.
    fn begin(
        &mut self,
        span: HeadSpan,
        filled: usize,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        let bytes = scratch.input.get_mut(..filled).unwrap_or_default();
        let (head, rest) = bytes.split_at_mut(span.end.min(filled));
        let head = head.get(span.start..).unwrap_or_default();
        let head = match RequestHead::read(head, &mut scratch.fields) {
            Ok(head) => head,
            Err(malformed) => return self.reject(malformed, peer, context, scratch),
        };
        // Nobody else can guess it, so the source need not be asked again.
        if head.target == context.shared.own_target.as_bytes() {
            return self.reply(Reason::Progress, peer, context, scratch);
        }
        // The checker's address is exempt from all that holds for clients, so nothing else can be had from there.
        if peer.own && head.hops_left != Some(0) {
            return Step::Reset;
        }
        self.entry = context.open_entry(AccessKind::Http, peer);
        let id = context.next_request_id();
        if let Some(entry) = &mut self.entry {
            let name = &context.snapshot.policy.forwarding.request_id;
            let id = id.zip(name.as_deref().map(str::as_bytes));
            entry.describe(&head, id, peer.trusted);
        }
        if head.hops_left == Some(0) {
            return self.reply(Reason::LastHop, peer, context, scratch);
        }
        let mut exchange = Exchange::begin(&head);
        let body = exchange
            .bound_request(context.snapshot.edge.body_bytes)
            .and_then(|()| exchange.take_request(rest));
        let body = match body {
            Ok(body) => body,
            Err(malformed) => return self.reject(malformed, peer, context, scratch),
        };
        let mut request = context.buffers.take();
        if let Some(version) = context.snapshot.edge.proxy_header {
            let front = context.snapshot.edge.front;
            proxy_protocol::write(version, peer.address, front, &mut request);
        }
        let snapshot = &context.snapshot;
        let forwarding = &snapshot.policy.forwarding;
        let origin = Origin {
            client: *peer.address.ip(),
            own_host: &snapshot.own_host,
            trusted: peer.trusted,
            forwarded: forwarding.forwarded,
            id: id
                .zip(forwarding.request_id.as_deref())
                .map(|(fresh, name)| RequestId {
                    name: name.as_bytes(),
                    fresh,
                }),
        };
        let algorithm = &context.snapshot.policy.algorithm;
        let key = key_of_request(algorithm, &head, origin.client);
        write_request(&head, origin, &mut request);
        request.extend_from_slice(rest.get(..body.kept).unwrap_or_default());
        let next = rest.get(body.consumed..).unwrap_or_default();
        self.held = context.buffers.hold(next);
        self.launch(exchange, request, key, peer, context, scratch)
    }

    fn launch(
        &mut self,
        exchange: Exchange,
        request: Vec<u8>,
        key: u64,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        add(&context.counters().requests, 1);
        self.pace = Pace::default();
        // It says whose it is, so it carries nobody else's request.
        let private = context.snapshot.edge.proxy_header.is_some();
        let flight = Flight {
            exchange,
            request: Upload::new(request, &mut context.buffers),
            passed: false,
            answer: Vec::new(),
            began_us: context.now_us,
            bulk: Bulk::default(),
            upstream: None,
            stay: None,
            dial: Dial::new(key),
            private,
        };
        self.flight = Some(context.flights.launch(flight));
        self.phase = Phase::Exchanging;
        if let Some(total_ms) = context.snapshot.timeouts.total_ms {
            peer.at_the_latest = context.now.saturating_add(total_ms);
        }
        self.dial(peer, context, scratch)
    }

    /// Refuses a request of which nothing was passed on. What came after it is not looked at.
    fn reject(
        &mut self,
        malformed: Malformed,
        peer: &mut Peer,
        context: &mut Context,
        scratch: &mut Scratch,
    ) -> Step {
        self.reply(Reason::Rejected(malformed), peer, context, scratch)
    }
}
