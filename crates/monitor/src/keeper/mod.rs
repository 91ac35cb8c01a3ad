//! The monitor log at work, on a thread of its own.
//!
//! ```text
//!  intake ──queue, bounded──▶ thread: MonitorLog ── each second: flush ──▶ <state>/monitor
//!            │ full: counted      │        └─ now and then: segments, on another thread ──▲
//!            ▼                    ▼
//!          unkept              standing: what is wrong, how much there is
//! ```
//!
//! Whoever takes packets never waits for the log, and the log waits for no disk but to be opened. Until then the queue
//! holds what comes; what does not fit is counted. A log that cannot be opened or written is tried again and again, and what comes meanwhile is kept
//! in memory, within the log's bounds, or counted. The load is told from the intake and knows nothing of all this.
//!
//! A series belongs to a project, and its name begins with the instance and the VM, so a question about an instance
//! finds the series of VMs that are long gone, without any record of who they were.

mod answer;
mod asker;
mod hosts;
mod socket;
mod thread;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{InstanceId, ProjectId, VmId};
use tokio::time::{sleep, timeout};

use crate::{Sample, Taken, Tally};
use series::{Disk, Options};
use thread::{Came, Place, Waiting, Work};

pub(crate) use answer::of_backend;
pub use asker::Asker;
pub use hosts::HostKeeper;
pub use socket::{answer_questions, ask_monitor, ask_newest, bind_questions};

/// One packet may wait while the log is opened, for so many series that there may be. Each series is told once a second,
/// 25 to a packet, so this is what all of them tell in twelve seconds.
const SERIES_OF_WAITING: usize = 2;
/// Packets that may wait in any case: a VM that begins tells in more of them.
const LEAST_WAITING: usize = 8_192;
/// And at most, however many series there may be: 260 MB of memory if all of them are full.
const MOST_WAITING: usize = 65_536;
/// How long what waits may take to be written when the log is closed.
const CLOSING: Duration = Duration::from_secs(4);
/// Between two looks at whether it is.
const CLOSING_LOOK: Duration = Duration::from_millis(20);

/// To whom a VM belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The project, which owns its series.
    pub project: ProjectId,
    /// The instance.
    pub instance: InstanceId,
    /// The VM.
    pub vm: VmId,
}

/// How many series there may be that are written to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of all projects.
    pub series: usize,
    /// Of one project.
    pub series_of_project: usize,
}

/// How it stands with the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why nothing, or not all, is kept at present.
    pub trouble: Option<String>,
    /// Samples that were not kept since there was no room in the queue, or no log.
    pub unkept: u64,
    /// What was refused for want of room for new series.
    pub no_room: NoRoom,
    /// How much there is of the log, and what it refused.
    pub figures: series::Figures,
}

/// How many samples were refused since their series were new and there was no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoRoom {
    /// There were as many as there may be.
    pub in_log: u64,
    /// A project had as many as one may.
    pub of_projects: BTreeMap<ProjectId, u64>,
}

/// Where work for the log waits.
#[derive(Clone)]
struct Queue {
    work: SyncSender<Waiting>,
    standing: Arc<Mutex<Standing>>,
}

/// Keeps what VMs send in the monitor log.
pub struct Keeper {
    queue: Queue,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Begins to keep things in a directory, which is made if it is not there. What keeps it from that is in
    /// [`Self::standing`], and is tried again.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(directory: PathBuf, bounds: Bounds) -> std::io::Result<Self> {
        Self::start_at(Place::new(&directory, bounds))
    }

    /// As [`Self::start`], with resolutions of one's own, on a disk that somebody watches.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn start_on(disk: Disk, directory: PathBuf, options: Options) -> std::io::Result<Self> {
        Self::start_at(Place {
            disk,
            directory,
            options,
        })
    }

    fn start_at(place: Place) -> std::io::Result<Self> {
        let (sender, work) = sync_channel(most_waiting(place.options.most_series));
        let standing = Arc::new(Mutex::new(Standing::default()));
        let queue = Queue {
            work: sender,
            standing: Arc::clone(&standing),
        };
        let keeping = move || thread::keep(&place, &work, &standing);
        let thread = std::thread::Builder::new()
            .name("monitor-log".into())
            .spawn(keeping)?;
        Ok(Self { queue, thread })
    }

    /// Keeps what was taken of a VM, or counts it where there is no room. Never waits.
    pub fn keep(&self, origin: Origin, taken: Taken) {
        self.queue
            .keep(origin.project, origin.within(), taken.samples);
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        lock(&self.queue.standing).clone()
    }

    /// A handle for those who ask, also for what was counted.
    #[must_use]
    pub fn asker(&self, tally: Tally) -> Asker {
        Asker::new(self.queue.clone(), tally)
    }

    /// Writes what waits and closes the log, unless that takes too long.
    pub async fn close(self) {
        drop(self.queue);
        let closed = async {
            while !self.thread.is_finished() {
                sleep(CLOSING_LOOK).await;
            }
        };
        // What is not written by then is lost, as it is when the process is killed.
        let _late = timeout(CLOSING, closed).await;
    }
}

impl Origin {
    /// What the names of its series begin with, among its project's.
    fn within(&self) -> String {
        format!("{}/{}", self.instance, self.vm)
    }
}

impl Queue {
    /// Has samples kept under a beginning of names, or counts them where there is no room.
    fn keep(&self, project: ProjectId, within: String, samples: Vec<Sample>) {
        let work = Work::Keep {
            project,
            within,
            samples,
        };
        if let Err(work) = self.put(work) {
            let mut standing = lock(&self.standing);
            standing.unkept = standing.unkept.saturating_add(work.samples());
        }
    }

    /// Has something done, or gives it back where there is no room.
    fn put(&self, work: Work) -> Result<(), Work> {
        let came = Came::now();
        self.work
            .try_send(Waiting { came, work })
            .map_err(|error| match error {
                TrySendError::Full(waiting) | TrySendError::Disconnected(waiting) => waiting.work,
            })
    }
}

/// Packets that may wait where there may be so many series.
fn most_waiting(series: usize) -> usize {
    (series / SERIES_OF_WAITING).clamp(LEAST_WAITING, MOST_WAITING)
}

/// What is behind it is whole after each step, so a thread that panicked left nothing half done.
fn lock(standing: &Mutex<Standing>) -> std::sync::MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}
