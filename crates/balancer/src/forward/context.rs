//! What every connection of one thread works with.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use balancing::{Random, Turn};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::access::EntryStore;
use super::backends::{Backends, Place};
use super::buffers::Buffers;
use super::http::Flight;
use super::pipe::Pipe;
use super::slots::{Key, Slots};
use super::wheel::{Timer, Wheel};
use super::wire::{Received, Wire};
use crate::access_log::ring::Writer;
use crate::http::date::Date;
use crate::http::head::FieldSpan;
use crate::http::provenance::{FRESH_ID_BYTES, hex_id};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::statistics::{ThreadCounters, ThreadLatency};

/// Bytes of the scratch buffer: what one read can take. Large bodies cost half as much with it as with
/// 16 KiB.
pub const SCRATCH_BYTES: usize = 256 << 10;
/// The least that one read takes while memory is short, and the most that is held of a head while too much
/// of heads and requests waits.
pub const FRUGAL_BYTES: usize = 2 << 10;
/// Bytes that may wait in all threads together before memory is short, of either kind: those that wait for
/// slow readers; and those that wait for the rest of a head, or for an answer without which a request may
/// have to be sent again. 10,000 connections with [`FRUGAL_BYTES`] each come on top.
const WAITING_BYTES: usize = 16 << 20;

/// What a move through a pipe takes of a source whose sink has less room: what the sink does not take waits
/// in the pipe, and is all that does.
const LEFT_BYTES: usize = 64 << 10;

/// Idle connections to backends that are closed when descriptors have run out: enough for the next few, who
/// find them out as well.
const CLOSED_FOR_ROOM: usize = 8;

/// Milliseconds for which a connection rests whose last answer spoke of a body that was not to follow. One
/// that follows all the same comes within them, unless its backend does something else in between, and ends
/// the connection instead of being the next answer.
const REST_MS: u64 = 1_000;

/// Tags of what an event or a timer belongs to.
pub mod tag {
    /// A client's connection.
    pub const CLIENT: u8 = 1;
    /// A connection to a backend.
    pub const UPSTREAM: u8 = 2;
}

/// Memory that is used within one call and holds nothing between two.
pub struct Scratch {
    /// What was just read.
    pub input: Box<[u8]>,
    /// A head that is being written.
    pub out: Vec<u8>,
    /// A head's fields.
    pub fields: Vec<FieldSpan>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            input: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Vec::new(),
            fields: Vec::new(),
        }
    }
}

/// A connection to a backend.
pub struct Upstream {
    /// The connection.
    pub wire: Wire,
    /// The backend.
    pub place: Place,
    /// The client whose exchange it carries; nobody while it is idle.
    pub owner: Option<Key>,
    /// Whether it is still being made.
    pub connecting: bool,
    /// Whether it has carried an exchange before.
    pub reused: bool,
    /// Whether its last answer was one of those that are worth a pipe.
    pub gives_long_answers: bool,
    /// When it is closed, while it is idle.
    pub timer: Timer,
}

/// What every connection of one thread works with.
pub struct Context {
    /// Which thread this is.
    pub thread: usize,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// The configuration, taken once each turn.
    pub snapshot: Arc<Snapshot>,
    /// Milliseconds of the process's clock, taken once each turn.
    pub now: u64,
    /// The same reading of the clock in microseconds, for latencies: what was ready in one turn counts
    /// as having come at its beginning.
    pub now_us: u64,
    /// Timers.
    pub wheel: Wheel,
    /// Connections to backends, busy and idle.
    pub upstreams: Slots<Upstream>,
    /// The backends as this thread sees them.
    pub backends: Backends,
    /// Memory for bytes that wait.
    pub buffers: Buffers,
    /// Memory of exchanges that have ended.
    pub flights: FlightStore,
    /// Whether requests are logged.
    pub logs: bool,
    /// Where they are logged to.
    pub log: Writer,
    /// Memory of entries that were written.
    pub entries: EntryStore,
    /// This thread's connections that stand in the line.
    pub waiters: BTreeMap<Turn, Key>,
    /// Requests of this thread that the retries' budget was told of.
    pub told_requests: u64,
    /// The second in which it was told.
    pub told_second: u64,
    /// Whether no further request is wanted.
    pub leaving: bool,
    /// Whether clients are to go elsewhere, while those that come all the same are served.
    pub draining: bool,
    /// The second that it is.
    pub date: Date,
    date_until: u64,
    /// What is alike in all ids of requests that this thread makes.
    id_prefix: u64,
    random: Random,
    epoll: OwnedFd,
}

impl Context {
    /// A thread without connections.
    #[must_use]
    pub fn new(thread: usize, shared: Arc<Shared>, epoll: OwnedFd, seed: u64) -> Self {
        let now_us = shared.now_us();
        let now = now_us / 1_000;
        // Another sequence than that by which backends are drawn.
        let mut random = Random::new(!seed);
        Self {
            thread,
            snapshot: Arc::new(Snapshot::empty()),
            now,
            now_us,
            wheel: Wheel::new(now),
            upstreams: Slots::default(),
            backends: Backends::new(thread, seed),
            buffers: Buffers::default(),
            flights: FlightStore::default(),
            logs: false,
            log: Writer::default(),
            entries: EntryStore::default(),
            waiters: BTreeMap::new(),
            told_requests: 0,
            told_second: 0,
            leaving: false,
            draining: false,
            date: Date::from_unix(0),
            date_until: 0,
            id_prefix: random.next_u64(),
            random,
            epoll,
            shared,
        }
    }

    /// A new id for a request, where requests have one. The second half of it repeats after 2^64 requests,
    /// and the first is drawn for each thread, so no two are alike.
    pub fn next_request_id(&mut self) -> Option<[u8; FRESH_ID_BYTES]> {
        let wanted = self.snapshot.policy.forwarding.request_id.is_some();
        wanted.then(|| hex_id([self.id_prefix, self.random.next_u64()]))
    }

    /// Whether an answer ends its client's connection, whatever the client would like.
    #[must_use]
    pub fn ends_connections(&self) -> bool {
        self.leaving || self.draining
    }

    /// Looks at the calendar, once a second.
    fn keep_date(&mut self) {
        if self.now < self.date_until {
            return;
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = unix.unwrap_or_default();
        self.date = Date::from_unix(unix.as_secs());
        self.date_until = self.now + 1_000 - u64::from(unix.subsec_millis());
    }

    /// This thread's totals.
    ///
    /// # Panics
    /// Never: a thread's number is that of its desk.
    #[must_use]
    pub fn counters(&self) -> &ThreadCounters {
        let desk = self.shared.threads.get(self.thread);
        &desk.expect("a thread is started for each desk").counters
    }

    /// A client's connection has ended that took one of the places that there are: wakes those who wait
    /// for one.
    pub fn free_place(&self) {
        if self.shared.connections.leave() {
            for desk in &self.shared.threads {
                desk.wake();
            }
        }
    }

    /// How long this thread's answers took.
    ///
    /// # Panics
    /// Never: a thread's number is that of its desk.
    #[must_use]
    pub fn latency(&self) -> &ThreadLatency {
        let desk = self.shared.threads.get(self.thread);
        &desk.expect("a thread is started for each desk").latency
    }

    /// Where events are delivered.
    #[must_use]
    pub fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Reads the clock, once for a whole turn.
    pub fn take_time(&mut self) {
        self.now_us = self.shared.now_us();
        self.now = self.now_us / 1_000;
        self.keep_date();
    }

    /// Whether so many bytes wait that no more than is needed is to be added.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.buffers.waiting() > self.share_of_memory()
    }

    /// Whether so much of heads and requests waits that a large head is not waited for any more. What waits
    /// for slow readers does not count, or they would cost others their requests.
    #[must_use]
    pub fn refuses_large_heads(&self) -> bool {
        self.buffers.unsent() > self.share_of_memory()
    }

    fn share_of_memory(&self) -> usize {
        WAITING_BYTES / self.shared.threads.len().max(1)
    }

    /// How many bytes of a head one read may take.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        if self.refuses_large_heads() {
            FRUGAL_BYTES
        } else {
            SCRATCH_BYTES
        }
    }

    /// How many bytes one read may take that go on to this socket. While memory is short, no more than it
    /// takes in at once, so that none has to wait: it is those who are slow that get little at a time.
    #[must_use]
    pub fn read_bytes(&self, sink: &Wire) -> usize {
        if self.is_short_of_memory() {
            // Bytes that are copied may take the kernel twice the room.
            (sink.room() / 2).clamp(FRUGAL_BYTES, SCRATCH_BYTES)
        } else {
            SCRATCH_BYTES
        }
    }

    /// Lends a pipe for bytes that need not be looked at and go on to a socket with so much room; not while
    /// memory is short or pipes are, if some of them would have to wait.
    pub fn lend_pipe(&mut self, room: usize) -> Option<Box<Pipe>> {
        let is_short = self.is_short_of_memory() || self.buffers.pipes.are_scarce();
        if is_short && room < LEFT_BYTES {
            return None;
        }
        self.buffers.pipes.take(room.max(LEFT_BYTES))
    }

    /// Lends an idle connection to the backend for an exchange of `owner`, if there is a sound one.
    /// `careful` looks at the socket itself: for requests that could not be sent twice.
    pub fn take_idle_upstream(&mut self, place: Place, owner: Key, careful: bool) -> Option<Key> {
        while let Some(key) = self.backends.take_idle(place, self.now) {
            let Some(upstream) = self.upstreams.get_mut(key) else {
                continue;
            };
            // An idle connection that has anything to read has ended, or answers what nobody asked.
            let sound = !upstream.wire.hung_up
                && !upstream.wire.readable
                && (!careful || upstream.wire.peek() == Received::Blocked);
            if sound {
                upstream.owner = Some(owner);
                upstream.reused = true;
                return Some(key);
            }
            self.upstreams.remove(key);
        }
        None
    }

    /// Begins a new connection to the backend for `owner`. When descriptors have run out, idle connections
    /// are closed to make room for it.
    ///
    /// # Errors
    /// When the kernel refuses at once.
    pub fn connect_upstream(&mut self, place: Place, owner: Key) -> Result<Key, Errno> {
        let record = self.backends.record(place).ok_or(Errno::HOSTUNREACH)?;
        let address = record.address;
        let socket = match begin_connection(address) {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.free_descriptors();
                begin_connection(address)?
            }
            other => other?,
        };
        let mut wire = Wire::connecting(socket);
        let epoll = self.epoll.as_fd();
        let mut registered = Ok(());
        let key = self.upstreams.insert_with(|key| {
            registered = wire.ensure_watched(epoll, key.pack(tag::UPSTREAM));
            Upstream {
                wire,
                place,
                owner: Some(owner),
                connecting: true,
                reused: false,
                gives_long_answers: false,
                timer: Timer::default(),
            }
        });
        if let Err(error) = registered {
            self.upstreams.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    /// Descriptors have run out: closes some that only save time.
    fn free_descriptors(&mut self) {
        self.buffers.pipes.drop_spare();
        for key in self.backends.spare_idle(CLOSED_FOR_ROOM) {
            self.upstreams.remove(key);
        }
    }

    /// Has the events delivered that the backend's connection waits for; false when that cannot be.
    pub fn watch_upstream(&mut self, key: Key) -> bool {
        self.upstreams.get_mut(key).is_none_or(|upstream| {
            !upstream.wire.is_unwatched()
                || upstream
                    .wire
                    .ensure_watched(self.epoll.as_fd(), key.pack(tag::UPSTREAM))
                    .is_ok()
        })
    }

    /// Keeps a connection for the next exchange, or closes it when it is not wanted. One that `rests` is not
    /// used for a moment.
    pub fn retire_upstream(&mut self, key: Key, rests: bool) {
        let idle_ms = self.snapshot.timeouts.keep_alive_ms;
        let Some(upstream) = self.upstreams.get_mut(key) else {
            return;
        };
        let token = key.pack(tag::UPSTREAM);
        if upstream.wire.readable && !upstream.wire.hung_up {
            // The answer filled its last read, which could not tell whether more had come.
            upstream.wire.look_again();
        }
        let sound = !upstream.wire.hung_up
            && !upstream.wire.readable
            && upstream.wire.rest(self.epoll.as_fd(), token).is_ok();
        let place = upstream.place;
        let rests_until = rests.then(|| self.now.saturating_add(REST_MS));
        if !sound || self.leaving || !self.backends.keep_idle(place, key, rests_until) {
            self.upstreams.remove(key);
            return;
        }
        upstream.owner = None;
        let deadline = self.now.saturating_add(idle_ms);
        upstream.timer.set(deadline, &mut self.wheel, token);
    }

    /// Closes an idle connection that has ended, or was idle for too long.
    pub fn discard_idle_upstream(&mut self, key: Key) {
        if let Some(upstream) = self.upstreams.remove(key) {
            self.backends.forget_idle(upstream.place, key);
        }
    }
}

/// Begins a connection without waiting for it.
fn begin_connection(address: std::net::SocketAddrV4) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // The handshake's last segment waits for the request and travels with it.
    sockopt::set_tcp_quickack(&socket, false)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Exchanges kept for the next one's memory.
const KEPT_FLIGHTS: usize = 1024;

/// The memory of exchanges that have ended, so that the next takes none.
#[derive(Default)]
pub struct FlightStore {
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves are what is used again"
    )]
    spare: Vec<Box<Flight>>,
}

impl FlightStore {
    /// Boxes an exchange.
    pub fn launch(&mut self, flight: Flight) -> Box<Flight> {
        match self.spare.pop() {
            Some(mut boxed) => {
                *boxed = flight;
                boxed
            }
            None => Box::new(flight),
        }
    }

    /// Takes an exchange's memory back; its buffers were given back before.
    pub fn land(&mut self, boxed: Box<Flight>) {
        if self.spare.len() < KEPT_FLIGHTS {
            self.spare.push(boxed);
        }
    }
}
