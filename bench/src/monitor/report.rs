//! The results: a table for people, and JSON to keep.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use bench::spread::Spread;
use serde::Serialize;

use crate::contest::Sample;
use crate::store::{KINDS, Kind};
use crate::trace::Figures;

/// A line of the table.
struct Line {
    figure: &'static str,
    title: &'static str,
    /// Whether more of it is better.
    is_more: bool,
    /// Than which of the others ours is to be better.
    aims: &'static [Kind],
}

const BOTH: &[Kind] = &[Kind::Rrdtool, Kind::Prometheus];
const RRDTOOL: &[Kind] = &[Kind::Rrdtool];

const LINES: [Line; 12] = [
    line(
        "bytes_per_sample_full_resolution",
        "bytes a sample, full resolution, in files for good",
        BOTH,
    ),
    line(
        "bytes_per_sample",
        "bytes a sample, all files after two hours",
        RRDTOOL,
    ),
    Line {
        is_more: true,
        ..line("samples_per_cpu_second", "samples in a second of CPU", BOTH)
    },
    line("cpu_us_per_sample", "CPU for a sample, µs", BOTH),
    line("peak_mib", "most memory while it takes, MiB", BOTH),
    line("peak_mib_when_asked", "and with the questions, MiB", BOTH),
    line(
        "ten_minutes_of_one_ms",
        "ten minutes of one series, ms",
        RRDTOOL,
    ),
    line("ten_minutes_of_100_ms", "ten minutes of 100, ms", RRDTOOL),
    line("whole_of_one_ms", "the whole of one, ms", RRDTOOL),
    line("whole_of_100_ms", "the whole of 100, ms", RRDTOOL),
    line(
        "whole_of_one_by_10_s_ms",
        "the whole of one by 10 s, ms",
        RRDTOOL,
    ),
    line(
        "whole_of_100_by_10_s_ms",
        "the whole of 100 by 10 s, ms",
        RRDTOOL,
    ),
];

const fn line(figure: &'static str, title: &'static str, aims: &'static [Kind]) -> Line {
    Line {
        figure,
        title,
        is_more: false,
        aims,
    }
}

/// Everything that a run found.
#[derive(Serialize)]
pub struct Report {
    /// Of the programs that were compared.
    pub versions: BTreeMap<&'static str, String>,
    /// Of what the trace is made.
    pub trace: Figures,
    /// The figures of each, over the rounds.
    pub summary: BTreeMap<&'static str, BTreeMap<Kind, Spread>>,
    /// Ours beside each other.
    pub comparisons: Vec<Comparison>,
    /// Every round.
    pub rounds: Vec<Sample>,
}

/// A figure of ours beside another's, by medians.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Which.
    pub figure: &'static str,
    /// Beside whose.
    pub with: Kind,
    /// How many times theirs ours is.
    pub ratio: f64,
    /// Whether ours is better, where it is to be.
    pub is_met: Option<bool>,
}

impl Report {
    /// Of these rounds.
    #[must_use]
    pub fn new(trace: Figures, rounds: Vec<Sample>) -> Self {
        let mut summary: BTreeMap<&'static str, BTreeMap<Kind, Spread>> = BTreeMap::new();
        for line in &LINES {
            for kind in KINDS {
                let of_kind = rounds.iter().filter(|sample| sample.store == kind);
                let values = of_kind.filter_map(|sample| sample.figures.get(line.figure).copied());
                if let Some(spread) = Spread::of(values) {
                    summary.entry(line.figure).or_default().insert(kind, spread);
                }
            }
        }
        Self {
            versions: versions(),
            trace,
            comparisons: comparisons(&summary),
            summary,
            rounds,
        }
    }

    /// A line for each figure: the medians, and how many times theirs ours is.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<52}{:>14}{:>14}{:>14}{:>20}{:>20}\n",
            "medians", "evenkeel", "rrdtool", "prometheus", "of rrdtool's", "of prometheus's"
        );
        for line in &LINES {
            let _ = write!(table, "{:<52}", line.title);
            for kind in KINDS {
                let of_kind = self.summary.get(line.figure).and_then(|all| all.get(&kind));
                let text = of_kind.map(|spread| rounded(spread.median));
                let _ = write!(table, "{:>14}", text.unwrap_or_default());
            }
            for comparison in self.comparisons.iter().filter(|c| c.figure == line.figure) {
                let verdict = match comparison.is_met {
                    Some(true) => " met",
                    Some(false) => " MISSED",
                    None => "",
                };
                let _ = write!(
                    table,
                    "{:>20}",
                    format!("{}{verdict}", rounded(comparison.ratio))
                );
            }
            table.push('\n');
        }
        table
    }
}

/// With three digits that count.
fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn comparisons(summary: &BTreeMap<&'static str, BTreeMap<Kind, Spread>>) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for line in &LINES {
        let median = |kind| Some(summary.get(line.figure)?.get(&kind)?.median);
        for with in [Kind::Rrdtool, Kind::Prometheus] {
            let (Some(ours), Some(theirs)) = (median(Kind::Evenkeel), median(with)) else {
                continue;
            };
            let is_better = if line.is_more {
                ours > theirs
            } else {
                ours < theirs
            };
            comparisons.push(Comparison {
                figure: line.figure,
                with,
                ratio: ours / theirs,
                is_met: line.aims.contains(&with).then_some(is_better),
            });
        }
    }
    comparisons
}

fn versions() -> BTreeMap<&'static str, String> {
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some(text.lines().next()?.trim().to_owned())
    };
    let all = [
        ("rrdtool", first_line("rrdtool", &["--version"])),
        ("prometheus", first_line("prometheus", &["--version"])),
    ];
    all.into_iter()
        .filter_map(|(name, said)| Some((name, said?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ours: f64, theirs: f64) -> Report {
        let sample = |store, bytes, speed| Sample {
            round: 0,
            store,
            figures: [
                ("bytes_per_sample_full_resolution", bytes),
                ("samples_per_cpu_second", speed),
                ("ten_minutes_of_one_ms", bytes),
            ]
            .into(),
        };
        let rounds = vec![
            sample(Kind::Evenkeel, ours, 200.0),
            sample(Kind::Prometheus, theirs, 100.0),
        ];
        let trace = Figures {
            recorded_seconds: 1,
            recorded_series: 1,
            series: 1,
            seconds: 1,
            samples: 1,
            constant_series: 0,
            constant_share: 0.0,
            count_series: 0,
        };
        Report::new(trace, rounds)
    }

    #[test]
    fn what_is_better_has_met_its_aim_and_what_has_none_meets_nothing() {
        for (ours, expected) in [(1.0, Some(true)), (2.0, Some(false)), (3.0, Some(false))] {
            let report = report(ours, 2.0);
            let of = |figure| {
                report
                    .comparisons
                    .iter()
                    .find(|c| c.figure == figure)
                    .unwrap()
            };
            let bytes = of("bytes_per_sample_full_resolution");
            assert_eq!((bytes.ratio, bytes.is_met), (ours / 2.0, expected));
            assert_eq!(of("samples_per_cpu_second").is_met, Some(true));
            assert_eq!(of("ten_minutes_of_one_ms").is_met, None);
        }
    }

    #[test]
    fn a_line_that_missed_is_told() {
        assert!(report(3.0, 2.0).table().contains("1.50 MISSED"));
        assert!(!report(1.0, 2.0).table().contains("MISSED"));
    }
}
