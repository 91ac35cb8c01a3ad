//! What a VM is made from: the program, the image and the accelerator.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::image::Image;
use crate::readiness::Accelerator;

/// Within which QEMU tells its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Everything that all VMs of a host share.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub program: PathBuf,
    /// What QEMU says of its version.
    pub version: String,
    pub image: Image,
    pub accelerator: Accelerator,
    pub tsc_khz: Option<u64>,
}

/// Finds a program: a path as it is, a bare name in `PATH` and the usual places.
pub(crate) fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The first line of what QEMU says of itself.
pub(crate) async fn version(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command.arg("--version").kill_on_drop(true);
    let output = timeout(VERSION_DEADLINE, command.output())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    match output.status.success() && !line.is_empty() {
        true => Ok(line.to_owned()),
        false => Err(io::Error::other(format!(
            "--version failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// Makes a disk of that size which takes space only as it is written. One that is there is kept.
pub(crate) fn make_disk(path: &Path, gib: u32) -> io::Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.set_len(u64::from(gib) << 30)
}
