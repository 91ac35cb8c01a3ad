//! The journal: what users asked, and what the controller decided and found out, kept for looking up.
//!
//! It is a file of its own, beside the stores, to which several processes write: the api what was asked, the
//! controller what came of it. A thread of each writes what it is given, so nobody waits for a disk; what it could not
//! take is counted, and the journal says where something is missing. It is bounded by construction: of one instance, and
//! of what is about none, [`MOST_OF_ONE`] events are kept, [`MOST_EVENTS`] in all, and none for longer than
//! [`MOST_AGE`].
//!
//! ```text
//! api ────────▶ thread ─┐
//!                       ├─▶ SQLite (log mode) ◀── look_up: any process, any time
//! controller ─▶ thread ─┘
//! ```
//!
//! A commit survives the death of the process; loss of power may undo the last ones. A file that is found damaged is
//! put aside under another name, and a new one begun.

mod file;
mod look_up;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Event, InstanceId, ProjectId};

pub use look_up::{Found, Kept, Of, Question, Reach, find_subject, look_up, reach};

/// Events that are kept of one instance.
pub const MOST_OF_ONE: u64 = 10_000;
/// Events that are kept in all.
pub const MOST_EVENTS: u64 = 200_000;
/// How long an event is kept.
pub const MOST_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Instances whose names are kept.
const MOST_SUBJECTS: u64 = 100_000;
/// Batches that wait for the thread; what is more is lost.
const BATCHES: usize = 1024;
/// Names that wait when there is no room in the queue.
const MOST_UNNAMED: usize = 10_000;

/// Whom or what an event is about. With none of the three it is about the whole installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Who asked for something, where somebody did.
    pub user: Option<String>,
    /// The project.
    pub project: Option<ProjectId>,
    /// The instance.
    pub instance: Option<InstanceId>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// To whom or what.
    pub about: About,
    /// What.
    pub event: Event,
}

/// What an instance is called, which is known here for longer than there is the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The instance.
    pub instance: InstanceId,
    /// Its project.
    pub project: ProjectId,
    /// Whose it is.
    pub user: String,
    /// Its name.
    pub name: String,
}

/// Where events are handed over. Copies hand them to the same thread, which ends after the last copy.
#[derive(Clone, Debug)]
pub struct Journal {
    sender: SyncSender<Batch>,
    standing: Arc<Standing>,
}

/// What is written in one transaction, if it can be.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Entry>,
    subjects: Vec<Subject>,
    /// Told when it is written.
    written: Option<SyncSender<()>>,
}

/// What the thread has to say.
#[derive(Debug, Default)]
struct Standing {
    trouble: Mutex<Option<String>>,
    /// Events that were not taken since the last that was written.
    lost: AtomicU64,
    /// Names for which there was no room beside what waits.
    unnamed: Mutex<Vec<Subject>>,
}

impl Journal {
    /// Begins to write to the file, which is made with its first event.
    #[must_use]
    pub fn begin(path: PathBuf) -> Self {
        let (sender, receiver) = sync_channel(BATCHES);
        let standing = Arc::new(Standing::default());
        let told = Arc::clone(&standing);
        std::thread::spawn(move || writer::write_on(&path, &receiver, &told));
        Self { sender, standing }
    }

    /// Hands events over. Never waits.
    pub fn note(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.hand_over(Batch {
                entries,
                ..Batch::default()
            });
        }
    }

    /// Hands over what instances are called, and what happened to them. Never waits.
    pub fn note_with(&self, subjects: Vec<Subject>, entries: Vec<Entry>) {
        self.hand_over(Batch {
            entries,
            subjects,
            written: None,
        });
    }

    fn hand_over(&self, batch: Batch) {
        let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.sender.try_send(batch)
        else {
            return;
        };
        let count = batch.entries.len() as u64;
        self.standing.lost.fetch_add(count, Ordering::Relaxed);
        let mut unnamed = lock(&self.standing.unnamed);
        unnamed.extend(batch.subjects);
        let surplus = unnamed.len().saturating_sub(MOST_UNNAMED);
        unnamed.drain(..surplus);
    }

    /// Waits until all that was handed over is written, or for so long; says whether it is.
    #[must_use]
    pub fn flush(&self, within: Duration) -> bool {
        let (written, told) = sync_channel(1);
        let batch = Batch {
            written: Some(written),
            ..Batch::default()
        };
        self.sender.try_send(batch).is_ok() && told.recv_timeout(within).is_ok()
    }

    /// Why nothing is written at present, where nothing is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.standing.trouble).clone()
    }
}

impl Standing {
    fn tell(&self, trouble: Option<String>) {
        let mut told = lock(&self.trouble);
        if *told != trouble {
            if let Some(words) = &trouble {
                tracing::warn!("{words}");
            }
            *told = trouble;
        }
    }

    /// The names that had no room.
    fn unnamed(&self) -> Vec<Subject> {
        std::mem::take(&mut lock(&self.unnamed))
    }
}

/// What is behind it is whole after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
