//! One check of one backend: a connection, and under HTTP one request and the head of its answer.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use model::{HealthCheck, HealthProtocol};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::verdict::Finding;
use crate::http::head::{HeadScanner, HeadSpan};
use crate::http::response::ResponseHead;

enum Stage {
    Connecting,
    Sending { sent: usize },
    Reading,
}

/// One check under way.
pub struct Probe {
    socket: OwnedFd,
    stage: Stage,
    request: Vec<u8>,
    answer: Vec<u8>,
    scanner: HeadScanner,
    began: Instant,
    deadline: Instant,
}

impl Probe {
    /// Begins a check of the backend at `address`. A connection to the backend's own port begins with
    /// `header`, which may be empty.
    ///
    /// # Errors
    /// What was found when the system refused at once.
    pub fn begin(
        address: SocketAddrV4,
        check: &HealthCheck,
        header: &[u8],
        now: Instant,
    ) -> Result<Self, Finding> {
        let port = check.port.unwrap_or(address.port());
        let asked = SocketAddrV4::new(*address.ip(), port);
        Ok(Self {
            socket: connect(asked).map_err(Finding::Failed)?,
            stage: Stage::Connecting,
            request: match check.protocol {
                HealthProtocol::Tcp => Vec::new(),
                HealthProtocol::Http => {
                    let header = if asked == address { header } else { b"" };
                    [header, &request(address, &check.request_path)].concat()
                }
            },
            answer: Vec::new(),
            scanner: HeadScanner::default(),
            began: now,
            deadline: now + Duration::from_millis(check.criteria.timeout_ms),
        })
    }

    /// When it has failed for want of an answer.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When it was begun.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What to wait for.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        match self.stage {
            Stage::Connecting | Stage::Sending { .. } => PollFlags::OUT,
            Stage::Reading => PollFlags::IN,
        }
    }

    /// Does what can be done; returns what was found at the end.
    pub fn advance(&mut self, ready: bool, now: Instant) -> Option<Finding> {
        if ready {
            match self.step() {
                Ok(None) | Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(finding) => return finding,
                Err(error) => return Some(Finding::Failed(error)),
            }
        }
        (now >= self.deadline).then_some(Finding::Silent)
    }

    fn step(&mut self) -> Result<Option<Finding>, Errno> {
        match self.stage {
            Stage::Connecting => {
                sockopt::socket_error(&self.socket).and_then(|outcome| outcome)?;
                if self.request.is_empty() {
                    return Ok(Some(Finding::Connected));
                }
                self.stage = Stage::Sending { sent: 0 };
                self.send(0)
            }
            Stage::Sending { sent } => self.send(sent),
            Stage::Reading => self.read(),
        }
    }

    fn send(&mut self, sent: usize) -> Result<Option<Finding>, Errno> {
        let rest = self.request.get(sent..).unwrap_or_default();
        let sent = sent + rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL)?;
        self.stage = if sent < self.request.len() {
            Stage::Sending { sent }
        } else {
            Stage::Reading
        };
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Finding>, Errno> {
        let mut buffer = [0u8; 4096];
        let (count, _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty())?;
        if count == 0 {
            return Ok(Some(Finding::Closed));
        }
        self.answer.extend(buffer.iter().take(count));
        loop {
            match self.scanner.find(&self.answer) {
                Ok(None) => return Ok(None),
                Err(malformed) => return Ok(Some(Finding::Malformed(malformed))),
                Ok(Some(span)) => {
                    let finding = self.read_head(span);
                    if finding.is_some() {
                        return Ok(finding);
                    }
                }
            }
        }
    }

    /// Reads a whole head; nothing when it is of an interim answer, which is then forgotten.
    fn read_head(&mut self, span: HeadSpan) -> Option<Finding> {
        let mut fields = Vec::new();
        let head = self.answer.get(..span.end).unwrap_or_default();
        let finding = match ResponseHead::read(head, &mut fields) {
            Err(malformed) => Finding::Malformed(malformed),
            Ok(head) if head.status >= 200 => Finding::Answered {
                status: head.status,
                line: head.status_line.to_vec(),
            },
            Ok(_) => {
                self.answer.drain(..span.end);
                self.scanner = HeadScanner::default();
                return None;
            }
        };
        Some(finding)
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn request(address: SocketAddrV4, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: evenkeel-health-check\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn connect(address: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
