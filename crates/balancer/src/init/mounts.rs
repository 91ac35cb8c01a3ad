//! The filesystems that every program expects.

use std::fs;

use rustix::mount::{MountFlags, mount};

use super::error::InitError;

/// Where this VM keeps what it was told.
pub(super) const STATE: &str = "/run/evenkeel";

/// Mounts /proc, /sys, /dev and /run, and makes the directory of state.
pub(super) fn mount_all() -> Result<(), InitError> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, target, flags) in [
        ("proc", "/proc", plain),
        ("sysfs", "/sys", plain),
        ("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC),
        ("tmpfs", "/run", plain),
    ] {
        mount(kind, target, kind, flags, None)
            .map_err(InitError::system(format!("mount {target}")))?;
    }
    fs::create_dir(STATE).map_err(InitError::system(format!("create {STATE}")))
}
