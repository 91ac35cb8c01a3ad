//! Makes a snapshot: boots a machine without an owner, stops it when it asks who it is, and saves it.

use std::fs::{self, DirBuilder, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use model::{InstallationId, VmShape};
use network::Network;
use serde_json::json;
use tokio::time::timeout;

use super::file::{memory_in, state_in};
use super::restore::{await_migration, connect, ignore_memory};
use super::{Snapshot, SnapshotError, load};
use crate::config::ComputeConfig;
use crate::directory::Directory;
use crate::launch::{inheritable, number};
use crate::log_file;
use crate::owner::Purpose;
use crate::pidfd::Process;
use crate::pool::{blank_plan, draw_number};
use crate::qemu::{Machine, Memory, begin};
use crate::trial::first_words;

/// Within which the machine boots. It takes three seconds under TCG, and many more on a busy host.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);

/// Within which a restored machine speaks.
const PROOF_DEADLINE: Duration = Duration::from_secs(15);

/// QEMU's own bound on how fast it writes, in bytes per second, is for live migration.
const AS_FAST_AS_POSSIBLE: u64 = 1 << 40;

/// Snapshots that are kept, the newest, where the image or the configuration has changed.
const MOST_KEPT: usize = 4;

/// Makes the snapshot `key` in `place`, proves that a machine can be restored from it, and returns it. Takes as
/// long as a boot.
///
/// # Errors
/// Whatever stood in the way. What was there under that name before is there still.
pub(crate) async fn make(
    config: &ComputeConfig,
    network: &Network,
    machine: &Machine,
    (place, key): (&Path, &str),
) -> Result<Snapshot, SnapshotError> {
    let draft = place.join(format!(
        "{}{}",
        draft_prefix(&config.installation),
        std::process::id()
    ));
    let made = make_in(config, network, machine, &draft).await;
    let trial = Directory::of_trial(&config.directory);
    if let Err(error) = trial.remove() {
        tracing::warn!(%error, "cannot remove the directory of the machine that a snapshot was made of");
    }
    let kept = made.and_then(|snapshot| {
        put(&draft, &place.join(key)).map_err(SnapshotError::file("put it in its place"))?;
        Ok(snapshot)
    });
    let _is_in_its_place = fs::remove_dir_all(&draft);
    forget_old(place, key);
    kept
}

async fn make_in(
    config: &ComputeConfig,
    network: &Network,
    machine: &Machine,
    draft: &Path,
) -> Result<Snapshot, SnapshotError> {
    let prepare = || {
        let _absent_mostly = fs::remove_dir_all(draft);
        DirBuilder::new().recursive(true).mode(0o700).create(draft)
    };
    prepare().map_err(SnapshotError::file("make its directory"))?;
    let rig = Rig {
        config,
        network,
        machine,
        shape: config.shape,
    };
    let memory = Memory::Kept(memory_in(draft));
    let (process, directory) = rig.start(memory, None).await?;
    let saved = save(&process, &directory, &state_in(draft)).await;
    end(&process).await;
    saved?;
    let (place, shape, khz) = (draft.to_owned(), config.shape, machine.tsc_khz);
    let snapshot = tokio::task::spawn_blocking(move || {
        Snapshot::complete(&place, khz)?;
        Snapshot::open(&place, shape, khz)
    });
    let snapshot = snapshot
        .await
        .map_err(|panic| SnapshotError::Machine(panic.to_string()))??;
    rig.prove(&snapshot).await?;
    Ok(snapshot)
}

/// What a machine is made from that is nobody's.
struct Rig<'a> {
    config: &'a ComputeConfig,
    network: &'a Network,
    machine: &'a Machine,
    shape: VmShape,
}

impl Rig<'_> {
    async fn start(
        &self,
        memory: Memory,
        from: Option<&Snapshot>,
    ) -> Result<(Process, Directory), SnapshotError> {
        let directory = Directory::of_trial(&self.config.directory);
        let cleared = directory.remove().and_then(|()| directory.ensure());
        cleared.map_err(SnapshotError::Host)?;
        let spare = draw_number().map_err(SnapshotError::file("draw a number"))?;
        let taps = self.network.make_spare_taps(spare).await?;
        let make = SnapshotError::file("start QEMU");
        let started = async {
            let (front, tenant) = (inheritable(taps.front)?, inheritable(taps.tenant)?);
            let shared = from.map(|from| inheritable(from.memory())).transpose()?;
            let memory = match &shared {
                Some(shared) => Memory::Restored(number(shared.as_fd())),
                None => memory,
            };
            let plan = blank_plan(
                (self.config, self.machine, self.shape),
                (Purpose::Trial, &directory),
                [&front, &tenant],
                memory,
            );
            let inherited = [front, tenant].into_iter().chain(shared).collect();
            begin(self.machine, &plan, inherited, Vec::new()).await
        };
        Ok((started.await.map_err(make)?, directory))
    }

    /// Restores a machine and waits until it speaks.
    async fn prove(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (process, directory) = self.start(Memory::Fresh, Some(snapshot)).await?;
        let proof = async {
            let mut qmp = load(snapshot, &directory, &process).await?;
            qmp.execute("cont").await?;
            let words = timeout(PROOF_DEADLINE, first_words(&directory.channel())).await;
            words.map(|_stream| ()).map_err(|_| {
                let seconds = PROOF_DEADLINE.as_secs();
                SnapshotError::Late(format!(
                    "a machine restored from it is silent for {seconds} s"
                ))
            })
        };
        let proven = proof.await;
        end(&process).await;
        proven
    }
}

/// Waits until the machine asks who it is, stops it and writes its state.
async fn save(process: &Process, directory: &Directory, state: &Path) -> Result<(), SnapshotError> {
    let save = async {
        // Stays connected, so that restored guests find their host there.
        let _host = first_words(&directory.channel()).await;
        let mut qmp = connect(directory).await;
        qmp.execute("stop").await?;
        ignore_memory(&mut qmp).await?;
        let fast = json!({ "max-bandwidth": AS_FAST_AS_POSSIBLE });
        qmp.execute_with("migrate-set-parameters", fast).await?;
        let file = File::create(state).map_err(SnapshotError::file("write its state"))?;
        qmp.give("state", file.as_fd()).await?;
        qmp.execute_with("migrate", json!({ "uri": "fd:state" }))
            .await?;
        await_migration(&mut qmp).await
    };
    tokio::select! {
        saved = timeout(BOOT_DEADLINE, save) => saved.unwrap_or_else(|_| {
            Err(SnapshotError::Late(format!("it did not boot within {} s", BOOT_DEADLINE.as_secs())))
        }),
        end = process.ended() => {
            let end = end.unwrap_or_else(|error| error.to_string());
            Err(SnapshotError::Machine(format!("QEMU {end}: {}", log_file::tail(&directory.qemu_log()))))
        }
    }
}

async fn end(process: &Process) {
    if let Err(error) = process.end().await {
        tracing::warn!(%error, pid = process.pid, "cannot end the machine that a snapshot was made of");
    }
}

/// Gives a finished snapshot its name. One that is there already is of no use, or it would not have been made.
fn put(draft: &Path, name: &Path) -> std::io::Result<()> {
    if name.exists() {
        fs::remove_dir_all(name)?;
    }
    fs::rename(draft, name)
}

/// Begins the names of an installation's half-made snapshots.
fn draft_prefix(installation: &InstallationId) -> String {
    format!("draft-{installation}-")
}

/// Removes what earlier servers of this installation left half-made when they were killed. Other installations may
/// be at work in the same place.
pub(crate) fn sweep_drafts(place: &Path, installation: &InstallationId) {
    let prefix = draft_prefix(installation);
    let listed = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in listed {
        let is_ours = entry.file_name().as_bytes().starts_with(prefix.as_bytes());
        if is_ours && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "cannot remove a half-made snapshot");
        }
    }
}

fn forget_old(place: &Path, key: &str) {
    let listed = fs::read_dir(place).into_iter().flatten().flatten();
    let others = listed.filter(|entry| entry.file_name().to_str() != Some(key));
    let dated = others.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry)));
    let mut dated: Vec<_> = dated.collect();
    dated.sort_by_key(|(modified, _)| std::cmp::Reverse(*modified));
    for (_, old) in dated.into_iter().skip(MOST_KEPT - 1) {
        let _in_use_elsewhere = fs::remove_dir_all(old.path());
    }
}
