//! The filesystems that every program expects.

use rustix::mount::{MountFlags, mount};

use super::error::InitError;

/// Mounts /proc, /sys, /dev and /run.
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
    Ok(())
}
