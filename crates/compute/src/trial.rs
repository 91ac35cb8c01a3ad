//! A trial boot: whether the image boots under KVM on this host.
//!
//! That `/dev/kvm` is there proves nothing: nested or restricted KVM can let the guest spin for ever
//! or end QEMU at the first instruction. So the real image is booted, without NICs, until its init
//! speaks on the channel.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::config::ComputeConfig;
use crate::directory::Directory;
use crate::line::LineSplitter;
use crate::log_file;
use crate::owner::{Owner, Purpose};
use crate::pidfd::Process;
use crate::qemu::{Machine, Memory, Plan, Qmp, begin};
use model::VmShape;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Between two questions to QEMU for its state.
const STATUS_PAUSE: Duration = Duration::from_millis(200);

/// Boots the image and returns once its init has spoken.
///
/// # Errors
/// In words: it did not speak within the configured deadline, QEMU ended, or the processor stopped.
pub(crate) async fn boot(config: &ComputeConfig, machine: &Machine) -> Result<(), String> {
    let directory = Directory::of_trial(&config.directory);
    let cleared = directory.remove().and_then(|()| directory.ensure());
    cleared.map_err(|error| error.to_string())?;
    let plan = Plan {
        owner: Owner {
            installation: &config.installation,
            purpose: Purpose::Trial,
        }
        .to_string(),
        directory: &directory,
        image: machine.image.directory(),
        accelerator: machine.accelerator,
        tsc_khz: machine.tsc_khz,
        shape: VmShape::default(),
        nics: Vec::new(),
        identity: config.unprivileged,
        disk: None,
        memory: Memory::Fresh,
    };
    let process = begin(machine, &plan, Vec::new(), Vec::new())
        .await
        .map_err(|error| error.to_string())?;
    let result = watch(config, &directory, &process).await;
    if let Err(error) = process.end().await {
        tracing::warn!(%error, pid = process.pid, "cannot end a trial boot");
    }
    if let Err(error) = directory.remove() {
        tracing::warn!(%error, "cannot remove a trial boot's directory");
    }
    result
}

async fn watch(
    config: &ComputeConfig,
    directory: &Directory,
    process: &Process,
) -> Result<(), String> {
    let deadline = Duration::from_millis(config.kvm_deadline_ms);
    let (channel, qmp) = (directory.channel(), directory.qmp());
    tokio::select! {
        spoke = timeout(deadline, first_words(&channel)) => {
            spoke.map(|_stream| ()).map_err(|_| format!("it did not boot within {} ms", config.kvm_deadline_ms))
        }
        status = stopped(&qmp) => Err(format!("its processor stopped ({status})")),
        end = process.ended() => {
            let end = end.unwrap_or_else(|error| error.to_string());
            Err(format!("QEMU {end}: {}", log_file::tail(&directory.qemu_log())))
        }
    }
}

/// Returns once a whole line has come over the channel, with the connection.
pub(crate) async fn first_words(channel: &Path) -> UnixStream {
    let mut splitter = LineSplitter::default();
    let mut buffer = [0; 4096];
    let mut spoken = false;
    loop {
        let Ok(mut stream) = UnixStream::connect(channel).await else {
            sleep(PAUSE).await;
            continue;
        };
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            splitter.push(buffer.get(..count).unwrap_or_default(), |_| spoken = true);
            if spoken {
                return stream;
            }
        }
    }
}

/// Returns QEMU's state once the guest runs no longer although QEMU does.
async fn stopped(socket: &Path) -> String {
    loop {
        if let Ok(mut qmp) = Qmp::connect(socket).await {
            while let Ok(status) = qmp.status().await {
                if status != "running" && status != "prelaunch" {
                    return status;
                }
                sleep(STATUS_PAUSE).await;
            }
        }
        sleep(PAUSE).await;
    }
}
