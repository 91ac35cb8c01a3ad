//! Finds out how VMs can be run on this host.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroups;
use crate::config::{ComputeChoice, ComputeConfig};
use crate::image::Image;
use crate::qemu::{Machine, find_program, measure_tsc_khz, version};
use crate::readiness::{Accelerator, Readiness};
use crate::trial;

/// The outcome of a trial boot, and of what it holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    /// Kernel, image and QEMU.
    key: Key,
    /// Why the image does not boot under KVM; absent when it does.
    obstacle: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    host_kernel: String,
    image: String,
    qemu: String,
}

/// Says whether VMs can be run as configured, and what QEMU VMs are made from.
pub(crate) async fn find(
    config: &ComputeConfig,
    cgroups: &Cgroups,
) -> (Readiness, Option<Machine>) {
    let notes: Vec<String> = cgroups.obstacle().into_iter().collect();
    let found = match config.choice {
        ComputeChoice::Process => {
            find_process(config).map(|()| (Accelerator::Process, None, notes))
        }
        _ => find_machine(config, notes).await,
    };
    match found {
        Ok((accelerator, machine, notes)) => (Readiness::Ready { accelerator, notes }, machine),
        Err((reason, remedy)) => (Readiness::Unable { reason, remedy }, None),
    }
}

/// Reason and remedy.
type Obstacle = (String, String);

fn find_process(config: &ComputeConfig) -> Result<(), Obstacle> {
    match config.balancer_program.is_file() {
        true => Ok(()),
        false => Err((
            format!(
                "there is no balancer at {}",
                config.balancer_program.display()
            ),
            "install `evenkeel-balancer` there or configure where it is".to_owned(),
        )),
    }
}

async fn find_machine(
    config: &ComputeConfig,
    mut notes: Vec<String>,
) -> Result<(Accelerator, Option<Machine>, Vec<String>), Obstacle> {
    let program = find_program(&config.qemu_program).ok_or_else(|| {
        (
            format!("there is no {}", config.qemu_program.display()),
            "install it (Debian: `apt-get install qemu-system-x86`), or set `compute.driver` to `process`"
                .to_owned(),
        )
    })?;
    let qemu = version(&program).await.map_err(|error| {
        (
            format!("{} does not tell its version: {error}", program.display()),
            "reinstall QEMU".to_owned(),
        )
    })?;
    let image = Image::open(&config.image_directory).map_err(|error| {
        (
            error.to_string(),
            "make the image with `evenkeel image build`".to_owned(),
        )
    })?;
    let key = Key {
        host_kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        image: image.manifest().version.clone(),
        qemu: qemu.clone(),
    };
    let mut machine = Machine {
        program,
        version: qemu,
        image,
        accelerator: Accelerator::Tcg,
        tsc_khz: measure_tsc_khz().await,
    };
    if config.choice != ComputeChoice::Tcg {
        match try_kvm(config, &machine, key).await {
            None => machine.accelerator = Accelerator::Kvm,
            Some(obstacle) if config.choice == ComputeChoice::Kvm => {
                let remedy = "set `compute.driver` to `auto` to use software emulation".to_owned();
                return Err((format!("KVM does not work here: {obstacle}"), remedy));
            }
            Some(obstacle) => notes.push(format!("KVM does not work here: {obstacle}")),
        }
    }
    Ok((machine.accelerator, Some(machine), notes))
}

/// Why the image does not boot under KVM, from memory where it was tried before; `None` when it does.
async fn try_kvm(config: &ComputeConfig, machine: &Machine, key: Key) -> Option<String> {
    // A device that is missing or closed to us can appear later: this is not remembered.
    if let Err(error) = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        return Some(format!("/dev/kvm cannot be opened: {error}"));
    }
    let memory = config.directory.join("kvm.json");
    if let Some(remembered) = recall(&memory).filter(|remembered| remembered.key == key) {
        return remembered.obstacle;
    }
    let under_kvm = Machine {
        accelerator: Accelerator::Kvm,
        ..machine.clone()
    };
    tracing::info!("booting the image under KVM to find out whether that works here");
    let obstacle = trial::boot(config, &under_kvm).await.err();
    let remembered = Remembered { key, obstacle };
    if let Err(error) = remember(&memory, &remembered) {
        tracing::warn!(%error, path = %memory.display(), "the trial boot's outcome is not kept");
    }
    remembered.obstacle
}

fn recall(path: &Path) -> Option<Remembered> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remember(path: &Path, outcome: &Remembered) -> std::io::Result<()> {
    let mut draft = PathBuf::from(path);
    draft.set_extension("json.new");
    fs::write(&draft, serde_json::to_vec_pretty(outcome)?)?;
    fs::rename(&draft, path)
}
