//! One check of one backend: a connection, and under HTTP one request and as much of its answer as the
//! check has to see.
//!
//! The socket is watched edge-triggered, for both directions from the beginning on: that is one call of
//! the kernel for each check. So every step goes on until the kernel has nothing more.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use model::{HealthCheck, HealthProtocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::answer::{Answer, Expectation};
use super::verdict::Finding;

/// Bytes that are read at once.
pub const READ_BYTES: usize = 16 << 10;

enum Stage {
    Connecting,
    Sending { sent: usize },
    Reading,
}

/// One check under way.
pub struct Probe {
    socket: OwnedFd,
    stage: Stage,
    /// What is sent: under TCP nothing, or the header of the PROXY protocol.
    request: Vec<u8>,
    awaits_answer: bool,
    answer: Answer,
    began: Instant,
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
        let header = if asked == address { header } else { b"" };
        let is_http = check.protocol == HealthProtocol::Http;
        Ok(Self {
            socket: connect(asked).map_err(Finding::Failed)?,
            stage: Stage::Connecting,
            request: match is_http {
                true => [header, &request(address, check)].concat(),
                false => header.to_vec(),
            },
            awaits_answer: is_http,
            answer: Answer::default(),
            began: now,
        })
    }

    /// When it was begun.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Does what can be done; returns what was found at the end. `scratch` is overwritten.
    pub fn advance(
        &mut self,
        expectation: &Expectation,
        scratch: &mut [u8; READ_BYTES],
    ) -> Option<Finding> {
        loop {
            match self.step(expectation, scratch) {
                Ok(None) | Err(Errno::INTR) => {}
                Ok(finding) => return finding,
                Err(Errno::AGAIN) => return None,
                Err(error) => return Some(Finding::Failed(error)),
            }
        }
    }

    fn step(
        &mut self,
        expectation: &Expectation,
        scratch: &mut [u8; READ_BYTES],
    ) -> Result<Option<Finding>, Errno> {
        match self.stage {
            Stage::Connecting => {
                sockopt::socket_error(&self.socket).and_then(|outcome| outcome)?;
                self.stage = Stage::Sending { sent: 0 };
            }
            Stage::Sending { sent } if sent < self.request.len() => self.send(sent)?,
            Stage::Sending { .. } if !self.awaits_answer => return Ok(Some(Finding::Connected)),
            Stage::Sending { .. } => self.stage = Stage::Reading,
            Stage::Reading => {
                let (count, _) =
                    rustix::net::recv(&self.socket, &mut scratch[..], RecvFlags::empty())?;
                return Ok(match scratch.get_mut(..count) {
                    Some(bytes) if count > 0 => self.answer.take(bytes, expectation),
                    _ => Some(self.answer.end()),
                });
            }
        }
        Ok(None)
    }

    fn send(&mut self, sent: usize) -> Result<(), Errno> {
        let rest = self.request.get(sent..).unwrap_or_default();
        let sent = sent + rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL)?;
        self.stage = Stage::Sending { sent };
        Ok(())
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn request(address: SocketAddrV4, check: &HealthCheck) -> Vec<u8> {
    let path = &check.request_path;
    let own = address.to_string();
    let host = check.host.as_ref().unwrap_or(&own);
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-health-check\r\n\
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
