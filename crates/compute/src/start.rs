//! Starts a VM, step by step.
//!
//! Each step leaves something that is found again when the process is killed after it: first the
//! directory with the record, then NICs, cgroup and process.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use model::{Boot, Driver, VmId};
use network::TapNics;
use tokio::time::timeout;

use crate::adoption::Occasion;
use crate::compute::Inner;
use crate::config::VmSpec;
use crate::directory::{Directory, Record};
use crate::launch::{Launch, inheritable, launch, number};
use crate::owner::{Owner, Purpose};
use crate::pidfd::Process;
use crate::qemu::{self, Disk, Machine, Nic};
use crate::vm::{Subject, Vm, lock};
use crate::{ComputeError, log_file, process};

/// Within which a new process opens its control channel. On a busy host QEMU takes a second.
const START_DEADLINE: Duration = Duration::from_secs(15);

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
        // The channel of a process that has ended is given up before the next one takes its place.
        lock(&self.vms).remove(&spec.vm);
        let directory = Directory::of_vm(&self.config.directory, spec.vm);
        directory.ensure()?;
        directory.write_record(&Record {
            driver: spec.driver,
            boot: boot_of(spec),
        })?;
        directory.clear_sockets()?;
        let (process, accelerator) = match machine {
            Some(machine) => {
                let accelerator = machine.accelerator.to_string();
                (
                    self.start_qemu(spec, machine, &directory).await?,
                    accelerator,
                )
            }
            None => (
                self.start_process(spec, &directory).await?,
                "process".to_owned(),
            ),
        };
        let subject = Subject {
            vm: spec.vm,
            driver: spec.driver,
            accelerator,
            process,
            directory: directory.clone(),
            boot: Some(boot_of(spec)),
            wanted: self.wanted(spec.vm, |wanted| wanted.subscribe()),
        };
        let vm = Vm::watch(subject, &self.changes)
            .map_err(ComputeError::file("watch", directory.path()))?;
        let vm = Arc::new(vm);
        lock(&self.vms).insert(spec.vm, vm.clone());
        await_channel(spec.vm, &vm, &directory).await
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
                let mended = self.network.mend_tap_nics(&spec.nics).await;
                mended.map_err(network_error(spec.vm))
            }
        }
    }

    async fn ensure_veth_nics(&self, spec: &VmSpec) -> Result<(), ComputeError> {
        let made = self.network.ensure_veth_nics(&spec.nics).await;
        made.map_err(network_error(spec.vm))
    }

    async fn start_process(
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
        let prepared = process::prepare(&self.config, plan).map_err(start_error(spec.vm))?;
        run(spec.vm, prepared).await
    }

    async fn start_qemu(
        &self,
        spec: &VmSpec,
        machine: Machine,
        directory: &Directory,
    ) -> Result<Process, ComputeError> {
        let taps = self.network.ensure_tap_nics(&spec.nics).await;
        let TapNics { front, tenant } = taps.map_err(network_error(spec.vm))?;
        let prepare = || -> io::Result<Launch> {
            let disk = match spec.shape.disk_size {
                0 => None,
                gib => {
                    qemu::make_disk(&directory.disk(), gib)?;
                    Some(Disk)
                }
            };
            let (front, tenant) = (inheritable(front)?, inheritable(tenant)?);
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
            };
            Ok(Launch {
                program: machine.program.clone(),
                arguments: plan.arguments(),
                log: log_file::open(&directory.qemu_log())?,
                inherited: vec![front, tenant],
                cgroups: self.cgroups.ensure(spec.vm, None),
                confinement: None,
            })
        };
        let prepared = prepare().map_err(start_error(spec.vm))?;
        run(spec.vm, prepared).await
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

/// Waits until the process listens on its channel, and tells an end before that with the log's last
/// lines.
async fn await_channel(vm: VmId, watched: &Vm, directory: &Directory) -> Result<(), ComputeError> {
    let failed = |reason: String| Err(ComputeError::Start { vm, reason });
    tokio::select! {
        connected = timeout(START_DEADLINE, watched.channel_connected()) => match connected {
            Ok(()) => Ok(()),
            Err(_) => failed(format!("its control channel does not answer after {} s", START_DEADLINE.as_secs())),
        },
        end = watched.ended() => {
            let logs = [directory.qemu_log(), directory.balancer_log()];
            let said = logs.map(|log| log_file::tail(&log)).concat();
            failed(format!("its process {end}: {said}"))
        }
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
