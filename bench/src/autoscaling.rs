//! What autoscaling does with loads of three shapes: a step, a flash crowd, and days of some minutes. Second by second:
//! what was asked and answered, how long that took, how many VMs there are and how many DNS names.
//!
//! `bench-autoscaling [--quick] RESULTS` writes this by driver and shape as JSON, with the decisions and what came of
//! them. It fails where a request was lost, and has the results written all the same.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::crowd::Crowd;
use bench::curves::{CURVES, Curve, curve};
use bench::events::{at_ms, events, is, unix_ms};
use bench::scene::{ON_HOST, door_at, form, run_on_host};
use end_to_end::{Door, Driver};
use serde_json::{Value, json};

const DRIVERS: [(&str, Driver); 2] = [
    ("process", Driver::Process),
    ("tcg, pooled", Driver::Pooled),
];
/// Requests in a second that one VM is to take.
const TARGET: u32 = 150;
const MOST_VMS: u32 = 4;
/// For which fewer VMs must do before fewer run, in seconds: compressed, as the days are.
const WINDOW_S: u64 = 10;
/// Before a curve begins, at its first rate.
const SETTLE: Duration = Duration::from_secs(8);
/// Of the client's, by which the last requests of a curve have been answered or lost.
const AFTERWARDS: Duration = Duration::from_secs(6);
const SECOND: Duration = Duration::from_secs(1);
const LONGEST_START: Duration = Duration::from_secs(60);
/// The kinds of events that are marks on the time axis.
const MARKS: [&str; 4] = ["scaling", "added", "dns", "gone"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ON_HOST, socket, name] => {
            let told = follow(&door_at(socket), curve(name)?)?;
            println!("{told}");
            Ok(())
        }
        ["--quick", results] => run(&DRIVERS[..1], &CURVES[..1], Path::new(results)),
        [results] => run(&DRIVERS, &CURVES, Path::new(results)),
        _ => Err(Error::other("usage: bench-autoscaling [--quick] RESULTS")),
    }
}

fn run(drivers: &[(&str, Driver)], curves: &[Curve], results: &Path) -> Result<()> {
    let mut cases = Vec::new();
    for (name, driver) in drivers {
        for curve in curves {
            let seconds = curve.lasts.as_secs();
            eprintln!("{name}, {}: {seconds} seconds", curve.name);
            let told = run_on_host(*driver, &[curve.name])?;
            eprintln!(
                "  {} answered, {} lost, up to {} VMs",
                told["answered"],
                told["lost"],
                most_vms(&told)
            );
            cases.push(json!({ "driver": name, "curve": curve.name, "run": told }));
        }
    }
    let load = json!({ "target": TARGET, "most_vms": MOST_VMS, "scale_in_window_s": WINDOW_S });
    let document = json!({ "load": load, "cases": cases });
    std::fs::write(results, format!("{document:#}\n"))?;
    match cases.iter().all(|case| case["run"]["lost"] == json!(0)) {
        true => Ok(()),
        false => Err(Error::other("requests were lost")),
    }
}

fn most_vms(run: &Value) -> u64 {
    let seconds = run["seconds"].as_array().into_iter().flatten();
    seconds
        .filter_map(|second| second["serving"].as_u64())
        .max()
        .unwrap_or_default()
}

/// Has a crowd ask by the curve, and tells what came of it.
fn follow(door: &Door, curve: &Curve) -> Result<Value> {
    let scaling = json!({
        "min": 1, "max": MOST_VMS, "target-requests": TARGET, "target-cpu": 100, "scale-in-window": WINDOW_S,
    });
    let made = door.do_("create", "instance", form(0, &scaling));
    let look = || door.do_("info", "instance", json!({ "id": made["id"] }));
    await_service(&look)?;
    let crowd = Crowd::new(
        made["url"].as_str().unwrap_or_default(),
        curve.rate_at(Duration::ZERO),
    );
    std::thread::scope(|scope| {
        crowd.begin(scope);
        sleep(SETTLE);
        let (began, began_ms) = (Instant::now(), unix_ms());
        let sights = drive(&crowd, curve, &look);
        sleep(AFTERWARDS);
        crowd.end();
        let lost = crowd.lost(began, Instant::now());
        Ok(json!({
            "seconds": seconds(&crowd, curve, began, &sights),
            "events": marks(door, &made["id"], began_ms),
            "answered": crowd.answers(began, Instant::now()).len(),
            "lost": lost.len(),
            "lost_how": lost,
        }))
    })
}

fn await_service(look: &impl Fn() -> Value) -> Result<()> {
    let began = Instant::now();
    while look()["condition"] != "serving" {
        if began.elapsed() > LONGEST_START {
            return Err(Error::other("the instance does not come to serve"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What is seen at the end of each second: VMs that serve, VMs that are there, and addresses that clients know.
fn drive(crowd: &Crowd, curve: &Curve, look: &impl Fn() -> Value) -> Vec<[usize; 3]> {
    let began = Instant::now();
    let mut sights = Vec::new();
    for second in 1..=u32::try_from(curve.lasts.as_secs()).unwrap_or(u32::MAX) {
        crowd.set_rate(curve.rate_at(SECOND * (second - 1)));
        sleep((began + SECOND * second).saturating_duration_since(Instant::now()));
        let info = look();
        let vms = info["vms"].as_array().map_or(&[][..], Vec::as_slice);
        let serving = vms
            .iter()
            .filter(|vm| vm["state"] == "serving" && vm["leaving"].is_null());
        sights.push([serving.count(), vms.len(), crowd.known()]);
    }
    sights
}

/// A line for each second, of the requests that began in it.
fn seconds(crowd: &Crowd, curve: &Curve, began: Instant, sights: &[[usize; 3]]) -> Vec<Value> {
    let each = (0..).zip(sights).map(|(second, [serving, vms, named])| {
        let from = began + SECOND * second;
        let answers = crowd.answers(from, from + SECOND);
        let mut took_us: Vec<u128> = answers.iter().map(|a| a.took.as_micros()).collect();
        took_us.sort_unstable();
        let quantile_ms = |percent: usize| {
            let at = (took_us.len() * percent / 100).min(took_us.len().saturating_sub(1));
            took_us.get(at).map(|us| *us as f64 / 1_000.0)
        };
        json!({
            "at": second, "asked": curve.rate_at(SECOND * second), "answered": answers.len(),
            "lost": crowd.lost(from, from + SECOND).len(),
            "p50_ms": quantile_ms(50), "p99_ms": quantile_ms(99), "most_ms": quantile_ms(100),
            "serving": serving, "vms": vms, "named": named,
        })
    });
    each.collect()
}

/// The events of the curve's time, with when they happened in it.
fn marks(door: &Door, id: &Value, began_ms: u64) -> Vec<Value> {
    let told = door.do_(
        "info",
        "events",
        json!({ "id": id, "kind": MARKS, "limit": 1000 }),
    );
    let within = events(&told).filter(|event| at_ms(event) >= began_ms);
    let marks = within.map(|event| {
        let kind = MARKS.iter().find(|kind| is(event, kind));
        json!({ "at_ms": at_ms(event) - began_ms, "kind": kind, "text": event["text"] })
    });
    marks.collect()
}
