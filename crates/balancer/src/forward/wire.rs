//! A connected socket and what is known of its readiness.
//!
//! Events come edge-triggered, so readiness is remembered here: it is believed until a call says otherwise.
//! A short read or write says so too, and saves the call that would have.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};
use rustix::pipe::{SpliceFlags, splice};

use super::pipe::Pipe;
use super::watch::{Readiness, Watch};

/// Pages change hands instead of bytes, and nothing waits.
const SPLICE: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The other side will send no more.
    Ended,
    /// Nothing for now.
    Blocked,
    /// The connection is broken.
    Failed(Errno),
}

/// A connected socket.
pub struct Wire {
    socket: OwnedFd,
    /// A read may give something.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// The other side has ended its half, or the connection is broken; seen by the kernel, perhaps with
    /// bytes still to be read.
    pub hung_up: bool,
    /// The connection is broken: nothing that is sent arrives any more.
    pub broken: bool,
    /// The last event said only what was known.
    in_vain: bool,
    watch: Option<Watch>,
}

impl Wire {
    /// A socket that is taken to be ready until it says that it is not.
    #[must_use]
    pub fn ready(socket: OwnedFd) -> Self {
        Self {
            socket,
            readable: true,
            writable: true,
            hung_up: false,
            broken: false,
            in_vain: false,
            watch: None,
        }
    }

    /// A socket whose connection is being made.
    #[must_use]
    pub fn connecting(socket: OwnedFd) -> Self {
        Self {
            readable: false,
            writable: false,
            ..Self::ready(socket)
        }
    }

    /// Whether any event of it is delivered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.watch.is_some()
    }

    /// Whether the kernel still has to be told which events are waited for.
    #[must_use]
    pub fn is_unwatched(&self) -> bool {
        self.watch != Some(self.next_watch())
    }

    fn next_watch(&self) -> Watch {
        let readiness = Readiness {
            readable: self.readable,
            writable: self.writable,
            in_vain: self.in_vain,
        };
        Watch::next(self.watch, readiness)
    }

    /// Has the events delivered under `token` that are waited for; see [`Watch`].
    ///
    /// # Errors
    /// When the kernel has no memory or watches left for it.
    pub fn ensure_watched(&mut self, epoll: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        self.ask_for(self.next_watch(), epoll, token)
    }

    /// Has those events delivered that a connection at rest needs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rest(&mut self, epoll: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        self.ask_for(Watch::AT_REST, epoll, token)
    }

    fn ask_for(&mut self, watch: Watch, epoll: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(token);
        match self.watch {
            None => epoll::add(epoll, &self.socket, data, watch.events())?,
            Some(now) if now == watch => return Ok(()),
            Some(_) => epoll::modify(epoll, &self.socket, data, watch.events())?,
        }
        self.watch = Some(watch);
        Ok(())
    }

    /// Takes an event in.
    pub fn note(&mut self, flags: EventFlags) {
        self.broken |= flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let known = (self.readable, self.writable, self.hung_up);
        self.hung_up |= self.broken || flags.contains(EventFlags::RDHUP);
        self.readable |= self.hung_up || flags.contains(EventFlags::IN);
        self.writable |= self.broken || flags.contains(EventFlags::OUT);
        self.in_vain = known == (self.readable, self.writable, self.hung_up);
    }

    /// Reads what there is, up to the buffer's length.
    pub fn receive(&mut self, into: &mut [u8]) -> Received {
        let room = into.len();
        match retrying(|| rustix::net::recv(&self.socket, &mut *into, RecvFlags::empty())) {
            Ok((0, _)) => Received::Ended,
            Ok((count, _)) => {
                self.readable = count == room || self.hung_up;
                Received::Bytes(count)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Received::Blocked
            }
            Err(error) => Received::Failed(error),
        }
    }

    /// Looks whether there is anything to read, without taking it.
    pub fn peek(&self) -> Received {
        self.peek_into(&mut [0u8; 1])
    }

    /// Reads what there is without taking it.
    pub fn peek_into(&self, into: &mut [u8]) -> Received {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match retrying(|| rustix::net::recv(&self.socket, &mut *into, flags)) {
            Ok((0, _)) => Received::Ended,
            Ok((count, _)) => Received::Bytes(count),
            Err(Errno::AGAIN) => Received::Blocked,
            Err(error) => Received::Failed(error),
        }
    }

    /// Writes both parts, one after the other; returns how many bytes were taken, which may be none.
    /// `last` says that the connection will be closed right after, so that the data and the FIN share
    /// a segment.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, parts: [&[u8]; 2], last: bool) -> Result<usize, Errno> {
        let flags = if last {
            SendFlags::NOSIGNAL | SendFlags::MORE
        } else {
            SendFlags::NOSIGNAL
        };
        let [first, second] = parts;
        let sent = if second.is_empty() {
            retrying(|| rustix::net::send(&self.socket, first, flags))
        } else if first.is_empty() {
            retrying(|| rustix::net::send(&self.socket, second, flags))
        } else {
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            retrying(|| {
                let mut control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(&self.socket, &slices, &mut control, flags)
            })
        };
        match sent {
            Ok(count) => {
                self.writable = count == first.len() + second.len();
                Ok(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves bytes into an empty pipe, `most` at most, without copying them.
    ///
    /// Neither a pipe that is full of small pieces nor a socket that is empty can be told from how many
    /// there were, so only a call that gives none says that there is nothing more to be read.
    pub fn splice_in(&mut self, pipe: &mut Pipe, most: u64) -> Received {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let most = most.min(pipe.bound());
        match retrying(|| splice(&self.socket, None, &pipe.entry, None, most, SPLICE)) {
            Ok(0) => Received::Ended,
            Ok(count) => {
                pipe.fill(count);
                Received::Bytes(count)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Received::Blocked
            }
            Err(error) => Received::Failed(error),
        }
    }

    /// Moves bytes out of the pipe; returns how many the socket took, which may be none.
    ///
    /// There is no flag against SIGPIPE here, but the process ignores it, as every program in Rust does.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn splice_out(&mut self, pipe: &mut Pipe) -> Result<usize, Errno> {
        let held = pipe.held();
        match retrying(|| splice(&pipe.exit, None, &self.socket, None, held, SPLICE)) {
            Ok(count) => {
                pipe.drain(count);
                self.writable = count == held;
                Ok(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the socket itself whether there is anything to be read, after reads that could not tell.
    pub fn look_again(&mut self) {
        if self.peek() == Received::Blocked {
            self.readable = false;
        }
    }

    /// The outcome of a connection that was being made.
    ///
    /// # Errors
    /// Why it did not come about.
    pub fn outcome(&self) -> Result<(), Errno> {
        sockopt::socket_error(&self.socket).and_then(|outcome| outcome)
    }

    /// Bytes that were sent and that the other side has not acknowledged; 0 when that cannot be said.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one int, which lives through the call.
        let outcome =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        match outcome {
            0 => usize::try_from(bytes).unwrap_or(0),
            _ => 0,
        }
    }

    /// Bytes that the socket can take in now, as far as can be told; 0 when it cannot. The kernel counts with
    /// what holds them, which is more.
    #[must_use]
    pub fn room(&self) -> usize {
        // The order of these numbers is the kernel's (SK_MEMINFO_*).
        let mut memory = [0u32; 9];
        let mut length = size_of_val(&memory) as libc::socklen_t;
        // SAFETY: the kernel writes as many bytes as it is told there is room for, which live through the call.
        let outcome = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                (&raw mut memory).cast(),
                &raw mut length,
            )
        };
        let [_, _, _, most, _, queued, ..] = memory;
        match outcome {
            0 => usize::try_from(most.saturating_sub(queued)).unwrap_or(0),
            _ => 0,
        }
    }

    /// Ends this side's half. A failure means that the connection is broken, which the next call says.
    pub fn end_sending(&self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
    }

    /// Acknowledges what has come at once, instead of with the next bytes that are sent.
    pub fn acknowledge(&self) {
        let _ = sockopt::set_tcp_quickack(&self.socket, true);
    }

    /// Makes the coming close a reset, so that the other side cannot take what it has for the whole.
    pub fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A signal may interrupt a call any number of times; each time it is made again.
pub(super) fn retrying<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
