//! Which state of its rules a namespace is in, asked of the kernel in one message.
//!
//! A listing costs a process; the kernel's count of changes does not. So a listing is kept for as long as
//! that count stands still.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use rtnetlink::sys::Socket;

use crate::namespace::Namespace;

/// `NETLINK_NETFILTER` of linux/netlink.h.
const NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES` of linux/netfilter/nfnetlink.h with `NFT_MSG_GETGEN` of nf_tables.h.
const GET_GENERATION: u16 = (10 << 8) | 16;
/// The same with `NFT_MSG_NEWGEN`.
const NEW_GENERATION: u16 = (10 << 8) | 15;
/// `NLM_F_REQUEST` of linux/netlink.h.
const REQUEST: u16 = 1;
/// `NFTA_GEN_ID` of nf_tables.h.
const GENERATION_ID: u16 = 1;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;
/// The answer has 44 bytes; the rest is room.
const ANSWER_BYTES: usize = 256;
/// How a namespace begins in which no rule was ever made.
const FIRST: u32 = 1;

/// A state of one namespace's rules. No two states of any namespaces are the same while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// The kernel's cookie of the namespace, which is never given again.
    pub(super) namespace: u64,
    number: u32,
}

impl Generation {
    /// The state that `namespace` is in now; none where the kernel does not say: before Linux 5.14, or without
    /// nf_tables.
    pub(super) async fn of(namespace: &Namespace) -> Option<Self> {
        namespace
            .enter("ask which generation the rules are of", ask)
            .await
            .ok()
    }

    /// Whether exactly one transaction lies between `before` and this.
    pub(super) fn follows(self, before: Self) -> bool {
        self.namespace == before.namespace && self.number == before.number.wrapping_add(1)
    }

    /// Whether no rule was ever made in the namespace.
    pub(super) fn is_first(self) -> bool {
        self.number == FIRST
    }
}

/// Asks in the namespace of the calling thread.
fn ask() -> io::Result<Generation> {
    let socket = Socket::new(NETFILTER)?;
    let namespace = cookie(&socket)?;
    let length = u32::try_from(HEADERS).unwrap_or_default();
    let mut question = Vec::with_capacity(HEADERS);
    question.extend(length.to_ne_bytes());
    question.extend(GET_GENERATION.to_ne_bytes());
    question.extend(REQUEST.to_ne_bytes());
    // Sequence and port are the kernel's and ours to leave at zero, and so are family, version and resource.
    question.resize(HEADERS, 0);
    socket.send(&question, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    // The kernel answers before `send` returns, so there is nothing to wait for.
    socket.recv(&mut answer, libc::MSG_DONTWAIT)?;
    let number = read(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Generation { namespace, number })
}

/// The number in the kernel's answer.
fn read(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?.try_into().ok()?;
    if u16::from_ne_bytes(kind) != NEW_GENERATION {
        return None;
    }
    let mut attributes = answer.get(HEADERS..)?;
    loop {
        let (header, rest) = attributes.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes(header.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(header.get(2..4)?.try_into().ok()?);
        let value = rest.get(..length.checked_sub(4)?)?;
        if kind == GENERATION_ID {
            return value.try_into().ok().map(u32::from_be_bytes);
        }
        attributes = rest.get((length - 4).next_multiple_of(4)..)?;
    }
}

fn cookie(socket: &Socket) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    // SAFETY: the descriptor is open, and the option's value fits into the eight bytes that `length` tells of.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match outcome {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; HEADERS];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        answer.extend(attributes);
        answer
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_number_is_found_among_the_attributes() {
        let name = attribute(3, b"nft\0");
        let number = attribute(GENERATION_ID, &7_u32.to_be_bytes());
        for attributes in [number.clone(), [name.clone(), number].concat()] {
            assert_eq!(read(&answer(NEW_GENERATION, &attributes)), Some(7));
        }
        assert_eq!(read(&answer(NEW_GENERATION, &name)), None);
    }

    #[test]
    fn an_answer_that_is_none_or_is_cut_short_has_no_number() {
        let whole = answer(
            NEW_GENERATION,
            &attribute(GENERATION_ID, &7_u32.to_be_bytes()),
        );
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        let other = answer(2, &attribute(GENERATION_ID, &7_u32.to_be_bytes()));
        assert_eq!(read(&other), None);
        assert_eq!(read(&answer(NEW_GENERATION, &[0, 0, 1, 0])), None);
    }
}
