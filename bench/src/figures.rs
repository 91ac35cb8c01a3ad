//! Samples. What they were taken on is added by `bench/keep`, which keeps all results.

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

/// Fails where a case of a measurement has rounds that failed.
///
/// # Errors
/// With what those of the first such case say.
pub fn fail_with_rounds(cases: &[Value]) -> std::io::Result<()> {
    let mut failed = cases.iter().filter_map(|case| case.get("failed"));
    match failed.find(|failed| **failed != json!([])) {
        Some(words) => Err(std::io::Error::other(format!("rounds failed: {words}"))),
        None => Ok(()),
    }
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
