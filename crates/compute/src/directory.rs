//! A VM's directory: its sockets, its logs, and what it was told to be.
//!
//! It is made before anything else of a VM and removed after everything else, so a VM that was half
//! made or half removed is found by its directory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::{Boot, Driver, VmId, VmShape};
use serde::{Deserialize, Serialize};

use crate::ComputeError;

/// The directory of trial boots.
const TRIAL: &str = "trial";

/// Begins the names of directories of machines that are nobody's yet.
const SPARE: &str = "pool-";

/// Bytes in a unix socket's path: `sun_path` less its terminating zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// What a VM was told to be. Written before its process starts, so that a controller that adopts the
/// VM can go on with its boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub driver: Driver,
    /// Without seed and time, which are filled in when it is sent.
    pub boot: Boot,
    /// The number under which the machine was made before it became this VM; absent when it was made as it.
    #[serde(default)]
    pub spare: Option<u32>,
    /// Its size; absent when an older server wrote this.
    #[serde(default)]
    pub shape: Option<VmShape>,
}

/// Paths of one VM.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// The directory of `vm` below `parent`.
    pub(crate) fn of_vm(parent: &Path, vm: VmId) -> Self {
        Self(parent.join(format!("vm{vm}")))
    }

    /// The directory of trial boots below `parent`.
    pub(crate) fn of_trial(parent: &Path) -> Self {
        Self(parent.join(TRIAL))
    }

    /// The directory of a machine that is nobody's yet, below `parent`.
    pub(crate) fn of_spare(parent: &Path, number: u32) -> Self {
        Self(parent.join(format!("{SPARE}{number}")))
    }

    /// Makes this directory another one, at once and with all that is in it. Sockets in it go on.
    pub(crate) fn become_one(&self, other: &Self) -> Result<(), ComputeError> {
        other.remove()?;
        fs::rename(&self.0, &other.0).map_err(ComputeError::file("rename", &self.0))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
    pub(crate) fn channel(&self) -> PathBuf {
        self.0.join("channel.sock")
    }
    /// Where QEMU gives what a VM logs.
    pub(crate) fn log_socket(&self) -> PathBuf {
        self.0.join("log.sock")
    }
    /// Where a balancer under the `process` driver writes what it logs.
    pub(crate) fn log_pipe(&self) -> PathBuf {
        self.0.join("log.pipe")
    }
    pub(crate) fn qmp(&self) -> PathBuf {
        self.0.join("qmp.sock")
    }
    /// What the guest's kernel and init print.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.0.join("console.log")
    }
    /// What QEMU itself prints.
    pub(crate) fn qemu_log(&self) -> PathBuf {
        self.0.join("qemu.log")
    }
    /// What a balancer under the `process` driver prints.
    pub(crate) fn balancer_log(&self) -> PathBuf {
        self.0.join("balancer.log")
    }
    pub(crate) fn disk(&self) -> PathBuf {
        self.0.join("disk.raw")
    }
    fn record(&self) -> PathBuf {
        self.0.join("vm.json")
    }

    /// Makes the directory, for root alone.
    pub(crate) fn ensure(&self) -> Result<(), ComputeError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(ComputeError::file("create", &self.0))
    }

    /// Writes what the VM is told to be, whole or not at all.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), ComputeError> {
        let path = self.record();
        let draft = self.0.join("vm.json.new");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| ComputeError::file("write", &path)(error.into()))?;
        write_secret(&draft, &text).map_err(ComputeError::file("write", &draft))?;
        fs::rename(&draft, &path).map_err(ComputeError::file("write", &path))
    }

    /// What the VM was told to be; `None` when that was never written or cannot be read.
    pub(crate) fn read_record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record()).ok()?).ok()
    }

    /// Removes the directory with all that is in it. One that is not there is no error.
    pub(crate) fn remove(&self) -> Result<(), ComputeError> {
        absent_is_fine(fs::remove_dir_all(&self.0)).map_err(ComputeError::file("remove", &self.0))
    }

    /// Removes a socket that an earlier process left, so that its path can be bound again.
    pub(crate) fn clear_sockets(&self) -> Result<(), ComputeError> {
        [
            self.channel(),
            self.qmp(),
            self.log_socket(),
            self.log_pipe(),
        ]
        .into_iter()
        .try_for_each(|path| {
            absent_is_fine(fs::remove_file(&path)).map_err(ComputeError::file("remove", &path))
        })
    }
}

/// Writes a file for its owner's eyes: the record has the VM's key in it.
fn write_secret(path: &Path, text: &[u8]) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))?;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The VMs that have a directory below `parent`, in no order.
pub(crate) fn list(parent: &Path) -> io::Result<Vec<VmId>> {
    let mut vms = Vec::new();
    for entry in fs::read_dir(parent)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix("vm"));
        vms.extend(id.and_then(|id| id.parse::<VmId>().ok()));
    }
    Ok(vms)
}

/// Removes what belongs to no VM below `parent`: directories of trial boots and of machines that were to
/// become VMs. Their processes have ended.
pub(crate) fn remove_unowned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let unowned = |name: &str| name == TRIAL || name.starts_with(SPARE);
        if name.to_str().is_some_and(unowned) {
            absent_is_fine(fs::remove_dir_all(entry.path()))?;
        }
    }
    Ok(())
}

/// Refuses a parent directory below which the longest socket path would not fit.
pub(crate) fn check_length(parent: &Path) -> Result<(), ComputeError> {
    let longest = Path::new(&format!("vm{}", u32::MAX)).join("channel.sock");
    let length = parent.join(&longest).as_os_str().len();
    if length <= MAX_SOCKET_PATH_BYTES {
        return Ok(());
    }
    Err(ComputeError::PathTooLong {
        directory: parent.to_path_buf(),
        longest,
        length,
        limit: MAX_SOCKET_PATH_BYTES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_whose_sockets_would_not_fit_is_refused_with_its_name() {
        let fits = PathBuf::from(format!("/{}", "d".repeat(107 - 1 - 26)));
        assert!(check_length(&fits).is_ok());
        let long = PathBuf::from(format!("/{}", "d".repeat(107 - 26)));
        let message = check_length(&long).unwrap_err().to_string();
        assert!(message.contains("108 bytes"), "{message}");
        assert!(message.contains(long.to_str().unwrap()), "{message}");
    }

    #[test]
    fn only_directories_of_vms_are_listed() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["vm3", "vm12", "trial", "vmx", "vm", "accelerator.json"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let mut vms = list(parent.path()).unwrap();
        vms.sort();
        assert_eq!(vms, [VmId(3), VmId(12)]);
    }
}
