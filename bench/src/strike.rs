//! A VM is struck under a client that asks without a pause: what the measurements of failover and of a VM's return
//! have in common.
//!
//! The client makes a connection for each request, one every 10 ms, resolves the name again after a second, which is its
//! TTL, or after a request that failed, and takes one of the addresses in turn.
#![expect(
    clippy::indexing_slicing,
    reason = "the values are JSON, where an absent part is null"
)]

use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use end_to_end::Door;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::{get, resolve};
use crate::crowd::TTL;

/// Between two requests.
const PACE: Duration = Duration::from_millis(10);
/// For an answer. A client of a VM that is frozen waits for so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Before a VM is struck, and after what is waited for came.
pub const SETTLE: Duration = Duration::from_secs(2);
/// For each thing that is waited for.
pub const LONGEST_ROUND: Duration = Duration::from_secs(60);

/// Waits until the instance is as it was asked for, with DNS naming all its VMs, and returns what is told of it.
///
/// # Errors
/// Where it does not come to that.
pub fn await_all_serve(door: &Door, made: &Value) -> Result<Value> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_ROUND {
        let info = door.do_("info", "instance", json!({ "id": made["id"] }));
        if info["condition"] == "serving" {
            return Ok(info);
        }
        sleep(PACE);
    }
    Err(Error::other("the instance does not come to serve"))
}

/// The VM that is told of first: the oldest.
#[must_use]
pub fn first_vm(info: &Value) -> Value {
    info["vms"][0].clone()
}

/// What is sent to a VM that is to be `killed`, or else to stand still.
#[must_use]
pub fn signal(how: &str) -> Signal {
    match how {
        "killed" => Signal::KILL,
        _ => Signal::STOP,
    }
}

/// Sends a VM's processes a signal. Under the process driver the process that forwards is a child of the VM's, and
/// dies with it.
///
/// # Errors
/// Where the VM has no process.
pub fn send(vm: &Value, signal: Signal) -> Result<()> {
    let pid = vm["pid"].as_u64().unwrap_or_default();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children
        .split_whitespace()
        .filter(|_| signal != Signal::KILL);
    for pid in std::iter::once(pid.to_string().as_str()).chain(children) {
        let pid = pid.parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::other("the VM has no process"))?;
        kill_process(pid, signal)?;
    }
    Ok(())
}

/// Asks until it is told to end, and returns when requests failed.
#[must_use]
pub fn ask_again_and_again(url: &str, ends: &AtomicBool) -> Vec<Instant> {
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
