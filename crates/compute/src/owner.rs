//! The tag by which a VM's process is known: `evenkeel-<installation>-vm<id>` on its command line.

use std::fmt;

use model::{Driver, InstallationId, VmId};

/// What a tagged process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// A VM.
    Vm(VmId),
    /// A machine of the installation's own: a trial boot that finds out whether KVM works, or one of which a
    /// snapshot is made.
    Trial,
    /// A machine that waits to become a VM, or has become one: which, its directory tells.
    Spare(u32),
}

/// One installation's mark on one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner<'a> {
    pub installation: &'a InstallationId,
    pub purpose: Purpose,
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evenkeel-{}-", self.installation)?;
        match self.purpose {
            Purpose::Vm(vm) => write!(f, "vm{vm}"),
            Purpose::Trial => f.write_str("trial"),
            Purpose::Spare(number) => write!(f, "pool{number}"),
        }
    }
}

/// What a command line says of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub purpose: Purpose,
    pub driver: Driver,
    /// `kvm`, `tcg` or `process`.
    pub accelerator: String,
}

/// Reads the tag of `installation` from a command line; `None` when the process is not ours.
///
/// The tag must stand where a driver puts it, so that a `grep` for it is not taken for a VM.
pub(crate) fn read_tag(arguments: &[&str], installation: &InstallationId) -> Option<Tagged> {
    let after = |flag: &str| {
        let place = arguments.iter().position(|argument| *argument == flag)?;
        arguments.get(place + 1).copied()
    };
    let (driver, tag, accelerator) = match arguments.get(1).copied() {
        Some("supervise") => (Driver::Process, after("--owner")?, "process"),
        _ if arguments.contains(&"-nodefaults") => {
            let accelerator = after("-accel")?.split(',').next()?;
            (Driver::Qemu, after("-name")?, accelerator)
        }
        _ => return None,
    };
    let rest = tag
        .strip_prefix("evenkeel-")?
        .strip_prefix(installation.0.as_str())?
        .strip_prefix('-')?;
    let purpose = match rest {
        "trial" => Purpose::Trial,
        spare if spare.starts_with("pool") => {
            Purpose::Spare(spare.strip_prefix("pool")?.parse().ok()?)
        }
        vm => Purpose::Vm(vm.strip_prefix("vm")?.parse().ok()?),
    };
    Some(Tagged {
        purpose,
        driver,
        accelerator: accelerator.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vm_of_this_installation_is_recognised() {
        let ours = InstallationId("0a1b2c3d".to_owned());
        let qemu = Some((Purpose::Vm(VmId(7)), Driver::Qemu, "tcg".to_owned()));
        let process = Some((Purpose::Vm(VmId(7)), Driver::Process, "process".to_owned()));
        let trial = Some((Purpose::Trial, Driver::Qemu, "kvm".to_owned()));
        for (line, expected) in [
            (
                "qemu -name evenkeel-0a1b2c3d-vm7 -nodefaults -accel tcg,thread=multi",
                qemu,
            ),
            (
                "evenkeel-balancer supervise --owner evenkeel-0a1b2c3d-vm7 run --listen-channel-fd 64",
                process,
            ),
            ("evenkeel-balancer run --listen-channel-fd 64", None),
            (
                "qemu -name evenkeel-0a1b2c3d-trial -nodefaults -accel kvm",
                trial,
            ),
            (
                "qemu -name evenkeel-ffffffff-vm7 -nodefaults -accel tcg",
                None,
            ),
            (
                "qemu -name evenkeel-0a1b2c3d-vm7x -nodefaults -accel tcg",
                None,
            ),
            (
                "qemu -name evenkeel-0a1b2c3d-vm -nodefaults -accel tcg",
                None,
            ),
            ("grep -r evenkeel-0a1b2c3d-vm7", None),
            ("evenkeel-balancer supervise --owner", None),
            ("", None),
        ] {
            let arguments: Vec<&str> = line.split(' ').collect();
            let found = read_tag(&arguments, &ours)
                .map(|tagged| (tagged.purpose, tagged.driver, tagged.accelerator));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_written_tag_is_read_back() {
        let installation = InstallationId("0a1b2c3d".to_owned());
        for purpose in [
            Purpose::Vm(VmId(u64::MAX)),
            Purpose::Trial,
            Purpose::Spare(9_999_999),
        ] {
            let tag = Owner {
                installation: &installation,
                purpose,
            }
            .to_string();
            let line = ["balancer", "supervise", "--owner", &tag];
            let read = read_tag(&line, &installation).map(|tagged| tagged.purpose);
            assert_eq!(read, Some(purpose));
        }
    }
}
