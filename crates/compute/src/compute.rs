//! The entrance: all VMs of one installation on this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use model::{BalancerConfig, Driver, STEP, VmId, VmSight};
use network::Network;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::trace;

use crate::admission::Admission;
use crate::adoption::Occasion;
use crate::cgroup::Cgroups;
use crate::changes::{Changes, News};
use crate::channel::Wanted;
use crate::config::{ComputeConfig, VmSpec};
use crate::directory::{self, Directory};
use crate::image::Image;
use crate::pool::{self, Pool};
use crate::qemu::Machine;
use crate::readiness::{Accelerator, Readiness};
use crate::snapshot::{Snapshot, Trust};
use crate::vm::{Vm, lock};
use crate::{ComputeError, accelerator, log_file};

/// Shortest time between two looks at all processes of the machine, for such as nobody knows of.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at the size of logs.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What was made before anybody wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Whether VMs are restored from a snapshot.
    pub snapshot: bool,
    /// How many machines wait to become VMs.
    pub waiting: usize,
}

/// All VMs of one installation on this machine. Clones share everything.
#[derive(Clone)]
pub struct Compute {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: ComputeConfig,
    pub network: Network,
    pub cgroups: Cgroups,
    pub changes: Changes,
    /// VMs whose process was started or found, also after its end, until they are removed.
    pub vms: Mutex<BTreeMap<VmId, Arc<Vm>>>,
    /// What each VM should balance, also before the VM is there.
    wanted: Mutex<BTreeMap<VmId, watch::Sender<Wanted>>>,
    /// Held while a VM is made or removed, so that the two never meet.
    turns: Mutex<BTreeMap<VmId, Arc<tokio::sync::Mutex<()>>>>,
    readiness: Mutex<Readiness>,
    pub machine: Mutex<Option<Machine>>,
    /// What VMs are restored from, while it is there and trusted.
    pub snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// Whether snapshots are made now, and machines from them.
    pub trust: Mutex<Trust>,
    /// Why VMs are booted although they should be restored, in words; `None` while they are.
    pub ahead_trouble: Mutex<Option<String>>,
    /// That the image is of another version, in words.
    image_trouble: Mutex<Option<String>>,
    pub pool: Pool,
    pub admission: Admission,
    pub scanned: Mutex<Option<Instant>>,
}

impl Compute {
    /// Finds the VMs of this installation that run already, and takes them over: connects to their
    /// channels and watches their processes. Trial boots and machines of the pool that an earlier process left are
    /// ended.
    ///
    /// Must be called within a tokio runtime. VMs cannot be started before [`Self::prepare`] is done.
    ///
    /// # Errors
    /// [`ComputeError::PathTooLong`] and [`ComputeError::File`], on the configured directory or /proc.
    pub async fn open(config: ComputeConfig, network: Network) -> Result<Self, ComputeError> {
        let mut config = config;
        config.directory = std::path::absolute(&config.directory)
            .map_err(ComputeError::file("find", &config.directory))?;
        directory::check_length(&config.directory)?;
        std::fs::create_dir_all(&config.directory)
            .map_err(ComputeError::file("create", &config.directory))?;
        let inner = Arc::new(Inner {
            cgroups: Cgroups::find(&config.installation),
            config,
            network,
            changes: Changes::new(),
            vms: Mutex::default(),
            wanted: Mutex::default(),
            turns: Mutex::default(),
            readiness: Mutex::new(Readiness::Probing),
            machine: Mutex::default(),
            snapshot: Mutex::default(),
            trust: Mutex::default(),
            ahead_trouble: Mutex::default(),
            image_trouble: Mutex::default(),
            pool: Pool::default(),
            admission: Admission::default(),
            scanned: Mutex::default(),
        });
        inner.adopt(Occasion::Start).await?;
        tokio::spawn(bound_logs(Arc::downgrade(&inner)));
        tokio::spawn(pool::keep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Finds out how VMs can be run here, and returns what [`Self::readiness`] says from then on.
    ///
    /// Under [`crate::ComputeChoice::Auto`] the image is booted under KVM once, which takes as long
    /// as it takes the image to boot, or the configured deadline. The answer is kept in the VM
    /// directory for as long as kernel, image and QEMU stay the same. Raises [`Self::changes`]. May be
    /// called again when something that was missing may have come.
    pub async fn prepare(&self) -> Readiness {
        let (readiness, machine) = accelerator::find(&self.inner.config, &self.inner.cgroups).await;
        let image = machine.as_ref().map(|machine| &machine.image);
        *lock(&self.inner.image_trouble) =
            image.and_then(|image| self.inner.complaint_about(image));
        *lock(&self.inner.machine) = machine;
        *lock(&self.inner.readiness) = readiness.clone();
        self.inner.changes.bump();
        readiness
    }

    /// Whether this host can run VMs, and if not, why and what to do.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        lock(&self.inner.readiness).clone()
    }

    /// What was made before anybody wanted it.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        Ahead {
            snapshot: lock(&self.inner.snapshot).is_some(),
            waiting: self.inner.pool.len(),
        }
    }

    /// What VMs wait for, what makes them come more slowly than they could, and whether they run another version than
    /// is installed, in words with what to do.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = self.inner.admission.waiting();
        troubles.extend(lock(&self.inner.ahead_trouble).clone());
        troubles.extend(lock(&self.inner.image_trouble).clone());
        troubles
    }

    /// Makes sure that the VM's process runs and that its NICs are as they should be.
    ///
    /// Returns when the process runs and its channel is connected, not when it has booted. A VM that
    /// runs is not restarted; one whose process has ended is started again.
    ///
    /// # Errors
    /// [`ComputeError::NotReady`] before [`Self::prepare`] is done or when VMs cannot be run here,
    /// [`ComputeError::NoRoom`] while the host has no memory for it, and whatever stood in the way of a step. Calling again takes up what is there.
    pub async fn ensure_vm(&self, spec: &VmSpec) -> Result<(), ComputeError> {
        let turn = self.inner.turn(spec.vm);
        let _held = turn.lock().await;
        self.inner.ensure(spec).await
    }

    /// Takes away everything of a VM: process, NICs, cgroup, directory, in this order. A VM of which
    /// nothing or only a part exists is no error.
    ///
    /// # Errors
    /// [`ComputeError::Unkillable`], [`ComputeError::Network`] or [`ComputeError::File`]; what is left
    /// is still seen by [`Self::observe`].
    pub async fn remove_vm(&self, vm: VmId) -> Result<(), ComputeError> {
        let turn = self.inner.turn(vm);
        let held = turn.lock().await;
        self.inner.remove(vm).await?;
        lock(&self.inner.wanted).remove(&vm);
        self.inner.admission.forget(vm);
        drop(held);
        // Unless somebody waits for it: the map's and ours are two.
        let mut turns = lock(&self.inner.turns);
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(&vm);
        }
        Ok(())
    }

    /// Sets what a VM should balance. It is pushed at once, and again at most every 500 ms, until the
    /// VM's heartbeat names its generation or refuses it. An older generation than the one that is
    /// set is passed over. The VM need not exist yet.
    pub fn set_config(&self, vm: VmId, config: BalancerConfig) {
        self.inner.wanted(vm, |wanted| {
            wanted
                .send_if_modified(|current| {
                    let passed_over = current
                        .config
                        .as_ref()
                        .is_some_and(|current| current.generation >= config.generation);
                    if !passed_over {
                        trace!(target: STEP, "before push config");
                        current.config = Some(Arc::new(config));
                    }
                    !passed_over
                })
                .then(|| trace!(target: STEP, "after push config"));
        });
    }

    /// Has a VM's clients told to leave it, and goes on to say so to each of its balancers until the VM is
    /// removed. One of a version that cannot is not told.
    pub fn drain(&self, vm: VmId) {
        self.inner.wanted(vm, |wanted| {
            if !wanted.borrow().drains {
                trace!(target: STEP, "before drain VM");
                wanted.send_modify(|current| current.drains = true);
                trace!(target: STEP, "after drain VM");
            }
        });
    }

    /// What is seen of every VM of which a process, a directory or a cgroup exists.
    ///
    /// A VM without a process has no `pid`; its `exit` says how the process ended, where that was seen. Takes well under a millisecond, but once a second as long as a look at all processes.
    pub async fn observe(&self) -> BTreeMap<VmId, VmSight> {
        if self.inner.scan_is_due()
            && let Err(error) = self.inner.adopt(Occasion::Look).await
        {
            tracing::warn!(%error, "cannot look for VMs that nobody knows of");
        }
        let now = Instant::now();
        let known: Vec<(VmId, Arc<Vm>)> = {
            let vms = lock(&self.inner.vms);
            vms.iter().map(|(id, vm)| (*id, vm.clone())).collect()
        };
        let mut sights: BTreeMap<VmId, VmSight> = known
            .into_iter()
            .map(|(id, vm)| (id, vm.sight(now)))
            .collect();
        for vm in self.inner.residue() {
            sights
                .entry(vm)
                .or_insert_with(|| self.inner.residue_sight(vm));
        }
        sights
    }

    /// Rises when something worth another look has happened: a VM's first heartbeat, a configuration
    /// taken or refused, a backend's health changed, a process ended, readiness found out.
    /// [`Self::take_news`] says of whom.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.watch()
    }

    /// Of whom there is news since this was last asked: of one watcher, for it is told once.
    #[must_use]
    pub fn take_news(&self) -> News {
        self.inner.changes.take()
    }
}

impl Inner {
    /// Says so when the image was left behind by an upgrade, or the program by a new image.
    fn complaint_about(&self, image: &Image) -> Option<String> {
        let program = &self.config.balancer_program;
        image.has_another_balancer(program).then(|| {
            let (image, program) = (image.directory().display(), program.display());
            let words = format!(
                "the image at {image} has another version of the balancer in it than {program}, and VMs run the image's; \
                 make it anew with `evenkeel image build`, and start the server again"
            );
            tracing::warn!("{words}");
            words
        })
    }

    /// The machine that VMs are made from, or why there is none.
    pub(crate) fn machine(&self, spec: &VmSpec) -> Result<Option<Machine>, ComputeError> {
        let not_ready = |reason: String| ComputeError::NotReady {
            vm: spec.vm,
            reason,
        };
        let readiness = lock(&self.readiness).clone();
        match (spec.driver, readiness) {
            (Driver::Process, Readiness::Ready { .. }) => Ok(None),
            (
                Driver::Qemu,
                Readiness::Ready {
                    accelerator: Accelerator::Process,
                    ..
                },
            ) => Err(not_ready(
                "it is a QEMU VM, and this host is configured to run processes only; set `compute.driver` to `auto`"
                    .to_owned(),
            )),
            (Driver::Qemu, Readiness::Ready { .. }) => Ok(lock(&self.machine).clone()),
            (_, other) => Err(not_ready(other.to_string())),
        }
    }

    pub(crate) fn wanted<T>(&self, vm: VmId, with: impl FnOnce(&watch::Sender<Wanted>) -> T) -> T {
        let mut wanted = lock(&self.wanted);
        with(
            wanted
                .entry(vm)
                .or_insert_with(|| watch::Sender::new(Wanted::default())),
        )
    }

    pub(crate) fn turn(&self, vm: VmId) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.turns).entry(vm).or_default().clone()
    }

    fn scan_is_due(&self) -> bool {
        lock(&self.scanned).is_none_or(|at| at.elapsed() >= SCAN_INTERVAL)
    }

    /// VMs of which a directory or a cgroup exists.
    fn residue(&self) -> Vec<VmId> {
        let mut vms = self.cgroups.list();
        match directory::list(&self.config.directory) {
            Ok(listed) => vms.extend(listed),
            Err(error) => tracing::warn!(%error, "cannot list the VM directory"),
        }
        vms
    }

    fn residue_sight(&self, vm: VmId) -> VmSight {
        let record = Directory::of_vm(&self.config.directory, vm).read_record();
        VmSight {
            driver: record.map_or(self.config.choice.driver(), |record| record.driver),
            pid: None,
            accelerator: String::new(),
            watched_ms: 0,
            heartbeat: None,
            // It may be about to start: only an end that was seen is told.
            exit: None,
        }
    }
}

/// Empties logs that have grown too large, until the last clone of the [`Compute`] is gone.
async fn bound_logs(compute: Weak<Inner>) {
    let mut ticks = interval(LOG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = compute.upgrade() else {
            return;
        };
        for vm in directory::list(&inner.config.directory).unwrap_or_default() {
            let directory = Directory::of_vm(&inner.config.directory, vm);
            log_file::bound(&directory.console_log());
            log_file::bound(&directory.qemu_log());
            log_file::bound(&directory.balancer_log());
        }
    }
}
