//! The network protocol of collectd, read and written as plain data: no socket, no clock, no randomness of
//! its own.
//!
//! A packet is a row of parts. Most set a part of the context (host, plugin, time…) that holds until it is
//! set again; a values part emits what was measured in the context as it stands. In front of them may
//! stand a signature over all that follows, or in their place one part in which they are encrypted.
//!
//! Source: collectd's wiki, "Binary protocol", and what collectd 5.12 sends and takes.

mod part;
mod read;
mod seal;
mod value;
mod write;

pub use read::{ReadError, read};
pub use seal::{Key, Opened, Protection, SealError, open, seal_encrypted, seal_signed};
pub use value::{Time, Value, ValueList};
pub use write::{PACKET_BYTES, PacketWriter};
