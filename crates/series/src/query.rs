//! Answering questions.

use crate::question::{Across, Answer, Query, QueryError, Row, Statistic};
use crate::reads::Reads;
use crate::snapshot::{Held, Snapshot};
use crate::{Cell, Histogram, Kind, Level, SeriesId};

/// Points that an answer has in each row.
pub const MOST_POINTS: usize = 11_000;
/// Points of latencies, each of which is a histogram while they are gathered.
const MOST_LATENCY_POINTS: usize = 1_000;
/// Values in all rows of an answer.
const MOST_VALUES: usize = 1_000_000;
/// Points that are meant when a query says no step.
const USUAL_POINTS: u64 = 300;

/// What an answer comes to, for one statistic.
struct Telling {
    statistic: Statistic,
    rows: Vec<Row>,
    totals: Vec<Total>,
}

impl Telling {
    fn new(statistic: Statistic, frame: &Frame) -> Self {
        Self {
            statistic,
            rows: Vec::new(),
            totals: vec![Total::default(); frame.points],
        }
    }

    /// Takes what one series has in each step.
    fn add(&mut self, id: SeriesId, cells: &[Option<Cell>], across: Across, frame: &Frame) {
        let values = values(cells, self.statistic, frame);
        if across == Across::Each {
            self.rows.push(Row {
                series: Some(id),
                values,
            });
            return;
        }
        for (total, value) in self.totals.iter_mut().zip(values) {
            value.into_iter().for_each(|value| total.add(value));
        }
    }

    /// The answer; where series are merged, of what all of them have together.
    fn end(mut self, merged: &[Option<Cell>], across: Across, frame: &Frame) -> Answer {
        let totals = self.totals.iter();
        let all = match across {
            Across::Each => None,
            Across::Merged => Some(values(merged, self.statistic, frame)),
            across => Some(totals.map(|total| total.value(across)).collect()),
        };
        self.rows.extend(all.map(|values| Row {
            series: None,
            values,
        }));
        Answer {
            from: frame.from,
            step: u32::try_from(frame.step).unwrap_or(u32::MAX),
            resolution: frame.of.step,
            rows: self.rows,
        }
    }
}

/// Where an answer's steps are.
#[derive(Clone, Copy, Debug)]
struct Frame {
    level: usize,
    of: Level,
    from: i64,
    step: i64,
    points: usize,
    /// The log's clock: a step that is not over is as long as it has been.
    now: i64,
}

impl Snapshot {
    /// Answers a question from the coarsest resolution that is fine enough and goes back far enough. What it takes
    /// of memory is bounded by [`MOST_POINTS`], whatever the span and the number of series, and of time by `reads`.
    ///
    /// # Errors
    /// If it asks for too much, for a series that is not there, or a file is damaged; if nobody waits any more.
    pub fn query(&self, query: &Query, reads: &Reads) -> Result<Answer, QueryError> {
        let statistics = [query.statistic];
        let mut answers = self.query_all(query, &statistics, reads)?;
        answers.pop().ok_or(QueryError::Empty)
    }

    /// Answers a question for several statistics in place of its own, for which all is read once. The answers are in the
    /// order of the statistics.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_all(
        &self,
        query: &Query,
        statistics: &[Statistic],
        reads: &Reads,
    ) -> Result<Vec<Answer>, QueryError> {
        let frame = self.frame(query)?;
        let tellings = statistics.iter();
        let mut tellings: Vec<Telling> = tellings
            .map(|statistic| Telling::new(*statistic, &frame))
            .collect();
        let mut cells: Vec<Option<Cell>> = vec![None; frame.points];
        for id in query.series {
            let series = self.series.get(id).ok_or(QueryError::Unknown(*id))?;
            self.gather(*id, series, &frame, &mut cells, reads)?;
            if query.across != Across::Merged {
                for telling in &mut tellings {
                    telling.add(*id, &cells, query.across, &frame);
                }
                cells.fill(None);
            }
        }
        let answers = tellings.into_iter();
        Ok(answers
            .map(|telling| telling.end(&cells, query.across, &frame))
            .collect())
    }

    fn frame(&self, query: &Query) -> Result<Frame, QueryError> {
        let span = query
            .to
            .checked_sub(query.from)
            .filter(|span| *span > 0)
            .ok_or(QueryError::Empty)?;
        let usual = (span as u64)
            .div_ceil(USUAL_POINTS)
            .min(u64::from(u32::MAX)) as u32;
        let wanted = query.step.unwrap_or(usual).max(1);
        let now = self.now_ms / 1_000;
        let (level, of) = self.level(wanted, now.saturating_sub(query.from));
        let step = i64::from(wanted.div_ceil(of.step)).saturating_mul(i64::from(of.step));
        let from = query.from.div_euclid(step).saturating_mul(step);
        let points = (query.to.saturating_sub(from) as u64).div_ceil(step as u64);
        let rows = if query.across == Across::Each {
            query.series.len()
        } else {
            1
        };
        let of_latencies = |id: &SeriesId| {
            let series = self.series.get(id);
            series.is_some_and(|series| series.newest.kind == Kind::Latencies)
        };
        let has_latencies = query.series.iter().any(of_latencies);
        let most = if has_latencies {
            MOST_LATENCY_POINTS
        } else {
            MOST_POINTS
        };
        let too_much = QueryError::TooMuch { points, rows };
        match usize::try_from(points) {
            Ok(points) if points <= most && points.saturating_mul(rows) <= MOST_VALUES => {
                Ok(Frame {
                    level,
                    of,
                    from,
                    step,
                    points,
                    now,
                })
            }
            _ => Err(too_much),
        }
    }

    /// The coarsest level whose step is at most what is wanted and that goes back so many seconds; if there is none,
    /// the finest that goes back so far, or the last.
    fn level(&self, wanted: u32, back: i64) -> (usize, Level) {
        let levels = self.levels.iter().copied().enumerate();
        let reaches = |level: &Level| i64::from(level.keep) >= back;
        let fine = levels
            .clone()
            .rev()
            .find(|(_, level)| level.step <= wanted && reaches(level));
        fine.or_else(|| levels.clone().find(|(_, level)| reaches(level)))
            .or_else(|| levels.clone().next_back())
            .unwrap_or((0, crate::DEFAULT_LEVELS[0]))
    }

    /// Adds what a series has in each step to `cells`: of each slot what was written last.
    fn gather(
        &self,
        id: SeriesId,
        series: &Held,
        frame: &Frame,
        cells: &mut [Option<Cell>],
        reads: &Reads,
    ) -> Result<(), QueryError> {
        let slot_seconds = i64::from(frame.of.step);
        let first = frame.from.div_euclid(slot_seconds);
        let last = first.saturating_add(frame.points as i64 * (frame.step / slot_seconds)) - 1;
        let slots = first..=last;
        let mut told: Vec<(i64, Cell)> = Vec::new();
        for segment in self.segments.get(frame.level).into_iter().flatten() {
            let (from, to) = segment.slots;
            if to < first || from > last || !series.newest.is_in(segment.number) {
                continue;
            }
            reads.take()?;
            let read = segment.read(id.0, MOST_CELLS);
            let path = || segment.path.clone();
            let read = read.map_err(|source| QueryError::File {
                path: path(),
                source,
            })?;
            told.extend(read.into_iter().filter(|(slot, _)| slots.contains(slot)));
        }
        reads.take()?;
        told.extend(self.in_memory(series, frame.level, &slots));
        // What was told of a slot last stays behind what was told before, and counts.
        told.sort_by_key(|(slot, _)| *slot);
        let mut told = told.into_iter().peekable();
        while let Some((slot, cell)) = told.next() {
            if told.peek().is_some_and(|(next, _)| *next == slot) {
                continue;
            }
            let step = slot.saturating_mul(slot_seconds).saturating_sub(frame.from) / frame.step;
            match cells.get_mut(step as usize) {
                Some(Some(held)) => held.merge(&cell),
                Some(empty) => *empty = Some(cell),
                None => {}
            }
        }
        Ok(())
    }
}

/// Cells that a chunk has at most.
const MOST_CELLS: usize = 1 << 16;

fn values(cells: &[Option<Cell>], statistic: Statistic, frame: &Frame) -> Vec<Option<f64>> {
    let starts = (0..).map(|point: i64| frame.from.saturating_add(point * frame.step));
    let seconds = starts.map(|start| (frame.now + 1 - start).clamp(1, frame.step));
    cells
        .iter()
        .zip(seconds)
        .map(|(cell, seconds)| value(cell.as_ref()?, statistic, seconds as f64))
        .collect()
}

fn value(cell: &Cell, statistic: Statistic, seconds: f64) -> Option<f64> {
    match cell {
        Cell::Latencies(histogram) => of_latencies(histogram, statistic, seconds),
        Cell::Figures(bucket) => match statistic {
            Statistic::Mean => Some(bucket.mean()),
            Statistic::Min => Some(bucket.min),
            Statistic::Max => Some(bucket.max),
            Statistic::Sum => Some(bucket.sum),
            Statistic::Count => Some(bucket.count as f64),
            Statistic::Rate => Some(bucket.sum / seconds),
            Statistic::Quantile(_) => None,
        },
    }
}

fn of_latencies(histogram: &Histogram, statistic: Statistic, seconds: f64) -> Option<f64> {
    let count = histogram.count() as f64;
    match statistic {
        Statistic::Mean => (count > 0.0).then(|| histogram.sum() as f64 / count),
        Statistic::Min => histogram.quantile(0.0),
        Statistic::Max => histogram.quantile(1.0),
        Statistic::Sum => Some(histogram.sum() as f64),
        Statistic::Count => Some(count),
        Statistic::Rate => Some(count / seconds),
        Statistic::Quantile(share) => histogram.quantile(share),
    }
}

/// The values of several series in one step.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Total {
    fn add(&mut self, value: f64) {
        let is_first = self.count == 0.0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.sum += value;
        self.count += 1.0;
    }

    fn value(&self, across: Across) -> Option<f64> {
        let value = match across {
            Across::Sum => self.sum,
            Across::Mean => self.sum / self.count,
            Across::Min => self.min,
            Across::Max => self.max,
            Across::Each | Across::Merged => return None,
        };
        (self.count > 0.0).then_some(value)
    }
}
