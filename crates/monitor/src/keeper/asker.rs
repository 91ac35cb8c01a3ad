//! Asking the log, without its thread waiting for the answer.
//!
//! ```text
//!  question ─▶ one of a few places ─▶ the log's thread: a snapshot ─▶ a thread of its own: reads segments ─▶ answer
//!                                                                      └─ ends early when nobody waits any more
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::{FigureAnswer, FigureQuery, Newest, Unanswered};
use series::{Reads, Snapshot};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::answer::answer;
use super::thread::Work;
use super::{Queue, lock, socket};
use crate::Tally;

/// Questions that are worked at, at once: others wait, so that they leave processors to what is measured.
const MOST_ANSWERING: usize = 2;

/// Asks the log. As long as there is one, its thread goes on.
#[derive(Clone)]
pub struct Asker {
    queue: Queue,
    tally: Tally,
    places: Arc<Semaphore>,
}

impl Asker {
    pub(super) fn new(queue: Queue, tally: Tally) -> Self {
        Self {
            queue,
            tally,
            places: Arc::new(Semaphore::new(MOST_ANSWERING)),
        }
    }

    /// The answer, after all that came before it was kept. When nobody waits for it any more, it is given up.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(&self, query: FigureQuery) -> Result<FigureAnswer, Unanswered> {
        let answered = timeout(socket::PATIENCE, self.work_out(query)).await;
        answered.unwrap_or_else(|_late| {
            unavailable("the monitor log takes too long: ask for less, or again later")
        })
    }

    async fn work_out(&self, query: FigureQuery) -> Result<FigureAnswer, Unanswered> {
        let closed = || unavailable("the monitor log is being closed, or failed: ask again");
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return closed();
        };
        let (reply, shown) = oneshot::channel();
        let question = query.clone();
        let asked = self.queue.put(Work::Show {
            query: question,
            reply,
        });
        if asked.is_err() {
            return unavailable("the monitor log has too much to do: ask again in some seconds");
        }
        let Ok(snapshot) = shown.await else {
            return closed();
        };
        let answer = answer_elsewhere(snapshot?, query, place).await;
        answer.unwrap_or_else(closed)
    }

    /// What was counted of everything, without waiting for the log.
    #[must_use]
    pub fn newest(&self) -> Newest {
        let mut newest = self.tally.newest(Instant::now());
        let standing = lock(&self.queue.standing).clone();
        let (figures, intake) = (standing.figures, &mut newest.intake);
        intake.unkept_samples = standing.unkept;
        intake.log_series = figures.series as u64;
        intake.log_bytes = figures.segment_bytes.saturating_add(figures.wal_bytes);
        intake.damaged_log_files = figures.damaged;
        intake.lost_samples = figures.lost;
        let refused = figures.refused.into_iter();
        intake.refused_samples = refused
            .map(|(reason, samples)| (reason.to_owned(), samples))
            .collect();
        // What never happened is told as well, or nobody could tell it from what is not measured.
        for reason in series::Refusal::REASONS {
            intake.refused_samples.entry(reason.into()).or_default();
        }
        for kind in crate::Refusal::KINDS {
            intake.refused_packets.entry(kind.into()).or_default();
        }
        for kind in crate::HostRefusal::KINDS {
            intake.refused_host_packets.entry(kind.into()).or_default();
        }
        newest
    }
}

/// Works out an answer on a thread for what takes long, in its place until it has ended. `None` after a mistake of ours.
async fn answer_elsewhere(
    snapshot: Snapshot,
    query: FigureQuery,
    place: OwnedSemaphorePermit,
) -> Option<Result<FigureAnswer, Unanswered>> {
    let waiting = Waiting::default();
    let reads = Reads::new(Arc::clone(&waiting.is_over));
    let answering = tokio::task::spawn_blocking(move || {
        let answer = answer(&snapshot, &query, &reads);
        drop((snapshot, place));
        answer
    });
    let answer = answering.await.ok();
    drop(waiting);
    answer
}

/// Somebody who waits. When he goes it is over.
#[derive(Default)]
struct Waiting {
    is_over: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn unavailable<T>(why: &str) -> Result<T, Unanswered> {
    Err(Unanswered::Unavailable(why.into()))
}
