//! What some series are at one moment, so that questions about them can be answered while the log goes on.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::files::Levels;
use crate::frozen::Frozen;
use crate::one_series::Series;
use crate::question::QueryError;
use crate::reads::Reads;
use crate::state::Forgotten;
use crate::{Answer, Cell, Level, MonitorLog, Query, SeriesId};

/// Some series as they are now. It costs a look at each of them: what is in memory is shared with the log, and what is in
/// segments is read when a question needs it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) levels: Vec<Level>,
    pub(crate) now_ms: i64,
    /// By level, the slot before which nothing in memory counts that was not handed over.
    sealed: Vec<i64>,
    pub(crate) segments: Arc<Levels>,
    pub(crate) series: BTreeMap<SeriesId, Held>,
    forgotten: Forgotten,
}

/// What is in memory of a series.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) newest: Arc<Series>,
    /// As it was when it was handed over to be written, which it is not yet; oldest first.
    handed_over: Vec<(Arc<Frozen>, Arc<Series>)>,
}

/// Series in one snapshot: to take it is a look at each of them, on the thread that has the log.
pub const MOST_SERIES: usize = 50_000;

impl MonitorLog {
    /// All series of an owner whose names begin in one of these ways, as they are now.
    ///
    /// # Errors
    /// [`QueryError::TooManySeries`].
    pub fn snapshot_of<'b>(
        &self,
        owner: u64,
        beginnings: impl IntoIterator<Item = &'b str>,
    ) -> Result<Snapshot, QueryError> {
        let mut series = Vec::new();
        for beginning in beginnings {
            let found = self
                .state
                .named(owner, beginning)
                .map(|(id, _)| SeriesId(id));
            series.extend(found.take(MOST_SERIES + 1));
            if series.len() > MOST_SERIES {
                return Err(QueryError::TooManySeries);
            }
        }
        Ok(Snapshot {
            forgotten: self.state.forgotten(owner),
            ..self.snapshot(&series)
        })
    }

    fn snapshot(&self, series: &[SeriesId]) -> Snapshot {
        let held = |id: &SeriesId| {
            let newest = Arc::clone(self.state.series.get(&id.0)?);
            let sealing = self.sealing.iter().map(|sealing| &sealing.frozen);
            let handed_over = sealing
                .filter_map(|frozen| Some((Arc::clone(frozen), Arc::clone(frozen.get(id.0)?))))
                .collect();
            let held = Held {
                newest,
                handed_over,
            };
            Some((*id, held))
        };
        Snapshot {
            levels: self.state.options.levels.clone(),
            now_ms: self.state.now_ms,
            sealed: self.state.sealed.clone(),
            segments: Arc::clone(&self.files.segments),
            series: series.iter().filter_map(held).collect(),
            forgotten: Forgotten::default(),
        }
    }

    /// Answers a question, however much has to be read for it.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn query(&self, query: &Query) -> Result<Answer, QueryError> {
        let reads = Reads::unbounded();
        self.snapshot(query.series).query(query, &reads)
    }
}

impl Snapshot {
    /// The series in it, with their names.
    pub fn series(&self) -> impl Iterator<Item = (SeriesId, &str)> {
        let series = self.series.iter();
        series.map(|(id, held)| (*id, &*held.newest.name))
    }

    /// How many series of the owner were forgotten that may have told something of the time from `from` on: without
    /// them what is put together of several is less than it was.
    #[must_use]
    pub fn forgotten_since(&self, from: i64) -> u64 {
        if from <= self.forgotten.until {
            self.forgotten.series
        } else {
            0
        }
    }

    /// The cells of these slots of a series that are in memory, by slot or, where a clock was set back, in the order in
    /// which they came to be.
    pub(crate) fn in_memory(
        &self,
        held: &Held,
        level: usize,
        slots: &RangeInclusive<i64>,
    ) -> Vec<(i64, Cell)> {
        let mut cells = Vec::new();
        let ends = (*slots.start(), *slots.end());
        for (frozen, series) in &held.handed_over {
            cells.extend(frozen.cells(series, level, ends));
        }
        let first = self.sealed.get(level).copied().unwrap_or(i64::MIN);
        let open = first.max(*slots.start())..=*slots.end();
        cells.extend(held.newest.cells(&self.levels, level, &open));
        cells
    }
}
