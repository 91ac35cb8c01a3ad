//! One end of the way between a supervisor and a balancer: packets with descriptors beside them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::message::Message;

/// Descriptors that the kernel lets travel with one packet.
pub const MOST_DESCRIPTORS: usize = 253;
/// Bytes of a packet; what is longer is cut off.
const PACKET_BYTES: usize = 4096;
/// How long a packet may wait for room. The other side is never busy for long.
const PATIENCE: Duration = Duration::from_secs(1);

/// One end.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// What was found on the link.
#[derive(Debug)]
pub enum Found {
    /// A packet, and what came with it.
    Packet(Message, Vec<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// The other side has gone.
    End,
}

impl Link {
    /// Two ends that belong together.
    ///
    /// # Errors
    /// When the kernel gives no sockets.
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (one, other) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Self::over(one)?, Self::over(other)?))
    }

    /// The end that a parent process left open.
    ///
    /// # Errors
    /// When it is no socket.
    pub fn over(socket: OwnedFd) -> Result<Self, Errno> {
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a packet with descriptors, which stay open here.
    ///
    /// # Errors
    /// When the other side has gone or takes nothing, or there are more descriptors than
    /// [`MOST_DESCRIPTORS`].
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::TOOBIG);
        }
        let text = message.text();
        let parts = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &parts, &mut beside, SendFlags::NOSIGNAL).map(drop)
    }

    /// Takes the next packet, if there is one.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn receive(&self) -> Result<Found, Errno> {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn wait(&self) -> Result<Found, Errno> {
        self.receive_with(RecvFlags::empty())
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<Found, Errno> {
        loop {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut packet = [0u8; PACKET_BYTES];
            let mut parts = [IoSliceMut::new(&mut packet)];
            let flags = flags | RecvFlags::CMSG_CLOEXEC;
            let bytes = match recvmsg(&self.0, &mut parts, &mut beside, flags) {
                Ok(received) => received.bytes,
                Err(Errno::AGAIN) => return Ok(Found::Nothing),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(Found::End),
                Err(error) => return Err(error),
            };
            if bytes == 0 {
                return Ok(Found::End);
            }
            let descriptors = beside
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                    _ => None,
                })
                .flatten()
                .collect();
            let text = String::from_utf8_lossy(packet.get(..bytes).unwrap_or_default());
            if let Some(message) = Message::read(&text) {
                return Ok(Found::Packet(message, descriptors));
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_with_their_packet_and_packets_in_their_order() {
        let (near, far) = Link::pair().unwrap();
        assert!(matches!(far.receive(), Ok(Found::Nothing)));
        let (mut one, other) = UnixStream::pair().unwrap();
        let keep = Message::Keep("socket".to_owned());
        near.send(&keep, &[other.as_fd()]).unwrap();
        near.send(&Message::Ready, &[]).unwrap();
        drop((near, other));
        let Ok(Found::Packet(message, mut descriptors)) = far.receive() else {
            panic!("no packet");
        };
        assert_eq!((message, descriptors.len()), (keep, 1));
        one.write_all(b"through").unwrap();
        let mut other = UnixStream::from(descriptors.pop().unwrap());
        let mut said = [0; 7];
        other.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"through");
        assert!(
            matches!(far.receive(), Ok(Found::Packet(Message::Ready, none)) if none.is_empty())
        );
        assert!(matches!(far.receive(), Ok(Found::End)));
    }

    #[test]
    fn words_of_another_version_are_passed_over() {
        let (near, far) = Link::pair().unwrap();
        rustix::net::send(&near.0, b"dance", SendFlags::empty()).unwrap();
        near.send(&Message::Left, &[]).unwrap();
        assert!(matches!(far.wait(), Ok(Found::Packet(Message::Left, _))));
    }
}
