//! What can be asked of the log, and what it answers.

use std::io;
use std::path::PathBuf;

use crate::SeriesId;
use crate::reads::MOST_CHUNKS;
use crate::snapshot::MOST_SERIES;

/// What to make of a series' readings in each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The mean of a gauge, or of latencies.
    Mean,
    /// The lowest of a gauge.
    Min,
    /// The highest of a gauge.
    Max,
    /// The sum of a gauge's readings, a counter's rise, or of latencies.
    Sum,
    /// How many readings or latencies there are.
    Count,
    /// The sum in a second: how fast a counter rises.
    Rate,
    /// The latency that a share of all do not exceed, from 0 to 1.
    Quantile(f64),
}

/// What to make of several series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// A row of each.
    Each,
    /// The sum of their values.
    Sum,
    /// The mean of their values.
    Mean,
    /// The lowest of their values.
    Min,
    /// The highest of their values.
    Max,
    /// The value of all their readings together: for percentiles over several VMs.
    Merged,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<'a> {
    /// Of which series.
    pub series: &'a [SeriesId],
    /// From this second, since the Unix epoch.
    pub from: i64,
    /// Up to this second, which is not in it.
    pub to: i64,
    /// Seconds of a step; chosen by the span if there are none.
    pub step: Option<u32>,
    /// What to make of the readings of a series in each step.
    pub statistic: Statistic,
    /// What to make of the series.
    pub across: Across,
}

/// An answer: rows of values, one in each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When the first step begins, in seconds since the Unix epoch: a multiple of the step, at or before `from`.
    pub from: i64,
    /// Seconds of a step: as asked for, or the next that the level has.
    pub step: u32,
    /// Seconds of a slot of the level that it is from.
    pub resolution: u32,
    /// One for each series in the order asked for, or one for all.
    pub rows: Vec<Row>,
}

/// The values of one series or of all, one in each step; `None` where nothing is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Of which series; `None` of all.
    pub series: Option<SeriesId>,
    /// In order of time.
    pub values: Vec<Option<f64>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It ends before it begins.
    #[error("the span ends before it begins")]
    Empty,
    /// It asks for more than is told at once.
    #[error(
        "{points} points in {rows} rows are more than are told at once: take a longer step or fewer series"
    )]
    TooMuch {
        /// In each row.
        points: u64,
        /// Rows.
        rows: usize,
    },
    /// There are more series than are asked for at once.
    #[error("there are more than {MOST_SERIES} series of this: ask for less of it at once")]
    TooManySeries,
    /// More would have to be read than is for one question.
    #[error(
        "more than {MOST_CHUNKS} pieces of the log would have to be read: ask for a shorter span or fewer figures at once, or by parts of it one after the other"
    )]
    TooMuchToRead,
    /// Whoever asked does not wait any more.
    #[error("nobody waits for the answer any more")]
    Unwanted,
    /// No series has the id.
    #[error("no series has this id")]
    Unknown(SeriesId),
    /// A file cannot be read, or is damaged.
    #[error("the segment {} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}
