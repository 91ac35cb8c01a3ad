//! The balancer's own request through its listener: proof that the hot path moves, seen from where its
//! clients are.
//!
//! Each request has a connection of its own, so that accepting is part of the proof. A forwarding thread
//! knows it by its source, address and port, which was bound before the connection was begun and
//! so cannot be anybody else's; an HTTP request also has to ask for a target that nobody can guess. It is
//! answered by the thread itself and is in no figure.
//!
//! The kernel chooses which of the threads gets it. So each of them is also woken, and must have taken a
//! turn since.
//!
//! The time in which the control thread itself was not run counts for nothing: a process that stood still as a
//! whole has not shown that its hot path does.
//!
//! Nor is a hot path that is busy one that stands still. On a starved machine the control thread, which does
//! little, is run at once, and a forwarding thread that has more to do than it can is not: its turns grow
//! long, and the own request takes several. So how long such requests took of late is told as lateness, and one
//! is waited for in proportion before the next is made.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::{RecentMaximum, TrafficType};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::forward::GREETING;
use crate::shared::Shared;

/// How long one request may take before the next is made, where they are quick.
const PATIENCE: Duration = Duration::from_secs(1);
/// And so many times the slowest of late where that is longer, up to the longest.
const MARGIN: u32 = 4;
const LONGEST_PATIENCE: Duration = Duration::from_secs(8);
/// For how long a slow answer is remembered.
const MEMORY: Duration = Duration::from_secs(20);
/// The shortest and the longest time between two requests, in milliseconds.
const PERIOD_MS: std::ops::RangeInclusive<u64> = 100..=500;
const ANSWER: &[u8] = b"HTTP/1.1 200 ";

struct Attempt {
    socket: OwnedFd,
    began: Instant,
    /// [`Progress::lost`] when it began.
    lost_at_start: Duration,
    request: Vec<u8>,
    expected: &'static [u8],
    answer: Vec<u8>,
}

/// The balancer's own request, made again and again.
pub struct Progress {
    shared: Arc<Shared>,
    period: Duration,
    attempt: Option<Attempt>,
    next_at: Instant,
    answered: Option<Instant>,
    /// How long requests took that were answered.
    slowest: RecentMaximum,
    /// By how much the control thread was late, in all.
    lost: Duration,
    /// [`Self::lost`] when the last answer came.
    lost_at_answer: Duration,
    /// For each thread, its last turn that was seen, and [`Self::lost`] when it was.
    turns: Vec<(u64, Duration)>,
}

impl Progress {
    /// Nothing has been asked yet. A request is made about as often as a heartbeat.
    #[must_use]
    pub fn new(shared: Arc<Shared>, heartbeat_ms: u64, now: Instant) -> Self {
        let period_ms = heartbeat_ms.clamp(*PERIOD_MS.start(), *PERIOD_MS.end());
        Self {
            shared,
            period: Duration::from_millis(period_ms),
            attempt: None,
            next_at: now,
            answered: None,
            slowest: RecentMaximum::over(MEMORY),
            lost: Duration::ZERO,
            lost_at_answer: Duration::ZERO,
            turns: Vec::new(),
        }
    }

    /// Leaves out of account that nothing could be seen for so long, because the control thread was not run.
    pub fn excuse(&mut self, late: Duration) {
        self.lost = self.lost.saturating_add(late);
    }

    /// Milliseconds since the hot path last moved, by the thread that moved least recently.
    #[must_use]
    pub fn age_ms(&self, now: Instant) -> Option<u64> {
        let answered = now
            .saturating_duration_since(self.answered?)
            .saturating_sub(self.lost.saturating_sub(self.lost_at_answer))
            .as_millis();
        // A listener that accepts nothing because there are as many clients as there may be is no fault.
        let answered = match self.shared.connections.is_full() {
            true => 0,
            false => answered,
        };
        let now_ms = self.shared.now_ms();
        let idlest = self
            .shared
            .threads
            .iter()
            .enumerate()
            .map(|(thread, desk)| {
                let turn = desk.last_turn_ms.load(Ordering::Relaxed);
                now_ms
                    .saturating_sub(turn)
                    .saturating_sub(self.lost_ms_since(thread, turn))
            })
            .max()
            .unwrap_or(0);
        Some(u64::try_from(answered).unwrap_or(u64::MAX).max(idlest))
    }

    /// How long the slowest answer of late took, in milliseconds: by so much a hot path that moves may be late.
    #[must_use]
    pub fn slowest_ms(&self, now: Instant) -> u64 {
        u64::try_from(self.slowest.longest(now).as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a request is waited for.
    fn patience(&self, now: Instant) -> Duration {
        let wanted = self.slowest.longest(now).saturating_mul(MARGIN);
        wanted.clamp(PATIENCE, LONGEST_PATIENCE)
    }

    /// How much was lost since a thread's last turn, as far as that turn was seen.
    fn lost_ms_since(&self, thread: usize, turn: u64) -> u64 {
        let seen = self.turns.get(thread).filter(|(seen, _)| *seen == turn);
        let lost = seen.map_or(Duration::ZERO, |(_, at)| self.lost.saturating_sub(*at));
        u64::try_from(lost.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes note of the threads' turns.
    fn see_turns(&mut self) {
        let threads = self.shared.threads.iter();
        let turns = threads.map(|desk| desk.last_turn_ms.load(Ordering::Relaxed));
        let lost = self.lost;
        self.turns = turns
            .enumerate()
            .map(|(thread, turn)| match self.turns.get(thread) {
                Some(seen) if seen.0 == turn => *seen,
                _ => (turn, lost),
            })
            .collect();
    }

    /// The descriptor to wait on, and for what.
    #[must_use]
    pub fn descriptor(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let attempt = self.attempt.as_ref()?;
        let flags = if attempt.request.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        Some((attempt.socket.as_fd(), flags))
    }

    /// When [`Progress::advance`] has something to do without the descriptor being ready.
    #[must_use]
    pub fn due_at(&self, now: Instant) -> Instant {
        self.attempt
            .as_ref()
            .map_or(self.next_at, |attempt| attempt.began + self.patience(now))
    }

    /// Does what can be done: begins a request, sends it, reads its answer.
    pub fn advance(&mut self, listening: Option<SocketAddrV4>, traffic: TrafficType, now: Instant) {
        self.see_turns();
        let patience = self.patience(now);
        if let Some(attempt) = &mut self.attempt {
            match attempt.advance() {
                Ok(true) => {
                    let lost = self.lost.saturating_sub(attempt.lost_at_start);
                    let took = now.saturating_duration_since(attempt.began);
                    self.slowest.note(took.saturating_sub(lost), now);
                    self.answered = Some(now);
                    self.lost_at_answer = self.lost;
                    self.attempt = None;
                    self.shared.own_port.store(0, Ordering::Release);
                }
                Ok(false) if now < attempt.began + patience => return,
                // It may still be accepted, and is then still the balancer's own.
                _ => self.attempt = None,
            }
        }
        if let Some(listening) = listening
            && now >= self.next_at
        {
            self.next_at = now + self.period;
            for desk in &self.shared.threads {
                desk.wake();
            }
            // A failure shows as an age that grows.
            self.attempt = self.begin(listening, traffic, now).ok();
        }
    }

    fn begin(
        &self,
        listening: SocketAddrV4,
        traffic: TrafficType,
        now: Instant,
    ) -> Result<Attempt, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // Closing resets, so that no port is left waiting for stray segments four times a second.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        rustix::net::bind(&socket, &SocketAddrV4::new(*listening.ip(), 0))?;
        let own = match rustix::net::getsockname(&socket).map(SocketAddrV4::try_from)? {
            Ok(own) => own,
            Err(_) => return Err(Errno::AFNOSUPPORT),
        };
        self.shared.own_port.store(own.port(), Ordering::Release);
        match rustix::net::connect(&socket, &listening) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let target = &self.shared.own_target;
        let (request, expected) = match traffic {
            TrafficType::Http => (
                format!("GET {target} HTTP/1.1\r\nHost: {listening}\r\n\r\n").into_bytes(),
                ANSWER,
            ),
            TrafficType::Tcp => (Vec::new(), GREETING),
        };
        Ok(Attempt {
            socket,
            began: now,
            lost_at_start: self.lost,
            request,
            expected,
            answer: Vec::new(),
        })
    }
}

impl Attempt {
    /// Sends and reads; true when the whole expected answer has come.
    fn advance(&mut self) -> Result<bool, Errno> {
        if !self.request.is_empty() {
            match rustix::net::send(&self.socket, &self.request, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.request.drain(..count)),
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0u8; 512];
        match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((count, _)) => self.answer.extend(buffer.iter().take(count)),
            Err(Errno::AGAIN | Errno::NOTCONN) => {}
            Err(error) => return Err(error),
        }
        let length = self.answer.len().min(self.expected.len());
        if self.answer.get(..length) != self.expected.get(..length) {
            return Err(Errno::PROTO);
        }
        Ok(self.answer.len() >= self.expected.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};

    use rustix::event::{PollFd, poll};

    use super::*;

    /// A listener that answers as the hot path does, when it is told to.
    struct HotPath(TcpListener);

    impl HotPath {
        fn address(&self) -> SocketAddrV4 {
            match self.0.local_addr().unwrap() {
                SocketAddr::V4(address) => address,
                SocketAddr::V6(_) => unreachable!("it was bound to one of version 4"),
            }
        }

        /// Answers the request that is under way, and waits until the answer is there.
        fn answer(&self, progress: &Progress) {
            let (mut accepted, _) = self.0.accept().unwrap();
            accepted.write_all(GREETING).unwrap();
            let (socket, flags) = progress.descriptor().expect("a request is under way");
            poll(&mut [PollFd::from_borrowed_fd(socket, flags)], None).unwrap();
        }
    }

    #[test]
    fn how_long_answers_took_is_told_without_the_time_in_which_nothing_was_run() {
        let shared = Arc::new(Shared::new(1, String::new()).unwrap());
        let (start, ms) = (Instant::now(), Duration::from_millis);
        for (took, lost, slowest_ms, patience) in [
            (ms(250), ms(0), 250, PATIENCE),
            (ms(900), ms(0), 900, ms(3_600)),
            (ms(900), ms(800), 100, PATIENCE),
            (ms(7_000), ms(2_000), 5_000, LONGEST_PATIENCE),
        ] {
            let hot_path = HotPath(TcpListener::bind("127.0.0.1:0").unwrap());
            let address = Some(hot_path.address());
            let mut progress = Progress::new(Arc::clone(&shared), 250, start);
            progress.advance(address, TrafficType::Tcp, start);
            progress.excuse(lost);
            hot_path.answer(&progress);
            progress.advance(address, TrafficType::Tcp, start + took);
            let now = start + took;
            assert_eq!(progress.slowest_ms(now), slowest_ms);
            assert_eq!(
                progress.due_at(now),
                now + patience,
                "the next is under way"
            );
            assert_eq!(progress.slowest_ms(now + MEMORY * 2), 0, "it is forgotten");
        }
    }

    #[test]
    fn a_hot_path_that_answers_nothing_is_not_taken_for_a_slow_one() {
        let silent = HotPath(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = Some(silent.address());
        let shared = Arc::new(Shared::new(1, String::new()).unwrap());
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut progress = Progress::new(shared, 250, start);
        progress.advance(address, TrafficType::Tcp, start);
        silent.answer(&progress);
        progress.advance(address, TrafficType::Tcp, start + ms(1));
        for after_ms in (300..10_000).step_by(100) {
            let now = start + ms(after_ms);
            progress.advance(address, TrafficType::Tcp, now);
            assert_eq!(progress.slowest_ms(now), 1);
            assert_eq!(progress.age_ms(now), Some(after_ms - 1));
        }
    }
}
