//! The monitor log beside RRDtool and Prometheus: what the same samples take of disk, processor and memory, and how
//! long questions about them take. What the figures mean is in `docs/benchmarks.md`.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and figures are rounded anyway"
)]

mod contest;
mod evenkeel;
mod frame;
mod keeper;
mod prometheus;
mod recording;
mod remote_write;
mod report;
mod rrdtool;
mod server;
mod store;
mod trace;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bench::own_network;
use bench::signals::clean_up_at_signal;
use clap::Parser;

use report::Report;
use trace::Trace;

/// Series of the trace.
const SERIES: usize = 1_000;
/// Seconds of the trace: two hours.
const SECONDS: usize = 7_200;
/// Seconds of a first look.
const QUICK_SECONDS: usize = 900;

/// Measures the monitor log beside RRDtool and Prometheus.
#[derive(Parser)]
struct Arguments {
    /// What is replayed, as `record-monitor` writes it.
    #[arg(long)]
    recording: PathBuf,
    /// Where the results go, as JSON.
    #[arg(long)]
    results: PathBuf,
    /// How often all is done.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A short trace: to see that it works, not how well.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let done = match arguments.get(1..).unwrap_or_default() {
        [keep, directory, start] if keep == keeper::KEEP => keep_log(directory, start),
        _ => measure(&Arguments::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-monitor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The other half, which has the log: its input is a socket.
fn keep_log(directory: &str, start: &str) -> Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    keeper::keep(
        Path::new(directory),
        start.parse()?,
        UnixStream::from(socket),
    )
}

fn measure(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    own_network::enter()?;
    let directory = tempfile::Builder::new()
        .prefix("bench-monitor-")
        .tempdir()?;
    clean_up_at_signal(directory.path().to_owned())?;
    let seconds = if arguments.quick {
        QUICK_SECONDS
    } else {
        SECONDS
    };
    let sources = recording::read(&arguments.recording)?;
    let trace = Trace::new(sources, SERIES, start()?, seconds)?;
    let figures = trace.figures();
    println!(
        "{} series for {} s, {:.1} % of them constant, of {} that were recorded for {} s",
        figures.series,
        figures.seconds,
        figures.constant_share * 100.0,
        figures.recorded_series,
        figures.recorded_seconds
    );
    ensure!(arguments.rounds > 0, "no rounds, no figures");
    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        samples.extend(contest::round(round, &trace, directory.path())?);
    }
    let report = Report::new(figures, samples);
    println!("{}", report.table());
    let text = serde_json::to_string_pretty(&report)? + "\n";
    std::fs::write(&arguments.results, text)
        .with_context(|| format!("cannot write {}", arguments.results.display()))?;
    let took = began.elapsed().as_secs_f64();
    println!("{} in {took:.0} s", arguments.results.display());
    Ok(())
}

/// A time some hours ago at which all have a border: Prometheus a block's, and ours a segment's.
fn start() -> Result<u64> {
    const BORDER: u64 = 43_200;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok((now.as_secs() - SECONDS as u64) / BORDER * BORDER)
}
