//! The JSON door as its users see it: a real server on loopback and on a unix socket, asked by real
//! clients. The controller alone is a stand-in, which writes reports as the real one would.

#![expect(
    clippy::indexing_slicing,
    reason = "answers are indexed; a test may panic"
)]

mod answers;
mod callers;
mod clients;
mod concurrency;
mod crash;
mod explanations;
mod http;
mod lately;
mod metrics;
mod otlp;
mod property;
mod refusals;
mod sockets;
mod support;
mod templates;
mod updates;
mod waiting;
