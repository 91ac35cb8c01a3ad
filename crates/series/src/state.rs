//! All that is in memory: the series, and how far time has come. Pure: files are the concern of others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::frozen::{Frozen, Head};
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

/// What becomes of a series that nothing is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It leaves its place.
    Idle(u32),
    /// It is forgotten.
    Forgotten(u32),
}

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

    /// Everything, so that time can begin anew.
    fn due_all(&self) -> Vec<Due> {
        let levels = self.sealed.iter().enumerate();
        levels
            .map(|(level, begin)| Due {
                level,
                begin: *begin,
                end: i64::MAX,
            })
            .collect()
    }

    /// Hands over what is due, and all that a restart needs. From now on it is not in here, though its memory may be
    /// shared for a while. It costs a look at each series.
    pub(crate) fn freeze(&mut self, due: Vec<Due>) -> Frozen {
        let first_number = self.next_segment;
        if !due.is_empty() {
            self.ready(&due, self.watermark);
        }
        for due in &due {
            self.sealed
                .iter_mut()
                .skip(due.level)
                .take(1)
                .for_each(|sealed| *sealed = due.end);
        }
        Frozen {
            first_number,
            due,
            series: self.shared(),
            left: None,
            head: self.head(),
        }
    }

    /// Hands over all that there is, and begins anew at a time that may be before it.
    pub(crate) fn freeze_all(&mut self, now_ms: i64) -> Frozen {
        let due = self.due_all();
        let first_number = self.next_segment;
        self.ready(&due, i64::MAX);
        let series = self.shared();
        self.begin_anew(now_ms);
        Frozen {
            first_number,
            due,
            series,
            left: Some(self.shared()),
            head: self.head(),
        }
    }

    /// Readies each series to be handed over: slots before `first` are brought to the levels, and the newest segment that
    /// tells of it is noted.
    fn ready(&mut self, due: &[Due], first: i64) {
        let first_number = self.next_segment;
        for series in self.series.values_mut() {
            if series.tracks.iter().all(Track::is_empty) && !series.is_unsettled(first) {
                continue;
            }
            let series = Arc::make_mut(series);
            let dropped = series.settle(&self.options.levels, &self.sealed, first);
            self.dropped = self.dropped.saturating_add(dropped);
            for (track, sealed) in series.tracks.iter_mut().zip(&self.sealed) {
                track.forget(*sealed);
            }
            let is_in = |due: &Due| {
                series
                    .tracks
                    .get(due.level)
                    .is_some_and(|track| !track.is_empty())
            };
            let newest = (first_number..)
                .zip(due)
                .filter(|(_, due)| is_in(due))
                .last();
            if let Some((number, _)) = newest {
                series.newest_segment = Some(number);
            }
        }
        self.next_segment = first_number.saturating_add(due.len() as u64);
    }

    fn shared(&self) -> Vec<(u32, Arc<Series>)> {
        let series = self.series.iter();
        series
            .map(|(id, series)| (*id, Arc::clone(series)))
            .collect()
    }

    fn head(&self) -> Head {
        Head {
            now_ms: self.now_ms,
            watermark: self.watermark,
            next_id: self.next_id,
            next_segment: self.next_segment,
            dropped: self.dropped,
            levels: self.options.levels.clone(),
            sealed: self.sealed.clone(),
        }
    }

    /// Drops and counts all that is in memory, so that time can begin anew where nothing can be handed over.
    pub(crate) fn drop_all(&mut self, now_ms: i64) {
        let held = |series: &Arc<Series>| {
            let settled: usize = series.tracks.iter().map(Track::len).sum();
            settled + series.window.open.len() * series.tracks.len()
        };
        let dropped: usize = self.series.values().map(held).sum();
        self.dropped = self.dropped.saturating_add(dropped as u64);
        self.begin_anew(now_ms);
    }

    /// Begins anew at a time that may be before all that was, with nothing in memory.
    fn begin_anew(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.watermark = self.watermark_at(now_ms);
        self.sealed = self.segment_starts();
        for series in self.series.values_mut() {
            let window = Window {
                count: series.window.count,
                ..Window::default()
            };
            *series = Arc::new(Series {
                name: Arc::clone(&series.name),
                window,
                written: series.written.min(now_ms / 1_000),
                tracks: vec![Track::default(); series.tracks.len()],
                ..**series
            });
        }
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

    /// Which series are idle and are to leave their places, and which are to be forgotten, since there is no room for them
    /// or no segment tells of them any more: the oldest that there is has the number `oldest`.
    pub(crate) fn to_retire(&self, oldest: u64) -> Vec<Retired> {
        let now = self.now_ms / 1_000;
        let mut idle: Vec<(bool, i64, u32)> = Vec::new();
        let mut retired = Vec::new();
        for (id, series) in &self.series {
            if series.is_live {
                if now.saturating_sub(series.written) <= IDLE_SECONDS {
                    continue;
                }
                retired.push(Retired::Idle(*id));
            }
            idle.push((series.has_past(oldest), series.written, *id));
        }
        idle.sort_unstable();
        let most = self.options.most_series.saturating_mul(MOST_IDLE);
        let surplus = idle.len().saturating_sub(most);
        let forgotten = idle.into_iter().enumerate();
        let forgotten = forgotten.filter(|(index, (has_past, ..))| *index < surplus || !has_past);
        retired.extend(forgotten.map(|(_, (_, _, id))| Retired::Forgotten(id)));
        retired
    }

    /// Does what [`Self::to_retire`] said.
    pub(crate) fn retire(&mut self, retired: Retired) {
        match retired {
            Retired::Idle(id) => {
                if let Some(series) = self.series.get_mut(&id).filter(|series| series.is_live) {
                    Arc::make_mut(series).is_live = false;
                    self.leave_place(id);
                }
            }
            Retired::Forgotten(id) => self.forget(id),
        }
    }

    fn leave_place(&mut self, id: u32) {
        let owner = self.series.get(&id).map(|series| series.owner);
        if let Some(of_owner) = owner.and_then(|owner| self.owners.get_mut(&owner)) {
            of_owner.live = of_owner.live.saturating_sub(1);
        }
    }

    fn forget(&mut self, id: u32) {
        self.retire(Retired::Idle(id));
        let Some(series) = self.series.remove(&id) else {
            return;
        };
        if let Some(of_owner) = self.owners.get_mut(&series.owner) {
            of_owner.ids.remove(&series.name);
            if of_owner.ids.is_empty() {
                self.owners.remove(&series.owner);
            }
        }
    }
}
