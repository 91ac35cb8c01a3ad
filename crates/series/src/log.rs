//! The log as its user sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::coding::{Effort, Reader, encode};
use crate::files::{Files, Found};
use crate::segment::SegmentWriter;
use crate::state::{Due, State};
use crate::step::{Step, put_step, step};
use crate::{Kind, LogError, Options, Reading, Refusal, SeriesId};

/// A write-ahead log that is longer than this ends in a checkpoint.
const MOST_WAL: u64 = 64 << 20;
/// After segments or a checkpoint could not be written, so many flush intervals pass before they are tried again.
const PAUSE: u32 = 5;

/// Time series of bounded size in several resolutions, in a directory of their own.
///
/// It has no thread and no clock: whoever has it calls [`Self::advance`] each [`crate::FLUSH_INTERVAL`].
#[derive(Debug)]
pub struct MonitorLog {
    pub(crate) state: State,
    pub(crate) files: Files,
    refused: BTreeMap<&'static str, u64>,
    pause: u32,
}

/// How much there is of a log, and what it had to drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Series that it knows.
    pub series: usize,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// Bytes of the newest write-ahead log.
    pub wal_bytes: u64,
    /// Samples and series that were refused, by [`Refusal::reason`].
    pub refused: BTreeMap<&'static str, u64>,
    /// Cells that were dropped since no segment could be written for too long.
    pub dropped: u64,
    /// Files that were found to be damaged and put aside.
    pub damaged: u64,
}

impl MonitorLog {
    /// Opens the log of a directory, or begins one, with all that was flushed before. `now` is the time since the
    /// Unix epoch.
    ///
    /// # Errors
    /// If the options are bad, another process has the log, or its files cannot be read or made. A full disk is told by
    /// [`Self::advance`].
    pub fn open(directory: &Path, options: &Options, now: Duration) -> Result<Self, LogError> {
        options.check()?;
        let Found {
            files,
            state,
            batches,
        } = Files::open(directory, options, to_ms(now))?;
        let mut log = Self {
            state,
            files,
            refused: BTreeMap::new(),
            pause: 0,
        };
        for batch in &batches {
            log.replay(batch)?;
        }
        // On a full disk it opens all the same: `advance` tells, and tries again.
        let _ = log
            .seal(&log.state.due())
            .and_then(|()| log.files.checkpoint(&log.state));
        let _ = log.advance(now);
        Ok(log)
    }

    /// The id of a series, which is made if the owner has none of this name.
    ///
    /// # Errors
    /// Why there can be no such series.
    pub fn register(&mut self, owner: u64, name: &str, kind: Kind) -> Result<SeriesId, Refusal> {
        let made = self.state.register(owner, name, kind);
        let (id, is_new) = made.inspect_err(|refusal| count(&mut self.refused, *refusal))?;
        if is_new {
            let name = name.to_owned();
            self.note(&Step::Register {
                id: id.0,
                owner,
                name,
                kind,
            });
        }
        Ok(id)
    }

    /// Takes a sample with its own time, since the Unix epoch.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn add(&mut self, id: SeriesId, time: Duration, reading: Reading) -> Result<(), Refusal> {
        let time_ms = to_ms(time);
        let noted = Step::Add {
            id: id.0,
            time_ms,
            reading: reading.clone(),
        };
        let added = self.state.add(id, time_ms, reading);
        added.inspect_err(|refusal| count(&mut self.refused, *refusal))?;
        self.note(&noted);
        Ok(())
    }

    /// Lets time pass to `now`, since the Unix epoch; writes what waits, and segments when they are due.
    ///
    /// A clock that is set back begins anew where it is: what is there stays, and where the same time passes again,
    /// what comes later counts.
    ///
    /// # Errors
    /// What could not be written. It stays in memory, within bounds, and is tried again.
    pub fn advance(&mut self, now: Duration) -> Result<(), LogError> {
        let now_ms = to_ms(now);
        self.note(&Step::Pass { now_ms });
        let flushed = self.files.wal.flush();
        if self.state.is_set_back(now_ms) {
            return self.begin_anew(now_ms);
        }
        self.state.pass(now_ms);
        flushed?;
        let due = self.state.due();
        let is_long = self.files.wal.length() > MOST_WAL || self.files.wal.has_hole();
        if due.is_empty() && !is_long {
            return Ok(());
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(());
        }
        self.pause = PAUSE;
        if self.files.wal.has_hole() {
            // Or a segment would tell of what a restart does not know.
            self.files.checkpoint(&self.state)?;
        }
        self.seal(&due)?;
        self.state.retire(self.files.oldest_segment());
        self.files.checkpoint(&self.state)?;
        self.pause = 0;
        Ok(())
    }

    /// How much there is of it.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            series: self.state.series.len(),
            segment_bytes: self.files.segment_bytes(),
            wal_bytes: self.files.wal.length(),
            refused: self.refused.clone(),
            dropped: self.state.dropped,
            damaged: self.files.damaged,
        }
    }

    /// All series of an owner whose names begin so, with their names and kinds, in the order of their names. It costs what
    /// these are, however many others there are.
    pub fn series<'s>(
        &'s self,
        owner: u64,
        beginning: &str,
    ) -> impl Iterator<Item = (SeriesId, &'s str, Kind)> {
        let found = self.state.named(owner, beginning);
        found.map(|(id, series)| (SeriesId(id), series.name.as_str(), series.kind))
    }

    fn note(&mut self, step: &Step) {
        put_step(self.files.wal.pending(), step, self.state.now_ms);
        if self.files.wal.is_urgent() {
            // What fails here fails again in `advance`, and is told there.
            let _ = self.files.wal.flush();
        }
    }

    /// Does again what was done before. What a batch tells that cannot be, which its checksum excludes, ends it.
    fn replay(&mut self, batch: &[u8]) -> Result<(), LogError> {
        let mut from = Reader::new(batch);
        while !from.is_empty() {
            match step(&mut from, self.state.now_ms) {
                Ok(Step::Pass { now_ms }) if self.state.is_set_back(now_ms) => {
                    self.seal_all()?;
                    self.state.begin_anew(now_ms);
                }
                Ok(Step::Pass { now_ms }) => self.state.pass(now_ms),
                Ok(Step::Register {
                    id,
                    owner,
                    name,
                    kind,
                }) => {
                    self.state.next_id = self.state.next_id.max(id);
                    let _ = self.state.register(owner, &name, kind);
                }
                Ok(Step::Add {
                    id,
                    time_ms,
                    reading,
                }) => {
                    let _ = self.state.add(SeriesId(id), time_ms, reading);
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn begin_anew(&mut self, now_ms: i64) -> Result<(), LogError> {
        let sealed = self.seal_all();
        self.state.begin_anew(now_ms);
        sealed?;
        self.files.checkpoint(&self.state)
    }

    fn seal_all(&mut self) -> Result<(), LogError> {
        self.state.settle_all(true);
        self.seal(&self.state.due_all())
    }

    /// Writes segments of what is due. What is in one is forgotten; what could not be written stays.
    fn seal(&mut self, due: &[Due]) -> Result<(), LogError> {
        let is_everything = due.iter().any(|due| due.end == i64::MAX);
        if !due.is_empty() {
            self.state.settle_all(is_everything);
        }
        for due in due {
            let Some(level) = self.state.options.levels.get(due.level).copied() else {
                continue;
            };
            let number = self.state.next_segment;
            let path = self.files.segment_path(&level, number);
            let written = self.write_segment(&path, *due);
            if written.map_err(|source| LogError::of(&path, source))? {
                self.files.take(due.level, &level, number)?;
                self.state.next_segment += 1;
            }
            self.state.forget(*due, number);
        }
        Ok(())
    }

    fn write_segment(&self, path: &Path, due: Due) -> std::io::Result<bool> {
        let mut writer = SegmentWriter::create(path)?;
        for (id, series) in &self.state.series {
            let Some(track) = series
                .tracks
                .get(due.level)
                .filter(|track| !track.is_empty())
            else {
                continue;
            };
            let cells = track.before(due.end).map_err(std::io::Error::other)?;
            if let (Some((first, _)), Some((last, _))) = (cells.first(), cells.last()) {
                writer.add(*id, &encode(&cells, Effort::Most), *first, *last)?;
            }
        }
        writer.finish()
    }
}

/// What waits is written when the log is closed in good order.
impl Drop for MonitorLog {
    fn drop(&mut self) {
        let _ = self.files.wal.flush();
    }
}

fn to_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn count(refused: &mut BTreeMap<&'static str, u64>, refusal: Refusal) {
    let times = refused.entry(refusal.reason()).or_default();
    *times = times.saturating_add(1);
}
