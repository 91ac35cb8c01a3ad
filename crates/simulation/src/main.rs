//! Runs seeds of the simulation: one with its trace, or many with what came of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;
use serde_json::json;
use simulation::{Bug, Scenario, Soak, soak};

/// Simulates Evenkeel's controller in a world of faults.
#[derive(Parser)]
struct Arguments {
    /// Show one seed's run, step by step.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plant a bug.
    #[arg(long)]
    bug: Option<Bug>,
    /// Faults in each world, instead of 10 to 25.
    #[arg(long)]
    faults: Option<usize>,
    /// Instances in each world in the beginning, instead of 20 to 27.
    #[arg(long)]
    instances: Option<usize>,
    /// Changes by users in each world, instead of up to 29.
    #[arg(long)]
    changes: Option<usize>,
    /// Threads; as many as there are processors when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// So many failures are told with their last steps.
    #[arg(long, default_value_t = 3)]
    whole: usize,
    /// Write what came of it to this file, as JSON.
    #[arg(long)]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scenario = |seed| {
        let usual = Scenario::of_seed(seed);
        Scenario {
            bug: arguments.bug,
            faults: arguments.faults.unwrap_or(usual.faults),
            changes: arguments.changes.unwrap_or(usual.changes),
            instances: arguments.instances.unwrap_or(usual.instances),
            ..usual
        }
    };
    if let Some(seed) = arguments.seed {
        return show(Scenario {
            tells_all: true,
            ..scenario(seed)
        });
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| available_parallelism().map_or(1, Into::into));
    let seeds = arguments.from..arguments.from + arguments.seeds;
    let all = soak(seeds, threads, false, scenario);
    tell(&all, arguments.whole);
    let written = arguments
        .results
        .as_deref()
        .map_or(Ok(()), |path| write(&all, arguments.from, path));
    if let Err(error) = &written {
        eprintln!("the results cannot be written: {error}");
    }
    match all.failures.is_empty() && written.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn show(scenario: Scenario) -> ExitCode {
    let outcome = scenario.run();
    match outcome.violation {
        None => {
            let (rounds, ms) = (outcome.rounds, outcome.virtual_ms);
            println!(
                "{rounds} rounds in {} virtual minutes, no violation",
                ms / 60_000
            );
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("VIOLATION {violation}");
            ExitCode::FAILURE
        }
    }
}

fn tell(all: &Soak, whole: usize) {
    for failure in all.failures.iter().take(whole) {
        println!("{}\n", failure.in_words());
    }
    for failure in all.failures.iter().skip(whole) {
        println!("seed {}: {}", failure.scenario.seed, failure.violation);
    }
    let hours = all.virtual_ms as f64 / 3_600_000.0;
    let seconds = all.took.as_secs_f64();
    println!(
        "{} seeds, {hours:.0} virtual hours in {seconds:.1} s ({:.0} times real time), {} faults, {} rounds, {} \
         violations",
        all.seeds,
        hours * 3_600.0 / seconds,
        all.faults,
        all.rounds,
        all.failures.len()
    );
}

fn write(all: &Soak, from: u64, path: &Path) -> io::Result<()> {
    let broken = all.failures.iter().map(|failure| failure.scenario.seed);
    let (instances, faults, virtual_ms) = all.least.unwrap_or_default();
    let told = json!({
        "seeds": all.seeds, "from": from, "virtual_hours": all.virtual_ms as f64 / 3_600_000.0,
        "real_seconds": all.took.as_secs_f64(), "rounds": all.rounds, "faults": all.faults,
        "changes": all.changes, "violations": all.failures.len(), "broken_seeds": broken.collect::<Vec<_>>(),
        "fewest_instances": instances, "fewest_faults": faults,
        "fewest_virtual_minutes": virtual_ms / 60_000,
    });
    fs::write(path, format!("{told:#}\n"))
}
