//! The control thread: takes configurations in, has the forwarding threads listen, and says how things
//! are. It never stands in the way of traffic, and never waits for the host.
//!
//! ```text
//!   channel ─▶ lines ─▶ agent ─▶ validate ─▶ deploy ─▶ snapshot, listeners ─▶ forwarding threads
//!      ▲                  │
//!      └── heartbeat ◀────┴──── progress (its own request through the listener)
//! ```

mod agent;
mod channel;
mod clock;
mod config_file;
mod deploy;
mod desertion;
mod figures;
mod journal;
mod lag;
mod latencies;
mod lines;
mod progress;
mod randomness;
pub(crate) mod signals;
mod stages;
mod standalone;
mod supervision;
mod threads;
mod unreadable;
mod validate;
mod written;

use std::path::PathBuf;

pub use agent::run;
pub use journal::{Journal, Level};
pub use standalone::run_standalone;
pub use validate::validate;

/// How the host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelSource {
    /// An open stream both ways: a virtio-serial port or a socket.
    Stream(i32),
    /// A listening socket; the newest connection is the host.
    Listener(i32),
}

/// What `run` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// How the host is reached.
    pub channel: ChannelSource,
    /// Where the configuration that runs is kept, for the next process.
    pub config_file: Option<PathBuf>,
    /// Descriptor that the access log is written to; none is kept when absent.
    pub log: Option<i32>,
    /// Forwarding threads; one for each core when absent.
    pub threads: Option<usize>,
    /// The way to the supervisor, if there is one.
    pub supervisor: Option<i32>,
    /// Where a collectd takes this balancer's figures; it sends them by itself when absent.
    pub collectd: Option<PathBuf>,
    /// Whether the machine's clock is this balancer's to set.
    pub owns_clock: bool,
}
