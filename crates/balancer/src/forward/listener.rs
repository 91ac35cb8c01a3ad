//! Listening sockets.

use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections that wait to be accepted; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;

/// Opens one listening socket of those that share the address, one for each thread.
///
/// # Errors
/// When the address is not there, or taken by another program.
pub fn listen(address: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Has a connection accepted only when the client's first bytes are there (TCP_DEFER_ACCEPT), or as soon as
/// it is made. With the bytes there, a request costs one read and no event of its own.
///
/// It is for protocols in which the client speaks first. One that says nothing is accepted a second later,
/// after the kernel has asked it once more whether it is there.
pub fn await_first_bytes(listener: &OwnedFd, await_them: bool) {
    const SECONDS: libc::c_int = 1;
    let seconds = if await_them { SECONDS } else { 0 };
    // SAFETY: the value is a number of the size that is given. A refusal changes only what accepting costs.
    unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}
