//! Columns that stand straight.

use unicode_width::UnicodeWidthStr;

use super::paint::{Paint, Tone, plain};

/// What stands between two columns.
const GAP: &str = "  ";
/// What stands before each line.
const INDENT: &str = "  ";

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
    is_number: bool,
}

impl Cell {
    /// Text; `-` where there is none.
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = match text.as_ref() {
            "" => "-".into(),
            text => plain(text),
        };
        Self {
            text,
            tone: Tone::Neutral,
            is_number: false,
        }
    }

    /// A word for a state, in its colour.
    #[must_use]
    pub fn state(state: &str) -> Self {
        Self {
            tone: Tone::of_state(state),
            ..Self::text(state)
        }
    }

    /// A number, which stands at the right of its column; `-` where there is none.
    #[must_use]
    pub fn number(number: Option<impl ToString>) -> Self {
        let text = number.map_or_else(|| "-".into(), |number| number.to_string());
        Self {
            text,
            tone: Tone::Neutral,
            is_number: true,
        }
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(heading: &[&str]) -> Self {
        let cell = |title: &&str| Cell {
            tone: Tone::Faint,
            ..Cell::text(title)
        };
        Self {
            heading: heading.iter().map(cell).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has as many cells as the heading.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(
            row.len(),
            self.heading.len(),
            "a row is as wide as its table"
        );
        self.rows.push(row);
    }

    /// The table's lines, each with a newline at its end. A title stands over its numbers.
    #[must_use]
    pub fn render(mut self, paint: Paint) -> String {
        if let Some(first) = self.rows.first() {
            for (title, cell) in self.heading.iter_mut().zip(first) {
                title.is_number = cell.is_number;
            }
        }
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| self.width(column))
            .collect();
        let lines = std::iter::once(&self.heading).chain(&self.rows);
        lines.map(|row| render_row(row, &widths, paint)).collect()
    }

    fn width(&self, column: usize) -> usize {
        let rows = std::iter::once(&self.heading).chain(&self.rows);
        let widths = rows
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.width());
        widths.max().unwrap_or(0)
    }
}

fn render_row(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| {
            let room = " ".repeat(width.saturating_sub(cell.text.width()));
            let text = paint.tint(cell.tone, &cell.text);
            match cell.is_number {
                true => room + &text,
                false => text + &room,
            }
        })
        .collect();
    format!("{INDENT}{}\n", cells.join(GAP).trim_end())
}

/// Lines of a name and what it stands for: `URL  http://…`. Those without a value are left out.
#[must_use]
pub fn render_facts(facts: &[(&str, String)], paint: Paint) -> String {
    let given = || facts.iter().filter(|(_, value)| !value.is_empty());
    let width = given().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let name = paint.tint(Tone::Faint, &format!("{name:width$}"));
        format!("{INDENT}{name}{GAP}{value}\n")
    };
    given().map(line).collect()
}

/// A heading over a table, with an empty line above it.
#[must_use]
pub fn render_heading(title: &str, paint: Paint) -> String {
    format!("\n{}\n", paint.tint(Tone::Title, title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_straight_whatever_is_in_them() {
        let mut table = Table::new(&["NAME", "REQUESTS", "WHY"]);
        table.push(vec![
            Cell::text("日本"),
            Cell::number(Some(7)),
            Cell::text(""),
        ]);
        table.push(vec![
            Cell::text("ü"),
            Cell::number(Some(12345)),
            Cell::text("a\tb"),
        ]);
        table.push(vec![
            Cell::text("web-long"),
            Cell::number(None::<u64>),
            Cell::text("x"),
        ]);
        let expected = "  NAME      REQUESTS  WHY\n  日本             7  -\n  ü            12345  a\\tb\n  web-long         -  x\n";
        assert_eq!(table.render(Paint::Plain), expected);
    }

    #[test]
    fn colour_moves_no_column() {
        let table = || {
            let mut table = Table::new(&["STATE", "ID"]);
            table.push(vec![Cell::state("serving"), Cell::text("1")]);
            table.push(vec![Cell::state("up"), Cell::text("2")]);
            table
        };
        let coloured = table().render(Paint::Coloured);
        let bare = anstyle_free(&coloured);
        assert_ne!(coloured, bare);
        assert_eq!(bare, table().render(Paint::Plain));
    }

    fn anstyle_free(text: &str) -> String {
        let mut parts = text.split('\u{1b}');
        let mut bare = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            bare.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        }
        bare
    }
}
