//! The monitor's second task: reads the VMs' access logs, and keeps them.
//!
//! ```text
//!  VM ── port ──▶ reader, one for each VM ──┐
//!  VM ── port ──▶ reader ───────────────────┴─ batches, bounded ──▶ keeper ──▶ files
//! ```
//!
//! Whoever is slow holds up the one before, down to the VM, which drops records and counts them. What a VM says is
//! believed of its own instance and of nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::monitor::Tally;
use access_log::{Debts, Keeper, Line};
use anyhow::Context;
use compute::LogPort;
use model::access::{AccessHead, AccessKind, AccessRecord, Frames};
use model::{InstanceId, Layout, VmId};
use store::intent::{INTENT, read_intent};
use store::layout::{LAYOUT_PREFIX, read_layout};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::warn;

use super::Shared;
use super::syslog::{Names, Syslog};
use super::trouble::Trouble;

/// Between two flushes: what a monitor that is killed may lose.
const FLUSH: Duration = Duration::from_secs(1);
/// Batches that wait for the keeper.
const BATCHES: usize = 64;
/// What one read takes.
const READ_BYTES: usize = 16 << 10;
/// How much is read of one VM in each [`READ_SPAN`]: 8 MiB in a second, which 50,000 requests or more are told in. A VM
/// that tells more waits, and drops records and counts them. So one that is hostile costs no more than one that
/// is very busy.
const READ_MOST: usize = (8 << 20) / 10;
/// So that none waits for long that has told a little more.
const READ_SPAN: Duration = Duration::from_millis(100);
/// Flushes that go well before it is no trouble any more that one did not: about a full disk there is room and none by
/// turns.
const WELL: u32 = 10;
/// Before all begins anew.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two attempts to open a VM's port.
const REOPEN: Duration = Duration::from_millis(200);

/// Records of one instance.
struct Batch {
    instance: InstanceId,
    records: Vec<u8>,
    count: u64,
    /// Those of them that tell of requests that the VM had no room for.
    gaps: u64,
    /// How many requests these tell of.
    dropped: u64,
}

/// Reads and keeps for as long as it is polled. What stands in the way is told, and all begins anew: figures and
/// loads have nothing to do with it.
pub(super) async fn keep(shared: &Shared, tally: &Tally) -> Infallible {
    let trouble = Trouble::new(shared.status.clone(), "access-log");
    let target = shared.config.monitor.syslog_target();
    // A configuration with a wrong one was refused.
    let target = target.unwrap_or_default();
    if target.is_none() {
        // What an earlier process told of one.
        Trouble::new(shared.status.clone(), "syslog").tell(None);
    }
    let syslog = target.map(|it| Syslog::start(it, shared.status.clone(), tally.clone()));
    let mut line_sender = LineSender {
        syslog,
        names: BTreeMap::new(),
    };
    let (sender, mut batches) = mpsc::channel(BATCHES);
    // What was read and is not kept yet outlives the files, and VMs wait meanwhile.
    let mut readers = Readers {
        vms: shared.config.vm_directory(),
        sender,
        tasks: BTreeMap::new(),
    };
    let mut standing = Standing::new(trouble);
    let mut debts = Debts::default();
    loop {
        let mut intake = Intake {
            readers: &mut readers,
            batches: &mut batches,
            line_sender: &mut line_sender,
        };
        let Err(error) =
            keep_until_it_fails(shared, tally, &mut intake, &mut standing, &mut debts).await;
        standing.note(Some(not_kept(&error)));
        sleep(PAUSE).await;
    }
}

/// From whom records come, and who gets them beside the files.
struct Intake<'k> {
    readers: &'k mut Readers,
    batches: &'k mut mpsc::Receiver<Batch>,
    line_sender: &'k mut LineSender,
}

/// Whether lines are kept, as it is told.
struct Standing {
    trouble: Trouble,
    /// How many flushes went well in a row.
    well: u32,
}

impl Standing {
    /// Of what an earlier process told, the first flush that goes well is the end.
    fn new(trouble: Trouble) -> Self {
        Self {
            trouble,
            well: WELL,
        }
    }

    /// Takes note of what went wrong, or of a flush that went well. Trouble stays until some have.
    fn note(&mut self, wrong: Option<String>) {
        self.well = match wrong {
            Some(_) => 0,
            None => self.well.saturating_add(1),
        };
        if wrong.is_some() || self.well >= WELL {
            self.trouble.tell(wrong);
        }
    }
}

/// # Errors
/// Those of the store, and those of the files that new ones may mend. A full disk passes by itself.
async fn keep_until_it_fails(
    shared: &Shared,
    tally: &Tally,
    intake: &mut Intake<'_>,
    standing: &mut Standing,
    debts: &mut Debts,
) -> anyhow::Result<Infallible> {
    let mut layouts = shared.store.watch(LAYOUT_PREFIX);
    let mut intents = shared.store.watch(INTENT);
    intake.line_sender.learn_names(shared)?;
    let (directory, budget) = (
        shared.config.access_log_directory(),
        shared.config.access_log_budget(),
    );
    let words = format!("in {}", directory.display());
    let opened = blocking(move || Keeper::open(directory, budget)).await?;
    let mut keeper = opened.context(words)?;
    let owed = std::mem::take(debts);
    keeper = blocking(move || {
        keeper.take_over(owed);
        keeper
    })
    .await?;
    keeper = follow(shared, intake.readers, keeper).await?;
    let mut flushing = interval(FLUSH);
    flushing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (done, is_flush) = tokio::select! {
            () = layouts.changed() => {
                keeper = follow(shared, intake.readers, keeper).await?;
                continue;
            }
            () = intents.changed(), if intake.line_sender.syslog.is_some() => {
                intake.line_sender.learn_names(shared)?;
                continue;
            }
            Some(batch) = intake.batches.recv() => {
                intake.line_sender.send(batch.instance, &batch.records);
                tally.note_log(batch.instance, 0, batch.dropped);
                let (back, done) = append(keeper, batch).await?;
                keeper = back;
                (done, false)
            }
            _ = flushing.tick() => {
                let (back, done) = blocking(move || {
                    let done = keeper.flush();
                    (keeper, done)
                }).await?;
                keeper = back;
                (done, true)
            }
        };
        if is_flush || done.is_err() {
            for (instance, outcome) in keeper.take_outcomes() {
                tally.note_log(instance, outcome.kept, outcome.lost);
            }
        }
        match done {
            Ok(()) if is_flush => standing.note(None),
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                standing.note(Some(not_kept(&error.into())));
            }
            Err(error) => {
                *debts = keeper.take_debts();
                return Err(error.into());
            }
        }
    }
}

/// Whether there is no room, for which files that are opened anew are no cure.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Adds records, on a thread that may wait where that means to work on files.
async fn append(mut keeper: Keeper, batch: Batch) -> anyhow::Result<(Keeper, io::Result<()>)> {
    let add = |keeper: &mut Keeper, batch: Batch| {
        keeper.append(batch.instance, &batch.records, batch.count, batch.gaps)
    };
    if !keeper.has_to_write(batch.instance, batch.records.len()) {
        let done = add(&mut keeper, batch);
        return Ok((keeper, done));
    }
    blocking(move || {
        let done = add(&mut keeper, batch);
        (keeper, done)
    })
    .await
}

/// Sends lines on, where a server is named.
struct LineSender {
    syslog: Option<Syslog>,
    names: BTreeMap<InstanceId, Names>,
}

impl LineSender {
    fn learn_names(&mut self, shared: &Shared) -> anyhow::Result<()> {
        if self.syslog.is_none() {
            return Ok(());
        }
        let (_revision, intent) = read_intent(&shared.store)?;
        let named = intent.instances.iter().filter_map(|(id, instance)| {
            let project = intent.projects.get(&instance.project)?;
            let names = Names {
                instance: instance.name.clone(),
                id: id.0,
                project: project.name.clone(),
                user: project.user.clone(),
            };
            Some((*id, names))
        });
        let named: BTreeMap<_, _> = named.collect();
        // A deleted instance's last lines are still on their way.
        let layout = read_layout(&shared.store)?.layout;
        let before = std::mem::take(&mut self.names).into_iter();
        let leaving = before.filter(|(id, _)| layout.instances.contains_key(id));
        self.names = leaving.chain(named).collect();
        Ok(())
    }

    /// Sends lines on.
    fn send(&self, instance: InstanceId, records: &[u8]) {
        let names = self.names.get(&instance);
        if let (Some(syslog), Some(names)) = (&self.syslog, names) {
            for record in AccessRecord::read_all(records) {
                syslog.send(names, Line::new(0, record));
            }
        }
    }
}

fn not_kept(error: &anyhow::Error) -> String {
    format!("access logs are not kept: {error:#}")
}

/// Reads the VMs that there are now, and forgets instances that are gone from both intent and layout.
async fn follow(
    shared: &Shared,
    readers: &mut Readers,
    mut keeper: Keeper,
) -> anyhow::Result<Keeper> {
    let layout = read_layout(&shared.store)?.layout;
    readers.follow(&layout);
    let stands = |instance| layout.instances.contains_key(&instance);
    if keeper.instances().all(stands) {
        return Ok(keeper);
    }
    let (_revision, intent) = read_intent(&shared.store)?;
    let mut known: BTreeSet<InstanceId> = layout.instances.keys().copied().collect();
    known.extend(intent.instances.keys());
    let (keeper, done) = blocking(move || {
        let done = keeper.retain(&known);
        (keeper, done)
    })
    .await?;
    if let Err(error) = done {
        warn!(%error, "cannot remove the access log of an instance that is gone; trying again");
    }
    Ok(keeper)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// One reader for each VM.
struct Readers {
    vms: PathBuf,
    sender: mpsc::Sender<Batch>,
    tasks: BTreeMap<VmId, Reader>,
}

/// Ends its task with itself.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Readers {
    fn follow(&mut self, layout: &Layout) {
        let mut wanted = BTreeMap::new();
        for (instance, placed) in layout.instances.iter() {
            wanted.extend(placed.vms.keys().map(|vm| (*vm, *instance)));
        }
        self.tasks.retain(|vm, _| wanted.contains_key(vm));
        for (vm, instance) in wanted {
            let (vms, sender) = (&self.vms, &self.sender);
            self.tasks.entry(vm).or_insert_with(|| {
                Reader(tokio::spawn(read(
                    vms.clone(),
                    (vm, instance),
                    sender.clone(),
                )))
            });
        }
    }
}

/// Reads a VM's log for as long as the VM is there, however often its process comes and goes.
async fn read(vms: PathBuf, (vm, instance): (VmId, InstanceId), sender: mpsc::Sender<Batch>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut allowance = Allowance::beginning(Instant::now());
    loop {
        if let Ok(mut port) = LogPort::open(&vms, vm).await {
            let mut frames = Frames::default();
            while let Ok(bytes @ 1..) = port.read(&mut buffer).await {
                let (mut records, mut count) = (Vec::new(), 0);
                let (mut gaps, mut dropped) = (0, 0_u64);
                frames.push(buffer.get(..bytes).unwrap_or_default(), |record| {
                    let head = AccessHead { vm, ..record.head };
                    AccessRecord::write(&head, record.text(), &mut records);
                    count += 1;
                    if head.kind == AccessKind::Gap {
                        gaps += 1;
                        dropped = dropped.saturating_add(head.bytes_in);
                    }
                });
                let batch = Batch {
                    instance,
                    records,
                    count,
                    gaps,
                    dropped,
                };
                if count > 0 && sender.send(batch).await.is_err() {
                    return;
                }
                if let Some(pause) = allowance.take(bytes, Instant::now()) {
                    sleep(pause).await;
                }
            }
        }
        sleep(REOPEN).await;
    }
}

/// What may be read of one VM.
struct Allowance {
    /// When the present span ends.
    until: Instant,
    left: usize,
}

impl Allowance {
    fn beginning(now: Instant) -> Self {
        Self {
            until: now + READ_SPAN,
            left: READ_MOST,
        }
    }

    /// Takes so many bytes, and says how long to wait before the next ones: not at all unless all is taken.
    fn take(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        if now >= self.until {
            *self = Self::beginning(now);
        }
        self.left = self.left.saturating_sub(bytes);
        (self.left == 0).then(|| self.until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use store::Store;
    use store::status::troubles;

    use super::*;

    #[test]
    fn that_lines_are_not_kept_is_told_until_flushes_went_well_for_a_while() {
        let status = Store::in_memory();
        Trouble::new(status.clone(), "access-log").tell(Some("of an earlier process".into()));
        let mut standing = Standing::new(Trouble::new(status.clone(), "access-log"));
        standing.note(None);
        assert_eq!(troubles(&status).unwrap(), [""; 0]);
        for _ in 0..3 {
            standing.note(Some("it is full".into()));
            (1..WELL).for_each(|_| standing.note(None));
            assert_eq!(troubles(&status).unwrap(), ["it is full"]);
        }
        standing.note(None);
        assert_eq!(troubles(&status).unwrap(), [""; 0]);
    }

    #[test]
    fn a_vm_that_tells_without_end_is_read_at_its_rate_and_one_that_tells_little_never_waits() {
        let began = Instant::now();
        let (mut allowance, mut now, mut read) = (Allowance::beginning(began), began, 0);
        while now < began + Duration::from_secs(10) {
            now += Duration::from_micros(20);
            now += allowance.take(READ_BYTES, now).unwrap_or_default();
            read += READ_BYTES;
        }
        let most = READ_MOST * 100;
        assert!((most * 9 / 10..most * 11 / 10).contains(&read), "{read}");
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            assert_eq!(allowance.take(READ_MOST / 11, now), None);
        }
    }
}
