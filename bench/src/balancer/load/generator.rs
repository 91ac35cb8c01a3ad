//! Clients that send requests and check every answer, and never wait.
//!
//! ```text
//!            ┌──────────── next request, same connection ───────────┐
//!            ▼                                                      │
//!   Sending ──▶ Reading ──▶ answer whole ──▶ Idle (open loop, held) ┘
//!                   │
//!                   └─ a connection for each request ─▶ Ending ── closed by the proxy ──▶ a new one
//! ```

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use thiserror::Error;

use super::answer::{AnswerReader, Fault, Progress};
use super::payload::Body;
use super::socket::{Received, Role, connect, receive, send, watch};

/// Bodies longer than this are counted and dropped in the kernel: copying them would make the generator
/// slower than the proxies. Their length is checked all the same.
const DISCARD_FROM_BYTES: u64 = 128 << 10;
/// Requests of an open loop that may wait for a free connection. More means that the proxy has fallen
/// behind for good.
const MAX_WAITING: usize = 200_000;

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The proxy.
    pub target: SocketAddrV4,
    /// What they ask for.
    pub body: Body,
    /// Whether a connection is used again.
    pub keep_alive: bool,
    /// How many there are.
    pub connections: usize,
    /// When they ask.
    pub pace: Pace,
}

/// When a client sends its next request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as its last one was answered.
    Closed,
    /// By a timetable that does not wait for answers: one request in each interval, from whichever client
    /// is free.
    Open {
        /// From one request to the next.
        interval: Duration,
    },
    /// Never: each asks once and stays connected. So many at once.
    Once {
        /// Clients that wait for their answer at the same time.
        at_once: usize,
    },
}

/// Why a measurement is worth nothing.
#[derive(Debug, Error)]
pub enum Wrong {
    /// An answer was not the one that was asked for.
    #[error(transparent)]
    Answer(#[from] Fault),
    /// A connection failed.
    #[error("a connection failed: {0}")]
    Connection(#[from] Errno),
    /// The proxy ended a connection before its answer was whole, or one that was to stay.
    #[error("the proxy ended a connection {0}")]
    Ended(&'static str),
    /// Answers stay away.
    #[error("answers stay away: {0}")]
    Stalled(String),
    /// The open loop's queue is full.
    #[error("the proxy cannot keep up with the rate")]
    Behind,
    /// Origin and clients have not counted the same.
    #[error("clients counted {clients} answers, and the origin {origin}")]
    Miscounted {
        /// By the clients.
        clients: u64,
        /// By the origin.
        origin: u64,
    },
}

enum Phase {
    /// A request is under way, and this much of it was sent.
    Sending(usize),
    Reading,
    Ending,
    Idle,
}

struct Client {
    socket: OwnedFd,
    reader: AnswerReader,
    phase: Phase,
    /// When the request was to be sent, which in an open loop may be before it was.
    intended: Instant,
}

/// The clients of one workload.
pub struct Generator {
    role: Role,
    workload: Workload,
    request: Vec<u8>,
    clients: Vec<Option<Client>>,
    idle: VecDeque<usize>,
    /// Times of the timetable for which no client was free.
    waiting: VecDeque<Instant>,
    next_due: Instant,
    stopped: bool,
    under_way: usize,
    asked: u64,
    /// Requests that were answered since the measurement began.
    pub answered: u64,
    /// Bytes of answers that came since then.
    pub received: u64,
    /// From when a request was to be sent to when its answer was whole, in nanoseconds.
    pub latency: Histogram<u64>,
    /// What the timetable has between these is measured.
    pub window: Option<(Instant, Instant)>,
}

impl Generator {
    /// Connects the clients; under a closed loop they begin at once.
    pub fn start(
        role: Role,
        workload: Workload,
        epoll: BorrowedFd<'_>,
        now: Instant,
    ) -> Result<Self, Wrong> {
        let mut generator = Self {
            role,
            request: workload.body.request(!workload.keep_alive),
            clients: Vec::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            next_due: now,
            stopped: false,
            under_way: 0,
            asked: 0,
            answered: 0,
            received: 0,
            latency: new_histogram(),
            window: None,
            workload,
        };
        let first = match generator.workload.pace {
            Pace::Once { at_once } => at_once.min(generator.workload.connections),
            Pace::Closed | Pace::Open { .. } => generator.workload.connections,
        };
        for _ in 0..first {
            generator.add_client(epoll, now)?;
        }
        Ok(generator)
    }

    /// No more requests are begun.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Requests without their whole answer.
    pub fn under_way(&self) -> usize {
        self.under_way + self.waiting.len()
    }

    /// Where the requests are that have no whole answer, in words.
    pub fn describe(&self) -> String {
        let in_phase = |wanted: fn(&Phase) -> bool| {
            let clients = self.clients.iter().flatten();
            clients.filter(|client| wanted(&client.phase)).count()
        };
        format!(
            "{} requests wait for a client, {} were not taken, {} have no whole answer, and {} connections \
             were not closed after it; the proxy was asked {} times",
            self.waiting.len(),
            in_phase(|phase| matches!(phase, Phase::Sending(_))),
            in_phase(|phase| matches!(phase, Phase::Reading)),
            in_phase(|phase| matches!(phase, Phase::Ending)),
            self.asked,
        )
    }

    /// Whether all clients of [`Pace::Once`] have had their answer.
    pub fn all_connected(&self) -> bool {
        self.clients.len() == self.workload.connections && self.under_way == 0
    }

    /// Sends what the timetable has for now.
    pub fn keep_time(&mut self, now: Instant) -> Result<(), Wrong> {
        let Pace::Open { interval } = self.workload.pace else {
            return Ok(());
        };
        while !self.stopped && self.next_due <= now {
            self.waiting.push_back(self.next_due);
            self.next_due += interval;
        }
        if self.waiting.len() > MAX_WAITING {
            return Err(Wrong::Behind);
        }
        while !self.waiting.is_empty() {
            let Some(slot) = self.idle.pop_front() else {
                break;
            };
            if let Some(intended) = self.waiting.pop_front() {
                self.ask(slot, intended)?;
            }
        }
        Ok(())
    }

    /// Takes an event in.
    pub fn attend(
        &mut self,
        slot: usize,
        flags: EventFlags,
        epoll: BorrowedFd<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Wrong> {
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return Ok(());
        };
        if let Phase::Sending(_) = client.phase {
            self.send(slot)?;
        }
        let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if hung_up || flags.contains(EventFlags::IN) {
            self.read(slot, hung_up, epoll, scratch)?;
        }
        Ok(())
    }

    fn add_client(&mut self, epoll: BorrowedFd<'_>, now: Instant) -> Result<(), Wrong> {
        let slot = self.clients.len();
        self.clients.push(None);
        self.connect(slot, epoll, now)
    }

    fn connect(&mut self, slot: usize, epoll: BorrowedFd<'_>, now: Instant) -> Result<(), Wrong> {
        let socket = connect(self.workload.target)?;
        watch(epoll, &socket, self.role, slot)?;
        let length = u64::try_from(self.workload.body.bytes()).unwrap_or(u64::MAX);
        if let Some(place) = self.clients.get_mut(slot) {
            *place = Some(Client {
                socket,
                reader: AnswerReader::new(length),
                phase: Phase::Idle,
                intended: now,
            });
        }
        if matches!(self.workload.pace, Pace::Open { .. }) {
            self.idle.push_back(slot);
            return Ok(());
        }
        self.ask(slot, now)
    }

    fn ask(&mut self, slot: usize, intended: Instant) -> Result<(), Wrong> {
        if let Some(Some(client)) = self.clients.get_mut(slot) {
            client.intended = intended;
            client.phase = Phase::Sending(0);
            self.under_way += 1;
            self.asked += 1;
        }
        self.send(slot)
    }

    fn send(&mut self, slot: usize) -> Result<(), Wrong> {
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return Ok(());
        };
        if let Phase::Sending(sent) = &mut client.phase {
            let rest = self.request.get(*sent..).unwrap_or_default();
            *sent += send(&client.socket, rest)?;
            if *sent == self.request.len() {
                client.phase = Phase::Reading;
            }
        }
        Ok(())
    }

    /// Reads until there is nothing more. No other event tells of an end that came together with bytes, so
    /// a connection that `hung_up` is read to its end.
    fn read(
        &mut self,
        slot: usize,
        hung_up: bool,
        epoll: BorrowedFd<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Wrong> {
        loop {
            let Some(Some(client)) = self.clients.get_mut(slot) else {
                return Ok(());
            };
            let left = client.reader.body_left();
            let discard = left >= DISCARD_FROM_BYTES;
            let room = scratch
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX).max(4096));
            // Never beyond the body's end when bytes are dropped unseen.
            let room = if discard { room } else { scratch.len() };
            let into = scratch.get_mut(..room).unwrap_or_default();
            let count = match receive(client.socket.as_fd(), into, discard)? {
                Received::Nothing => return Ok(()),
                Received::Ended => return self.ended(slot, epoll),
                Received::Bytes(count) => count,
            };
            let short = count < room;
            self.received += u64::try_from(count).unwrap_or_default();
            let progress = match client.phase {
                Phase::Reading if discard => client.reader.take_body(count)?,
                Phase::Reading => client
                    .reader
                    .take(scratch.get(..count).unwrap_or_default())?,
                Phase::Sending(_) | Phase::Ending | Phase::Idle => {
                    return Err(Fault::Excess(count).into());
                }
            };
            if progress == Progress::Whole {
                if !self.workload.keep_alive {
                    client.phase = Phase::Ending;
                    continue;
                }
                if hung_up {
                    return Err(Wrong::Ended("that was to stay open"));
                }
                self.finish(slot, epoll)?;
                return Ok(());
            }
            if short && !hung_up {
                return Ok(());
            }
        }
    }

    /// The proxy has closed, which is right only after the one answer of a connection.
    fn ended(&mut self, slot: usize, epoll: BorrowedFd<'_>) -> Result<(), Wrong> {
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return Ok(());
        };
        match client.phase {
            Phase::Ending => self.finish(slot, epoll),
            Phase::Sending(_) => Err(Wrong::Ended("before the request was sent")),
            Phase::Reading => Err(Wrong::Ended("before the answer was whole")),
            Phase::Idle => Err(Wrong::Ended("that was to stay open")),
        }
    }

    /// Counts an answer, and goes on with what is next.
    fn finish(&mut self, slot: usize, epoll: BorrowedFd<'_>) -> Result<(), Wrong> {
        let now = Instant::now();
        self.under_way -= 1;
        if let Some(Some(client)) = self.clients.get_mut(slot) {
            client.phase = Phase::Idle;
            self.answered += 1;
            if let Some((begins, ends)) = self.window
                && (begins..ends).contains(&client.intended)
            {
                let latency = now.saturating_duration_since(client.intended).as_nanos();
                self.latency
                    .saturating_record(u64::try_from(latency).unwrap_or(u64::MAX).max(1));
            }
        }
        match self.workload.pace {
            Pace::Once { .. } if self.clients.len() < self.workload.connections => {
                self.add_client(epoll, now)
            }
            Pace::Once { .. } => Ok(()),
            Pace::Open { .. } => {
                self.idle.push_back(slot);
                Ok(())
            }
            Pace::Closed if self.workload.keep_alive && self.stopped => Ok(()),
            Pace::Closed if self.workload.keep_alive => self.ask(slot, now),
            Pace::Closed if self.stopped => {
                if let Some(place) = self.clients.get_mut(slot) {
                    *place = None;
                }
                Ok(())
            }
            Pace::Closed => self.connect(slot, epoll, now),
        }
    }
}

/// 1 µs to 60 s, to three digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3)
        .expect("the bounds are apart, and three digits are allowed")
}
