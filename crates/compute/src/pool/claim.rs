//! A machine of the pool becomes a VM.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::Member;
use crate::ComputeError;
use crate::compute::Inner;
use crate::config::VmSpec;
use crate::directory::Directory;
use crate::pidfd::Process;
use crate::qemu::{Qmp, QmpError};
use crate::start::Started;

/// Within which this process connects to the channel of a machine that goes on. It goes on without, if need be.
const CHANNEL_DEADLINE: Duration = Duration::from_secs(1);
/// Between two looks for that.
const CHANNEL_PAUSE: Duration = Duration::from_millis(2);

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
            let gone_on = go_on(&mut qmp).await;
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

/// Has the machine go on once QEMU has the connection of this process for its channel. What a guest writes between two
/// connections can have QEMU 7.2 hold back all that it writes afterwards, and the VM is silent for ever.
async fn go_on(qmp: &mut Qmp) -> Result<(), QmpError> {
    let looked = Instant::now();
    while !has_channel(&qmp.execute("query-chardev").await?) && looked.elapsed() < CHANNEL_DEADLINE
    {
        sleep(CHANNEL_PAUSE).await;
    }
    qmp.execute("cont").await.map(|_nothing| ())
}

/// Whether somebody is at the other end of the channel, by what QEMU answers to `query-chardev`.
fn has_channel(devices: &Value) -> bool {
    let channel = devices.as_array().into_iter().flatten();
    let mut channel = channel.filter(|device| device["label"] == "channel");
    channel.any(|device| {
        let name = device["filename"].as_str();
        name.is_some_and(|name| !name.starts_with("disconnected:"))
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_channel_with_somebody_at_its_end_is_told_from_one_without() {
        for (devices, expected) in [
            (json!([]), false),
            (
                json!([{"label": "channel", "filename": "unix:/run/channel.sock,server=on"}]),
                true,
            ),
            (
                json!([{"label": "channel", "filename": "disconnected:unix:/run/channel.sock,server=on"}]),
                false,
            ),
            (
                json!([{"label": "qmp", "filename": "unix:/run/qmp.sock,server=on"}]),
                false,
            ),
        ] {
            assert_eq!(has_channel(&devices), expected, "{devices}");
        }
    }
}
