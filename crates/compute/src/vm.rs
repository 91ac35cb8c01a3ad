//! One VM whose process was started or found: what is known of it, and the tasks that watch it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{Boot, Driver, Heartbeat, HeartbeatSight, VmId, VmSight};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::changes::Changes;
use crate::channel::{Line, Rhythm, Wanted, converse, worth_a_round};
use crate::directory::Directory;
use crate::log_file;
use crate::pidfd::Process;
use crate::qemu;

/// After which nobody waits for a VM's first words any more.
const LONGEST_BOOT: Duration = Duration::from_secs(60);

/// What a VM's watching begins with.
pub(crate) struct Subject {
    pub vm: VmId,
    pub driver: Driver,
    /// `kvm`, `tcg` or `process`.
    pub accelerator: String,
    pub process: Process,
    pub directory: Directory,
    /// Who the VM is; `None` when an adopted VM's record cannot be read.
    pub boot: Option<Boot>,
    pub wanted: watch::Receiver<Wanted>,
    /// Whether the guest is known to wait for word who it is, whatever it says.
    pub awaits_boot: bool,
    /// MiB of memory that it was promised.
    pub need_mib: u64,
}

/// One VM under watch. Dropping it leaves the VM alone and its channel free for another.
pub(crate) struct Vm {
    pub driver: Driver,
    pub process: Process,
    pub need_mib: u64,
    accelerator: String,
    since: Instant,
    known: Arc<Mutex<Known>>,
    boot: watch::Sender<Option<Boot>>,
    connected: watch::Receiver<bool>,
    spoken: watch::Receiver<bool>,
    exit: watch::Receiver<Option<String>>,
    tasks: [JoinHandle<()>; 2],
}

/// What the tasks have learnt.
#[derive(Default)]
struct Known {
    heartbeat: Option<(Instant, Heartbeat)>,
    rhythm: Rhythm,
    /// QEMU's own reason for its end.
    shutdown: Option<String>,
}

impl Vm {
    /// Begins to watch a running VM. Must be called within a tokio runtime.
    pub(crate) fn watch(subject: Subject, changes: &Changes) -> std::io::Result<Self> {
        let known = Arc::new(Mutex::new(Known::default()));
        let (boot, boot_told) = watch::channel(subject.boot);
        let (connected, connected_seen) = watch::channel(false);
        let (spoken, spoken_heard) = watch::channel(false);
        let (exit, exit_seen) = watch::channel(None);
        let works = watch::Sender::new(false);
        let hear = listener(
            known.clone(),
            boot_told.clone(),
            works.clone(),
            (subject.vm, changes.clone()),
        );
        let directory = subject.directory;
        let line = Line {
            vm: subject.vm,
            socket: directory.channel(),
            boot: boot_told,
            wanted: subject.wanted,
            awaits_boot: subject.awaits_boot,
            connected,
            spoken,
        };
        let channel = tokio::spawn(converse(line, hear));
        let control = tokio::spawn(follow_qemu(
            (subject.vm, subject.driver),
            directory.clone(),
            works,
            known.clone(),
        ));
        // Not among the tasks that end with `self`: a child is to be reaped whoever watches it.
        let logs = [directory.qemu_log(), directory.balancer_log()];
        tokio::spawn(await_end(
            subject.process.try_clone()?,
            logs,
            known.clone(),
            exit,
            (subject.vm, changes.clone()),
        ));
        Ok(Self {
            driver: subject.driver,
            process: subject.process,
            need_mib: subject.need_mib,
            accelerator: subject.accelerator,
            since: Instant::now(),
            known,
            boot,
            connected: connected_seen,
            spoken: spoken_heard,
            exit: exit_seen,
            tasks: [channel, control],
        })
    }

    /// What is seen of the VM now.
    pub(crate) fn sight(&self, now: Instant) -> VmSight {
        let exit = self.exit();
        let known = lock(&self.known);
        let heartbeat = known
            .heartbeat
            .as_ref()
            .map(|(heard, heartbeat)| HeartbeatSight {
                age_ms: milliseconds(now.saturating_duration_since(*heard)),
                late_ms: milliseconds(known.rhythm.longest(now)),
                heartbeat: heartbeat.clone(),
            });
        VmSight {
            driver: self.driver,
            pid: exit.is_none().then_some(self.process.pid),
            accelerator: self.accelerator.clone(),
            watched_ms: milliseconds(now.saturating_duration_since(self.since)),
            heartbeat,
            exit,
        }
    }

    /// How the process ended, once it has.
    pub(crate) fn exit(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Waits until the process has ended and is reaped, and says how it ended.
    pub(crate) async fn ended(&self) -> String {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|end| end.clone()).unwrap_or_default()
    }

    /// Says who the VM is, in case that was not known when it was found.
    pub(crate) fn tell(&self, boot: &Boot) {
        self.boot.send_if_modified(|told| {
            let news = told.as_ref() != Some(boot);
            *told = Some(boot.clone());
            news
        });
    }

    /// Whether the guest has said anything, or most likely never will.
    pub(crate) fn has_come(&self) -> bool {
        let overdue = self.since.elapsed() >= LONGEST_BOOT;
        *self.spoken.borrow() || self.exit.borrow().is_some() || overdue
    }

    /// Waits until the guest has said anything.
    pub(crate) async fn first_words(&self) {
        let mut spoken = self.spoken.clone();
        let _channel_task_ended = spoken.wait_for(|spoken| *spoken).await;
    }

    /// Waits until the control channel is connected.
    pub(crate) fn channel_connected(&self) -> impl Future<Output = ()> + use<> {
        let mut connected = self.connected.clone();
        async move {
            let _channel_task_ended = connected.wait_for(|connected| *connected).await;
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn listener(
    known: Arc<Mutex<Known>>,
    boot: watch::Receiver<Option<Boot>>,
    works: watch::Sender<bool>,
    (vm, changes): (VmId, Changes),
) -> impl Fn(Heartbeat) + Send {
    move |heartbeat| {
        works.send_if_modified(|works| !std::mem::replace(works, true));
        let interval_ms = boot.borrow().as_ref().map(|boot| boot.heartbeat_ms);
        let news = {
            let (mut known, now) = (lock(&known), Instant::now());
            let old = known.heartbeat.as_ref().map(|(_, old)| old);
            let news = worth_a_round(old, &heartbeat);
            known.rhythm.hear(&heartbeat, interval_ms, now);
            known.heartbeat = Some((now, heartbeat));
            news
        };
        if news {
            changes.bump_for(vm);
        }
    }
}

/// Says how a process ended, and, of one that never came to speak, the last that it printed: what kept it from
/// its work.
async fn await_end(
    process: Process,
    logs: [PathBuf; 2],
    known: Arc<Mutex<Known>>,
    exit: watch::Sender<Option<String>>,
    (vm, changes): (VmId, Changes),
) {
    let end = match process.ended().await {
        Ok(end) => end,
        Err(error) => format!("cannot be watched: {error}"),
    };
    let (reason, has_spoken) = {
        let mut known = lock(&known);
        (known.shutdown.take(), known.heartbeat.is_some())
    };
    let said = match has_spoken {
        true => String::new(),
        false => logs.map(|log| log_file::tail(&log)).concat(),
    };
    let end = match reason {
        Some(reason) => format!("{end} ({reason})"),
        None => end,
    };
    exit.send_replace(Some(match said.is_empty() {
        true => end,
        false => format!("{end}: {said}"),
    }));
    changes.bump_for(vm);
}

/// Learns why QEMU ends when it ends by itself, and has a guest that worked begin anew when it resets itself.
async fn follow_qemu(
    (vm, driver): (VmId, Driver),
    directory: Directory,
    works: watch::Sender<bool>,
    known: Arc<Mutex<Known>>,
) {
    if driver != Driver::Qemu {
        return;
    }
    let reason = qemu::follow(vm, &directory.qmp(), works).await;
    lock(&known).shutdown = Some(reason);
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a panicking holder left is still whole: each lock guards single assignments.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
