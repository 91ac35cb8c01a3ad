//! How the measurement talks to the half of this program that has the monitor log: frames over a socket.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Bytes that a frame has at most.
const MOST_BYTES: u32 = 64 << 20;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Packets of collectd's protocol, all of one second. Not answered.
    Packets = 1,
    /// Whether all was taken is to be told.
    Settle = 2,
    /// A question is to be answered.
    Ask = 3,
    /// Everything is to be written to segments.
    Seal = 4,
    /// An answer.
    Answer = 5,
}

/// Writes a frame.
///
/// # Errors
/// Where the socket fails.
pub fn write(to: &mut impl Write, frame: Frame, body: &[u8]) -> Result<()> {
    let mut head = [0; 5];
    let [kind, length @ ..] = &mut head;
    *kind = frame as u8;
    *length = u32::try_from(body.len())
        .map_err(Error::other)?
        .to_le_bytes();
    to.write_all(&head)?;
    to.write_all(body)
}

/// Reads a frame; nothing at the end.
///
/// # Errors
/// Where the socket fails, or there is something else.
pub fn read(from: &mut impl Read) -> Result<Option<(Frame, Vec<u8>)>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [kind, length @ ..] = head;
    let known = [
        Frame::Packets,
        Frame::Settle,
        Frame::Ask,
        Frame::Seal,
        Frame::Answer,
    ];
    let frame = known.into_iter().find(|frame| *frame as u8 == kind);
    let frame = frame.ok_or_else(|| Error::other("no such frame"))?;
    let length = u32::from_le_bytes(length);
    if length > MOST_BYTES {
        return Err(Error::other("the frame is too long"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(Some((frame, body)))
}

/// Adds a packet to a body of such.
pub fn put_packet(body: &mut Vec<u8>, packet: &[u8]) {
    let length = u16::try_from(packet.len()).expect("a packet has at most 1,452 bytes");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(packet);
}

/// The packets of a body.
pub fn packets(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = body.split_first_chunk()?;
        let (packet, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        body = rest;
        Some(packet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut body = Vec::new();
        put_packet(&mut body, b"one");
        put_packet(&mut body, b"");
        let mut wire = Vec::new();
        write(&mut wire, Frame::Packets, &body).unwrap();
        write(&mut wire, Frame::Seal, &[]).unwrap();
        let mut wire = wire.as_slice();
        let (frame, body) = read(&mut wire).unwrap().unwrap();
        assert_eq!(frame, Frame::Packets);
        assert_eq!(packets(&body).collect::<Vec<_>>(), [&b"one"[..], b""]);
        assert_eq!(read(&mut wire).unwrap().unwrap().0, Frame::Seal);
        assert!(read(&mut wire).unwrap().is_none());
    }
}
