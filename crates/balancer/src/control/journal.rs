//! Lines for people: to standard error at once, and to the host when there is room.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

use crate::shared::lock;

/// Lines that wait for the host; the oldest goes when there is one more.
const WAITING_LINES: usize = 256;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work.
    Warn,
    /// Something has changed.
    Info,
}

impl Level {
    /// As the control channel writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }
}

/// Lines on their way to the host. No thread of the hot path writes here.
pub struct Journal {
    lines: Mutex<VecDeque<(Level, String)>>,
    written: OwnedFd,
}

impl Journal {
    /// An empty one.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            lines: Mutex::new(VecDeque::new()),
            written: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Writes a line.
    pub fn write(&self, level: Level, text: String) {
        eprintln!("evenkeel-balancer: {}: {text}", level.word());
        let mut lines = lock(&self.lines);
        if lines.len() == WAITING_LINES {
            lines.pop_front();
        }
        lines.push_back((level, text));
        let _ = rustix::io::write(&self.written, &1u64.to_ne_bytes());
    }

    /// Takes the oldest line.
    pub fn take(&self) -> Option<(Level, String)> {
        lock(&self.lines).pop_front()
    }

    /// Puts a line back that there was no room for.
    pub fn put_back(&self, line: (Level, String)) {
        lock(&self.lines).push_front(line);
    }

    /// Lets [`Journal::as_fd`] rest until the next line.
    pub fn acknowledge(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.written, &mut count);
    }
}

/// Becomes readable when a line was written.
impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.written.as_fd()
    }
}
