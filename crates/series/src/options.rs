//! What a log keeps, and how much of it.

use std::time::Duration;

/// One resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Seconds of a slot.
    pub step: u32,
    /// Seconds of a segment file: a multiple of `step`.
    pub segment: u32,
    /// Seconds that are kept at least, and at most one segment more.
    pub keep: u32,
}

/// A second for an hour, ten for a day, five minutes for 90 days.
pub const DEFAULT_LEVELS: [Level; 3] = [
    Level {
        step: 1,
        segment: 600,
        keep: 3_600,
    },
    Level {
        step: 10,
        segment: 3_600,
        keep: 86_400,
    },
    Level {
        step: 300,
        segment: 43_200,
        keep: 7_776_000,
    },
];
/// How often [`crate::MonitorLog::advance`] is to be called: what came since is lost when the process is killed.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Resolutions that a log may have.
const MOST_LEVELS: usize = 8;
/// Slots that a segment may have of one series.
const MOST_SLOTS: u32 = 4_096;
/// Segments that a level may keep.
const MOST_SEGMENTS: u32 = 1_000;

/// What a log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The resolutions, from the finest; each step a multiple of the first.
    pub levels: Vec<Level>,
    /// So long a sample may come after its time.
    pub late: Duration,
    /// So far a sample's time may be ahead of the log's.
    pub ahead: Duration,
    /// Series that are written to, of all owners.
    pub most_series: usize,
    /// Series that are written to, of one owner.
    pub most_series_per_owner: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            levels: DEFAULT_LEVELS.to_vec(),
            late: Duration::from_secs(10),
            ahead: Duration::from_secs(5),
            most_series: 50_000,
            most_series_per_owner: 10_000,
        }
    }
}

/// Resolutions that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// There are none or too many.
    #[error("the monitor log needs 1 to {MOST_LEVELS} resolutions")]
    Number,
    /// A step or span is zero, or no multiple of what it is made of, or the steps do not rise.
    #[error(
        "resolution {0}: its step must be a multiple of the finest and more than the one before, and its segment a multiple of its step"
    )]
    Steps(usize),
    /// A segment or the whole would be too large.
    #[error(
        "resolution {0}: at most {MOST_SLOTS} slots in a segment and {MOST_SEGMENTS} segments are kept"
    )]
    Size(usize),
}

impl Options {
    /// # Errors
    /// What is wrong with the resolutions.
    pub fn check(&self) -> Result<(), BadOptions> {
        let finest = match self.levels.first() {
            Some(level) if self.levels.len() <= MOST_LEVELS => level.step,
            _ => return Err(BadOptions::Number),
        };
        let mut before = 0;
        for (index, level) in self.levels.iter().enumerate() {
            let is_multiple = |of: u32, by: u32| by > 0 && of > 0 && of.is_multiple_of(by);
            if !is_multiple(level.step, finest)
                || !is_multiple(level.segment, level.step)
                || level.step <= before
            {
                return Err(BadOptions::Steps(index));
            }
            if level.segment / level.step > MOST_SLOTS || level.keep / level.segment > MOST_SEGMENTS
            {
                return Err(BadOptions::Size(index));
            }
            before = level.step;
        }
        Ok(())
    }

    /// Milliseconds of a slot of the finest level.
    pub(crate) fn finest_ms(&self) -> i64 {
        let step = self.levels.first().map_or(1, |level| level.step);
        i64::from(step) * 1_000
    }
}

impl Level {
    /// Slots in a segment.
    pub(crate) fn slots(&self) -> usize {
        (self.segment / self.step.max(1)) as usize
    }

    /// The first slot of the segment in which a time lies.
    pub(crate) fn segment_start(&self, seconds: i64) -> i64 {
        let segment = i64::from(self.segment);
        seconds.div_euclid(segment) * segment / i64::from(self.step)
    }
}
