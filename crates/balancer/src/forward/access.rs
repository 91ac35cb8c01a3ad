//! The access log's entry of one request or session: opened when it begins, filled as it goes, written when it ends.
//!
//! An entry lies in memory that is used again and again, and nobody but its connection knows it until it is written.
//! Where no log is wanted there is no entry, and all that is left is the test of an option.
//!
//! Two kinds of requests are never written: the balancer's own, and the checker's, which are known by the address that
//! they come from and not by what they ask.

use std::io::Write;

use model::Termination;
use model::access::{
    AccessHead, AccessKind, AccessLengths, DETAIL_BYTES, HOST_BYTES, ID_BYTES, METHOD_BYTES,
    PATH_BYTES, TEXT_BYTES, TRACE_BYTES,
};

use super::admission::Stay;
use super::context::Context;
use super::peer::Peer;
use crate::http::provenance::FRESH_ID_BYTES;
use crate::http::reply::Reason;
use crate::http::request::RequestHead;
use crate::http::trace::known_part;

/// Entries kept for the next one's memory.
const KEPT_ENTRIES: usize = 1024;

/// What is known so far.
pub struct Entry {
    head: AccessHead,
    began_us: u64,
    /// Since when it waits for a backend; 0 when it does not.
    waits_since_us: u64,
    /// Since when its backend's connection is being made; 0 when it is not.
    connects_since_us: u64,
    text: [u8; TEXT_BYTES],
    filled: usize,
}

impl Entry {
    /// Says why it ended, unless that was said.
    pub fn blame(&mut self, termination: Termination) {
        if self.head.termination == Termination::Complete {
            self.head.termination = termination;
        }
    }

    /// Takes in what is asked for.
    pub fn describe(
        &mut self,
        request: &RequestHead<'_>,
        fresh_id: Option<([u8; FRESH_ID_BYTES], &[u8])>,
        trusted: bool,
    ) {
        let host = request.host.unwrap_or_default();
        self.head.path_cut = request.target.len() > PATH_BYTES;
        self.head.host_cut = host.len() > HOST_BYTES;
        let fresh = fresh_id.as_ref().map_or(&b""[..], |(fresh, _)| fresh);
        let told = fresh_id.filter(|_| trusted);
        let id = told
            .and_then(|(_, name)| request.field(name))
            .unwrap_or(fresh);
        let trace = request.trace.and_then(known_part).unwrap_or_default();
        self.head.lengths = AccessLengths {
            method: self.add(request.method, METHOD_BYTES) as u8,
            host: self.add(host, HOST_BYTES) as u8,
            path: self.add(request.target, PATH_BYTES) as u16,
            id: self.add(id, ID_BYTES) as u8,
            trace: self.add(trace, TRACE_BYTES) as u8,
            detail: 0,
        };
    }

    /// Adds a part of the text, cut where it is too long; returns its length.
    fn add(&mut self, part: &[u8], most: usize) -> usize {
        let length = part.len().min(most);
        let place = self.text.get_mut(self.filled..self.filled + length);
        if let (Some(place), Some(part)) = (place, part.get(..length)) {
            place.copy_from_slice(part);
            self.filled += length;
        }
        length
    }

    /// The balancer answers by itself.
    pub fn answer(&mut self, reason: Reason) {
        self.blame(termination_of(reason));
        self.head.status = reason.status();
        if let Reason::Rejected(malformed) = reason
            && self.head.lengths.detail == 0
        {
            let mut words = [0; DETAIL_BYTES];
            let mut left = &mut words[..];
            let _cut = write!(left, "{malformed}");
            let written = DETAIL_BYTES - left.len();
            let words = words.get(..written).unwrap_or_default();
            self.head.lengths.detail = self.add(words, DETAIL_BYTES) as u8;
        }
    }

    /// It waits for a backend.
    pub fn wait(&mut self, context: &Context) {
        if self.waits_since_us == 0 {
            self.waits_since_us = context.now_us.max(1);
        }
    }

    /// It is at a backend, whose connection is there or is being made.
    pub fn enter(&mut self, stay: Stay, connects: bool, context: &Context) {
        self.stop_waiting(context.now_us);
        self.connects_since_us = if connects { context.now_us.max(1) } else { 0 };
        self.head.connect_us = 0;
        if let Some(record) = context.backends.record(stay.place) {
            self.head.backend = record.address;
        }
    }

    fn stop_waiting(&mut self, now_us: u64) {
        if self.waits_since_us != 0 {
            let waited = saturated(now_us.saturating_sub(self.waits_since_us));
            self.head.queue_us = self.head.queue_us.saturating_add(waited);
            self.waits_since_us = 0;
        }
    }

    fn stop_connecting(&mut self, now_us: u64) {
        if self.connects_since_us != 0 {
            self.head.connect_us = saturated(now_us.saturating_sub(self.connects_since_us)).max(1);
            self.connects_since_us = 0;
        }
    }

    /// The backend's connection has come about.
    pub fn connected(&mut self, context: &Context) {
        self.stop_connecting(context.now_us);
    }

    /// Another try is made.
    pub fn try_again(&mut self) {
        self.head.further_tries = self.head.further_tries.saturating_add(1);
    }

    /// The answer has begun.
    pub fn first_byte(&mut self, status: u16, context: &Context) {
        self.head.status = status;
        self.head.first_byte_us = saturated(context.now_us.saturating_sub(self.began_us)).max(1);
    }

    /// It is older than its entry.
    pub fn began_before(&mut self, ms: u64) {
        self.began_us = self.began_us.saturating_sub(ms * 1_000);
    }
}

fn saturated(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// The same word in the log as in the answer.
pub fn termination_of(reason: Reason) -> Termination {
    match reason {
        Reason::Rejected(_) => Termination::MalformedRequest,
        Reason::NotAllowed => Termination::ClientNotAllowed,
        Reason::RequestTimeout => Termination::RequestTimeout,
        Reason::NoHealthyBackend => Termination::NoHealthyBackend,
        Reason::ConnectRefused => Termination::ConnectRefused,
        Reason::ConnectTimeout => Termination::ConnectTimeout,
        Reason::ConnectFailed => Termination::ConnectFailed,
        Reason::BackendClosed => Termination::BackendClosed,
        Reason::ResponseTimeout => Termination::ResponseTimeout,
        Reason::MalformedResponse => Termination::MalformedResponse,
        Reason::QueueFull => Termination::QueueFull,
        Reason::QueueTimeout => Termination::QueueTimeout,
        Reason::CircuitOpen => Termination::CircuitOpen,
        Reason::TotalTimeout => Termination::TotalTimeout,
        Reason::Drained => Termination::Drained,
        Reason::LastHop | Reason::Progress => Termination::Complete,
    }
}

/// The memory of entries that were written.
#[derive(Default)]
pub struct EntryStore {
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves are what is used again"
    )]
    spare: Vec<Box<Entry>>,
}

impl Context {
    /// Opens an entry, where one is wanted.
    pub fn open_entry(&mut self, kind: AccessKind, peer: &Peer) -> Option<Box<Entry>> {
        if !self.logs || peer.own {
            return None;
        }
        let mut entry = self.entries.spare.pop().unwrap_or_else(|| {
            Box::new(Entry {
                head: AccessHead::default(),
                began_us: 0,
                waits_since_us: 0,
                connects_since_us: 0,
                text: [0; TEXT_BYTES],
                filled: 0,
            })
        });
        entry.head = AccessHead {
            kind,
            client: peer.address,
            ..AccessHead::default()
        };
        entry.began_us = self.now_us;
        entry.waits_since_us = 0;
        entry.connects_since_us = 0;
        entry.filled = 0;
        Some(entry)
    }

    /// Writes an entry: all that its connection moved since the last one is its own.
    pub fn write_entry(&mut self, mut entry: Box<Entry>, peer: &mut Peer) {
        entry.stop_waiting(self.now_us);
        entry.stop_connecting(self.now_us);
        let head = &mut entry.head;
        head.ended_us = self.now_us;
        head.total_us = self.now_us.saturating_sub(entry.began_us);
        head.bytes_in = std::mem::take(&mut peer.moved_in);
        head.bytes_out = std::mem::take(&mut peer.moved_out);
        if let Some(desk) = self.shared.threads.get(self.thread) {
            let text = entry.text.get(..entry.filled).unwrap_or_default();
            self.log.write(&desk.log, &entry.head, text);
        }
        if self.entries.spare.len() < KEPT_ENTRIES {
            self.entries.spare.push(entry);
        }
    }

    /// Writes that a client was sent away before anything began.
    pub fn log_refusal(&mut self, termination: Termination, peer: &mut Peer) {
        if let Some(mut entry) = self.open_entry(AccessKind::Tcp, peer) {
            entry.blame(termination);
            self.write_entry(entry, peer);
        }
    }
}
