//! The log's directory: segments, and the newest two checkpoints with what happened since.
//!
//! ```text
//!  lock            held by the process that has the log
//!  1s-42.segment   one second, the 42nd segment that was made; 10s-…, 300s-…
//!  checkpoint-7    all that was in memory when it was made
//!  wal-7           what happened since
//! ```
//!
//! A checkpoint is good if its checksum is. Should the newest not be, the one before it is taken, and both of their
//! logs: so that one is kept as well.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::{read_state, write_state};
use crate::segment::Segment;
use crate::state::State;
use crate::wal::Wal;
use crate::{Level, LogError, Options};

const MARK: &[u8; 8] = b"ekchk 1\n";
/// Damaged files that are kept for who wants to look at them.
const MOST_DAMAGED: usize = 4;

/// The directory, and what is open of it.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    _lock: File,
    generation: u64,
    pub(crate) wal: Wal,
    /// By level, in the order in which they were made.
    pub(crate) segments: Vec<Vec<Segment>>,
    /// Files that were found to be damaged, and put aside.
    pub(crate) damaged: u64,
}

/// A log as it was left.
pub(crate) struct Found {
    pub(crate) files: Files,
    pub(crate) state: State,
    /// What happened since the state was written.
    pub(crate) batches: Vec<Vec<u8>>,
}

impl Files {
    /// Takes the directory, which is made if it is not there.
    pub(crate) fn open(
        directory: &Path,
        options: &Options,
        now_ms: i64,
    ) -> Result<Found, LogError> {
        let fault = |source| LogError::of(directory, source);
        fs::create_dir_all(directory).map_err(fault)?;
        let lock = File::create(directory.join("lock")).map_err(fault)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(fault(error)),
            Ok(()) => {}
        }
        let names = names(directory).map_err(fault)?;
        let mut damaged = 0;
        let segments = open_segments(directory, &names, options, &mut damaged)?;
        let (base, state) = newest_state(directory, &names, options, &mut damaged);
        let mut state = state.unwrap_or_else(|| State::new(options.clone(), now_ms));
        let all = segments.iter().flatten();
        for segment in all {
            state.next_id = state.next_id.max(segment.last_series.saturating_add(1));
            if base.is_none() {
                state.next_segment = state.next_segment.max(segment.number + 1);
            }
        }
        let mut logs: Vec<u64> = numbered(&names, "wal-").collect();
        logs.sort_unstable();
        let generation = logs.last().copied().max(base).unwrap_or(0);
        let mut batches = Vec::new();
        for log in logs {
            if log < generation && Some(log) >= base {
                batches.extend(Wal::open(&directory.join(format!("wal-{log}")))?.1);
            }
        }
        let (wal, newest) = Wal::open(&directory.join(format!("wal-{generation}")))?;
        batches.extend(newest);
        let directory = directory.to_owned();
        let files = Self {
            directory,
            _lock: lock,
            generation,
            wal,
            segments,
            damaged,
        };
        Ok(Found {
            files,
            state,
            batches,
        })
    }

    pub(crate) fn segment_path(&self, level: &Level, number: u64) -> PathBuf {
        self.directory
            .join(format!("{}s-{number}.segment", level.step))
    }

    /// Takes a segment that was written to the others, and removes the oldest of which no more need be kept.
    pub(crate) fn take(
        &mut self,
        index: usize,
        level: &Level,
        number: u64,
    ) -> Result<(), LogError> {
        let path = self.segment_path(level, number);
        let segment = Segment::open(&path, number)?;
        let Some(segments) = self.segments.get_mut(index) else {
            return Ok(());
        };
        segments.retain(|known| known.number != number);
        segments.extend(segment);
        while let Some(oldest) = surplus(segments, level) {
            fs::remove_file(&oldest.path).map_err(|source| LogError::of(&oldest.path, source))?;
            segments.remove(0);
        }
        Ok(())
    }

    /// Writes all that is in memory, and begins a new log of what happens from now on.
    pub(crate) fn checkpoint(&mut self, state: &State) -> Result<(), LogError> {
        let generation = self.generation + 1;
        let path = self.directory.join(format!("checkpoint-{generation}"));
        let temporary = path.with_extension("new");
        let wal_path = self.directory.join(format!("wal-{generation}"));
        let mut payload = write_state(state);
        payload.extend(crc32fast::hash(&payload).to_le_bytes());
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(MARK)?;
            file.write_all(&payload)?;
            file.sync_all()
        });
        if let Err(source) = written {
            // What could be written of it would only take room from what waits.
            let _ = fs::remove_file(&temporary);
            return Err(LogError::of(&temporary, source));
        }
        let (wal, _) = Wal::open(&wal_path)?;
        fs::rename(&temporary, &path).map_err(|source| LogError::of(&path, source))?;
        self.wal = wal;
        self.generation = generation;
        self.sync_directory()?;
        self.remove_old()
    }

    fn sync_directory(&self) -> Result<(), LogError> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| LogError::of(&self.directory, source))
    }

    /// Removes checkpoints and logs of before the last but one, and what was begun and never ended.
    fn remove_old(&self) -> Result<(), LogError> {
        let fault = |source| LogError::of(&self.directory, source);
        let kept = self.generation.saturating_sub(1);
        let names = names(&self.directory).map_err(fault)?;
        let old = |prefix: &'static str| {
            let numbers = numbered(&names, prefix).filter(move |number| *number < kept);
            numbers.map(move |number| format!("{prefix}{number}"))
        };
        let unfinished = names.iter().filter(|name| name.ends_with(".new")).cloned();
        let mut aside: Vec<_> = names
            .iter()
            .filter(|name| name.ends_with(".damaged"))
            .cloned()
            .collect();
        aside.truncate(aside.len().saturating_sub(MOST_DAMAGED));
        for name in old("checkpoint-")
            .chain(old("wal-"))
            .chain(unfinished)
            .chain(aside)
        {
            fs::remove_file(self.directory.join(name)).map_err(fault)?;
        }
        Ok(())
    }

    /// The number of the oldest segment, or the highest there can be.
    pub(crate) fn oldest_segment(&self) -> u64 {
        let numbers = self.segments.iter().flatten().map(|segment| segment.number);
        numbers.min().unwrap_or(u64::MAX)
    }

    /// Bytes of all segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segments
            .iter()
            .flatten()
            .map(|segment| segment.bytes)
            .sum()
    }
}

/// The oldest segment, if the newer ones cover what is to be kept. Nothing is asked of a clock: one that is wrong
/// removes nothing.
fn surplus<'a>(segments: &'a [Segment], level: &Level) -> Option<&'a Segment> {
    let (oldest, newer) = segments.split_first()?;
    let covers = |segment: &Segment| {
        let (first, last) = segment.slots;
        last.saturating_sub(first).saturating_add(1) as u64
    };
    let covered = newer.iter().map(covers).fold(0, u64::saturating_add);
    let wanted = u64::from(level.keep / level.step);
    let most = 4 * (level.keep / level.segment) as usize + 8;
    (covered >= wanted || newer.len() >= most).then_some(oldest)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// The numbers behind a prefix.
fn numbered<'a>(names: &'a [String], prefix: &'a str) -> impl Iterator<Item = u64> + 'a {
    let numbers = names
        .iter()
        .filter_map(move |name| name.strip_prefix(prefix));
    numbers.filter_map(|number| number.parse().ok())
}

fn open_segments(
    directory: &Path,
    names: &[String],
    options: &Options,
    damaged: &mut u64,
) -> Result<Vec<Vec<Segment>>, LogError> {
    let mut levels = Vec::new();
    for level in &options.levels {
        let prefix = format!("{}s-", level.step);
        let stems: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".segment").map(str::to_owned))
            .collect();
        let mut numbers: Vec<u64> = numbered(&stems, &prefix).collect();
        numbers.sort_unstable();
        let mut segments = Vec::new();
        for number in numbers {
            let path = directory.join(format!("{prefix}{number}.segment"));
            match Segment::open(&path, number)? {
                Some(segment) => segments.push(segment),
                None => put_aside(&path, damaged),
            }
        }
        levels.push(segments);
    }
    Ok(levels)
}

/// The newest state that can be read, and its number.
fn newest_state(
    directory: &Path,
    names: &[String],
    options: &Options,
    damaged: &mut u64,
) -> (Option<u64>, Option<State>) {
    let mut numbers: Vec<u64> = numbered(names, "checkpoint-").collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        let path = directory.join(format!("checkpoint-{number}"));
        let state = fs::read(&path)
            .ok()
            .and_then(|bytes| state_of(&bytes, options));
        if state.is_some() {
            return (Some(number), state);
        }
        put_aside(&path, damaged);
    }
    (None, None)
}

fn state_of(bytes: &[u8], options: &Options) -> Option<State> {
    let payload = bytes.strip_prefix(MARK)?;
    let (payload, sum) = payload.split_last_chunk::<4>()?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    read_state(payload, options).ok()
}

/// Renames a damaged file, so that it is seen by who looks and by nobody else.
fn put_aside(path: &Path, damaged: &mut u64) {
    *damaged += 1;
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let _ = fs::rename(path, name);
}
