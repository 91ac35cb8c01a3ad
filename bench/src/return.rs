//! What becomes of a VM that stands still, is replaced, and then comes back: when that is found, when its replacement is
//! in DNS, and from when it goes on, when its ports are opened, when it serves again, when DNS names it, and when the
//! replacement is gone.
//!
//! `bench-return [ROUNDS] [RESULTS]` does so with an instance of one VM by driver, each round with one of its own, under
//! the client of `bench-failover`, and prints medians and the largest; with RESULTS it writes them as JSON.
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
use bench::scene::{ON_HOST, door_at, form, parse, run_on_host_with};
use bench::strike::{LONGEST_ROUND, SETTLE, ask_again_and_again, await_all_serve, first_vm, send};
use end_to_end::{Door, Driver};
use rustix::process::Signal;
use serde_json::{Value, json};

const DEFAULT_ROUNDS: usize = 5;
const DRIVERS: [(&str, Driver); 2] = [
    ("process", Driver::Process),
    ("tcg, pooled", Driver::Pooled),
];
/// A VM that is down is kept for as long as it takes to be woken.
const KEPT: &str = "[failover]\ngrace_ms = 60000\n";
const PAUSE: Duration = Duration::from_millis(20);
/// The first three from when the VM was stopped, the others from when it went on.
const STAGES: [Stage; 9] = [
    ("detected", "found down (ms)"),
    ("replaced", "replacement serves (ms)"),
    ("named", "in DNS (ms)"),
    ("woken", "goes on at (ms)"),
    ("returned", "ports opened (ms)"),
    ("put_back", "serves again (ms)"),
    ("named_again", "in DNS again (ms)"),
    ("gone", "replacement gone (ms)"),
    ("lost", "requests lost"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ON_HOST, socket, rounds] => measure(&door_at(socket), parse(rounds)?),
        [] => compare(DEFAULT_ROUNDS, None),
        [rounds] => compare(parse(rounds)?, None),
        [rounds, results] => compare(parse(rounds)?, Some(Path::new(results))),
        _ => Err(Error::other("usage: bench-return [ROUNDS] [RESULTS]")),
    }
}

fn compare(rounds: usize, results: Option<&Path>) -> Result<()> {
    let mut cases = Vec::new();
    for (name, driver) in DRIVERS {
        eprintln!("{name}: {rounds} rounds");
        let samples = run_on_host_with(driver, KEPT, &[&rounds.to_string()])?;
        let (figures, failed) = (by_stage(&STAGES, &samples), failures(&samples));
        cases.push(json!({ "driver": name, "figures": figures, "failed": failed }));
    }
    let named = cases.iter().map(|case| {
        let name = case["driver"].as_str().unwrap_or_default();
        (name.to_owned(), &case["figures"])
    });
    print_table(&STAGES, &named.collect::<Vec<_>>());
    if let Some(path) = results {
        let document = json!({ "rounds": rounds, "cases": cases });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    fail_with_rounds(&cases)
}

fn measure(door: &Door, rounds: usize) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        let exactly = json!({ "min": 1, "max": 1 });
        let made = door.do_("create", "instance", form(round, &exactly));
        samples.push(round_or_failure(stop_and_wake(door, &made)));
        door.do_("delete", "instance", json!({ "id": made["id"] }));
    }
    println!("{}", Value::Array(samples));
    Ok(())
}

fn stop_and_wake(door: &Door, made: &Value) -> Result<Value> {
    let url = made["url"].as_str().unwrap_or_default().to_owned();
    let vm = first_vm(&await_all_serve(door, made)?);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_again_and_again(&url, &ends));
        let told = watch(door, &made["id"], &vm);
        ends.store(true, Ordering::Relaxed);
        let failures = client.join().unwrap_or_default();
        let mut sample = told?;
        sample["lost"] = json!(failures.len());
        Ok(sample)
    })
}

fn watch(door: &Door, id: &Value, vm: &Value) -> Result<Value> {
    sleep(SETTLE);
    let stopped_ms = unix_ms();
    send(vm, Signal::STOP)?;
    let down = await_events(door, id, |told| {
        read_replacement(told, &vm["id"], stopped_ms)
    });
    let down = match down {
        Ok(down) => down,
        Err(error) => {
            // Nothing of the round is left standing still.
            send(vm, Signal::CONT)?;
            return Err(error);
        }
    };
    sleep(SETTLE);
    let woken_ms = unix_ms();
    send(vm, Signal::CONT)?;
    let back = await_events(door, id, |told| read_return(told, &vm["id"], woken_ms))?;
    sleep(SETTLE);
    Ok(json!({
        "detected": down[0], "replaced": down[1], "named": down[2], "woken": woken_ms - stopped_ms,
        "returned": back[0], "put_back": back[1], "named_again": back[2], "gone": back[3],
    }))
}

/// When the VM was found down, when another was well, and when DNS named that.
fn read_replacement(told: &[Value], vm: &Value, stopped_ms: u64) -> Option<[u64; 3]> {
    let since = |at: usize| {
        told.get(at)
            .map(|event| at_ms(event).saturating_sub(stopped_ms))
    };
    let down = position(told, 0, |event| {
        event["vm"] == *vm && says(event, "is down")
    })?;
    let well = position(told, down, |event| {
        event["vm"] != *vm && says(event, "is well")
    })?;
    let named = position(told, well, |event| is(event, "dns"))?;
    Some([since(down)?, since(well)?, since(named)?])
}

/// When the VM's ports were opened, when it served again, when DNS named it, and when the other was gone.
fn read_return(told: &[Value], vm: &Value, woken_ms: u64) -> Option<[u64; 4]> {
    let since = |at: usize| {
        told.get(at)
            .map(|event| at_ms(event).saturating_sub(woken_ms))
    };
    let opened = position(told, 0, |event| event["vm"] == *vm && is(event, "returned"))?;
    let back = position(told, opened, |event| {
        event["vm"] == *vm && is(event, "put-back")
    })?;
    let named = position(told, back, |event| is(event, "dns"))?;
    let gone = position(told, back, |event| event["vm"] != *vm && is(event, "gone"))?;
    Some([since(opened)?, since(back)?, since(named)?, since(gone)?])
}

fn position(told: &[Value], from: usize, is_it: impl Fn(&Value) -> bool) -> Option<usize> {
    let later = told.get(from..)?;
    Some(from + later.iter().position(is_it)?)
}

fn await_events<T>(door: &Door, id: &Value, read: impl Fn(&[Value]) -> Option<T>) -> Result<T> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_ROUND {
        let info = door.do_("info", "instance", json!({ "id": id }));
        let told: Vec<Value> = events(&info).cloned().collect();
        if let Some(read) = read(&told) {
            return Ok(read);
        }
        sleep(PAUSE);
    }
    Err(Error::other("it did not come within a minute"))
}
