//! Takes a VM away, in the order in which a crash in between leaves something to find: the process
//! first, since it holds the NICs, the directory last, since it is what a half-removed VM is found by.

use model::{STEP, VmId};
use tokio::time::timeout;
use tracing::trace;

use crate::ComputeError;
use crate::compute::Inner;
use crate::directory::Directory;
use crate::owner::Purpose;
use crate::pidfd::{KILL_DEADLINE, Process};
use crate::vm::lock;

impl Inner {
    /// See [`crate::Compute::remove_vm`]; the caller holds the VM's turn.
    pub(crate) async fn remove(&self, vm: VmId) -> Result<(), ComputeError> {
        let watched = lock(&self.vms).get(&vm).cloned();
        if let Some(watched) = watched.filter(|watched| watched.exit().is_none()) {
            end(vm, &watched.process, watched.ended()).await?;
        }
        for process in self.unwatched_processes(vm).await? {
            end(vm, &process, process.ended()).await?;
        }
        trace!(target: STEP, "compute: end of a process");
        self.network
            .remove_vm_nics(vm)
            .await
            .map_err(|source| ComputeError::Network { vm, source })?;
        self.cgroups
            .remove(vm)
            .await
            .map_err(|(path, source)| ComputeError::File {
                action: "remove",
                path,
                source,
            })?;
        trace!(target: STEP, "compute: removal of a cgroup");
        Directory::of_vm(&self.config.directory, vm).remove()?;
        trace!(target: STEP, "compute: removal of a directory");
        lock(&self.vms).remove(&vm);
        Ok(())
    }

    /// Processes that carry the VM's tag and that nobody watches: a start that was broken off.
    async fn unwatched_processes(&self, vm: VmId) -> Result<Vec<Process>, ComputeError> {
        let found = self.tagged_processes().await?;
        let spare = self.spare_of(vm);
        let ours = found
            .into_iter()
            .filter(|found| match found.tagged.purpose {
                Purpose::Vm(other) => other == vm,
                Purpose::Spare(number) => Some(number) == spare,
                Purpose::Trial => false,
            });
        Ok(ours.map(|found| found.process).collect())
    }
}

/// Kills a process and waits until it is gone, which is when `ended` is done.
pub(crate) async fn end<T>(
    vm: VmId,
    process: &Process,
    ended: impl Future<Output = T>,
) -> Result<(), ComputeError> {
    let name = format!("/proc/{}", process.pid);
    process
        .kill()
        .map_err(ComputeError::file("end", name.as_ref()))?;
    match timeout(KILL_DEADLINE, ended).await {
        Ok(_how) => Ok(()),
        Err(_) => Err(ComputeError::Unkillable {
            vm,
            pid: process.pid,
            waited_ms: u64::try_from(KILL_DEADLINE.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}
