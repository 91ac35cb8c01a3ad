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

/// The table of instances.
pub fn table(briefs: &[Brief]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for brief in briefs {
        table.push(brief.cells().into());
    }
    table
}
