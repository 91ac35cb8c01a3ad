//! The log's directory: segments, and the newest two checkpoints with what happened since.
//!
//! ```text
//!  lock            held by the process that has the log
//!  1s-42.segment   one second, the 42nd segment that was made; 10s-…, 300s-…
//!  checkpoint-7    all that was in memory when it was made
//!  wal-7           what happened since, up to wal-8, which was begun when checkpoint-8 was
//! ```
//!
//! A checkpoint is good if its checksum is. Whatever is newer than the newest good one is done again, from all the logs
//! since, in their order. So the checkpoint before the newest is kept as well, with its log.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::read_state;
use crate::coding::Reader;
use crate::disk::Disk;
use crate::frozen::MARK;
use crate::job::segment_path;
use crate::segment::Segment;
use crate::state::State;
use crate::step::{Step, step};
use crate::wal::{Batches, Wal};
use crate::{Level, LogError, Options};

/// A write-ahead log ends in a checkpoint when it is longer than this, or than the checkpoint before: so no more is
/// written of checkpoints than of samples, however many series there are.
const LEAST_WAL: u64 = 64 << 20;

/// The operating system's word for a disk that cannot be read there, which the standard library has no kind for.
const EIO: i32 = 5;

/// By level, segments in the order in which they were made.
pub(crate) type Levels = Vec<Vec<Arc<Segment>>>;

/// The directory, and what is open of it.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) directory: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) lock: Arc<File>,
    generation: u64,
    pub(crate) wal: Wal,
    pub(crate) segments: Arc<Levels>,
    /// Bytes of the newest checkpoint.
    pub(crate) checkpoint_bytes: u64,
    /// Files that were found to be damaged, and put aside.
    pub(crate) damaged: u64,
    /// Samples that were found behind damage in write-ahead logs.
    pub(crate) lost: u64,
}

/// A log as it was left.
pub(crate) struct Found {
    pub(crate) files: Files,
    pub(crate) state: State,
    /// What happened since the state was written is in these, in this order.
    pub(crate) logs: Vec<PathBuf>,
}

impl Files {
    /// Takes the directory, which is made if it is not there.
    pub(crate) fn open(
        disk: Disk,
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
        let segments = open_segments(&disk, directory, &names, options, &mut damaged)?;
        let base = newest_state(directory, &names, options, &mut damaged);
        let generation = base.as_ref().map(|base| base.generation);
        let checkpoint_bytes = base.as_ref().map_or(0, |base| base.bytes);
        let mut logs: Vec<u64> = numbered(&names, "wal-").collect();
        logs.retain(|log| Some(*log) >= generation);
        logs.sort_unstable();
        let path = |log: &u64| directory.join(format!("wal-{log}"));
        let mut state = match base {
            Some(base) => base.state,
            None => {
                let began = logs.first().map(|log| began_at(&path(log))).transpose()?;
                State::new(options.clone(), began.flatten().unwrap_or(now_ms))
            }
        };
        for segment in segments.iter().flatten() {
            state.next_id = state.next_id.max(segment.last_series.saturating_add(1));
            // Where all is there that ever happened, the same segments are made again.
            if generation.is_none() && logs.first() != Some(&0) {
                state.next_segment = state.next_segment.max(segment.number + 1);
            }
        }
        let generation = logs.last().copied().max(generation).unwrap_or(0);
        let newest = path(&generation);
        let (mut lost, mut length) = (0, 0);
        for log in logs.iter().map(path) {
            let batches = Batches::read(&log)?;
            lost += copy_aside(&log, &batches, &mut damaged);
            // In the end, of the newest.
            length = batches.length();
        }
        let files = Self {
            wal: Wal::open(&disk, &newest, length)?,
            directory: directory.to_owned(),
            disk,
            lock: Arc::new(lock),
            generation,
            segments: Arc::new(segments),
            checkpoint_bytes,
            damaged,
            lost,
        };
        Ok(Found {
            files,
            state,
            logs: logs.iter().map(path).collect(),
        })
    }

    /// Begins a new write-ahead log of what happens from now on, and returns its number, which is that of the checkpoint
    /// with all that was before. What waits must be flushed.
    pub(crate) fn begin_log(&mut self) -> Result<u64, LogError> {
        let generation = self.generation + 1;
        let path = self.directory.join(format!("wal-{generation}"));
        self.wal = Wal::open(&self.disk, &path, 0)?;
        self.generation = generation;
        Ok(generation)
    }

    /// Whether the write-ahead log should end, and whether it cannot go on.
    pub(crate) fn is_log_over(&self) -> bool {
        self.wal.length() > LEAST_WAL.max(self.checkpoint_bytes) || self.wal.has_hole()
    }

    /// The number of the oldest segment, or the highest there can be.
    pub(crate) fn oldest_segment(&self) -> u64 {
        let numbers = self.segments.iter().flatten().map(|segment| segment.number);
        numbers.min().unwrap_or(u64::MAX)
    }

    /// Bytes of all segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        let segments = self.segments.iter().flatten();
        segments.map(|segment| segment.bytes).sum()
    }
}

/// The oldest segment, if the newer ones cover what is to be kept. Nothing is asked of a clock: one that is wrong
/// removes nothing.
pub(crate) fn surplus(segments: &[Arc<Segment>], level: &Level) -> Option<Arc<Segment>> {
    let (oldest, newer) = segments.split_first()?;
    let covers = |segment: &Arc<Segment>| {
        let (first, last) = segment.slots;
        last.saturating_sub(first).saturating_add(1) as u64
    };
    let covered = newer.iter().map(covers).fold(0, u64::saturating_add);
    let wanted = u64::from(level.keep / level.step);
    let most = 4 * (level.keep / level.segment) as usize + 8;
    (covered >= wanted || newer.len() >= most).then(|| Arc::clone(oldest))
}

pub(crate) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// The numbers behind a prefix.
pub(crate) fn numbered<'a>(names: &'a [String], prefix: &'a str) -> impl Iterator<Item = u64> + 'a {
    let numbers = names
        .iter()
        .filter_map(move |name| name.strip_prefix(prefix));
    numbers.filter_map(|number| number.parse().ok())
}

/// Segments that can be read. One that is damaged, or where the disk is, must not keep the others from being told; what
/// else is in the way may pass, such as want of descriptors.
fn open_segments(
    disk: &Disk,
    directory: &Path,
    names: &[String],
    options: &Options,
    damaged: &mut u64,
) -> Result<Levels, LogError> {
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
            let path = segment_path(directory, level, number);
            match Segment::open(disk, &path, number) {
                Ok(Some(segment)) => segments.push(Arc::new(segment)),
                Ok(None) => put_aside(&path, damaged),
                Err(error) if error.raw_os_error() == Some(EIO) => put_aside(&path, damaged),
                Err(error) => return Err(LogError::of(&path, error)),
            }
        }
        levels.push(segments);
    }
    Ok(levels)
}

/// A checkpoint.
struct Base {
    generation: u64,
    state: State,
    bytes: u64,
}

/// The newest state that can be read.
fn newest_state(
    directory: &Path,
    names: &[String],
    options: &Options,
    damaged: &mut u64,
) -> Option<Base> {
    let mut numbers: Vec<u64> = numbered(names, "checkpoint-").collect();
    numbers.sort_unstable();
    for generation in numbers.into_iter().rev() {
        let path = directory.join(format!("checkpoint-{generation}"));
        let bytes = fs::read(&path).unwrap_or_default();
        if let Some(state) = state_of(&bytes, options) {
            return Some(Base {
                generation,
                state,
                bytes: bytes.len() as u64,
            });
        }
        put_aside(&path, damaged);
    }
    None
}

/// When a log was begun that has no checkpoint yet: what it has is late or not by that.
fn began_at(path: &Path) -> Result<Option<i64>, LogError> {
    let batches = Batches::read(path)?;
    let first = batches.iter().next();
    let first = first.and_then(|batch| step(&mut Reader::new(batch), 0).ok());
    Ok(match first {
        Some(Step::Pass { now_ms }) => Some(now_ms),
        _ => None,
    })
}

fn state_of(bytes: &[u8], options: &Options) -> Option<State> {
    let payload = bytes.strip_prefix(MARK)?;
    let (payload, sum) = payload.split_last_chunk::<4>()?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    read_state(payload, options).ok()
}

/// Copies what is behind damage in a write-ahead log, before that is cut off, and returns how many samples were lost. What is
/// torn at its end has nothing behind it.
fn copy_aside(path: &Path, batches: &Batches, damaged: &mut u64) -> u64 {
    let lost = batches.samples_behind_damage();
    if lost > 0 {
        *damaged += 1;
        // Who has no room for it has lost it.
        let _ = fs::write(aside(path), batches.rest());
    }
    lost
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

/// Renames a damaged file, so that it is seen by who looks and by nobody else.
fn put_aside(path: &Path, damaged: &mut u64) {
    *damaged += 1;
    let _ = fs::rename(path, aside(path));
}
