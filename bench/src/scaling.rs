//! How fast the number of VMs follows the load, and what that costs: under clients that follow DNS at each TTL, from
//! the moment in which more is asked to the decision, to when the new VMs serve and DNS names them; and from when
//! less is asked to when the others are gone.
//!
//! `bench-scaling [ROUNDS] [RESULTS] [DRIVER]` does so for each driver or for one, each round with an instance of its
//! own, prints medians and the largest, and with RESULTS writes them and every sample as JSON. It fails where a request
//! was lost.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::crowd::Crowd;
use bench::events::{at_ms, events, is, says, unix_ms};
use bench::figures::{Stage, by_stage, fail_with_rounds, failures, print_table, round_or_failure};
use bench::scene::{DRIVERS, ON_HOST, door_at, form, parse, run_on_host};
use end_to_end::Door;
use serde_json::{Value, json};

const DEFAULT_ROUNDS: usize = 3;
/// Requests in a second that one VM is to take.
const TARGET: u32 = 150;
/// What is asked before and after: one VM takes it.
const FEW: u32 = 60;
/// What is asked in between: three VMs take it.
const MANY: u32 = 360;
const CROWD: usize = 3;
/// For which fewer VMs must do before fewer run, in seconds.
const WINDOW_S: u64 = 10;
/// Before the load rises, with all VMs there, and after the last has gone: clients have found the VMs, and each of
/// these has told its load.
const SETTLE: Duration = Duration::from_secs(12);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_CHANGE: Duration = Duration::from_secs(90);
const STAGES: [Stage; 9] = [
    ("out_decided", "out: decided (ms)"),
    ("out_serving", "all serve (ms)"),
    ("out_named", "in DNS (ms)"),
    ("out_lost", "lost"),
    ("in_decided", "in: decided (ms)"),
    ("in_named", "one in DNS (ms)"),
    ("in_gone", "others gone (ms)"),
    ("in_lost", "lost"),
    ("answered", "answered"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ON_HOST, socket, rounds] => measure(&door_at(socket), parse(rounds)?),
        [] => compare(DEFAULT_ROUNDS, None, None),
        [rounds] => compare(parse(rounds)?, None, None),
        [rounds, results] => compare(parse(rounds)?, Some(Path::new(results)), None),
        [rounds, results, only] => compare(parse(rounds)?, Some(Path::new(results)), Some(only)),
        _ => Err(Error::other(
            "usage: bench-scaling [ROUNDS] [RESULTS] [DRIVER]",
        )),
    }
}

fn compare(rounds: usize, results: Option<&Path>, only: Option<&str>) -> Result<()> {
    let mut cases = Vec::new();
    let is_asked_for = |name: &str| only.is_none_or(|only| only == name);
    for (name, driver) in DRIVERS.into_iter().filter(|(name, _)| is_asked_for(name)) {
        eprintln!("{name}: {rounds} rounds");
        let samples = run_on_host(driver, &[&rounds.to_string()])?;
        let rounds = samples.as_array().into_iter().flatten();
        let lost: Vec<&Value> = rounds.filter_map(|round| round.get("lost")).collect();
        let (figures, failed) = (by_stage(&STAGES, &samples), failures(&samples));
        cases.push(json!({ "driver": name, "figures": figures, "lost": lost, "failed": failed }));
    }
    let named = cases.iter().map(|case| {
        let name = case["driver"].as_str().unwrap_or_default();
        (name.to_owned(), &case["figures"])
    });
    print_table(&STAGES, &named.collect::<Vec<_>>());
    if let Some(path) = results {
        let load =
            json!({ "target": TARGET, "few": FEW, "many": MANY, "scale_in_window_s": WINDOW_S });
        let document = json!({ "rounds": rounds, "load": load, "cases": cases });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    fail_with_rounds(&cases)?;
    let is_lost = |stage: &str| cases.iter().any(|case| case["figures"][stage]["max"] != 0);
    match is_lost("out_lost") || is_lost("in_lost") {
        true => Err(Error::other("requests were lost")),
        false => Ok(()),
    }
}

fn measure(door: &Door, rounds: usize) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        let scaling = json!({
            "min": 1, "max": 4, "target-requests": TARGET, "target-cpu": 100, "scale-in-window": WINDOW_S,
        });
        let made = door.do_("create", "instance", form(round, &scaling));
        samples.push(round_or_failure(follow(door, &made)));
        door.do_("delete", "instance", json!({ "id": made["id"] }));
    }
    println!("{}", Value::Array(samples));
    Ok(())
}

/// Has more asked, and then less again, and tells when what followed.
fn follow(door: &Door, made: &Value) -> Result<Value> {
    let look = || door.do_("info", "instance", json!({ "id": made["id"] }));
    await_("it serves", || {
        (look()["condition"] == "serving").then_some(())
    })?;
    let crowd = Crowd::new(made["url"].as_str().unwrap_or_default(), FEW);
    std::thread::scope(|scope| {
        crowd.begin(scope);
        let told = rise_and_fall(&crowd, &look);
        crowd.end();
        told
    })
}

fn rise_and_fall(crowd: &Crowd, look: &impl Fn() -> Value) -> Result<Value> {
    sleep(SETTLE);
    if look()["vms"].as_array().map(Vec::len) != Some(1) {
        return Err(Error::other("it does not begin with one VM"));
    }
    let (rose, rose_ms) = (Instant::now(), unix_ms());
    crowd.set_rate(MANY);
    let out = await_("it has more VMs", || read_rise(&look(), rose_ms));
    let out = out.map_err(|error| with_account(&error, &look()))?;
    sleep(SETTLE);
    let (fell, fell_ms) = (Instant::now(), unix_ms());
    crowd.set_rate(FEW);
    let gone = await_("it has one VM", || read_fall(&look(), fell_ms));
    let gone = gone.map_err(|error| with_account(&error, &look()))?;
    sleep(SETTLE);
    let (out_lost, in_lost) = (crowd.lost(rose, fell), crowd.lost(fell, Instant::now()));
    Ok(json!({
        "out_decided": out[0], "out_serving": out[1], "out_named": out[2], "out_lost": out_lost.len(),
        "in_decided": gone[0], "in_named": gone[1], "in_gone": gone[2], "in_lost": in_lost.len(),
        "answered": crowd.answered(),
        "lost": [out_lost, in_lost],
    }))
}

/// From the rise to the first decision, to when all of the new VMs serve, and to when DNS names them, once it does.
fn read_rise(info: &Value, rose_ms: u64) -> Option<[u64; 3]> {
    let vms = info["vms"].as_array()?;
    let serving = vms.iter().filter(|vm| vm["state"] == "serving");
    if serving.count() < CROWD {
        return None;
    }
    let since: Vec<&Value> = events_since(info, rose_ms).collect();
    let decided = since.iter().find(|event| is(event, "scaling"))?;
    let well = since.iter().rposition(|event| says(event, "is well"))?;
    let named = since.get(well..)?.iter().find(|event| is(event, "dns"))?;
    let after = |event: &Value| at_ms(event).saturating_sub(rose_ms);
    Some([after(decided), after(since.get(well)?), after(named)])
}

/// From the fall to the first decision, to when DNS names one VM, and to when the others are gone, once they are.
fn read_fall(info: &Value, fell_ms: u64) -> Option<[u64; 3]> {
    if info["vms"].as_array()?.len() != 1 {
        return None;
    }
    let of = |kind: &'static str| events_since(info, fell_ms).filter(move |event| is(event, kind));
    let after = |event: &Value| at_ms(event).saturating_sub(fell_ms);
    Some([
        after(of("scaling").next()?),
        after(of("dns").last()?),
        after(of("gone").last()?),
    ])
}

/// What did not come, with what the instance's account says to that.
fn with_account(error: &Error, info: &Value) -> Error {
    let said = events(info).filter_map(|event| event["text"].as_str());
    let said: Vec<&str> = said.collect();
    Error::other(format!("{error}: {}: {}", info["scaling"], said.join("; ")))
}

fn events_since(info: &Value, from_ms: u64) -> impl Iterator<Item = &Value> {
    events(info).filter(move |event| at_ms(event) >= from_ms)
}

fn await_<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_CHANGE {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        sleep(PAUSE);
    }
    let seconds = LONGEST_CHANGE.as_secs();
    Err(Error::other(format!("{what}: not within {seconds} s")))
}
