//! The results: a table for people, and JSON for a report that is made later.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use bench::spread::Spread;
use serde::Serialize;

use crate::cases::Case;
use crate::growth::Curve;
use crate::parameters::Parameters;
use crate::proxies::Kind;
use crate::summary::{Comparison, Sample, Summary, Verdict};

/// Everything that a run found.
#[derive(Serialize)]
pub struct Report {
    /// What was set of the machine for the run.
    pub machine: BTreeMap<&'static str, String>,
    /// Of the programs that were compared.
    pub versions: BTreeMap<&'static str, String>,
    /// How long and how much.
    pub parameters: Parameters,
    /// Requests in each second of the open loop.
    pub open_loop_rate: Option<f64>,
    /// Each case.
    pub cases: Vec<Outcome>,
    /// How ours grows.
    pub growth: Vec<Curve>,
}

/// What a case found.
#[derive(Serialize)]
pub struct Outcome {
    /// Its id.
    pub case: &'static str,
    /// What it is.
    pub title: &'static str,
    /// The figure that is compared.
    pub figure: &'static str,
    /// What it comes to.
    pub summary: Summary,
    /// Every round.
    pub rounds: Vec<Sample>,
}

/// What the run itself set of the machine.
pub fn machine() -> BTreeMap<&'static str, String> {
    [("congestion_control", crate::host::congestion_control())].into()
}

/// What the programs say of themselves.
pub fn versions(balancer: &std::path::Path) -> BTreeMap<&'static str, String> {
    let first_line = |command: &mut Command| {
        let output = command.output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some(text.lines().next()?.trim().to_owned())
    };
    let mut versions = BTreeMap::new();
    for (name, mut command, argument) in [
        ("evenkeel", Command::new(balancer), "--version"),
        ("haproxy", Command::new("haproxy"), "-v"),
        ("nginx", Command::new("nginx"), "-v"),
    ] {
        let version = first_line(command.arg(argument)).unwrap_or_default();
        versions.insert(name, version);
    }
    versions
}

/// The table, a line for each figure of each case.
pub fn table(report: &Report) -> String {
    let mut table = String::new();
    let _ = writeln!(
        table,
        "{:<26} {:<19} {:>10} {:>10} {:>10} {:>8}  {:<34} {:<34}",
        "case", "figure", "ours", "haproxy", "nginx", "noise", "ours / haproxy", "ours / nginx"
    );
    for outcome in &report.cases {
        add_case(&mut table, outcome);
    }
    for curve in &report.growth {
        add_curve(&mut table, curve);
    }
    table
}

fn add_case(table: &mut String, outcome: &Outcome) {
    let summary = &outcome.summary;
    let mut figures: Vec<&str> = Vec::new();
    for comparison in &summary.comparisons {
        if !figures.contains(&comparison.figure) {
            figures.push(comparison.figure);
        }
    }
    for figure in figures {
        let compared = figure == outcome.figure;
        let median = |kind: Kind| {
            let spread = summary.figures.get(kind.name())?.get(figure)?;
            Some(number(spread.median))
        };
        let cell = |kind| median(kind).unwrap_or_else(|| "-".to_owned());
        let against = |kind| {
            let mut comparisons = summary.comparisons.iter();
            comparisons
                .find(|comparison| comparison.figure == figure && comparison.with == kind)
                .map(describe)
                .unwrap_or_default()
        };
        let others: Vec<_> = [Kind::HaproxyPipes, Kind::EvenkeelBefore]
            .into_iter()
            .map(|kind| (kind, against(kind)))
            .filter(|(_, text)| !text.is_empty())
            .map(|(kind, text)| format!("ours / {} {text}", kind.name()))
            .collect();
        let noise = summary.noise.filter(|_| compared);
        let _ = writeln!(
            table,
            "{:<26} {:<19} {:>10} {:>10} {:>10} {:>8}  {:<34} {:<34} {}",
            if compared { outcome.title } else { "" },
            figure,
            cell(Kind::Evenkeel),
            cell(Kind::Haproxy),
            cell(Kind::Nginx),
            noise.map(percent).unwrap_or_default(),
            against(Kind::Haproxy),
            against(Kind::Nginx),
            others.join(", "),
        );
    }
    if summary.invalid > 0 {
        let _ = writeln!(table, "  {} ROUNDS ARE INVALID:", summary.invalid);
        for sample in &outcome.rounds {
            if let Some(error) = &sample.error {
                let _ = writeln!(table, "  {} {}: {error}", sample.round, sample.proxy.name());
            }
        }
    }
}

fn add_curve(table: &mut String, curve: &Curve) {
    let Curve { title, figure, .. } = curve;
    let _ = write!(table, "{title}, {figure}: ");
    for point in &curve.points {
        let median = point.spread.map(|spread| number(spread.median));
        let cell = median.unwrap_or_else(|| "-".to_owned());
        let _ = write!(table, " {} → {cell} ", point.at);
    }
    let Some(growth) = curve.growth else {
        let _ = writeln!(table, " no valid rounds");
        return;
    };
    let verdict = match curve.target {
        Some(target) if growth.median <= target => format!(" ≤ {target:.2} met"),
        Some(target) => format!(" ≤ {target:.2} MISSED"),
        None => String::new(),
    };
    let Spread { median, min, max } = growth;
    let _ = writeln!(
        table,
        " last / first {median:.2} ({min:.2}-{max:.2}){verdict}"
    );
    for error in &curve.errors {
        let _ = writeln!(table, "  INVALID: {error}");
    }
}

/// How far two runs of the same program lie apart.
fn percent(noise: Spread) -> String {
    let factor = noise.max.max(1.0 / noise.min);
    format!("±{:.0} %", (factor - 1.0) * 100.0)
}

fn describe(comparison: &Comparison) -> String {
    let Some(ratio) = comparison.ratio else {
        return "no valid rounds".to_owned();
    };
    let alike = if comparison.alike { "≈" } else { "" };
    let verdict = match (comparison.target, comparison.verdict) {
        (Some(target), Some(verdict)) => {
            let word = match verdict {
                Verdict::Met => "met",
                Verdict::Missed => "MISSED",
                Verdict::Tie if ratio.median <= target => "tie, within",
                Verdict::Tie => "tie, above",
                Verdict::Invalid => "INVALID",
            };
            format!(" ≤ {target:.2} {word}")
        }
        _ => String::new(),
    };
    format!(
        "{alike}{:.2} ({:.2}-{:.2}){verdict}",
        ratio.median, ratio.min, ratio.max
    )
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// An outcome of these rounds.
pub fn outcome(case: &Case, rounds: Vec<Sample>) -> Outcome {
    Outcome {
        case: case.id,
        title: case.title,
        figure: case.figure,
        summary: crate::summary::summarise(case, &rounds),
        rounds,
    }
}
