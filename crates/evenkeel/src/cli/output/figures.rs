//! What was measured, as people look at it: one line for each row, with a small graph.

use serde::Deserialize;
use serde_json::Value;

use super::Style;
use super::paint::plain;
use super::table::{Cell, Table};

/// Columns of a graph.
const GRAPH: usize = 40;
/// Heights of a graph, from none to all.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Nothing is known.
const GAP: char = ' ';

/// Said where there is nothing to show.
const NOTHING: &str = "\
Nothing was measured in that time. Figures begin two seconds after an instance's first VM serves; the time until then, and
while the monitor was away, has none. `evenkeel status` says whether the monitor is alive and takes the VMs' packets. Figures
of backends' hosts, host-…, are there where these send theirs by collectd.
";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Figures {
    instance: String,
    from: String,
    to: String,
    step: u64,
    forgotten: u64,
    figures: Vec<Figure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Figure {
    figure: String,
    unit: String,
    rows: Vec<Row>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    vm: Option<u64>,
    backend: Option<String>,
    part: Option<String>,
    values: Vec<Option<f64>>,
}

/// A line for each row: the newest value, the mean and the highest of all, and their course.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, style: Style) -> serde_json::Result<String> {
    let told = Figures::deserialize(info)?;
    let mut text = format!(
        "{} from {} to {}, {} s a step\n",
        plain(&told.instance),
        plain(&told.from),
        plain(&told.to),
        told.step
    );
    let mut table = Table::new(&[
        "FIGURE", "OF", "NEWEST", "MEAN", "HIGHEST", "UNIT", "COURSE",
    ]);
    for figure in &told.figures {
        if figure.rows.is_empty() {
            table.push(figure.line(&Row::default()));
        }
        for row in &figure.rows {
            table.push(figure.line(row));
        }
    }
    text += &table.render(style.paint);
    if told.figures.iter().all(|figure| figure.rows.is_empty()) {
        text += NOTHING;
    }
    if told.forgotten > 0 {
        text += &format!(
            "{} series of VMs and hosts of the project that are gone were forgotten for want of room: sums over the past may be too low\n",
            told.forgotten
        );
    }
    Ok(text)
}

impl Figure {
    fn line(&self, row: &Row) -> Vec<Cell> {
        let known: Vec<f64> = row.values.iter().flatten().copied().collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let highest = known.iter().copied().reduce(f64::max);
        vec![
            Cell::text(&self.figure),
            Cell::text(row.label()),
            Cell::number(known.last().copied().map(shown)),
            Cell::number(mean.map(shown)),
            Cell::number(highest.map(shown)),
            Cell::text(&self.unit),
            Cell::text(graph(&row.values)),
        ]
    }
}

impl Row {
    fn label(&self) -> String {
        let vm = self.vm.map(|vm| format!("VM {vm}"));
        let parts = [vm, self.backend.clone(), self.part.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Three digits that count, and none behind the point where there are more before it.
fn shown(value: f64) -> String {
    match value.abs() {
        1e12.. => format!("{:.1}T", value / 1e12),
        1e9.. => format!("{:.1}G", value / 1e9),
        1e6.. => format!("{:.1}M", value / 1e6),
        1e4.. => format!("{:.1}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The course of values over time, from zero to the highest. Where there are more steps than columns a column is the
/// highest of its steps, for a mean would hide what one looks for.
fn graph(values: &[Option<f64>]) -> String {
    let columns = values.len().min(GRAPH);
    if columns == 0 {
        return String::new();
    }
    let column = |index: usize| {
        let (first, last) = (
            index * values.len() / columns,
            (index + 1) * values.len() / columns,
        );
        let part = values.get(first..last).unwrap_or_default();
        part.iter().flatten().copied().reduce(f64::max)
    };
    let columns: Vec<Option<f64>> = (0..columns).map(column).collect();
    let highest = columns.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: &Option<f64>| {
        let Some(value) = value else { return GAP };
        let share = if highest > 0.0 { value / highest } else { 0.0 };
        let height = (share.clamp(0.0, 1.0) * (BARS.len() - 1) as f64).round() as usize;
        BARS.get(height).copied().unwrap_or(GAP)
    };
    columns.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_goes_from_zero_to_the_highest_and_shows_gaps() {
        for (values, expected) in [
            (vec![], ""),
            (vec![None], " "),
            (vec![Some(0.0), Some(0.0)], "▁▁"),
            (vec![Some(0.0), None, Some(5.0), Some(10.0)], "▁ ▅█"),
            (vec![Some(-1.0), Some(1.0)], "▁█"),
        ] {
            assert_eq!(graph(&values), expected);
        }
        let mut peak = vec![Some(0.0); 1_000];
        peak[500] = Some(3.0);
        let drawn = graph(&peak);
        assert_eq!(drawn.chars().count(), GRAPH);
        assert_eq!(
            drawn.chars().filter(|bar| *bar == '█').count(),
            1,
            "a peak is never lost"
        );
    }

    #[test]
    fn what_was_forgotten_is_said_where_something_was() {
        let style = Style {
            paint: super::super::Paint::Plain,
            now: std::time::UNIX_EPOCH,
        };
        let mut answer = serde_json::json!({"instance": "web", "figures": []});
        assert!(!render(&answer, style).unwrap().contains("forgotten"));
        answer["forgotten"] = 24.into();
        let told = render(&answer, style).unwrap();
        assert!(told.contains("24 series of VMs and hosts"), "{told}");
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, expected) in [
            (0.0, "0.00"),
            (1.5, "1.50"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (12_345.0, "12.3k"),
            (5e6, "5.0M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(shown(value), expected);
        }
    }
}
