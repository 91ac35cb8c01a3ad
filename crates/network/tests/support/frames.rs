//! Ethernet frames made and caught by hand.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use model::Mac;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::{PATIENCE, inside};

pub const BROADCAST: Mac = Mac([0xff; 6]);

/// A link in a namespace, on which whole frames are written and read.
pub struct Wire {
    socket: Socket,
    pub name: String,
}

impl Wire {
    /// In the namespace of that file, or in the caller's.
    pub fn open(namespace: Option<&Path>, link: &str) -> Self {
        let name = format!("{link} in {namespace:?}");
        let socket = match namespace {
            Some(path) => inside(path, || packet_socket(link)),
            None => packet_socket(link),
        };
        Self {
            socket: socket.unwrap_or_else(|e| panic!("{name}: {e}")),
            name,
        }
    }

    pub fn send(&self, frame: &[u8]) {
        assert_eq!(self.socket.send(frame).unwrap(), frame.len());
    }

    /// Forgets what has come so far.
    pub fn drain(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while !self.receive().is_empty() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Waits for a frame with `control` in it and says whether one with `forged` came before it.
    pub fn catches(&self, forged: &[u8], control: &[u8]) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut caught = false;
        while Instant::now() < deadline {
            let frame = self.receive();
            caught |= contains(&frame, forged);
            if contains(&frame, control) {
                return caught;
            }
        }
        panic!("the control frame did not reach {}", self.name);
    }

    /// The next frame, empty where none comes for a while.
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
        match self.socket.recv(&mut buffer) {
            // SAFETY: the kernel has written the first `length` bytes.
            Ok(length) => buffer[..length]
                .iter()
                .map(|byte| unsafe { byte.assume_init() })
                .collect(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Vec::new(),
            Err(e) => panic!("{}: {e}", self.name),
        }
    }
}

fn packet_socket(link: &str) -> io::Result<Socket> {
    let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(every_protocol)),
    )?;
    let name = std::ffi::CString::new(link)?;
    // SAFETY: `name` is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` fits into the storage, and zero bytes are a value of it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(index).unwrap();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a whole `sockaddr_ll`.
    socket.bind(&unsafe { SockAddr::new(storage, length) })?;
    socket.set_read_timeout(Some(super::SILENCE))?;
    Ok(socket)
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

pub fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv6 packet to all nodes of the link.
pub fn ipv6(to: Mac, from: Mac, mark: &[u8]) -> Vec<u8> {
    const NO_NEXT_HEADER: u8 = 59;
    let length = u16::try_from(mark.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([NO_NEXT_HEADER, 64]);
    packet.extend("fe80::99".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(mark);
    ethernet(to, from, 0x86dd, &packet)
}

/// A UDP datagram that carries `mark`.
pub fn udp(
    (to_mac, to): (Mac, Ipv4Addr),
    (from_mac, from): (Mac, Ipv4Addr),
    mark: &[u8],
) -> Vec<u8> {
    ethernet(
        to_mac,
        from_mac,
        0x0800,
        &ipv4(to, from, 17, &{
            let length = 8 + u16::try_from(mark.len()).unwrap();
            let mut datagram = Vec::new();
            for field in [4000, 4000, length, 0] {
                datagram.extend(field.to_be_bytes());
            }
            datagram.extend(mark);
            datagram
        }),
    )
}

/// A TCP segment with these flags that carries `mark`.
pub fn tcp(
    (to_mac, to): (Mac, Ipv4Addr),
    (from_mac, from): (Mac, Ipv4Addr),
    flags: u8,
    mark: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend([0x0f, 0xa0, 0x0f, 0xa0]);
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(mark);
    ethernet(to_mac, from_mac, 0x0800, &ipv4(to, from, 6, &segment))
}

/// An ARP request for `target` whose own claims may be false. The mark follows the request, where Ethernet
/// pads.
pub fn arp(from_mac: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr, mark: &[u8]) -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(sender.0.0);
    request.extend(sender.1.octets());
    request.extend([0; 6]);
    request.extend(target.octets());
    request.extend(mark);
    ethernet(BROADCAST, from_mac, 0x0806, &request)
}

fn ipv4(to: Ipv4Addr, from: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = 20 + u16::try_from(payload.len()).unwrap();
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [header, payload.to_vec()].concat()
}
