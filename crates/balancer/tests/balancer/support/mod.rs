//! What the tests stand on.

pub mod client;
mod config;
mod haproxy;
mod host;
mod namespace;
mod origin;

pub use client::{Client, get};
pub use config::{http_config, tcp_config};
pub use haproxy::Haproxy;
pub use host::{Host, Options, spawn};
pub use namespace::in_namespace;
pub use origin::{Origin, Request, break_off, plain};

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Asks again and again until there is something, or the patience is over.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
