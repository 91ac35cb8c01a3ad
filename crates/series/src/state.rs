//! All that is in memory: the series, and how far time has come. Pure: files are the concern of others.

mod freeze;
mod retire;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::one_series::Series;
use crate::reading::MOST_NAME;
use crate::track::Track;
use crate::window::{Bounds, Window};
use crate::{Kind, Options, Reading, Refusal, SeriesId};

/// What is in memory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    /// What is handed over to be written, or asked for, has the same series: one that is changed meanwhile is copied.
    pub(crate) series: BTreeMap<u32, Arc<Series>>,
    owners: BTreeMap<u64, Owner>,
    pub(crate) next_id: u32,
    /// The log's clock, in milliseconds since the epoch.
    pub(crate) now_ms: i64,
    /// The first slot of the finest level that is open.
    pub(crate) watermark: i64,
    /// By level, the slot before which everything was handed over to be written, or has nothing.
    pub(crate) sealed: Vec<i64>,
    /// The number of the segment that is written next.
    pub(crate) next_segment: u64,
    /// Cells that were dropped since no segment could be written.
    pub(crate) dropped: u64,
}

/// What an owner has.
#[derive(Clone, Debug, Default)]
struct Owner {
    ids: BTreeMap<Arc<str>, u32>,
    /// Series that take a place.
    live: usize,
    forgotten: Forgotten,
}

/// What is due to be written to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) level: usize,
    /// The cells of the slots from here on.
    pub(crate) begin: i64,
    /// And before this one.
    pub(crate) end: i64,
}

pub(crate) use retire::{Forgotten, Retired};

impl State {
    pub(crate) fn new(options: Options, now_ms: i64) -> Self {
        let mut state = Self {
            series: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_id: 0,
            now_ms,
            watermark: 0,
            sealed: Vec::new(),
            next_segment: 0,
            dropped: 0,
            options,
        };
        state.watermark = state.watermark_at(now_ms);
        state.sealed = state.segment_starts();
        state
    }

    /// Where the watermark is at a time.
    fn watermark_at(&self, now_ms: i64) -> i64 {
        let late = i64::try_from(self.options.late.as_millis()).unwrap_or(i64::MAX);
        now_ms
            .saturating_sub(late)
            .div_euclid(self.options.finest_ms())
    }

    /// By level, where the segment begins in which the watermark is.
    fn segment_starts(&self) -> Vec<i64> {
        let seconds = self.watermark.saturating_mul(self.options.finest_ms()) / 1_000;
        let levels = self.options.levels.iter();
        levels.map(|level| level.segment_start(seconds)).collect()
    }

    /// Whether a clock that shows this was set back, further than samples may come late.
    pub(crate) fn is_set_back(&self, now_ms: i64) -> bool {
        now_ms.div_euclid(self.options.finest_ms()) < self.watermark
    }

    /// Lets time pass to `now_ms`. A clock that goes back a little stands still.
    pub(crate) fn pass(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.watermark = self.watermark.max(self.watermark_at(now_ms));
    }

    /// What can be written to segments now.
    pub(crate) fn due(&self) -> Vec<Due> {
        let starts = self
            .segment_starts()
            .into_iter()
            .zip(&self.sealed)
            .enumerate();
        starts
            .filter(|(_, (end, sealed))| end > sealed)
            .map(|(level, (end, begin))| Due {
                level,
                begin: *begin,
                end,
            })
            .collect()
    }

    /// The id of a series, which is made if there is none of this owner and name.
    pub(crate) fn register(
        &mut self,
        owner: u64,
        name: &str,
        kind: Kind,
    ) -> Result<(SeriesId, bool), Refusal> {
        let of_owner = self.owners.get(&owner);
        if let Some(id) = of_owner.and_then(|of_owner| of_owner.ids.get(name)) {
            let known = self.series.get(id).ok_or(Refusal::Unknown)?;
            let is_same = known.kind == kind;
            return if is_same {
                Ok((SeriesId(*id), false))
            } else {
                Err(Refusal::WrongKind)
            };
        }
        if name.is_empty() || name.len() > MOST_NAME {
            return Err(Refusal::BadName);
        }
        self.make_room(owner)?;
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(Refusal::TooManySeries)?;
        self.make(id, owner, name, kind);
        Ok((SeriesId(id), true))
    }

    /// Makes a series that was made before, under the id that it had.
    pub(crate) fn register_as(&mut self, id: u32, owner: u64, name: &str, kind: Kind) {
        let of_owner = self.owners.get(&owner);
        if let Some(known) = of_owner.and_then(|of_owner| of_owner.ids.get(name).copied()) {
            self.forget(known);
        }
        self.next_id = self.next_id.max(id.saturating_add(1));
        self.make(id, owner, name, kind);
    }

    fn make(&mut self, id: u32, owner: u64, name: &str, kind: Kind) {
        let series = Series {
            owner,
            name: name.into(),
            kind,
            written: self.now_ms / 1_000,
            is_live: true,
            first_segment: self.next_segment,
            newest_segment: None,
            window: Window::default(),
            tracks: vec![Track::default(); self.options.levels.len()],
        };
        self.insert(id, series);
    }

    /// The series of an owner whose names begin so, in the order of their names.
    pub(crate) fn named<'s>(
        &'s self,
        owner: u64,
        beginning: &str,
    ) -> impl Iterator<Item = (u32, &'s Arc<Series>)> {
        let ids = self.owners.get(&owner).map(|of_owner| &of_owner.ids);
        let from = (Bound::Included(beginning), Bound::Unbounded);
        let from = ids
            .into_iter()
            .flat_map(move |ids| ids.range::<str, _>(from));
        from.take_while(move |(name, _)| name.starts_with(beginning))
            .filter_map(move |(_, id)| Some((*id, self.series.get(id)?)))
    }

    /// Puts a series in its place.
    pub(crate) fn insert(&mut self, id: u32, series: Series) {
        let of_owner = self.owners.entry(series.owner).or_default();
        of_owner.ids.insert(Arc::clone(&series.name), id);
        of_owner.live += usize::from(series.is_live);
        self.series.insert(id, Arc::new(series));
    }

    /// Whether one more may be written to.
    fn make_room(&self, owner: u64) -> Result<(), Refusal> {
        let live = self.owners.values().map(|of_owner| of_owner.live);
        if live.sum::<usize>() >= self.options.most_series {
            return Err(Refusal::TooManySeries);
        }
        let of_owner = self.owners.get(&owner).map_or(0, |of_owner| of_owner.live);
        if of_owner >= self.options.most_series_per_owner {
            return Err(Refusal::TooManyOfOwner);
        }
        Ok(())
    }

    /// Takes a reading.
    pub(crate) fn add(
        &mut self,
        id: SeriesId,
        time_ms: i64,
        reading: Reading,
    ) -> Result<(), Refusal> {
        let series = self.series.get(&id.0).ok_or(Refusal::Unknown)?;
        if series.kind != reading.kind() {
            return Err(Refusal::WrongKind);
        }
        if matches!(reading, Reading::Gauge(figure) if !figure.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        if !series.is_live {
            let owner = series.owner;
            self.make_room(owner)?;
            self.owners.entry(owner).or_default().live += 1;
        }
        let step_ms = self.options.finest_ms();
        let ahead = i64::try_from(self.options.ahead.as_millis()).unwrap_or(i64::MAX);
        let bounds = Bounds {
            first: self.watermark,
            last: self.now_ms.saturating_add(ahead).div_euclid(step_ms),
        };
        let series = self.series.get_mut(&id.0).ok_or(Refusal::Unknown)?;
        let series = Arc::make_mut(series);
        series.is_live = true;
        series.window.add(time_ms, reading, step_ms, bounds)?;
        series.written = self.now_ms / 1_000;
        let dropped = series.settle(&self.options.levels, &self.sealed, self.watermark);
        self.dropped = self.dropped.saturating_add(dropped);
        Ok(())
    }
}
