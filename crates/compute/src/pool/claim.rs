//! A machine of the pool becomes a VM.

use std::io;
use std::os::fd::OwnedFd;

use super::Member;
use crate::ComputeError;
use crate::compute::Inner;
use crate::config::VmSpec;
use crate::directory::Directory;
use crate::pidfd::Process;
use crate::start::Started;

impl Inner {
    /// Makes a machine of the pool the VM of `spec`, where there is one; the caller holds the VM's turn.
    ///
    /// # Errors
    /// Whatever stood in the way, a machine among it that does not answer; nothing runs then.
    pub(crate) async fn claim(&self, spec: &VmSpec) -> Result<Option<Started>, ComputeError> {
        let Some(member) = self.pool.take(spec) else {
            return Ok(None);
        };
        let (number, accelerator) = (member.number, member.accelerator.clone());
        let directory = Directory::of_vm(&self.config.directory, spec.vm);
        Self::rename(spec, &member, &directory)?;
        let Some((process, mut qmp)) = member.release() else {
            return Ok(None);
        };
        join_cgroups(&process, self.cgroups.ensure(spec.vm, None));
        // It need not wait for its network to go on. Its NICs are on no bridge before there are rules.
        let going_on = async {
            let gone_on = qmp.execute("cont").await;
            gone_on.map_err(|error| ComputeError::Start {
                vm: spec.vm,
                reason: error.to_string(),
            })
        };
        let connected = async {
            let claimed = self.network.claim_spare_taps(number, &spec.nics).await;
            claimed.map_err(|source| ComputeError::Network {
                vm: spec.vm,
                source,
            })
        };
        let vm = self.watch(spec, process, (&directory, &accelerator), true)?;
        let outcome = tokio::try_join!(going_on, connected);
        if let Err(error) = outcome {
            self.give_up(spec.vm, &vm).await;
            return Err(error);
        }
        Ok(Some(Started { vm }))
    }

    fn rename(spec: &VmSpec, member: &Member, directory: &Directory) -> Result<(), ComputeError> {
        member
            .directory
            .write_record(&Self::record(spec, Some(member.number)))?;
        member.directory.become_one(directory)
    }
}

/// Counts the process for the VM from now on. Where that fails it runs all the same, uncounted.
fn join_cgroups(process: &Process, cgroups: Vec<OwnedFd>) {
    for group in cgroups {
        let pid = process.pid.to_string();
        if let Err(error) = rustix::io::write(&group, pid.as_bytes()).map_err(io::Error::from) {
            tracing::warn!(%error, pid, "a machine of the pool cannot join its VM's cgroup");
        }
    }
}
