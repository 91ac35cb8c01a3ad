//! Handing over what is to be written.

use std::sync::Arc;

use super::{Due, State};
use crate::frozen::{Frozen, Head};
use crate::one_series::Series;
use crate::track::Track;
use crate::window::Window;

impl State {
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
            forgotten: self.all_forgotten(),
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
}
