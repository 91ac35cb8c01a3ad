//! How much CPU, memory and time the balancer takes beside its peers.
//!
//! Proxies on one core, load and origin on another, in a network namespace that ends with the program. What
//! the figures mean and how to read them is in `docs/benchmarks.md`.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and figures are rounded anyway"
)]

mod cases;
mod compare;
mod host;
mod load;
mod measure;
mod parameters;
mod proxies;
mod report;
mod summary;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use cases::{CASES, Task};
use compare::Bench;
use host::Cores;
use load::Load;
use parameters::{Arguments, Parameters};
use proxies::{Kind, Workshop};
use report::Report;

/// Where the origin listens.
const ORIGIN_PORT: u16 = 1_999;
/// Connections that each proxy may have besides the idle ones.
const SPARE_CONNECTIONS: usize = 500;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let began = Instant::now();
    host::enter_own_network()?;
    let directory = tempfile::Builder::new()
        .prefix("bench-balancer-")
        .tempdir()?;
    host::clean_up_at_signal(directory.path().to_owned())?;
    let bench = prepare(&arguments, directory.path())?;
    let report = run(&arguments, &bench)?;
    println!("{}", report::table(&report));
    if let Some(parent) = arguments.results.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(
        &arguments.results,
        format!("{}\n", serde_json::to_string_pretty(&report)?),
    )?;
    println!(
        "{} in {:.0} s",
        arguments.results.display(),
        began.elapsed().as_secs_f64()
    );
    let invalid: usize = report.cases.iter().map(|case| case.summary.invalid).sum();
    ensure!(invalid == 0, "{invalid} rounds are invalid");
    Ok(())
}

fn prepare(arguments: &Arguments, directory: &std::path::Path) -> Result<Bench> {
    let open_files = host::raise_open_files();
    let parameters = Parameters::new(arguments, open_files);
    let cores = Cores::choose()?;
    host::pin(&[cores.load])?;
    let balancer = arguments
        .balancer
        .canonicalize()
        .with_context(|| format!("{} is missing", arguments.balancer.display()))?;
    let mut kinds = vec![
        Kind::Evenkeel,
        Kind::Haproxy,
        Kind::Nginx,
        Kind::EvenkeelAgain,
    ];
    kinds.extend(arguments.before.as_ref().map(|_| Kind::EvenkeelBefore));
    Ok(Bench {
        load: Load::start(cores.load, ORIGIN_PORT)?,
        workshop: Workshop::new(
            balancer,
            arguments.before.clone(),
            directory.to_owned(),
            ORIGIN_PORT,
            parameters.idle_connections + SPARE_CONNECTIONS,
        ),
        cores,
        parameters,
        kinds,
    })
}

fn run(arguments: &Arguments, bench: &Bench) -> Result<Report> {
    let wanted = |id: &str| arguments.only.is_empty() || arguments.only.iter().any(|o| o == id);
    let mut report = Report {
        date: String::new(),
        machine: report::machine(),
        versions: report::versions(&bench.workshop.balancer),
        parameters: bench.parameters,
        open_loop_rate: None,
        cases: Vec::new(),
    };
    for case in CASES.iter().filter(|case| wanted(case.id)) {
        if let Task::Latency = case.task {
            let saturation = report.cases.iter().find(|o| o.case == "http-keep-alive");
            let rounds = saturation.map_or(&[][..], |outcome| &outcome.rounds);
            report.open_loop_rate = Some(bench.open_loop_rate(rounds)?);
        }
        let rounds = bench.compare(case, report.open_loop_rate)?;
        report.cases.push(report::outcome(case, rounds));
    }
    report.date = report::date();
    Ok(report)
}
