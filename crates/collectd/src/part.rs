//! The parts of a packet: two bytes of type, two of length (both most significant first, the length with
//! these four bytes), then what the type says.

/// Bytes of type and length.
pub const HEADER: usize = 4;

/// Types of parts.
pub mod kind {
    pub const HOST: u16 = 0x0000;
    pub const TIME: u16 = 0x0001;
    pub const PLUGIN: u16 = 0x0002;
    pub const PLUGIN_INSTANCE: u16 = 0x0003;
    pub const TYPE: u16 = 0x0004;
    pub const TYPE_INSTANCE: u16 = 0x0005;
    pub const VALUES: u16 = 0x0006;
    pub const INTERVAL: u16 = 0x0007;
    pub const TIME_HR: u16 = 0x0008;
    pub const INTERVAL_HR: u16 = 0x0009;
    pub const SIGNATURE: u16 = 0x0200;
    pub const ENCRYPTION: u16 = 0x0210;
}

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its type.
    pub kind: u16,
    /// What follows type and length.
    pub body: &'a [u8],
}

/// Takes the first part off `bytes`; nothing when they are too short for it or its length is impossible.
pub fn split(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let [k0, k1, l0, l1, ..] = *bytes else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (part, rest) = bytes.split_at_checked(length)?;
    let body = part.get(HEADER..)?;
    let kind = u16::from_be_bytes([k0, k1]);
    Some((Part { kind, body }, rest))
}

/// Writes a part's type and length; `body` bytes are to follow.
pub fn begin(kind: u16, body: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&kind.to_be_bytes());
    let length = u16::try_from(HEADER + body).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
}
