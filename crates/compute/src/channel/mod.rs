//! The host's end of the control channel.
//!
//! [`conversation`] says what is to be said next and is plain data; [`wire`] carries it out over the
//! VM's socket, for as long as the VM runs, connecting again whenever the connection breaks. [`rhythm`] tells how
//! late the VM's heartbeats come of late.

mod conversation;
mod rhythm;
mod wire;

pub(crate) use conversation::{Wanted, worth_a_round};
pub(crate) use rhythm::Rhythm;
pub(crate) use wire::{Line, converse};
