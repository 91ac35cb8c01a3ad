//! Asking what was measured.

use clap::{Args, ValueEnum};

use super::{Existing, Place};

/// Show what was measured of an instance: requests, latencies, load.
#[derive(Args, Debug)]
#[command(after_help = super::examples::FIGURES)]
pub struct Figures {
    #[command(flatten)]
    pub instance: Existing,
    #[command(flatten)]
    pub place: Place,
    /// How far back, such as 90s, 10m, 6h or 30d.
    #[arg(long, value_name = "TIME", conflicts_with = "from", value_parser = humantime::parse_duration)]
    pub last: Option<std::time::Duration>,
    /// From this time, in UTC, such as 2026-11-22T17:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Up to this time; now when left out.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Seconds of a step; chosen by the span when left out.
    #[arg(long, value_name = "SECONDS")]
    pub step: Option<u32>,
    /// Which figures, with commas between; those that are mostly looked at when left out.
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    pub figure: Vec<String>,
    /// Take it apart, by VM or by backend.
    #[arg(long, value_name = "WHAT")]
    pub by: Option<By>,
}

/// By what an answer is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    Vm,
    Backend,
}
