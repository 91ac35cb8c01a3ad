//! The control channel's end in the VM. The host may come and go at any time.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use model::GuestMessage;
use rustix::fs::{FileType, OFlags};
use rustix::net::SocketFlags;

use super::ChannelSource;
use super::lines::{LineReader, LineWriter, StreamState};

/// How long a port whose host is not there is left alone: it would say so without end.
const REST: Duration = Duration::from_millis(100);

struct Stream {
    descriptor: OwnedFd,
    reader: LineReader,
    writer: LineWriter,
}

impl Stream {
    fn new(descriptor: OwnedFd) -> Self {
        Self {
            descriptor,
            reader: LineReader::default(),
            writer: LineWriter::default(),
        }
    }
}

/// The way to the host.
pub struct Channel {
    listener: Option<OwnedFd>,
    stream: Option<Stream>,
    rests_until: Option<Instant>,
}

impl Channel {
    /// Takes the descriptor over that the parent process left open.
    ///
    /// # Errors
    /// When there is no such descriptor.
    pub fn open(source: ChannelSource) -> std::io::Result<Self> {
        let number = match source {
            ChannelSource::Stream(number) | ChannelSource::Listener(number) => number,
        };
        let descriptor = take_descriptor(number)?;
        let flags = rustix::fs::fcntl_getfl(&descriptor)?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(match source {
            ChannelSource::Stream(_) => Self {
                listener: None,
                stream: Some(Stream::new(descriptor)),
                rests_until: None,
            },
            ChannelSource::Listener(_) => Self {
                listener: Some(descriptor),
                stream: None,
                rests_until: None,
            },
        })
    }

    /// The descriptors to wait on at `now`; the second also for room when the flag says so.
    pub fn descriptors(&self, now: Instant) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let resting = self.rests_until.is_some_and(|until| now < until);
        let stream = self.stream.as_ref().filter(|_| !resting);
        let listener = self
            .listener
            .iter()
            .map(|listener| (listener.as_fd(), false));
        listener.chain(stream.map(|stream| (stream.descriptor.as_fd(), stream.writer.is_pending())))
    }

    /// When a port that rests is to be looked at again.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Takes new connections and reads what there is; adds whole lines to `lines`.
    pub fn receive(&mut self, now: Instant, lines: &mut Vec<Vec<u8>>) {
        self.accept();
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.writer.flush(&stream.descriptor);
        if stream.reader.read(&stream.descriptor, lines) == StreamState::Ended {
            self.lose_host(now);
        }
    }

    /// The newest connection is the host; an older one is closed.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(connection) = rustix::net::accept_with(listener, flags) {
            self.stream = Some(Stream::new(connection));
        }
    }

    /// A socket that has ended will say no more. A port may find its host again.
    fn lose_host(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.reader.reset();
        let is_socket = rustix::fs::fstat(&stream.descriptor)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
        if is_socket {
            self.stream = None;
        } else {
            self.rests_until = Some(now + REST);
        }
    }

    /// Ends a line that another process may have left unfinished on a stream that both have used.
    pub fn end_line(&mut self) {
        if self.listener.is_none()
            && let Some(stream) = &mut self.stream
        {
            stream.writer.end_line();
        }
    }

    /// Sends a message, or drops it when there is no room or no host. Says which.
    pub fn send(&mut self, message: &GuestMessage) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        // The messages have string keys and finite numbers only, so writing them does not fail.
        let line = serde_json::to_vec(message).unwrap_or_default();
        stream.writer.write(&stream.descriptor, &line)
    }
}

/// Takes over a descriptor that is named on the command line.
pub(super) fn take_descriptor(number: i32) -> std::io::Result<OwnedFd> {
    let there = number > 2 && std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
    if !there {
        return Err(std::io::Error::other(format!(
            "descriptor {number} is not open: the parent process must leave it open"
        )));
    }
    // SAFETY: the descriptor is open, and is named on the command line, once, to be taken over;
    // nothing in this process has opened it, since nothing else has been opened and kept yet.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}
