//! How long a user waits for a load balancer: from the request at the JSON door to the first answer
//! through the URL, by driver, side by side.
//!
//! `bench-create [ROUNDS] [RESULTS]` runs each driver in turn on a host of its own, one instance after the
//! other, and prints the median and the largest of each stage in milliseconds; with RESULTS it writes
//! them, and what was measured on, as JSON.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

use bench::client::{self, resolve};
use bench::figures::{machine, milliseconds, spread};
use end_to_end::{Door, Driver, Evenkeel, Host, Servers};
use serde_json::{Value, json};

const DEFAULT_ROUNDS: usize = 10;
/// Between two attempts to reach a URL that does not answer yet.
const PAUSE: Duration = Duration::from_millis(5);
/// For the parts of an answer.
const DEADLINE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(90);
/// Lets the checks of the instance before come to rest, so that rounds do not disturb each other.
const REST: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        // The half that runs on the host, so that its clock sees no command being started.
        ["on-host", socket, rounds] => measure(Path::new(socket), parse(rounds)?),
        [] => compare(DEFAULT_ROUNDS, None),
        [rounds] => compare(parse(rounds)?, None),
        [rounds, results] => compare(parse(rounds)?, Some(Path::new(results))),
        _ => Err(Error::other("usage: bench-create [ROUNDS] [RESULTS]")),
    }
}

fn parse(rounds: &str) -> Result<usize> {
    rounds
        .parse()
        .map_err(|_| Error::other(format!("`{rounds}` is no number of rounds")))
}

/// Measures each driver and prints the figures side by side.
fn compare(rounds: usize, results: Option<&Path>) -> Result<()> {
    let mut table = serde_json::Map::new();
    for (name, driver) in [("tcg-cold", Driver::Machine), ("process", Driver::Process)] {
        eprintln!("{name}: {rounds} instances, one after the other");
        table.insert(name.into(), measure_driver(driver, rounds)?);
    }
    println!(
        "{:<10} {:>22} {:>28}",
        "driver", "create answers (ms)", "first answer by URL (ms)"
    );
    println!(
        "{:<10} {:>10} {:>11} {:>16} {:>11}",
        "", "p50", "max", "p50", "max"
    );
    for (name, figures) in &table {
        let cell = |stage: &str, figure: &str| figures[stage][figure].to_string();
        println!(
            "{name:<10} {:>10} {:>11} {:>16} {:>11}",
            cell("answered", "p50"),
            cell("answered", "max"),
            cell("served", "p50"),
            cell("served", "max"),
        );
    }
    if let Some(path) = results {
        let document =
            json!({ "unit": "ms", "rounds": rounds, "machine": machine(), "drivers": table });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    Ok(())
}

fn measure_driver(driver: Driver, rounds: usize) -> Result<Value> {
    let host = Host::new();
    host.use_own_dns();
    let servers = Servers::new(&host, "cable", &["1.1.1.10/24"]);
    let _origin = servers.http("one", "1.1.1.10:8080");
    let evenkeel = Evenkeel::start(&host, driver);
    evenkeel.door().attach("1.1.1.0/24", &servers.interface);
    let output = host
        .command(std::env::current_exe()?)
        .arg("on-host")
        .arg(host.path("run/evenkeel.sock"))
        .arg(rounds.to_string())
        .output()?;
    if !output.status.success() {
        return Err(Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let samples: Value = serde_json::from_slice(&output.stdout)?;
    Ok(json!({ "answered": spread(&samples["answered"]), "served": spread(&samples["served"]) }))
}

/// Creates and deletes instances, and prints how long each took.
fn measure(socket: &Path, rounds: usize) -> Result<()> {
    let door = Door::at(socket);
    let (mut answered, mut served) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let began = Instant::now();
        let made = door.do_(
            "create",
            "instance",
            json!({
                "name": format!("round-{round}"), "traffic_type": "http", "subnet": "1.1.1.0/24",
                "backend": { "entities": ["1.1.1.10:8080"] },
            }),
        );
        answered.push(milliseconds(began));
        let url = made["url"]
            .as_str()
            .ok_or_else(|| Error::other("the answer has no URL"))?;
        await_answer(url, began)?;
        served.push(milliseconds(began));
        door.do_("delete", "instance", json!({ "id": made["id"] }));
        std::thread::sleep(REST);
    }
    println!("{}", json!({ "answered": answered, "served": served }));
    Ok(())
}

/// Resolves the URL's name as any program does and asks, until it answers.
fn await_answer(url: &str, began: Instant) -> Result<()> {
    loop {
        match get(url) {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn get(url: &str) -> Result<()> {
    let addresses = resolve(url)?;
    let address = addresses.first();
    let address = address.ok_or_else(|| Error::other(format!("{url} has no address")))?;
    client::get(url, *address, DEADLINE)
}
