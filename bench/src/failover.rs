//! How long a dead VM is felt: from the moment in which it is killed or frozen, under requests, to when that
//! is found, to when its replacement serves and DNS names it, and to the last request that fails.
//!
//! `bench-failover [ROUNDS] [RESULTS]` does so for each driver with one VM and with two, in turn, each round
//! with an instance of its own, and prints medians and the largest in milliseconds; with RESULTS it writes
//! them, every sample, and what was measured on, as JSON.
//!
//! The client makes a connection for each request, one every 10 ms, resolves the name again after a second,
//! which is its TTL, or after a request that failed, and takes one of the addresses in turn.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::client::{get, resolve};
use bench::crowd::TTL;
use bench::events::{at_ms, events, is, says, unix_ms};
use bench::figures::{Stage, by_stage, failures, machine, print_table, round_or_failure};
use bench::scene::{DRIVERS, ON_HOST, door_at, form, parse, run_on_host};
use end_to_end::Door;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEFAULT_ROUNDS: usize = 5;
/// Between two requests.
const PACE: Duration = Duration::from_millis(10);
/// For an answer. A client of a VM that is frozen waits for so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Before a VM is struck, and after its replacement serves.
const SETTLE: Duration = Duration::from_secs(2);
const LONGEST_ROUND: Duration = Duration::from_secs(60);
const STAGES: [Stage; 6] = [
    ("detected", "found down (ms)"),
    ("dropped", "out of DNS (ms)"),
    ("replaced", "replacement serves (ms)"),
    ("named", "in DNS (ms)"),
    ("restored", "last failure (ms)"),
    ("lost", "requests lost"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ON_HOST, socket, vms, how, rounds] => {
            measure(&door_at(socket), parse(vms)?, how, parse(rounds)?)
        }
        [] => compare(DEFAULT_ROUNDS, None),
        [rounds] => compare(parse(rounds)?, None),
        [rounds, results] => compare(parse(rounds)?, Some(Path::new(results))),
        _ => Err(Error::other("usage: bench-failover [ROUNDS] [RESULTS]")),
    }
}

fn compare(rounds: usize, results: Option<&Path>) -> Result<()> {
    let mut cases = Vec::new();
    for (name, driver) in DRIVERS {
        for vms in ["1", "2"] {
            for how in ["killed", "frozen"] {
                eprintln!("{name}, {vms} VMs, one of them {how}: {rounds} rounds");
                let samples = run_on_host(driver, &[vms, how, &rounds.to_string()])?;
                let (figures, failed) = (by_stage(&STAGES, &samples), failures(&samples));
                let vms = parse(vms)?;
                cases.push(json!({
                    "driver": name, "vms": vms, "how": how, "figures": figures, "failed": failed,
                }));
            }
        }
    }
    let named = cases.iter().map(|case| {
        let text = |field: &str| case[field].as_str().unwrap_or_default();
        let name = format!("{}, {} VMs, {}", text("driver"), case["vms"], text("how"));
        (name, &case["figures"])
    });
    print_table(&STAGES, &named.collect::<Vec<_>>());
    if let Some(path) = results {
        let document = json!({ "rounds": rounds, "machine": machine(), "cases": cases });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    let failed = cases.iter().filter(|case| case["failed"] != json!([]));
    match failed.map(|case| case["failed"].to_string()).next() {
        Some(words) => Err(Error::other(format!("rounds failed: {words}"))),
        None => Ok(()),
    }
}

/// Strikes one VM in each round, and prints what came of it.
fn measure(door: &Door, vms: usize, how: &str, rounds: usize) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        let exactly = json!({ "min": vms, "max": vms });
        let made = door.do_("create", "instance", form(round, &exactly));
        samples.push(round_or_failure(strike(door, &made, how)));
        door.do_("delete", "instance", json!({ "id": made["id"] }));
    }
    println!("{}", Value::Array(samples));
    Ok(())
}

fn strike(door: &Door, made: &Value, how: &str) -> Result<Value> {
    let url = made["url"].as_str().unwrap_or_default().to_owned();
    let vm = await_all_serve(door, made)?;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_again_and_again(&url, &ends));
        sleep(SETTLE);
        let (struck, at_ms) = (Instant::now(), unix_ms());
        send(&vm, how)?;
        let told = await_replacement(door, made, &vm, struck);
        sleep(SETTLE);
        ends.store(true, Ordering::Relaxed);
        let failures = client.join().unwrap_or_default();
        let mut sample = told?;
        for stage in ["detected", "dropped", "replaced", "named"] {
            let at = sample[stage].as_u64().unwrap_or_default();
            sample[stage] = json!(at.saturating_sub(at_ms));
        }
        let felt = failures.iter().filter(|at| **at > struck);
        let last = felt.clone().map(|at| at.duration_since(struck)).max();
        let last = last.unwrap_or_default().as_millis();
        sample["restored"] = json!(u64::try_from(last).unwrap_or(u64::MAX));
        sample["lost"] = json!(felt.count());
        Ok(sample)
    })
}

/// Waits until DNS names all VMs, and returns the first.
fn await_all_serve(door: &Door, made: &Value) -> Result<Value> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_ROUND {
        let info = door.do_("info", "instance", json!({ "id": made["id"] }));
        if info["condition"] == "serving" {
            return Ok(info["vms"][0].clone());
        }
        sleep(PACE);
    }
    Err(Error::other("the instance does not come to serve"))
}

/// Kills the VM, or stops it. Under the process driver the process that forwards is a child of the VM's, and
/// dies with it.
fn send(vm: &Value, how: &str) -> Result<()> {
    let pid = vm["pid"].as_u64().unwrap_or_default();
    let signal = match how {
        "killed" => Signal::KILL,
        _ => Signal::STOP,
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().filter(|_| how != "killed");
    for pid in std::iter::once(pid.to_string().as_str()).chain(children) {
        let pid = pid.parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::other("the VM has no process"))?;
        kill_process(pid, signal)?;
    }
    Ok(())
}

/// Waits until another VM serves and DNS names it, and returns when each thing was decided, by the events.
fn await_replacement(door: &Door, made: &Value, vm: &Value, struck: Instant) -> Result<Value> {
    let id = vm["id"].as_u64();
    while struck.elapsed() < LONGEST_ROUND {
        let info = door.do_("info", "instance", json!({ "id": made["id"] }));
        let events: Vec<&Value> = events(&info).collect();
        let after = events.iter().position(|event| {
            is(event, "verdict") && event["vm"].as_u64() == id && says(event, "is down")
        });
        let later = after.map_or(&[][..], |at| events.get(at..).unwrap_or_default());
        let dropped = later.iter().find(|event| is(event, "dns"));
        let well = later.iter().position(|event| says(event, "is well"));
        let named = well.and_then(|at| later.get(at..)?.iter().find(|event| is(event, "dns")));
        if let (Some(down), Some(dropped), Some(well), Some(named)) =
            (later.first(), dropped, well, named)
        {
            let replaced = later.get(well).map_or(0, |event| at_ms(event));
            return Ok(json!({
                "detected": at_ms(down), "dropped": at_ms(dropped),
                "replaced": replaced, "named": at_ms(named),
            }));
        }
        sleep(Duration::from_millis(20));
    }
    Err(Error::other("the VM is not replaced"))
}

/// Asks until it is told to end, and returns when requests failed.
fn ask_again_and_again(url: &str, ends: &AtomicBool) -> Vec<Instant> {
    let mut failures = Vec::new();
    let mut known = Vec::new();
    let mut resolved = None;
    for turn in 0.. {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let is_stale = resolved.is_none_or(|at: Instant| at.elapsed() >= TTL);
        if is_stale {
            known = resolve(url).unwrap_or_default();
            known.sort_unstable();
            resolved = Some(Instant::now());
        }
        let address = known.get(turn % known.len().max(1));
        let answered = address.is_some_and(|address| get(url, *address, PATIENCE).is_ok());
        if !answered {
            failures.push(Instant::now());
            resolved = None;
        }
        sleep(PACE);
    }
    failures
}
