//! How long a user waits for a load balancer, and for what: from the request at the JSON door to the first answer
//! through the URL, stage by stage, by driver.
//!
//! `bench-create [ROUNDS] [RESULTS]` runs each driver in turn on a host of its own, one instance after the other, and
//! prints the median and the largest of each stage in milliseconds; with RESULTS it writes them as JSON, every sample
//! with them.
//!
//! Stages are read from the instance's events afterwards, so nothing watches while it is made. They overlap where the
//! controller does not wait: a backend may be checked before or after DNS names the VM.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::client::{self, resolve};
use bench::events::{at_ms, events, is, says, unix_ms};
use bench::figures::{Stage, by_stage, milliseconds, print_table};
use bench::processes::began_ms;
use bench::scene::{ON_HOST, door_at, parse, run_on_host};
use end_to_end::{Door, Driver};
use serde_json::{Map, Value, json};

const DEFAULT_ROUNDS: usize = 10;
const DRIVERS: [(&str, Driver); 4] = [
    ("process", Driver::Process),
    ("tcg, booted", Driver::Machine),
    ("tcg, restored", Driver::Restored),
    ("tcg, pooled", Driver::Pooled),
];
/// Between two attempts to reach a URL that does not answer yet.
const PAUSE: Duration = Duration::from_millis(5);
/// For the parts of an answer.
const DEADLINE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(90);
/// Before each instance: what was left of the one before is gone, and a machine waits in the pool again.
const REST: Duration = Duration::from_secs(3);
/// Each from the request. A VM of the pool was started before it, and has no `started`.
const STAGES: [Stage; 8] = [
    ("asked", "intent stored (ms)"),
    ("placed", "VM decided (ms)"),
    ("started", "VM's process (ms)"),
    ("well", "VM is well (ms)"),
    ("named", "in DNS (ms)"),
    ("checked", "backend checked (ms)"),
    ("answered", "create answers (ms)"),
    ("served", "first answer by URL (ms)"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ON_HOST, socket, rounds] => measure(&door_at(socket), parse(rounds)?),
        [] => compare(DEFAULT_ROUNDS, None),
        [rounds] => compare(parse(rounds)?, None),
        [rounds, results] => compare(parse(rounds)?, Some(Path::new(results))),
        _ => Err(Error::other("usage: bench-create [ROUNDS] [RESULTS]")),
    }
}

/// Measures each driver and prints the figures side by side.
fn compare(rounds: usize, results: Option<&Path>) -> Result<()> {
    let mut cases = Vec::new();
    for (name, driver) in DRIVERS {
        eprintln!("{name}: {rounds} instances, one after the other");
        let samples = run_on_host(driver, &[&rounds.to_string()])?;
        cases.push(json!({ "driver": name, "figures": by_stage(&STAGES, &samples) }));
    }
    let named = cases.iter().map(|case| {
        let name = case["driver"].as_str().unwrap_or_default();
        (name.to_owned(), &case["figures"])
    });
    print_table(&STAGES, &named.collect::<Vec<_>>());
    if let Some(path) = results {
        let document = json!({ "unit": "ms", "rounds": rounds, "cases": cases });
        std::fs::write(path, format!("{document:#}\n"))?;
    }
    Ok(())
}

/// Creates and deletes instances, and prints how long each stage took.
fn measure(door: &Door, rounds: usize) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        sleep(REST);
        let (began, began_ms) = (Instant::now(), unix_ms());
        let made = door.do_(
            "create",
            "instance",
            json!({
                "name": format!("round-{round}"), "traffic_type": "http", "subnet": "1.1.1.0/24",
                "backend": { "entities": ["1.1.1.10:8080"] },
            }),
        );
        let answered = milliseconds(began);
        let url = made["url"]
            .as_str()
            .ok_or_else(|| Error::other("the answer has no URL"))?;
        await_answer(url, began)?;
        let served = milliseconds(began);
        let mut sample = stages(door, &made["id"], began_ms)?;
        sample.insert("answered".into(), json!(answered));
        sample.insert("served".into(), json!(served));
        samples.push(Value::Object(sample));
        door.do_("delete", "instance", json!({ "id": made["id"] }));
    }
    println!("{}", Value::Array(samples));
    Ok(())
}

/// When each stage was reached, in milliseconds from the request, by the journal. It is written behind what it tells of,
/// so the backend's check is waited for.
fn stages(door: &Door, id: &Value, asked_ms: u64) -> Result<Map<String, Value>> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let told = door.do_("info", "events", json!({ "id": id }));
        let first = |is_it: &dyn Fn(&Value) -> bool| events(&told).find(|event| is_it(event));
        let found = [
            ("asked", first(&|event| is(event, "asked"))),
            ("placed", first(&|event| is(event, "added"))),
            ("well", first(&|event| says(event, "is well"))),
            ("named", first(&|event| is(event, "dns"))),
            (
                "checked",
                first(&|event| is(event, "backend") || is(event, "in-effect")),
            ),
        ];
        if found.iter().all(|(_, event)| event.is_some()) {
            let after = |at: u64| json!(at.saturating_sub(asked_ms));
            let reached = found
                .into_iter()
                .filter_map(|(stage, event)| Some((stage.to_owned(), after(at_ms(event?)))));
            let mut reached: Map<String, Value> = reached.collect();
            let info = door.do_("info", "instance", json!({ "id": id }));
            let started = info["vms"][0]["pid"].as_u64().and_then(began_ms);
            if let Some(started) = started.filter(|started| *started >= asked_ms) {
                reached.insert("started".into(), after(started));
            }
            return Ok(reached);
        }
        sleep(PAUSE);
    }
    Err(Error::other("the journal does not tell of each stage"))
}

/// Resolves the URL's name as any program does and asks, until it answers.
fn await_answer(url: &str, began: Instant) -> Result<()> {
    loop {
        match get(url) {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => sleep(PAUSE),
        }
    }
}

fn get(url: &str) -> Result<()> {
    let addresses = resolve(url)?;
    let address = addresses.first();
    let address = address.ok_or_else(|| Error::other(format!("{url} has no address")))?;
    client::get(url, *address, DEADLINE)
}
