//! A UDP socket on which figures come: it has room for what comes at once, and knows what the kernel dropped.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use tokio::net::{ToSocketAddrs, UdpSocket};

/// Bytes that may wait in the kernel, as it counts them: a short datagram takes nearly a kilobyte of them. So five
/// seconds' packets of some hundred VMs wait for a monitor that is held up, and those of a thousand that send at once.
const ROOM_BYTES: usize = 4 << 20;

/// What `SO_MEMINFO` tells, and which of it is the number of packets that were dropped (`linux/sock_diag.h`).
const MEMORY_FIGURES: usize = 9;
const DROPS: usize = 8;

/// The socket.
pub(super) struct Receiver {
    socket: UdpSocket,
    /// What the kernel's count was when it was last asked for: it begins anew after 2³².
    drops: u32,
    dropped: u64,
}

impl Receiver {
    /// # Errors
    /// When the address is missing or taken.
    pub(super) async fn bind(listen: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen).await?;
        // Beyond what is set for the whole machine only root can ask. Where nothing can be had, the usual room is left.
        let forced = set_socket_recv_buffer_size_force(&socket, ROOM_BYTES);
        let _usual = forced.or_else(|_| set_socket_recv_buffer_size(&socket, ROOM_BYTES));
        Ok(Self {
            socket,
            drops: 0,
            dropped: 0,
        })
    }

    /// The next packet. A future of it that is dropped has taken none.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    /// How many packets the kernel has dropped in all, for want of room or since they were damaged on their way.
    pub(super) fn dropped(&mut self) -> u64 {
        if let Some(drops) = drops(&self.socket) {
            let rise = drops.wrapping_sub(self.drops);
            self.dropped = self.dropped.saturating_add(rise.into());
            self.drops = drops;
        }
        self.dropped
    }
}

/// The kernel's own count. None where it has none.
fn drops(socket: &UdpSocket) -> Option<u32> {
    let mut figures = [0_u32; MEMORY_FIGURES];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the descriptor is open, and both pointers are to values of the lengths that are told, which outlive the
    // call.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let is_told = outcome == 0 && length as usize > DROPS * size_of::<u32>();
    figures.get(DROPS).copied().filter(|_| is_told)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustix::net::sockopt::socket_recv_buffer_size;

    use super::*;

    #[tokio::test]
    async fn it_has_more_room_than_others_and_each_packet_is_read_or_counted_as_dropped() {
        const PACKETS: u64 = 40_000;
        let local = (Ipv4Addr::LOCALHOST, 0);
        let sender = UdpSocket::bind(local).await.unwrap();
        let mut receiver = Receiver::bind(local).await.unwrap();
        let room = |socket| socket_recv_buffer_size(socket).unwrap();
        assert!(room(&receiver.socket) > room(&sender));
        assert_eq!(receiver.dropped(), 0);

        let to = receiver.socket.local_addr().unwrap();
        for _ in 0..PACKETS {
            sender.send_to(b"figures", to).await.unwrap();
        }
        let dropped = receiver.dropped();
        assert!((1..PACKETS).contains(&dropped), "{dropped}");
        let mut buffer = [0; 16];
        for _ in dropped..PACKETS {
            receiver.receive(&mut buffer).await.unwrap();
        }
        sender.send_to(b"last", to).await.unwrap();
        let (length, _) = receiver.receive(&mut buffer).await.unwrap();
        assert_eq!((length, receiver.dropped()), (4, dropped), "none is left");
    }
}
