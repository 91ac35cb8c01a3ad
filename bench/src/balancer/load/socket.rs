//! The calls on sockets that origin and generator share: none of them waits.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with, sockopt,
};

/// What an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The thread's own orders.
    Orders = 0,
    /// The origin's listener.
    Listener = 1,
    /// A connection to the origin.
    Origin = 2,
    /// A connection of the generator.
    Active = 3,
    /// A client that only holds its connection open.
    Held = 4,
}

/// An event's mark: whose it is, and which slot of theirs.
pub fn token(role: Role, slot: usize) -> EventData {
    let slot = u64::try_from(slot).unwrap_or(u64::MAX) & 0xffff_ffff;
    EventData::new_u64(((role as u64) << 32) | slot)
}

/// Reads an event's mark.
pub fn untoken(data: EventData) -> (Option<Role>, usize) {
    let role = match data.u64() >> 32 {
        0 => Some(Role::Orders),
        1 => Some(Role::Listener),
        2 => Some(Role::Origin),
        3 => Some(Role::Active),
        4 => Some(Role::Held),
        _ => None,
    };
    let slot = usize::try_from(data.u64() & 0xffff_ffff).unwrap_or(usize::MAX);
    (role, slot)
}

/// Watches a connection for everything, once, edge-triggered.
pub fn watch(
    epoll: BorrowedFd<'_>,
    socket: &OwnedFd,
    role: Role,
    slot: usize,
) -> Result<(), Errno> {
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    epoll::add(epoll, socket, token(role, slot), interest)
}

/// Begins a connection.
pub fn connect(target: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        Some(ipproto::TCP),
    )?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Sends what fits: 0 when nothing does.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

/// What a read gave.
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The other side has ended.
    Ended,
    /// Nothing for now.
    Nothing,
}

/// Reads into the buffer, or, when told to discard, only as if: the kernel then drops the bytes.
pub fn receive(socket: impl AsFd, into: &mut [u8], discard: bool) -> Result<Received, Errno> {
    let flags = if discard {
        RecvFlags::TRUNC
    } else {
        RecvFlags::empty()
    };
    match rustix::net::recv(socket, into, flags) {
        Ok((_, 0)) => Ok(Received::Ended),
        Ok((_, count)) => Ok(Received::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
        Err(error) => Err(error),
    }
}
