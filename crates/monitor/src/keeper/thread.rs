//! What the thread does that has the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{FigureAnswer, FigureQuery, ProjectId, Unanswered};
use series::{FLUSH_INTERVAL, LogError, MonitorLog, Options, Refusal};

use tokio::sync::oneshot;

use super::answer::answer;
use super::{Bounds, NoRoom, Standing, lock};
use crate::Sample;

/// Between two attempts to open a log, in turns of [`FLUSH_INTERVAL`].
const OPENING_PAUSE: u32 = 2;
/// After a panic.
const PANIC_PAUSE: Duration = Duration::from_secs(3);
/// A log that another one still has is waited for this long before that is a trouble: a predecessor may be closing it.
const HAND_OVER: Duration = Duration::from_secs(6);
/// Turns in a row that must go well before a trouble is over: longer than the log itself waits before it tries again.
const WELL_TURNS: u32 = 8;
/// Turns that may fail for another reason than a full disk before the log is opened anew.
const MOST_FAULTS: u32 = 3;

/// Work that waits.
pub(super) struct Waiting {
    /// When it came.
    pub(super) came: Came,
    /// What is to be done.
    pub(super) work: Work,
}

/// When something came, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) at: Instant,
    /// Since the Unix epoch.
    pub(super) wall: Duration,
}

impl Came {
    /// Just now.
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            at: Instant::now(),
            wall: wall.unwrap_or_default(),
        }
    }
}

/// What the thread is asked to do.
pub(super) enum Work {
    /// To keep samples.
    Keep {
        /// Whose they are.
        project: ProjectId,
        /// What the names of their series begin with.
        within: String,
        /// What was measured.
        samples: Vec<Sample>,
    },
    /// To answer a question.
    Ask {
        /// The question.
        query: FigureQuery,
        /// Where the answer goes; whoever asked may have gone.
        reply: oneshot::Sender<Result<FigureAnswer, Unanswered>>,
    },
}

impl Work {
    /// How many samples it would keep.
    pub(super) fn samples(&self) -> u64 {
        match self {
            Self::Keep { samples, .. } => samples.len() as u64,
            Self::Ask { .. } => 0,
        }
    }
}

/// Keeps what comes until nobody can send any more. A panic, which is a mistake of this program's, costs what was not
/// flushed yet, and is told as a trouble.
pub(super) fn keep(
    directory: &Path,
    bounds: Bounds,
    work: &Receiver<Waiting>,
    standing: &Mutex<Standing>,
) {
    loop {
        // What is behind `standing` is whole after each step, and the log is dropped with what else was touched.
        let kept = AssertUnwindSafe(|| keep_until_over(directory, bounds, work, standing));
        if catch_unwind(kept).is_ok() {
            return;
        }
        let words = "a mistake in this program ended the log's thread; it begins again, and its log has why";
        lock(standing).trouble = Some(words.into());
        std::thread::sleep(PANIC_PAUSE);
    }
}

fn keep_until_over(
    directory: &Path,
    bounds: Bounds,
    work: &Receiver<Waiting>,
    standing: &Mutex<Standing>,
) {
    let mut desk = Desk::new(directory, bounds, standing);
    let mut due: Option<Instant> = None;
    loop {
        let pause = due.map_or(Duration::ZERO, |due| {
            due.saturating_duration_since(Instant::now())
        });
        let waiting = match work.recv_timeout(pause) {
            Ok(waiting) => Some(waiting),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // The log lives in the time of what it takes: what waited while it wrote segments is neither late then nor of
        // the future, however long that took.
        let came = waiting
            .as_ref()
            .map_or_else(Came::now, |waiting| waiting.came);
        if due.is_none_or(|due| came.at >= due) {
            due = Some(came.at + FLUSH_INTERVAL);
            desk.turn(came.wall);
        }
        if let Some(waiting) = waiting {
            desk.work(waiting.work);
        }
    }
}

/// The log and what is known of its health.
pub(super) struct Desk<'a> {
    directory: &'a Path,
    options: Options,
    standing: &'a Mutex<Standing>,
    log: Option<MonitorLog>,
    began: Instant,
    /// Turns that pass before it is tried to open the log again.
    pause: u32,
    /// Turns in a row that went well.
    well: u32,
    /// Turns that failed since one of them was well for long enough.
    faults: u32,
    /// What there was no room for.
    no_room: NoRoom,
}

impl<'a> Desk<'a> {
    /// Nothing is opened before the first turn.
    pub(super) fn new(directory: &'a Path, bounds: Bounds, standing: &'a Mutex<Standing>) -> Self {
        Self {
            directory,
            options: Options {
                most_series: bounds.series,
                most_series_per_owner: bounds.series_of_project,
                ..Options::default()
            },
            standing,
            log: None,
            began: Instant::now(),
            pause: 0,
            well: 0,
            faults: 0,
            no_room: NoRoom::default(),
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Keep {
                project,
                within,
                samples,
            } => self.keep(project, &within, &samples),
            Work::Ask { query, reply } => {
                let _gone = reply.send(self.answer(&query));
            }
        }
    }

    /// What is done once a second. `now` is since the Unix epoch.
    pub(super) fn turn(&mut self, now: Duration) {
        let done = match &mut self.log {
            // Files that were taken away would be written to all the same, and nobody find what is in them.
            Some(_) if !self.directory.exists() => {
                self.log = None;
                self.open(now)
            }
            Some(log) => log.advance(now),
            None if self.pause > 0 => {
                self.pause -= 1;
                return;
            }
            None => self.open(now),
        };
        match done {
            Ok(()) => self.note_well(),
            Err(error) => self.note_fault(&error),
        }
        let mut standing = lock(self.standing);
        standing.no_room.clone_from(&self.no_room);
        if let Some(log) = &self.log {
            standing.figures = log.figures();
        }
    }

    fn open(&mut self, now: Duration) -> Result<(), LogError> {
        self.pause = OPENING_PAUSE;
        let log = MonitorLog::open(self.directory, &self.options, now)?;
        self.log = Some(log);
        self.faults = 0;
        Ok(())
    }

    fn note_well(&mut self) {
        self.well = self.well.saturating_add(1);
        if self.well >= WELL_TURNS {
            self.faults = 0;
            lock(self.standing).trouble = None;
        }
    }

    fn note_fault(&mut self, error: &LogError) {
        let is_handed_over =
            matches!(error, LogError::InUse(_)) && self.began.elapsed() < HAND_OVER;
        if is_handed_over {
            self.pause = 0;
            return;
        }
        self.well = 0;
        lock(self.standing).trouble = Some(error.to_string());
        self.faults = self.faults.saturating_add(1);
        // A full disk passes, and what is in memory would be lost; anything else may be over with new files.
        if self.faults >= MOST_FAULTS && !matches!(error, LogError::Full(_)) {
            self.log = None;
        }
    }

    fn answer(&self, query: &FigureQuery) -> Result<FigureAnswer, Unanswered> {
        match &self.log {
            Some(log) => answer(log, query),
            None => {
                let trouble = lock(self.standing).trouble.clone();
                let why = trouble.unwrap_or_else(|| "it is being opened: ask again".into());
                Err(Unanswered::Unavailable(format!(
                    "the monitor log is not open: {why}"
                )))
            }
        }
    }

    /// Keeps samples, or counts them.
    pub(super) fn keep(&mut self, project: ProjectId, within: &str, samples: &[Sample]) {
        let Some(log) = &mut self.log else {
            let mut standing = lock(self.standing);
            standing.unkept = standing.unkept.saturating_add(samples.len() as u64);
            return;
        };
        for sample in samples {
            let reading = sample.reading.clone();
            let name = format!("{within}/{}", sample.name);
            // What is refused is counted by the log.
            let series = log.register(project.0, &name, reading.kind());
            match series.and_then(|series| log.add(series, sample.time, reading)) {
                Err(Refusal::TooManySeries) => self.no_room.in_log += 1,
                Err(Refusal::TooManyOfOwner) => {
                    *self.no_room.of_projects.entry(project).or_default() += 1;
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}
