//! How long a dead VM is felt: from the moment in which it is killed or frozen, under requests, to when that
//! is found, to when its replacement serves and DNS names it, and to the last request that fails.
//!
//! `bench-failover [ROUNDS] [RESULTS]` does so for each driver with one VM and with two, in turn, each round
//! with an instance of its own, and prints medians and the largest in milliseconds; with RESULTS it writes
//! them and every sample as JSON.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::events::{at_ms, events, is, says, unix_ms};
use bench::figures::{Stage, by_stage, fail_with_rounds, failures, print_table, round_or_failure};
use bench::scene::{DRIVERS, ON_HOST, door_at, form, parse, run_on_host};
use bench::strike::{
    LONGEST_ROUND, SETTLE, ask_again_and_again, await_all_serve, first_vm, send, signal,
};
use end_to_end::Door;
use serde_json::{Value, json};

const DEFAULT_ROUNDS: usize = 5;
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
        let document = json!({ "rounds": rounds, "cases": cases });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    fail_with_rounds(&cases)
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
    let vm = first_vm(&await_all_serve(door, made)?);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_again_and_again(&url, &ends));
        sleep(SETTLE);
        let (struck, at_ms) = (Instant::now(), unix_ms());
        send(&vm, signal(how))?;
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
