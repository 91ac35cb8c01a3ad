//! What is written beside the log, on whatever thread its owner has for that.
//!
//! ```text
//!  log ──Job──▶ sync the write-ahead logs of before ─▶ segments ─▶ checkpoint ─▶ remove what is old ──Outcome──▶ log
//!                                                       each: write, sync, rename
//! ```
//!
//! Wherever it ends, the newest whole checkpoint and the write-ahead logs since tell all that was flushed: they go last,
//! and the same steps make the same segments under the same numbers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::files::{Levels, names, numbered, surplus};
use crate::frozen::Frozen;
use crate::segment::Segment;
use crate::state::Due;
use crate::{Level, LogError};

/// Damaged files that are kept for who wants to look at them.
const MOST_DAMAGED: usize = 4;

/// Segments and a checkpoint that are to be written. It has all that it needs, and what it needs changes no more.
///
/// Should it be dropped, what it had to write is lost to this log, and there again when the log is opened anew.
#[derive(Debug)]
#[must_use = "what is to be written waits for it"]
pub struct Job {
    pub(crate) frozen: Arc<Frozen>,
    pub(crate) disk: Disk,
    pub(crate) directory: PathBuf,
    /// As long as this writes, no other process may have the directory.
    pub(crate) _lock: Arc<File>,
    /// Of the checkpoint; without one only segments are written.
    pub(crate) generation: Option<u64>,
    /// By level, all that there are.
    pub(crate) segments: Levels,
    /// Of what is due, so much is in segments.
    pub(crate) done: usize,
    /// Bytes of the checkpoint that was written.
    pub(crate) checkpoint_bytes: Option<u64>,
}

/// What became of a [`Job`].
#[derive(Debug)]
#[must_use = "the log waits for it"]
pub struct Outcome {
    pub(crate) job: Job,
    pub(crate) result: Result<(), LogError>,
}

/// What a [`Job`] wrote, and nobody needs any more. To drop it takes some microseconds for each series, so whoever must not
/// wait has another thread do it.
#[derive(Debug)]
#[expect(dead_code, reason = "all that is left to do with it is to drop it")]
pub struct Spent(pub(crate) Arc<Frozen>);

impl Job {
    /// Does it. This waits for the disk.
    pub fn run(mut self) -> Outcome {
        let result = self.write();
        Outcome { job: self, result }
    }

    fn write(&mut self) -> Result<(), LogError> {
        if let Some(generation) = self.generation {
            // Or a machine that loses power may have segments that tell of what these do not.
            self.sync_logs(generation)?;
        }
        let frozen = Arc::clone(&self.frozen);
        for (number, due) in (frozen.first_number..).zip(&frozen.due).skip(self.done) {
            self.write_segment(&frozen, number, *due)?;
            self.done += 1;
        }
        if let Some(generation) = self.generation {
            self.sync(&self.directory)?;
            self.write_checkpoint(&frozen, generation)?;
            self.remove_old()?;
        }
        Ok(())
    }

    fn sync(&self, path: &Path) -> Result<(), LogError> {
        let synced = self.disk.sync(path);
        synced.map_err(|source| LogError::of(path, source))
    }

    fn sync_logs(&self, generation: u64) -> Result<(), LogError> {
        for log in numbered(&self.names()?, "wal-").filter(|log| *log < generation) {
            self.sync(&self.directory.join(format!("wal-{log}")))?;
        }
        Ok(())
    }

    fn write_segment(&mut self, frozen: &Frozen, number: u64, due: Due) -> Result<(), LogError> {
        let Some(level) = frozen.head.levels.get(due.level) else {
            return Ok(());
        };
        let path = segment_path(&self.directory, level, number);
        let fault = |source| LogError::of(&path, source);
        let written = frozen.write_segment(&self.disk, &path, due);
        if !written
            .inspect_err(|_| self.give_up(&path))
            .map_err(fault)?
        {
            return Ok(());
        }
        let damaged = || fault(std::io::Error::other("what was written reads otherwise"));
        let segment = Segment::open(&self.disk, &path, number).map_err(fault)?;
        let segment = segment.ok_or_else(damaged)?;
        let Some(segments) = self.segments.get_mut(due.level) else {
            return Ok(());
        };
        segments.retain(|known| known.number != number);
        segments.push(Arc::new(segment));
        while let Some(oldest) = surplus(segments, level) {
            let removed = self.disk.remove(&oldest.path);
            removed.map_err(|source| LogError::of(&oldest.path, source))?;
            segments.remove(0);
        }
        Ok(())
    }

    fn write_checkpoint(&mut self, frozen: &Frozen, generation: u64) -> Result<(), LogError> {
        let path = self.directory.join(format!("checkpoint-{generation}"));
        let temporary = path.with_extension("new");
        let written = frozen.write_checkpoint(&self.disk, &temporary);
        let length = written
            .inspect_err(|_| self.give_up(&path))
            .map_err(|source| LogError::of(&temporary, source))?;
        let named = self.disk.rename(&temporary, &path);
        named.map_err(|source| LogError::of(&path, source))?;
        self.checkpoint_bytes = Some(length);
        self.sync(&self.directory)
    }

    /// What could be written of a file would only take room from what waits.
    fn give_up(&self, path: &Path) {
        let _ = self.disk.remove(&path.with_extension("new"));
    }

    /// Removes checkpoints before the last but one, logs of before that, and what was begun and never ended.
    fn remove_old(&self) -> Result<(), LogError> {
        let names = self.names()?;
        let mut checkpoints: Vec<u64> = numbered(&names, "checkpoint-").collect();
        checkpoints.sort_unstable();
        let kept = checkpoints.iter().rev().nth(1).copied().unwrap_or(0);
        let old = |prefix: &'static str| {
            let numbers = numbered(&names, prefix).filter(move |number| *number < kept);
            numbers.map(move |number| format!("{prefix}{number}"))
        };
        let unfinished = names.iter().filter(|name| name.ends_with(".new")).cloned();
        let aside = names.iter().filter(|name| name.ends_with(".damaged"));
        let surplus = aside.clone().count().saturating_sub(MOST_DAMAGED);
        let aside = aside.take(surplus).cloned();
        let gone = old("checkpoint-")
            .chain(old("wal-"))
            .chain(unfinished)
            .chain(aside);
        for name in gone {
            let path = self.directory.join(name);
            let removed = self.disk.remove(&path);
            removed.map_err(|source| LogError::of(&path, source))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, LogError> {
        names(&self.directory).map_err(|source| LogError::of(&self.directory, source))
    }
}

pub(crate) fn segment_path(directory: &Path, level: &Level, number: u64) -> PathBuf {
    directory.join(format!("{}s-{number}.segment", level.step))
}
