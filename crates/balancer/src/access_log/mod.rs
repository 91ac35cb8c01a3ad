//! The access log's way out of the process: what became of each request and session.
//!
//! ```text
//!  forwarding thread ── words ──▶ ring ──┐
//!  forwarding thread ── words ──▶ ring ──┴─▶ sender, a thread of its own ── frames ──▶ port or pipe ──▶ host
//! ```
//!
//! A forwarding thread writes each record into a ring that it alone writes: no lock, no memory taken, and one
//! store that others look at. Where there is no room the record is dropped and counted, and the count is told in
//! the stream, so that a reader sees the gap. The sender never waits for whoever reads: what cannot be written
//! stays in the ring, and nothing grows.

pub mod ring;
mod sender;

pub use sender::{FRAME_BYTES, MAGIC, Sender};
