//! What VMs are made from, and what one VM is to be.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use model::{Driver, InstallationId, VmId, VmShape};
use serde::{Deserialize, Serialize};

/// MiB that VMs leave available unless it is said otherwise.
pub const DEFAULT_MEMORY_RESERVE_MIB: u64 = 256;

/// Everything that holds for all VMs of one installation.
#[derive(Clone, Debug)]
pub struct ComputeConfig {
    /// Owner of what is made; part of each VM's tag and of the cgroups' name.
    pub installation: InstallationId,
    /// Where each VM has its directory `vm<id>`. Short: a unix socket's path has at most 107 bytes.
    pub directory: PathBuf,
    /// The static `evenkeel-balancer`, run as it is by the `process` driver.
    pub balancer_program: PathBuf,
    /// What [`crate::image::build`] wrote.
    pub image_directory: PathBuf,
    /// `qemu-system-x86_64`; a bare name is looked up in `PATH`.
    pub qemu_program: PathBuf,
    /// How VMs are to be run.
    pub choice: ComputeChoice,
    /// Whom balancers and QEMU run as once they have what only root can open.
    pub unprivileged: Identity,
    /// Milliseconds that the image may take to boot under KVM before KVM counts as unusable.
    pub kvm_deadline_ms: u64,
    /// The shape of VMs for which to work ahead.
    pub shape: VmShape,
    /// Where snapshots are kept; every VM is booted when absent. Installations may share it.
    pub snapshot_directory: Option<PathBuf>,
    /// Machines that wait to become VMs.
    pub pool: usize,
    /// MiB that VMs leave available on the host, or in the cgroup that bounds them.
    pub memory_reserve_mib: u64,
    /// MiB that all VMs may have together; as much as there is when absent.
    pub memory_limit_mib: Option<u64>,
}

impl ComputeConfig {
    /// The configuration of a usual installation: QEMU from `PATH`, accelerator found by trying,
    /// VMs as `nobody`, each of them booted.
    ///
    /// `directory` receives the VMs' directories, `image_directory` holds the VM image, and
    /// `balancer_program` is the static balancer.
    #[must_use]
    pub fn new(
        installation: InstallationId,
        directory: PathBuf,
        image_directory: PathBuf,
        balancer_program: PathBuf,
    ) -> Self {
        Self {
            installation,
            directory,
            balancer_program,
            image_directory,
            qemu_program: PathBuf::from("qemu-system-x86_64"),
            choice: ComputeChoice::Auto,
            unprivileged: Identity::NOBODY,
            kvm_deadline_ms: 8_000,
            shape: VmShape::default(),
            snapshot_directory: None,
            pool: 0,
            memory_reserve_mib: DEFAULT_MEMORY_RESERVE_MIB,
            memory_limit_mib: None,
        }
    }
}

/// A user and group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id; not 0.
    pub uid: u32,
    /// Group id; not 0.
    pub gid: u32,
}

impl Identity {
    /// Debian's `nobody:nogroup`.
    pub const NOBODY: Self = Self {
        uid: 65_534,
        gid: 65_534,
    };
}

/// How VMs are to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeChoice {
    /// QEMU with KVM where the image boots under it, else with TCG.
    #[default]
    Auto,
    /// QEMU with KVM or not at all.
    Kvm,
    /// QEMU with software emulation.
    Tcg,
    /// No machine: the balancer in a namespace and cgroup of its own.
    Process,
}

/// A word that names no way of running VMs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to run VMs: write auto, kvm, tcg or process")]
pub struct UnknownChoice(String);

impl FromStr for ComputeChoice {
    type Err = UnknownChoice;

    fn from_str(word: &str) -> Result<Self, UnknownChoice> {
        match word {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            "process" => Ok(Self::Process),
            other => Err(UnknownChoice(other.to_owned())),
        }
    }
}

impl fmt::Display for ComputeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Process => "process",
        })
    }
}

impl ComputeChoice {
    /// The driver that new VMs are given under this choice.
    #[must_use]
    pub fn driver(self) -> Driver {
        match self {
            Self::Process => Driver::Process,
            Self::Auto | Self::Kvm | Self::Tcg => Driver::Qemu,
        }
    }
}

/// One VM as it is to be.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// The VM.
    pub vm: VmId,
    /// Host name inside it.
    pub hostname: String,
    /// How it is run.
    pub driver: Driver,
    /// Its size.
    pub shape: VmShape,
    /// Its two NICs.
    pub nics: network::VmNics,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Where it sends its figures; nowhere when absent.
    pub monitor: Option<model::figures::BootMonitor>,
}
