//! Takes records out of the rings and writes them to the host, in frames that go whole or not at all.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::access::{AccessHead, AccessKind, AccessRecord, RECORD_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::ring::Reader;
use crate::shared::Shared;

pub use model::access::{FRAME_BYTES, MAGIC};

/// Between two looks at rings of which none is half full.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a port without a reader, or without room, is left alone.
const REST: Duration = Duration::from_millis(20);
/// How long what is left at the end may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The thread that sends.
pub struct Sender {
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Sender {
    /// Starts the thread. `port` is written to by this process and by those that it replaces or is replaced by, so
    /// frames are written at once: no larger than what a pipe takes whole (pipe(7), `PIPE_BUF`).
    ///
    /// # Errors
    /// When the descriptor cannot be made non-blocking, or the thread not be started.
    pub fn start(port: OwnedFd, shared: Arc<Shared>) -> std::io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&port)?;
        rustix::fs::fcntl_setfl(&port, flags | OFlags::NONBLOCK)?;
        let ends = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            readers: shared.threads.iter().map(|_| Reader::default()).collect(),
            told_dropped: vec![0; shared.threads.len()],
            port,
            frame: Vec::with_capacity(FRAME_BYTES),
            shared: Arc::clone(&shared),
        };
        let told = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || work.run(&told))?;
        Ok(Self {
            thread: Some(thread),
            ends,
            shared,
        })
    }
}

impl Drop for Sender {
    /// What is there is written first, if somebody takes it.
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(ring) = self.shared.threads.first().map(|desk| &desk.log) {
            let _ = rustix::io::write(ring.wake_fd(), &1u64.to_ne_bytes());
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Work {
    readers: Vec<Reader>,
    /// Of each thread, how many dropped records were told of.
    told_dropped: Vec<u64>,
    port: OwnedFd,
    /// What was not written yet; empty, or a whole frame.
    frame: Vec<u8>,
    shared: Arc<Shared>,
}

impl Work {
    fn run(&mut self, ends: &AtomicBool) {
        loop {
            let wrote_all = self.write_all();
            if ends.load(Ordering::Acquire) {
                let until = Instant::now() + LAST_WORDS;
                while !self.write_all() && Instant::now() < until {
                    std::thread::sleep(REST);
                }
                return;
            }
            if wrote_all {
                self.sleep();
            } else {
                std::thread::sleep(REST);
            }
        }
    }

    /// Until a ring is half full, or for a pause.
    fn sleep(&self) {
        let rings = self.shared.threads.iter().map(|desk| &desk.log);
        let mut polled: Vec<_> = rings
            .clone()
            .map(|ring| PollFd::new(ring.wake_fd(), PollFlags::IN))
            .collect();
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: PAUSE.subsec_nanos().into(),
        };
        if poll(&mut polled, Some(&pause)).is_ok_and(|ready| ready > 0) {
            rings.for_each(|ring| ring.acknowledge());
        }
    }

    /// Writes frame by frame until nothing is left; false when the port takes no more.
    fn write_all(&mut self) -> bool {
        loop {
            if self.frame.is_empty() {
                self.fill();
            }
            if self.frame.is_empty() {
                return true;
            }
            if !self.has_reader() || !self.write() {
                return false;
            }
            self.frame.clear();
        }
    }

    fn write(&self) -> bool {
        // No more is taken at once than what goes whole: a pipe or a port that took a part would break its word,
        // and the reader finds the next frame by its beginning.
        rustix::io::write(&self.port, &self.frame).is_ok()
    }

    /// A port whose host is not there would keep what is written in the guest's memory.
    fn has_reader(&self) -> bool {
        let mut polled = [PollFd::new(&self.port, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let _count = poll(&mut polled, Some(&now));
        let [port] = polled;
        port.revents().contains(PollFlags::OUT) && !port.revents().contains(PollFlags::HUP)
    }

    /// Makes the next frame of what is in the rings; an empty one when nothing is.
    fn fill(&mut self) {
        let clock_us = self.shared.now_us();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_us = u64::try_from(unix.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        let later_us = unix_us.saturating_sub(clock_us);
        let out = &mut self.frame;
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 8]);
        let begin = out.len();
        let desks = self.shared.threads.iter();
        for ((desk, reader), told) in desks.zip(&mut self.readers).zip(&mut self.told_dropped) {
            let dropped = desk.log.dropped();
            if dropped != *told && out.len() + RECORD_BYTES <= FRAME_BYTES {
                let gap = AccessHead {
                    kind: AccessKind::Gap,
                    ended_us: unix_us,
                    bytes_in: dropped - *told,
                    ..AccessHead::default()
                };
                AccessRecord::write(&gap, b"", out);
                *told = dropped;
            }
            while reader.take(
                &desk.log,
                FRAME_BYTES.saturating_sub(out.len()),
                later_us,
                out,
            ) {}
        }
        let length = (out.len() - begin) as u64;
        if length == 0 {
            out.clear();
        } else if let Some(place) = out.get_mut(begin - 8..begin) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}
