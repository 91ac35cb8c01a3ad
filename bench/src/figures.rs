//! Samples, and what they were taken on.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

/// Milliseconds since a moment.
#[must_use]
pub fn milliseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The median, the extremes, and each sample in its order. What is no whole number is left out.
#[must_use]
pub fn spread(samples: &Value) -> Value {
    let samples = samples.as_array().into_iter().flatten();
    let samples: Vec<u64> = samples.filter_map(Value::as_u64).collect();
    let mut sorted = samples.clone();
    sorted.sort_unstable();
    let p50 = sorted.get(sorted.len() / 2);
    json!({ "p50": p50, "min": sorted.first(), "max": sorted.last(), "samples": samples })
}

/// What one round measures, as the results name it and as the table does.
pub type Stage = (&'static str, &'static str);

/// The spread of each stage over the rounds, each of which has a figure for each stage.
#[must_use]
pub fn by_stage(stages: &[Stage], rounds: &Value) -> Value {
    let figures = stages.iter().map(|(stage, _)| {
        let rounds = rounds.as_array().into_iter().flatten();
        let of_stage = rounds.filter_map(|round| round.get(stage).cloned());
        let samples = Value::Array(of_stage.collect());
        ((*stage).to_owned(), spread(&samples))
    });
    Value::Object(figures.collect())
}

/// A round's figures, or in their place why it has none: one that fails takes nothing from the others.
pub fn round_or_failure(round: std::io::Result<Value>) -> Value {
    round.unwrap_or_else(|error| json!({ "failed": error.to_string() }))
}

/// Why rounds have no figures.
#[must_use]
pub fn failures(rounds: &Value) -> Vec<Value> {
    let rounds = rounds.as_array().into_iter().flatten();
    rounds
        .filter_map(|round| round.get("failed").cloned())
        .collect()
}

/// Prints the median and the largest of each stage, a line for each case: its name, and its figures by stage.
pub fn print_table(stages: &[Stage], cases: &[(String, &Value)]) {
    let titles = stages.iter().map(|(_, title)| format!("{title:>24}"));
    println!("{:<30}{}", "median / largest", titles.collect::<String>());
    for (name, figures) in cases {
        let cell = |(stage, _): &Stage| {
            let figure = |which: &str| figures.pointer(&format!("/{stage}/{which}"));
            let text = |which| figure(which).map(Value::to_string).unwrap_or_default();
            let both = format!("{} / {}", text("p50"), text("max"));
            format!("{both:>24}")
        };
        println!("{name:<30}{}", stages.iter().map(cell).collect::<String>());
    }
}

/// What the figures were measured on.
#[must_use]
pub fn machine() -> Value {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let first_line = |text: Option<String>| text.and_then(|t| t.lines().next().map(str::to_owned));
    json!({
        "when": said("date", "--iso-8601=minutes"),
        "kernel": said("uname", "-sr"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "qemu": first_line(said("qemu-system-x86_64", "--version")),
    })
}
