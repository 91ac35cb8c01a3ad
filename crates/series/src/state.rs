//! All that is in memory: the series, and how far time has come. Pure: files are the concern of others.

use std::collections::BTreeMap;

use crate::one_series::Series;
use crate::reading::MOST_NAME;
use crate::track::Track;
use crate::window::{Bounds, Window};
use crate::{Kind, Options, Reading, Refusal, SeriesId};

/// Series that nothing is written to any more, for each that may be: their past can still be asked for.
const MOST_IDLE: usize = 4;
/// A series to which nothing was written for so many seconds leaves its place to another.
const IDLE_SECONDS: i64 = 3_600;

/// What is in memory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) series: BTreeMap<u32, Series>,
    ids: BTreeMap<(u64, String), u32>,
    live: BTreeMap<u64, usize>,
    pub(crate) next_id: u32,
    /// The log's clock, in milliseconds since the epoch.
    pub(crate) now_ms: i64,
    /// The first slot of the finest level that is open.
    pub(crate) watermark: i64,
    /// By level, the slot before which everything is in segments, or has nothing.
    pub(crate) sealed: Vec<i64>,
    /// The number of the segment that is written next.
    pub(crate) next_segment: u64,
    /// Cells that were dropped since no segment could be written.
    pub(crate) dropped: u64,
}

/// What is due to be written to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) level: usize,
    /// The cells of the slots before it.
    pub(crate) end: i64,
}

impl State {
    pub(crate) fn new(options: Options, now_ms: i64) -> Self {
        let mut state = Self {
            series: BTreeMap::new(),
            ids: BTreeMap::new(),
            live: BTreeMap::new(),
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
            .map(|(level, (end, _))| Due { level, end })
            .collect()
    }

    /// Everything, so that time can begin anew.
    pub(crate) fn due_all(&self) -> Vec<Due> {
        let levels = 0..self.options.levels.len();
        levels
            .map(|level| Due {
                level,
                end: i64::MAX,
            })
            .collect()
    }

    /// Brings what is before the watermark to the levels; all of it when time is to begin anew.
    pub(crate) fn settle_all(&mut self, is_everything: bool) {
        let first = if is_everything {
            i64::MAX
        } else {
            self.watermark
        };
        let mut dropped = 0;
        for series in self.series.values_mut() {
            dropped += series.settle(&self.options.levels, first);
        }
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// Forgets what is in the segment of this number now.
    pub(crate) fn forget(&mut self, due: Due, number: u64) {
        for series in self.series.values_mut() {
            if let Some(track) = series
                .tracks
                .get_mut(due.level)
                .filter(|track| !track.is_empty())
            {
                track.forget(due.end);
                series.newest_segment = Some(number);
            }
        }
        if let Some(sealed) = self.sealed.get_mut(due.level) {
            *sealed = due.end;
        }
    }

    /// Begins anew at a time that may be before all that was. What was settled must be in segments.
    pub(crate) fn begin_anew(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.watermark = self.watermark_at(now_ms);
        self.sealed = self.segment_starts();
        for series in self.series.values_mut() {
            series.window.newest = None;
            series.written = series.written.min(now_ms / 1_000);
        }
    }

    /// The id of a series, which is made if there is none of this owner and name.
    pub(crate) fn register(
        &mut self,
        owner: u64,
        name: &str,
        kind: Kind,
    ) -> Result<(SeriesId, bool), Refusal> {
        if let Some(id) = self.ids.get(&(owner, name.to_owned())) {
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
        let series = Series {
            owner,
            name: name.to_owned(),
            kind,
            written: self.now_ms / 1_000,
            is_live: true,
            newest_segment: None,
            window: Window::default(),
            tracks: vec![Track::default(); self.options.levels.len()],
        };
        self.insert(id, series);
        Ok((SeriesId(id), true))
    }

    /// The series of an owner whose names begin so, in the order of their names.
    pub(crate) fn named<'s>(
        &'s self,
        owner: u64,
        beginning: &str,
    ) -> impl Iterator<Item = (u32, &'s Series)> {
        let from = self.ids.range((owner, beginning.to_owned())..);
        from.take_while(move |((of, name), _)| *of == owner && name.starts_with(beginning))
            .filter_map(move |(_, id)| Some((*id, self.series.get(id)?)))
    }

    /// Puts a series in its place.
    pub(crate) fn insert(&mut self, id: u32, series: Series) {
        self.ids.insert((series.owner, series.name.clone()), id);
        if series.is_live {
            *self.live.entry(series.owner).or_default() += 1;
        }
        self.series.insert(id, series);
    }

    /// Whether one more may be written to.
    fn make_room(&self, owner: u64) -> Result<(), Refusal> {
        if self.live.values().sum::<usize>() >= self.options.most_series {
            return Err(Refusal::TooManySeries);
        }
        if self.live.get(&owner).copied().unwrap_or(0) >= self.options.most_series_per_owner {
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
            *self.live.entry(owner).or_default() += 1;
        }
        let step_ms = self.options.finest_ms();
        let ahead = i64::try_from(self.options.ahead.as_millis()).unwrap_or(i64::MAX);
        let bounds = Bounds {
            first: self.watermark,
            last: self.now_ms.saturating_add(ahead).div_euclid(step_ms),
        };
        let series = self.series.get_mut(&id.0).ok_or(Refusal::Unknown)?;
        series.is_live = true;
        series.window.add(time_ms, reading, step_ms, bounds)?;
        series.written = self.now_ms / 1_000;
        let dropped = series.settle(&self.options.levels, self.watermark);
        self.dropped = self.dropped.saturating_add(dropped);
        Ok(())
    }

    /// Takes their places from series that are idle, and forgets those for which there is no room, or of which no
    /// segment tells any more: the oldest that there is has the number `oldest`.
    pub(crate) fn retire(&mut self, oldest: u64) {
        let now = self.now_ms / 1_000;
        let mut idle: Vec<(bool, i64, u32)> = Vec::new();
        for (id, series) in &mut self.series {
            let since = now.saturating_sub(series.written);
            if series.is_live && since > IDLE_SECONDS {
                series.is_live = false;
                if let Some(live) = self.live.get_mut(&series.owner) {
                    *live = live.saturating_sub(1);
                }
            }
            if !series.is_live {
                idle.push((series.has_past(oldest), series.written, *id));
            }
        }
        self.live.retain(|_, live| *live > 0);
        idle.sort_unstable();
        let surplus = idle
            .len()
            .saturating_sub(self.options.most_series.saturating_mul(MOST_IDLE));
        for (index, (has_past, _, id)) in idle.into_iter().enumerate() {
            if index < surplus || !has_past {
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(series) = self.series.remove(&id) {
            self.ids.remove(&(series.owner, series.name));
        }
    }
}
