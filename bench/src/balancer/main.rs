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
mod growth;
mod host;
mod load;
mod measure;
mod parameters;
mod proxies;
mod report;
mod summary;
mod wrk;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::signals::clean_up_at_signal;
use clap::Parser;

use cases::{CASES, Task};
use compare::Bench;
use growth::GROWTHS;
use host::Cores;
use load::Load;
use parameters::{Arguments, Parameters};
use proxies::{Kind, Workshop};
use report::Report;

/// Where the origin listens.
const ORIGIN_PORT: u16 = 1_999;
/// Connections that each proxy may have besides the idle ones.
const SPARE_CONNECTIONS: usize = 500;

fn main() -> ExitCode {
    match measure_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-balancer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all() -> Result<()> {
    let arguments = Arguments::parse();
    check_names(&arguments)?;
    let began = Instant::now();
    host::enter_own_network()?;
    let directory = tempfile::Builder::new()
        .prefix("bench-balancer-")
        .tempdir()?;
    clean_up_at_signal(directory.path().to_owned())?;
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
    let of_cases = report.cases.iter().map(|case| case.summary.invalid);
    let of_curves = report.growth.iter().map(|curve| curve.errors.len());
    let invalid: usize = of_cases.chain(of_curves).sum();
    ensure!(invalid == 0, "{invalid} rounds are invalid");
    Ok(())
}

/// A name that is not known would measure nothing, and look as if it had.
fn check_names(arguments: &Arguments) -> Result<()> {
    let cases = CASES.iter().map(|case| case.id);
    let known: Vec<_> = cases.chain(GROWTHS.iter().map(|g| g.id)).collect();
    for name in &arguments.only {
        ensure!(
            known.contains(&name.as_str()),
            "there is no `{name}`, but: {}",
            known.join(" ")
        );
    }
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
        machine: report::machine(),
        versions: report::versions(&bench.workshop.balancer),
        parameters: bench.parameters,
        open_loop_rate: None,
        cases: Vec::new(),
        growth: Vec::new(),
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
    for growth in GROWTHS.iter().filter(|growth| wanted(growth.id)) {
        report.growth.push(bench.grow(growth)?);
    }
    Ok(report)
}
