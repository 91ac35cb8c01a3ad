//! The log as its user sees it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::coding::Reader;
use crate::disk::Disk;
use crate::files::{Files, Found};
use crate::frozen::Frozen;
use crate::job::{Job, Outcome, Spent};
use crate::state::State;
use crate::step::{Step, put_step, step};
use crate::wal::Batches;
use crate::{Kind, LogError, Options, Reading, Refusal, SeriesId};

/// After segments or a checkpoint could not be written, so many flush intervals pass before they are tried again.
const PAUSE: u32 = 5;
/// What was handed over and is not written yet: one seal, and one more where a clock was set back meanwhile.
const MOST_SEALING: usize = 2;
/// Write-ahead logs that are done again when the log is opened. Where there are more, since the process was killed again
/// and again before it had written a checkpoint, it waits for one.
const MOST_LOGS: usize = 8;

/// Time series of bounded size in several resolutions, in a directory of their own.
///
/// It has no thread and no clock. Whoever has it calls [`Self::advance`] each [`crate::FLUSH_INTERVAL`], which now and then
/// waits for the disk; or, where nothing may wait, [`Self::pass`], and runs each [`Self::job`] on another thread, one at a
/// time:
///
/// ```text
///  pass: flush; when a segment is due: a new write-ahead log, and what was is frozen ─▶ job ─▶ run ─▶ finish
///                          samples go on into the new one, questions see both                 └─ another thread
/// ```
#[derive(Debug)]
pub struct MonitorLog {
    pub(crate) state: State,
    pub(crate) files: Files,
    /// What was handed over, oldest first, and is not in segments yet.
    pub(crate) sealing: VecDeque<Sealing>,
    /// Whether a job is out.
    is_out: bool,
    refused: BTreeMap<&'static str, u64>,
    pause: u32,
}

/// What was handed over to be written.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) frozen: Arc<Frozen>,
    generation: Option<u64>,
    /// Of what is due, so much is in segments.
    done: usize,
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
    /// Samples that were found behind damage in a write-ahead log when the log was opened.
    pub lost: u64,
}

impl MonitorLog {
    /// Opens the log of a directory, or begins one, with all that was flushed before. `now` is the time since the
    /// Unix epoch.
    ///
    /// # Errors
    /// If the options are bad, another process has the log, or its files cannot be read or made. A full disk is told by
    /// [`Self::advance`].
    pub fn open(directory: &Path, options: &Options, now: Duration) -> Result<Self, LogError> {
        Self::open_on(Disk::default(), directory, options, now)
    }

    /// As [`Self::open`], on a disk that somebody watches.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        disk: Disk,
        directory: &Path,
        options: &Options,
        now: Duration,
    ) -> Result<Self, LogError> {
        options.check()?;
        let Found { files, state, logs } = Files::open(disk, directory, options, to_ms(now))?;
        let mut log = Self {
            state,
            files,
            sealing: VecDeque::new(),
            is_out: false,
            refused: BTreeMap::new(),
            pause: 0,
        };
        for path in &logs {
            for batch in Batches::read(path)?.iter() {
                log.replay(batch)?;
            }
        }
        // On a full disk it opens all the same: `advance` tells, and tries again.
        let _ = log.pass(now);
        if logs.len() > MOST_LOGS {
            let _ = log.write();
        }
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

    /// Lets time pass to `now`, since the Unix epoch; writes what waits, and segments when they are due, for which it waits.
    ///
    /// A clock that is set back begins anew where it is: what is there stays, and where the same time passes again,
    /// what comes later counts.
    ///
    /// # Errors
    /// What could not be written. It stays in memory, within bounds, and is tried again.
    pub fn advance(&mut self, now: Duration) -> Result<(), LogError> {
        let passed = self.pass(now);
        let written = self.write();
        passed.and(written)
    }

    /// As [`Self::advance`], but waits for nothing: it hands what waits to the kernel, and what is to be written beside
    /// that is a [`Self::job`] from then on.
    ///
    /// # Errors
    /// What could not be handed over. It stays in memory, within bounds, and is tried again.
    pub fn pass(&mut self, now: Duration) -> Result<(), LogError> {
        let now_ms = to_ms(now);
        self.note(&Step::Pass { now_ms });
        self.pause = self.pause.saturating_sub(1);
        let flushed = self.files.wal.flush();
        if self.state.is_set_back(now_ms) {
            return flushed.and(self.begin_anew(now_ms));
        }
        self.state.pass(now_ms);
        flushed?;
        if self.sealing.is_empty() && self.pause == 0 {
            self.seal()
        } else {
            Ok(())
        }
    }

    /// What is to be written, if there is something and nobody has it. There is one at a time, and the next when it was
    /// given to [`Self::finish`].
    pub fn job(&mut self) -> Option<Job> {
        let next = self
            .sealing
            .front()
            .filter(|_| !self.is_out && self.pause == 0)?;
        self.is_out = true;
        Some(Job {
            frozen: Arc::clone(&next.frozen),
            disk: self.files.disk.clone(),
            directory: self.files.directory.clone(),
            _lock: Arc::clone(&self.files.lock),
            generation: next.generation,
            segments: self.files.segments.as_ref().clone(),
            done: next.done,
            checkpoint_bytes: None,
        })
    }

    /// Takes back what became of a job of this log.
    ///
    /// # Errors
    /// What could not be written. It stays in memory, and is a job again after a while.
    pub fn finish(&mut self, outcome: Outcome) -> Result<Spent, LogError> {
        let Outcome { job, result } = outcome;
        self.is_out = false;
        self.files.segments = Arc::new(job.segments);
        self.files.checkpoint_bytes = job.checkpoint_bytes.unwrap_or(self.files.checkpoint_bytes);
        if let Err(error) = result {
            self.pause = PAUSE;
            let next = self.sealing.front_mut().into_iter();
            next.for_each(|next| next.done = job.done);
            return Err(error);
        }
        self.sealing.pop_front();
        Ok(Spent(job.frozen))
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
            lost: self.files.lost,
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
        found.map(|(id, series)| (SeriesId(id), &*series.name, series.kind))
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
                    self.sealing.push_back(Sealing {
                        frozen: Arc::new(self.state.freeze_all(now_ms)),
                        generation: None,
                        done: 0,
                    });
                    self.write()?;
                }
                Ok(Step::Retire(retired)) => self.state.retire(retired),
                Ok(Step::Pass { now_ms }) => self.state.pass(now_ms),
                Ok(Step::Register {
                    id,
                    owner,
                    name,
                    kind,
                }) => self.state.register_as(id, owner, &name, kind),
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

    /// Hands over what is due to be written, if anything is, and all that a restart needs.
    fn seal(&mut self) -> Result<(), LogError> {
        let has_hole = self.files.wal.has_hole();
        let mut due = self.state.due();
        if due.is_empty() && !self.files.is_log_over() {
            return Ok(());
        }
        if has_hole {
            // A segment would tell of what a restart does not know: a checkpoint first.
            due.clear();
        } else if !due.is_empty() {
            for retired in self.state.to_retire(self.files.oldest_segment()) {
                self.note(&Step::Retire(retired));
                self.state.retire(retired);
            }
            self.state.forget_owners();
        }
        let begun = self.files.wal.flush().and_then(|()| self.files.begin_log());
        let generation = begun.inspect_err(|_| self.pause = PAUSE)?;
        self.sealing.push_back(Sealing {
            frozen: Arc::new(self.state.freeze(due)),
            generation: Some(generation),
            done: 0,
        });
        self.note_time();
        Ok(())
    }

    /// Hands over everything, and begins anew. Where two such are not written yet, since the disk is slow or full, what is
    /// in memory is dropped and counted.
    fn begin_anew(&mut self, now_ms: i64) -> Result<(), LogError> {
        if self.sealing.len() >= MOST_SEALING {
            self.state.drop_all(now_ms);
            return Ok(());
        }
        let is_flushed = self.files.wal.flush();
        let begun = is_flushed.and_then(|()| self.files.begin_log());
        let (generation, told) = match begun {
            Ok(generation) => (Some(generation), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.sealing.push_back(Sealing {
            frozen: Arc::new(self.state.freeze_all(now_ms)),
            generation,
            done: 0,
        });
        self.note_time();
        told
    }

    /// Begins a write-ahead log with the time: what follows tells times by it, also where the log before lost its end.
    fn note_time(&mut self) {
        let now_ms = self.state.now_ms;
        self.note(&Step::Pass { now_ms });
    }

    /// Does all that is to be written, and waits for it.
    fn write(&mut self) -> Result<(), LogError> {
        while let Some(job) = self.job() {
            drop(self.finish(job.run())?);
        }
        Ok(())
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
