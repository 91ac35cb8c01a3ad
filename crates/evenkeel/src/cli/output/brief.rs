//! Instances in one line each.

use serde::Deserialize;

use super::table::{Cell, Table};

/// An instance in short.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Brief {
    name: String,
    id: u64,
    url: String,
    condition: String,
    last_minute: Option<LastMinute>,
}

/// What was measured of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LastMinute {
    requests_per_second: Option<f64>,
    errors_per_second: Option<f64>,
    p99_ms: Option<f64>,
    cpu_percent: Option<f64>,
}

/// What stands over [`Brief::cells`].
pub const COLUMNS: [&str; 4] = ["ID", "INSTANCE", "CONDITION", "URL"];

impl Brief {
    /// The instance's part of a row.
    pub fn cells(&self) -> [Cell; 4] {
        [
            Cell::number(Some(self.id)),
            Cell::text(&self.name),
            Cell::state(&self.condition),
            Cell::text(&self.url),
        ]
    }
}

impl LastMinute {
    fn cells(&self) -> [Cell; 4] {
        let rounded = |value: Option<f64>| Cell::number(value.map(|value| format!("{value:.1}")));
        [
            rounded(self.requests_per_second),
            rounded(self.errors_per_second),
            rounded(self.p99_ms),
            rounded(self.cpu_percent),
        ]
    }
}

/// The table of instances.
pub fn table(briefs: &[Brief]) -> Table {
    const MEASURED: [&str; 4] = ["REQ/S", "ERR/S", "P99 MS", "CPU %"];
    let is_measured = briefs.iter().any(|brief| brief.last_minute.is_some());
    let measured: &[&str] = if is_measured { &MEASURED } else { &[] };
    let mut table = Table::new(&[&COLUMNS, measured].concat());
    for brief in briefs {
        let mut cells: Vec<_> = brief.cells().into();
        if is_measured {
            cells.extend(
                brief
                    .last_minute
                    .as_ref()
                    .unwrap_or(&LastMinute::default())
                    .cells(),
            );
        }
        table.push(cells);
    }
    table
}
