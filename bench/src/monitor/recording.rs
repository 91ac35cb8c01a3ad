//! What was recorded of real programs: a file of text, compressed by xz, which `bench/traces/record-monitor` writes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// One series as it was recorded, a value for each second.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Who told it.
    pub host: String,
    /// What it is of, in collectd's words.
    pub name: String,
    values: Values,
}

/// A value at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A figure that goes up and down.
    Gauge(f64),
    /// A total.
    Count(u64),
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Gauge(Vec<f64>),
    /// The total at the beginning of each second, and at the end of the last.
    Count(Vec<u64>),
}

/// Reads a recording.
///
/// # Errors
/// Where there is none, or it is something else.
pub fn read(path: &Path) -> Result<Vec<Source>> {
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .context("xz is missing")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", path.display());
    parse(std::str::from_utf8(&output.stdout)?)
}

fn parse(text: &str) -> Result<Vec<Source>> {
    let sources: Result<Vec<_>> = text.lines().map(parse_line).collect();
    let sources = sources?;
    let seconds = sources.iter().map(Source::seconds);
    let shortest = seconds.min().unwrap_or(0);
    ensure!(shortest > 0, "the recording has a series without values");
    Ok(sources)
}

/// `gauge NAME VALUE…` or `count NAME FIRST RISE…`.
fn parse_line(line: &str) -> Result<Source> {
    let mut words = line.split(' ');
    let (kind, identifier) = (words.next(), words.next());
    let identifier = identifier.with_context(|| format!("`{line}` has no name"))?;
    let (host, name) = identifier
        .split_once('/')
        .with_context(|| format!("`{identifier}` has no host"))?;
    let values = match kind {
        Some("gauge") => Values::Gauge(words.map(str::parse).collect::<Result<_, _>>()?),
        Some("count") => Values::Count(totals(words).with_context(|| identifier.to_owned())?),
        _ => bail!("`{identifier}` is neither gauge nor count"),
    };
    Ok(Source {
        host: host.to_owned(),
        name: name.to_owned(),
        values,
    })
}

/// Of the first total and the rises after it.
fn totals<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<u64>> {
    let mut total = 0u64;
    words
        .map(|word| {
            total = total.saturating_add(word.parse()?);
            Ok(total)
        })
        .collect()
}

impl Source {
    /// How many seconds of it can be told apart: a count's are its rises, of which there is one less than totals.
    #[must_use]
    pub fn seconds(&self) -> usize {
        match &self.values {
            Values::Gauge(values) => values.len(),
            Values::Count(totals) => totals.len().saturating_sub(1),
        }
    }

    /// Whether it is a count.
    #[must_use]
    pub fn is_count(&self) -> bool {
        matches!(self.values, Values::Count(_))
    }

    /// Whether all its values are the same.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        fn are_same<T: PartialEq>(values: &[T]) -> bool {
            values.windows(2).all(|pair| pair.first() == pair.last())
        }
        match &self.values {
            Values::Gauge(values) => are_same(values),
            Values::Count(totals) => are_same(totals),
        }
    }

    /// The value so many seconds after the recording began. After its end it goes on as at its beginning: a gauge with
    /// the same values, a count with the same rises.
    #[must_use]
    pub fn at(&self, second: usize) -> Reading {
        let (lap, within) = (second / self.seconds(), second % self.seconds());
        match &self.values {
            Values::Gauge(values) => Reading::Gauge(values.get(within).copied().unwrap_or(0.0)),
            Values::Count(totals) => {
                let at = |index| totals.get(index).copied().unwrap_or(0);
                let of_lap = at(totals.len() - 1) - at(0);
                Reading::Count(at(within) + lap as u64 * of_lap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "gauge vm/load/load.0 0.5 1.25 1\n\
                        count vm/evenkeel/derive-requests 10 0 2 3\n\
                        gauge vm/a/b 7 7 7\n\
                        count vm/a/c 7 0 0 0\n";

    fn figures(source: &Source) -> Vec<f64> {
        (0..7)
            .map(|second| match source.at(second) {
                Reading::Gauge(figure) => figure,
                Reading::Count(count) => count as f64,
            })
            .collect()
    }

    #[test]
    fn a_series_goes_on_after_its_end_as_at_its_beginning() {
        let sources = parse(TEXT).unwrap();
        assert_eq!(sources[0].name, "load/load.0");
        assert_eq!(figures(&sources[0]), [0.5, 1.25, 1.0, 0.5, 1.25, 1.0, 0.5]);
        assert_eq!(
            figures(&sources[1]),
            [10.0, 10.0, 12.0, 15.0, 15.0, 17.0, 20.0]
        );
    }

    #[test]
    fn what_never_changes_is_constant_and_nothing_else() {
        let sources = parse(TEXT).unwrap();
        let constant: Vec<_> = sources.iter().map(Source::is_constant).collect();
        assert_eq!(constant, [false, false, true, true]);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        for text in [
            "gauge vm/a",
            "else vm/a 1",
            "gauge vm 1",
            "gauge vm/a x",
            "count vm/a 1 -2",
            "count vm/a 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
