//! The hot path: one thread for each core, each with its own listening socket, its own connections to
//! the backends, its own timers and counters.
//!
//! ```text
//!   kernel ── events ──▶ worker ──▶ client ─┬─▶ http ──▶ crate::http (what to do)
//!                          │                └─▶ tcp  ──▶ crate::tcp
//!                          └── all work on one context: snapshot, backends, buffers, wheel
//! ```
//!
//! A turn takes the time and the newest snapshot once, gives each connection with an event its turn, then
//! fires timers. On the steady path there is no lock, no memory taken, and no log but the
//! access log's words in a ring.
//!
//! What a thread shares with others is in [`crate::shared`]: a number that says whether to look for a new
//! snapshot, its counters, and orders about listening.

mod accept;
mod access;
mod admission;
mod backends;
mod buffers;
mod client;
mod context;
mod dial;
mod drain;
mod farewell;
mod gate;
mod http;
mod http_backend;
mod http_pace;
mod http_relay;
mod http_request;
mod http_splice;
mod http_upload;
mod lane;
mod listener;
mod outbox;
mod peer;
mod pipe;
mod slots;
mod tcp;
mod upload;
mod watch;
mod welcome;
mod wheel;
mod wire;
mod worker;

pub use accept::GREETING;
pub use listener::listen;
pub use worker::Worker;
