//! What a run is made of.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::load::Timing;

/// Measures the balancer beside its peers, all on one core of this machine.
#[derive(Parser)]
pub struct Arguments {
    /// The balancer's program: a static release build.
    #[arg(long)]
    pub balancer: PathBuf,
    /// An older build, to be measured beside it.
    #[arg(long)]
    pub before: Option<PathBuf>,
    /// Where the results go, as JSON.
    #[arg(long)]
    pub results: PathBuf,
    /// Rounds of each case.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Few and short rounds: to see that it works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// Only these cases and curves, by id.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
}

/// How long and how much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parameters {
    /// Whether the figures are for anything but a first look.
    pub quick: bool,
    /// Rounds of each case.
    pub rounds: usize,
    /// Before each measurement.
    pub warm_up_ms: u64,
    /// Each measurement.
    pub measured_ms: u64,
    /// Each measurement of latency.
    pub latency_ms: u64,
    /// Backends in all cases: as many addresses of one origin.
    pub backends: usize,
    /// Clients of a closed loop.
    pub connections: usize,
    /// Clients of a closed loop with bodies of 10 MiB.
    pub connections_10_mib: usize,
    /// Clients of the open loop.
    pub connections_open_loop: usize,
    /// The open loop's rate, as a share of what HAProxy can do at the most.
    pub open_loop_share: f64,
    /// Clients that are connected and idle.
    pub idle_connections: usize,
}

impl Parameters {
    /// By what was asked for, and within what the number of open files allows.
    pub fn new(arguments: &Arguments, open_files: u64) -> Self {
        /// Of this process, besides the idle clients: the other clients, and the origin's connections.
        const OTHER_FILES: u64 = 4_000;
        let room = usize::try_from(open_files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        let (rounds, warm_up_ms, measured_ms, latency_ms) = if arguments.quick {
            (3, 200, 800, 1_000)
        } else {
            (7, 500, 2_500, 5_000)
        };
        Self {
            quick: arguments.quick,
            rounds: arguments.rounds.unwrap_or(rounds).max(1),
            warm_up_ms,
            measured_ms,
            latency_ms,
            backends: 4,
            connections: 32,
            connections_10_mib: 8,
            connections_open_loop: 64,
            open_loop_share: 0.4,
            idle_connections: room.min(10_000),
        }
    }

    /// Of a closed loop.
    pub fn timing(&self) -> Timing {
        Timing {
            warm_up: Duration::from_millis(self.warm_up_ms),
            measured: Duration::from_millis(self.measured_ms),
        }
    }

    /// Of the open loop.
    pub fn latency_timing(&self) -> Timing {
        Timing {
            measured: Duration::from_millis(self.latency_ms),
            ..self.timing()
        }
    }
}
