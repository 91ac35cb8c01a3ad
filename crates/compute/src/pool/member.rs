//! One machine that waits.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use model::{Driver, STAND_IN_MACS, VmShape};
use network::Network;
use tokio::runtime::Handle;
use tokio::time::{Duration, timeout};

use crate::config::ComputeConfig;
use crate::directory::Directory;
use crate::launch::{inheritable, number};
use crate::memory::{Share, need_mib, used_mib};
use crate::owner::{Owner, Purpose};
use crate::pidfd::{KILL_DEADLINE, Process};
use crate::qemu::{Machine, Memory, Nic, Plan, Qmp, begin};
use crate::snapshot::{Snapshot, SnapshotError, load};
use crate::trial::first_words;

use super::rehearsal::rehearse;

/// Within which a machine that was restored speaks.
const WORDS_DEADLINE: Duration = Duration::from_secs(15);

/// Numbers have at most seven digits, so that links can be named by them.
const NUMBERS: u32 = 10_000_000;

/// One machine that waits. Dropping it ends it.
pub(crate) struct Member {
    pub number: u32,
    pub directory: Directory,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    snapshot: Arc<Snapshot>,
    /// Its process and the way to let it go on; none once it is somebody's.
    held: Option<(Process, Qmp)>,
}

/// The plan of a machine that is nobody's, with stand-ins' MACs.
pub(crate) fn blank_plan<'a>(
    (config, machine, shape): (&ComputeConfig, &'a Machine, VmShape),
    (purpose, directory): (Purpose, &'a Directory),
    taps: [&OwnedFd; 2],
    memory: Memory,
) -> Plan<'a> {
    let nics = ["front", "tenant"].into_iter().zip(taps).zip(STAND_IN_MACS);
    let owner = Owner {
        installation: &config.installation,
        purpose,
    };
    Plan {
        owner: owner.to_string(),
        directory,
        image: machine.image.directory(),
        accelerator: machine.accelerator,
        tsc_khz: machine.tsc_khz,
        shape,
        nics: nics
            .map(|((id, tap), mac)| Nic {
                id,
                tap_fd: number(tap.as_fd()),
                mac: mac.to_string(),
            })
            .collect(),
        identity: config.unprivileged,
        disk: None,
        memory,
    }
}

/// A number that no other machine has, with all likelihood.
pub(crate) fn draw_number() -> io::Result<u32> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes) % NUMBERS)
}

impl Member {
    /// Restores a machine, waits until it speaks, has it rehearse, and stops it.
    pub(crate) async fn make(
        config: &ComputeConfig,
        network: &Network,
        machine: &Machine,
        snapshot: Arc<Snapshot>,
    ) -> Result<Self, SnapshotError> {
        let number = draw_number().map_err(|e| SnapshotError::File("draw a number", e))?;
        let directory = Directory::of_spare(&config.directory, number);
        let made = directory.ensure();
        made.map_err(SnapshotError::Host)?;
        let started = start(config, network, machine, (&snapshot, number, &directory)).await;
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let _found_again_at_the_next_start = directory.remove();
                return Err(error);
            }
        };
        // From here on its end is its drop's.
        let guard = Guard {
            process: Some(process),
            directory: directory.clone(),
        };
        let qmp = guard.await_words(&snapshot).await?;
        let process = guard.release();
        Ok(Self {
            number,
            directory,
            accelerator: machine.accelerator.to_string(),
            snapshot,
            held: process.map(|process| (process, qmp)),
        })
    }

    pub(crate) fn shape(&self) -> VmShape {
        self.snapshot.shape
    }

    /// What it was promised, and what it has taken of that.
    pub(crate) fn share(&self) -> Share {
        let held = self.held.as_ref();
        Share {
            promised: need_mib(Driver::Qemu, &self.accelerator, self.shape()),
            used: held.map_or(0, |(process, _)| used_mib(process.pid)),
        }
    }

    /// Ends it, and returns once it is gone.
    pub(crate) async fn end(mut self) {
        let Some((process, _)) = self.held.take() else {
            return;
        };
        let ended = process.try_clone();
        end(process, &self.directory);
        if let Ok(ended) = ended {
            let _how = timeout(KILL_DEADLINE, ended.ended()).await;
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|(process, _)| process.is_alive())
    }

    /// Its process and the way to let it go on. From here on its end is the caller's.
    pub(crate) fn release(mut self) -> Option<(Process, Qmp)> {
        self.held.take()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some((process, _)) = self.held.take() {
            end(process, &self.directory);
        }
    }
}

/// Ends a machine that is being made, unless it comes to its end.
struct Guard {
    process: Option<Process>,
    directory: Directory,
}

impl Guard {
    async fn await_words(&self, snapshot: &Snapshot) -> Result<Qmp, SnapshotError> {
        let gone = || SnapshotError::Machine("it is gone".to_owned());
        let process = self.process.as_ref().ok_or_else(gone)?;
        let mut qmp = load(snapshot, &self.directory, process).await?;
        qmp.execute("cont").await?;
        let words = timeout(WORDS_DEADLINE, first_words(&self.directory.channel())).await;
        let stream = words.map_err(|_| {
            let seconds = WORDS_DEADLINE.as_secs();
            SnapshotError::Late(format!("it is silent for {seconds} s"))
        })?;
        let _stays_until_it_stands_still = rehearse(stream).await;
        qmp.execute("stop").await?;
        Ok(qmp)
    }

    fn release(mut self) -> Option<Process> {
        self.process.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            end(process, &self.directory);
        }
    }
}

async fn start(
    config: &ComputeConfig,
    network: &Network,
    machine: &Machine,
    (snapshot, spare, directory): (&Snapshot, u32, &Directory),
) -> Result<Process, SnapshotError> {
    let taps = network.make_spare_taps(spare).await?;
    let begun = async {
        let (front, tenant) = (inheritable(taps.front)?, inheritable(taps.tenant)?);
        let memory = inheritable(snapshot.memory())?;
        let plan = blank_plan(
            (config, machine, snapshot.shape),
            (Purpose::Spare(spare), directory),
            [&front, &tenant],
            Memory::Restored(number(memory.as_fd())),
        );
        begin(machine, &plan, vec![front, tenant, memory], Vec::new()).await
    };
    begun
        .await
        .map_err(|e| SnapshotError::File("start QEMU", e))
}

/// Ends a machine that nobody has become. Its taps go with it.
fn end(process: Process, directory: &Directory) {
    if let Err(error) = process.kill() {
        tracing::warn!(%error, pid = process.pid, "cannot end a machine of the pool");
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { process.ended().await });
    }
    if let Err(error) = directory.remove() {
        tracing::warn!(%error, "cannot remove the directory of a machine of the pool");
    }
}
