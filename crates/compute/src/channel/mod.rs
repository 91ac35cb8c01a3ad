//! The host's end of the control channel.
//!
//! [`conversation`] says what is to be said next and is plain data; [`wire`] carries it out over the
//! VM's socket, for as long as the VM runs, connecting again whenever the connection breaks.

mod conversation;
mod wire;

pub(crate) use conversation::worth_a_round;
pub(crate) use wire::{Line, converse};
