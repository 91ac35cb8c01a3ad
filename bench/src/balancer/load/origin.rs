//! The server behind the proxies: it reads as little as it can and answers from memory.
//!
//! It takes every request for a `GET` without a body, which is all that the generator sends.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use memchr::memmem;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};

use super::payload::Answers;
use super::socket::{Received, Role, receive, send, token, watch};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The longest request head; a proxy adds a few fields to about 100 bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;

/// The origin, on every address of its namespace.
pub struct Origin {
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: Answers,
    /// Answers to anything but health checks that were begun.
    pub served: u64,
}

struct Connection {
    socket: OwnedFd,
    /// What there is of a request that came in parts.
    partial: Vec<u8>,
    /// An answer that the socket did not take whole, and how much of it was.
    sending: Option<(Arc<[u8]>, usize)>,
    /// The client asked for the end after this answer.
    last: bool,
}

impl Origin {
    /// Listens, and has its events delivered.
    pub fn listen(epoll: BorrowedFd<'_>, port: u16) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Inherited by what is accepted.
        sockopt::set_tcp_nodelay(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
        listen(&listener, BACKLOG)?;
        epoll::add(epoll, &listener, token(Role::Listener, 0), EventFlags::IN)?;
        Ok(Self {
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            answers: Answers::build(),
            served: 0,
        })
    }

    /// Accepts all that wait.
    pub fn accept(&mut self, epoll: BorrowedFd<'_>) -> Result<(), Errno> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error),
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            watch(epoll, &socket, Role::Origin, slot)?;
            if let Some(place) = self.connections.get_mut(slot) {
                *place = Some(Connection {
                    socket,
                    partial: Vec::new(),
                    sending: None,
                    last: false,
                });
            }
        }
    }

    /// Gives one connection its turn.
    pub fn attend(&mut self, slot: usize, scratch: &mut [u8]) {
        let Some(place) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(connection) = place else {
            return;
        };
        if !connection.turn(&self.answers, scratch, &mut self.served) {
            *place = None;
            self.free.push(slot);
        }
    }
}

impl Connection {
    /// Goes on as far as it can; false when the connection is over.
    fn turn(&mut self, answers: &Answers, scratch: &mut [u8], served: &mut u64) -> bool {
        // A short read took all there was; an event says when there is more.
        let mut drained = false;
        loop {
            match self.flush() {
                Ok(true) if self.last => return false,
                Ok(true) if !drained => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
            let count = match receive(self.socket.as_fd(), scratch, false) {
                Ok(Received::Bytes(count)) => count,
                Ok(Received::Nothing) => return true,
                Ok(Received::Ended) | Err(_) => return false,
            };
            drained = count < scratch.len();
            let bytes = scratch.get(..count).unwrap_or_default();
            if !self.understand(bytes, answers, served) {
                return false;
            }
        }
    }

    /// Sends what is left of the answer; true when there is nothing left.
    fn flush(&mut self) -> Result<bool, Errno> {
        while let Some((answer, sent)) = &mut self.sending {
            let rest = answer.get(*sent..).unwrap_or_default();
            let count = send(&self.socket, rest)?;
            *sent += count;
            if *sent == answer.len() {
                self.sending = None;
            } else if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds the request and its answer; false when it is none that this origin knows.
    fn understand(&mut self, bytes: &[u8], answers: &Answers, served: &mut u64) -> bool {
        let joined;
        let head = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.partial);
            &joined
        };
        if !head.ends_with(b"\r\n\r\n") {
            self.partial = head.to_vec();
            return self.partial.len() <= MAX_REQUEST_BYTES;
        }
        let path = head
            .strip_prefix(b"GET ")
            .and_then(|rest| rest.split(|byte| *byte == b' ').next());
        let Some((body, answer)) = path.and_then(|path| answers.find(path)) else {
            return false;
        };
        *served += u64::from(body.is_some());
        // Our own client writes it so, and HAProxy's and nginx's checks as well.
        self.last = memmem::find(head, b": close\r\n").is_some();
        self.sending = Some((answer, 0));
        true
    }
}
