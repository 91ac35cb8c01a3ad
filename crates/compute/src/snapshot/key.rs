//! What a snapshot belongs to, as a digest.

use std::path::Path;

use model::{STAND_IN_MACS, VmShape};

use crate::Identity;
use crate::directory::Directory;
use crate::image::sha256;
use crate::qemu::{Machine, Memory, Nic, Plan};
use crate::readiness::Accelerator;

/// Raised when snapshots are stored or restored in another way.
const FORMAT: &str = "1";

/// The name of the snapshot of `shape` machines: the digest, in hexadecimal, of all that it depends on.
///
/// The rate of the host's clock is not part of it, since it is measured anew at each start and never comes out
/// the same; it is stored beside the snapshot and compared. Under KVM the guest sees the host's processor, so
/// processor and kernel count there.
pub(crate) fn key(machine: &Machine, shape: VmShape) -> String {
    let anywhere = Directory::of_trial(Path::new("/"));
    let nic = |(id, mac): (&'static str, model::Mac)| Nic {
        id,
        tap_fd: "0".to_owned(),
        mac: mac.to_string(),
    };
    let plan = Plan {
        owner: String::new(),
        directory: &anywhere,
        image: Path::new("/"),
        accelerator: machine.accelerator,
        tsc_khz: None,
        shape,
        nics: ["front", "tenant"]
            .into_iter()
            .zip(STAND_IN_MACS)
            .map(nic)
            .collect(),
        identity: Identity::NOBODY,
        disk: None,
        memory: Memory::Fresh,
    };
    let mut text = format!(
        "{FORMAT}\0{}\0{}",
        machine.image.manifest().version,
        machine.version
    );
    for argument in plan.arguments() {
        text.push('\0');
        text.push_str(&argument.to_string_lossy());
    }
    if machine.accelerator == Accelerator::Kvm {
        text.push_str(&host());
    }
    sha256(text.as_bytes())
}

fn host() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let kernel = rustix::system::uname();
    format!(
        "\0{}\0{}",
        model.unwrap_or_default(),
        kernel.release().to_string_lossy()
    )
}
