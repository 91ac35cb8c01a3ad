//! Pipes, through which splice(2) moves bytes from one socket to another without copying them.
//!
//! A pipe is lent for one move. One that the sink emptied goes back at once, so a pipe belongs to a session
//! only while bytes are in it, and never to one at rest. No more is moved than the sink has room for, or
//! hardly more, and there is a bound on pipes; so there is one on what slow readers can keep in them. Without
//! a pipe bytes are copied.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// What a pipe is asked to hold. Less means more calls for the same bytes.
const PIPE_BYTES: usize = 1 << 20;
/// Pipes of one thread.
const PIPES: usize = 128;
/// Empty pipes kept for the next move.
const KEPT_PIPES: usize = 8;

/// A pipe and what is in it.
#[derive(Debug)]
pub struct Pipe {
    /// Where bytes come out.
    pub(super) exit: OwnedFd,
    /// Where bytes go in.
    pub(super) entry: OwnedFd,
    /// Bytes that it can hold at most; fewer when they come in small pieces.
    capacity: usize,
    /// Bytes that the next move may put into it.
    bound: usize,
    held: usize,
}

impl Pipe {
    fn open(bytes: usize) -> Result<Self, Errno> {
        let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to those without privileges who have many; then it stays as it is.
        let _ = fcntl_setpipe_size(&entry, bytes);
        let capacity = fcntl_getpipe_size(&entry)?;
        Ok(Self {
            exit,
            entry,
            capacity,
            bound: capacity,
            held: 0,
        })
    }

    /// Bytes in it.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes that a move may put into it.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// So many bytes went in.
    pub(super) fn fill(&mut self, count: usize) {
        self.held += count;
    }

    /// So many bytes came out.
    pub(super) fn drain(&mut self, count: usize) {
        self.held = self.held.saturating_sub(count);
    }
}

/// The pipes of one thread.
#[derive(Default)]
pub struct Pipes {
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves are what is used again"
    )]
    spare: Vec<Box<Pipe>>,
    lent: usize,
}

impl Pipes {
    /// Whether so many are lent that the rest is for those who will not keep one.
    #[must_use]
    pub fn are_scarce(&self) -> bool {
        self.lent >= PIPES / 2
    }

    /// Lends an empty pipe for so many bytes at most, unless there are too many already or the kernel gives
    /// none.
    pub fn take(&mut self, bound: usize) -> Option<Box<Pipe>> {
        if self.lent >= PIPES {
            return None;
        }
        let mut pipe = match self.spare.pop() {
            Some(pipe) => pipe,
            None => Box::new(Pipe::open(PIPE_BYTES).ok()?),
        };
        self.lent += 1;
        pipe.bound = bound.min(pipe.capacity);
        Some(pipe)
    }

    /// Closes the empty pipes that are kept.
    pub fn drop_spare(&mut self) {
        self.spare.clear();
    }

    /// Takes a pipe back. One with bytes in it is closed, and they are lost.
    pub fn give(&mut self, pipe: Box<Pipe>) {
        self.lent = self.lent.saturating_sub(1);
        if pipe.held == 0 && self.spare.len() < KEPT_PIPES {
            self.spare.push(pipe);
        }
    }
}
