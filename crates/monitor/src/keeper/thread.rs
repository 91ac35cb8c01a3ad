//! What the thread does that has the log.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{FigureQuery, ProjectId, Unanswered};
use series::{Disk, FLUSH_INTERVAL, LogError, MonitorLog, Options, Outcome, Refusal, Snapshot};

use tokio::sync::oneshot;

use super::answer::snapshot;
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
    /// To tell what a question is about, as it is now.
    Show {
        /// The question.
        query: FigureQuery,
        /// Where it goes; whoever asked may have gone.
        reply: oneshot::Sender<Result<Snapshot, Unanswered>>,
    },
}

impl Work {
    /// How many samples it would keep.
    pub(super) fn samples(&self) -> u64 {
        match self {
            Self::Keep { samples, .. } => samples.len() as u64,
            Self::Show { .. } => 0,
        }
    }
}

/// Where the log is, and what it is to keep.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) disk: Disk,
    pub(super) directory: PathBuf,
    pub(super) options: Options,
}

impl Place {
    pub(super) fn new(directory: &Path, bounds: Bounds) -> Self {
        Self {
            disk: Disk::default(),
            directory: directory.to_owned(),
            options: Options {
                most_series: bounds.series,
                most_series_per_owner: bounds.series_of_project,
                ..Options::default()
            },
        }
    }
}

/// Keeps what comes until nobody can send any more. A panic, which is a mistake of this program's, costs what was not
/// flushed yet, and is told as a trouble.
pub(super) fn keep(place: &Place, work: &Receiver<Waiting>, standing: &Mutex<Standing>) {
    loop {
        // What is behind `standing` is whole after each step, and the log is dropped with what else was touched.
        let kept = AssertUnwindSafe(|| keep_until_over(place, work, standing));
        if catch_unwind(kept).is_ok() {
            return;
        }
        let words = "a mistake in this program ended the log's thread; it begins again, and its log has why";
        lock(standing).trouble = Some(words.into());
        std::thread::sleep(PANIC_PAUSE);
    }
}

fn keep_until_over(place: &Place, work: &Receiver<Waiting>, standing: &Mutex<Standing>) {
    let mut desk = Desk::new(place.clone(), standing);
    let mut due: Option<Instant> = None;
    loop {
        let pause = due.map_or(Duration::ZERO, |due| {
            due.saturating_duration_since(Instant::now())
        });
        let waiting = match work.recv_timeout(pause) {
            Ok(waiting) => Some(waiting),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return desk.close(),
        };
        // The log lives in the time of what it takes: what waited while it was opened is neither late then nor of the
        // future, however long that took.
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
    place: Place,
    standing: &'a Mutex<Standing>,
    log: Option<MonitorLog>,
    /// The thread that writes segments and checkpoints of this log, or of one that was given up.
    writing: Option<JoinHandle<Outcome>>,
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
    pub(super) fn new(place: Place, standing: &'a Mutex<Standing>) -> Self {
        Self {
            place,
            standing,
            log: None,
            writing: None,
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
            // Nobody takes the snapshot of one who has gone.
            Work::Show { query, reply } if !reply.is_closed() => {
                let _gone = reply.send(self.show(&query));
            }
            Work::Show { .. } => {}
        }
    }

    /// What is done once a second. `now` is since the Unix epoch.
    pub(super) fn turn(&mut self, now: Duration) {
        // Files that were taken away would be written to all the same, and nobody find what is in them.
        if self.log.is_some() && !self.place.directory.exists() {
            self.log = None;
        }
        // What still writes would write into the new log's files.
        let may_open = !self.is_writing();
        let passed = match &mut self.log {
            Some(log) => log.pass(now),
            None if self.pause > 0 => {
                self.pause -= 1;
                return;
            }
            None if may_open => self.open(now),
            None => return,
        };
        let written = self.write();
        let done = passed.and(written);
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
        self.writing = None;
        let Place {
            disk,
            directory,
            options,
        } = &self.place;
        let log = MonitorLog::open_on(disk.clone(), directory, options, now)?;
        self.log = Some(log);
        self.faults = 0;
        self.pause = 0;
        Ok(())
    }

    fn is_writing(&self) -> bool {
        let writing = self.writing.as_ref();
        writing.is_some_and(|writing| !writing.is_finished())
    }

    /// Takes back what was written, and has written what is due by a thread of its own, so that nothing here waits for the
    /// disk, however slow that is.
    fn write(&mut self) -> Result<(), LogError> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        if let Some(ended) = self.writing.take_if(|writing| writing.is_finished()) {
            let spent = log.finish(ended.join().unwrap_or_else(|panic| resume_unwind(panic)))?;
            // Where the system gives no thread it goes here.
            let _elsewhere = std::thread::Builder::new().spawn(move || drop(spent));
        }
        let Some(job) = log.job() else {
            return Ok(());
        };
        let thread = std::thread::Builder::new().name("monitor-log-disk".into());
        match thread.spawn(move || job.run()) {
            Ok(writing) => {
                self.writing = Some(writing);
                Ok(())
            }
            Err(source) => {
                // What it was to write is in the log's files, and found there when it is opened.
                self.log = None;
                let path = self.place.directory.clone();
                Err(LogError::File { path, source })
            }
        }
    }

    /// Writes what waits, and waits for what is being written.
    fn close(mut self) {
        self.log = None;
        if let Some(writing) = self.writing.take() {
            let _what_became_of_it = writing.join();
        }
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

    pub(super) fn show(&self, query: &FigureQuery) -> Result<Snapshot, Unanswered> {
        match &self.log {
            Some(log) => snapshot(log, query),
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
