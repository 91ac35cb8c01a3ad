//! The crate on real sockets, with real clients: nothing leaves the loopback interface.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod clients;
mod generations;
mod host_resolver;
mod support;
