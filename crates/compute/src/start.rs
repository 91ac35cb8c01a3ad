//! Starts a VM, step by step.
//!
//! Each step leaves something that is found again when the process is killed after it: first the
//! directory with the record, then NICs, cgroup and process.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use model::{Boot, Driver, STEP, VmId};
use network::TapNics;
use tokio::time::timeout;
use tracing::trace;

use crate::adoption::Occasion;
use crate::compute::Inner;
use crate::config::VmSpec;
use crate::directory::{Directory, Record};
use crate::launch::{Launch, inheritable, launch, number};
use crate::memory::need_mib;
use crate::owner::{Owner, Purpose};
use crate::pidfd::Process;
use crate::pool::can_be;
use crate::qemu::{self, Disk, Machine, Memory, Nic};
use crate::removal::end;
use crate::snapshot::{self, Snapshot, SnapshotError};
use crate::vm::{Subject, Vm, lock};
use crate::{ComputeError, process};

/// Within which a new process opens its control channel. On a busy host QEMU takes a second.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// Within which a VM that was restored speaks. It takes some tenths of a second.
const WORDS_DEADLINE: Duration = Duration::from_secs(10);

/// Machines of the pool of which one VM tries to be one, before another way is taken.
const MOST_CLAIMS: u32 = 3;

/// A VM whose process runs and is watched.
pub(crate) struct Started {
    pub vm: Arc<Vm>,
}

impl Inner {
    /// See [`crate::Compute::ensure_vm`]; the caller holds the VM's turn.
    pub(crate) async fn ensure(&self, spec: &VmSpec) -> Result<(), ComputeError> {
        if let Some(vm) = self.running(spec.vm) {
            return self.mend(spec, &vm).await;
        }
        // A process that nobody watches must not lose its NICs to a second one.
        self.adopt(Occasion::Making(spec.vm)).await?;
        if let Some(vm) = self.running(spec.vm) {
            return self.mend(spec, &vm).await;
        }
        let machine = self.machine(spec)?;
        let _under_way = self.admit(spec, machine.as_ref()).await?;
        // The channel of a process that has ended is given up before the next one takes its place.
        lock(&self.vms).remove(&spec.vm);
        let started = match machine {
            Some(machine) => self.start_machine(spec, &machine).await?,
            None => self.start_process(spec).await?,
        };
        await_channel(spec.vm, &started.vm).await
    }

    /// Starts a QEMU VM in the fastest way that works.
    async fn start_machine(
        &self,
        spec: &VmSpec,
        machine: &Machine,
    ) -> Result<Started, ComputeError> {
        self.pool.want();
        for _ in 0..MOST_CLAIMS {
            match self.claim(spec).await {
                Ok(Some(claimed)) => return Ok(claimed),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(vm = %spec.vm, %error, "a machine of the pool is of no use; taking another way");
                }
            }
        }
        let snapshot = lock(&self.snapshot).clone();
        let usable = snapshot.filter(|s| can_be(s.shape, spec) && self.may_try_snapshot());
        if let Some(snapshot) = usable {
            match self.restore(spec, machine, &snapshot).await {
                Ok(restored) => {
                    self.praise(&snapshot);
                    return Ok(restored);
                }
                Err(error) => self.blame(Some(&snapshot), &error),
            }
        }
        let directory = self.make_directory(spec)?;
        let process = self.start_qemu(spec, machine, (&directory, None)).await?;
        let accelerator = machine.accelerator.to_string();
        let vm = self.watch(spec, process, (&directory, &accelerator), false)?;
        Ok(Started { vm })
    }

    async fn start_process(&self, spec: &VmSpec) -> Result<Started, ComputeError> {
        let directory = self.make_directory(spec)?;
        let process = self.run_process(spec, &directory).await?;
        let vm = self.watch(spec, process, (&directory, "process"), false)?;
        Ok(Started { vm })
    }

    /// Starts a VM from the snapshot, and returns once it has spoken: one that does not come is not waited for.
    async fn restore(
        &self,
        spec: &VmSpec,
        machine: &Machine,
        snapshot: &Snapshot,
    ) -> Result<Started, SnapshotError> {
        let directory = self.make_directory(spec).map_err(SnapshotError::Host)?;
        let started = self.start_qemu(spec, machine, (&directory, Some(snapshot)));
        let process = started.await.map_err(SnapshotError::Host)?;
        let loaded = async {
            let mut qmp = snapshot::load(snapshot, &directory, &process).await?;
            qmp.execute("cont").await?;
            Ok(())
        };
        if let Err(error) = loaded.await {
            end(spec.vm, &process, process.ended())
                .await
                .map_err(SnapshotError::Host)?;
            return Err(error);
        }
        let accelerator = machine.accelerator.to_string();
        let watched = self.watch(spec, process, (&directory, &accelerator), true);
        let vm = watched.map_err(SnapshotError::Host)?;
        let silent = tokio::select! {
            words = timeout(WORDS_DEADLINE, vm.first_words()) => match words {
                Ok(()) => return Ok(Started { vm }),
                Err(_) => {
                    let seconds = WORDS_DEADLINE.as_secs();
                    SnapshotError::Late(format!("VM {} is silent for {seconds} s", spec.vm))
                }
            },
            how = vm.ended() => SnapshotError::Machine(format!("QEMU {how}")),
        };
        self.give_up(spec.vm, &vm).await;
        Err(silent)
    }

    /// Begins to watch a process that is the VM from now on.
    pub(crate) fn watch(
        &self,
        spec: &VmSpec,
        process: Process,
        (directory, accelerator): (&Directory, &str),
        awaits_boot: bool,
    ) -> Result<Arc<Vm>, ComputeError> {
        trace!(target: STEP, "compute: process");
        let subject = Subject {
            vm: spec.vm,
            driver: spec.driver,
            accelerator: accelerator.to_owned(),
            process,
            directory: directory.clone(),
            boot: Some(boot_of(spec)),
            wanted: self.wanted(spec.vm, |wanted| wanted.subscribe()),
            awaits_boot,
            need_mib: need_mib(spec.driver, accelerator, spec.shape),
        };
        let vm = Vm::watch(subject, &self.changes)
            .map_err(ComputeError::file("watch", directory.path()))?;
        let vm = Arc::new(vm);
        lock(&self.vms).insert(spec.vm, vm.clone());
        Ok(vm)
    }

    /// Ends a VM that did not come to be one.
    pub(crate) async fn give_up(&self, id: VmId, vm: &Vm) {
        if let Err(error) = end(id, &vm.process, vm.ended()).await {
            tracing::warn!(vm = %id, %error, "cannot end a VM that did not come");
        }
        lock(&self.vms).remove(&id);
    }

    /// Makes the VM's directory with its record, first of all.
    fn make_directory(&self, spec: &VmSpec) -> Result<Directory, ComputeError> {
        let directory = Directory::of_vm(&self.config.directory, spec.vm);
        directory.ensure()?;
        trace!(target: STEP, "compute: directory");
        directory.write_record(&Self::record(spec, None))?;
        trace!(target: STEP, "compute: record");
        directory.clear_sockets()?;
        Ok(directory)
    }

    pub(crate) fn record(spec: &VmSpec, spare: Option<u32>) -> Record {
        Record {
            driver: spec.driver,
            boot: boot_of(spec),
            spare,
            shape: Some(spec.shape),
        }
    }

    /// The VM under watch, while its process lives.
    fn running(&self, vm: VmId) -> Option<Arc<Vm>> {
        let watched = lock(&self.vms).get(&vm).cloned();
        watched.filter(|watched| watched.exit().is_none())
    }

    /// Brings a VM that runs back to what it should be, as far as that goes without a restart.
    async fn mend(&self, spec: &VmSpec, vm: &Vm) -> Result<(), ComputeError> {
        vm.tell(&boot_of(spec));
        match vm.driver {
            Driver::Process => self.ensure_veth_nics(spec).await,
            Driver::Qemu => {
                let mended = match self.spare_of(spec.vm) {
                    // Its taps may not have come to their places.
                    Some(number) => self.network.claim_spare_taps(number, &spec.nics).await,
                    None => self.network.mend_tap_nics(&spec.nics).await,
                };
                mended.map_err(network_error(spec.vm))
            }
        }
    }

    async fn ensure_veth_nics(&self, spec: &VmSpec) -> Result<(), ComputeError> {
        let made = self.network.ensure_veth_nics(&spec.nics).await;
        made.map_err(network_error(spec.vm))
    }

    async fn run_process(
        &self,
        spec: &VmSpec,
        directory: &Directory,
    ) -> Result<Process, ComputeError> {
        self.ensure_veth_nics(spec).await?;
        let plan = process::Plan {
            directory,
            owner: self.owner(spec.vm),
            namespace: &self.network.vm_namespace_path(spec.vm),
            vcpu: spec.shape.vcpu,
            cgroups: self.cgroups.ensure(spec.vm, Some(spec.shape.memory_mib)),
        };
        trace!(target: STEP, "compute: cgroup");
        let prepared = process::prepare(&self.config, plan).map_err(start_error(spec.vm))?;
        run(spec.vm, prepared).await
    }

    async fn start_qemu(
        &self,
        spec: &VmSpec,
        machine: &Machine,
        (directory, from): (&Directory, Option<&Snapshot>),
    ) -> Result<Process, ComputeError> {
        let taps = self.network.ensure_tap_nics(&spec.nics).await;
        let TapNics { front, tenant } = taps.map_err(network_error(spec.vm))?;
        let begun = async {
            let disk = match spec.shape.disk_size {
                0 => None,
                gib => {
                    qemu::make_disk(&directory.disk(), gib)?;
                    Some(Disk)
                }
            };
            let (front, tenant) = (inheritable(front)?, inheritable(tenant)?);
            let memory = from.map(|from| inheritable(from.memory())).transpose()?;
            let nic = |id, tap: &std::os::fd::OwnedFd, mac: model::Mac| Nic {
                id,
                tap_fd: number(tap.as_fd()),
                mac: mac.to_string(),
            };
            let plan = qemu::Plan {
                owner: self.owner(spec.vm),
                directory,
                image: machine.image.directory(),
                accelerator: machine.accelerator,
                tsc_khz: machine.tsc_khz,
                shape: spec.shape,
                nics: vec![
                    nic("front", &front, spec.nics.front.mac),
                    nic("tenant", &tenant, spec.nics.tenant.mac),
                ],
                identity: self.config.unprivileged,
                disk,
                memory: match &memory {
                    Some(memory) => Memory::Restored(number(memory.as_fd())),
                    None => Memory::Fresh,
                },
            };
            let inherited = [front, tenant].into_iter().chain(memory).collect();
            qemu::begin(
                machine,
                &plan,
                inherited,
                self.cgroups.ensure(spec.vm, None),
            )
            .await
        };
        begun.await.map_err(start_error(spec.vm))
    }

    fn owner(&self, vm: VmId) -> String {
        Owner {
            installation: &self.config.installation,
            purpose: Purpose::Vm(vm),
        }
        .to_string()
    }
}

/// Who the VM is. Seed and time are filled in when it is sent.
fn boot_of(spec: &VmSpec) -> Boot {
    Boot {
        vm: spec.vm,
        hostname: spec.hostname.clone(),
        front: spec.nics.front.clone(),
        tenant: spec.nics.tenant.clone(),
        seed: String::new(),
        unix_time_ms: 0,
        heartbeat_ms: spec.heartbeat_ms,
        monitor: spec.monitor.clone(),
    }
}

async fn run(vm: VmId, prepared: Launch) -> Result<Process, ComputeError> {
    let program = prepared.program.clone();
    tokio::task::spawn_blocking(move || launch(prepared))
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|error| ComputeError::Start {
            vm,
            reason: format!("{} cannot be run: {error}", program.display()),
        })
}

/// Waits until the process listens on its channel.
async fn await_channel(vm: VmId, watched: &Vm) -> Result<(), ComputeError> {
    let failed = |reason: String| Err(ComputeError::Start { vm, reason });
    tokio::select! {
        connected = timeout(START_DEADLINE, watched.channel_connected()) => match connected {
            Ok(()) => Ok(()),
            Err(_) => failed(format!("its control channel does not answer after {} s", START_DEADLINE.as_secs())),
        },
        end = watched.ended() => failed(format!("its process {end}")),
    }
}

fn start_error(vm: VmId) -> impl FnOnce(io::Error) -> ComputeError {
    move |error| ComputeError::Start {
        vm,
        reason: error.to_string(),
    }
}

fn network_error(vm: VmId) -> impl FnOnce(network::NetworkError) -> ComputeError {
    move |source| ComputeError::Network { vm, source }
}
