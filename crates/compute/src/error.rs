//! Why something could not be done to a VM.

use std::io;
use std::path::{Path, PathBuf};

use model::VmId;

/// Why something could not be done to a VM. Each is worth another attempt after its cause is gone;
/// nothing half-made by a failed attempt stands in the way of the next.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// Unix sockets would have paths that the kernel does not take.
    #[error(
        "the VM directory {directory} is too long a path: {longest} in it would have {length} bytes, and a unix socket's path has at most {limit}; configure a shorter directory"
    )]
    PathTooLong {
        /// The configured directory.
        directory: PathBuf,
        /// The longest socket path below it, relative to it.
        longest: PathBuf,
        /// That path's length in bytes.
        length: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// It is not known yet, or known not to work, how this host runs VMs. See [`crate::Readiness`].
    #[error("VM {vm} cannot be started: {reason}")]
    NotReady {
        /// The VM.
        vm: VmId,
        /// What is missing and what to do.
        reason: String,
    },
    /// The host has no memory for it now. Nothing was begun.
    #[error("VM {vm} cannot be started: {reason}")]
    NoRoom {
        /// The VM.
        vm: VmId,
        /// What is missing and what to do.
        reason: String,
    },
    /// A file, socket or cgroup of ours could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried, for example `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The VM's process could not be started, or ended at once.
    #[error("VM {vm} did not start: {reason}")]
    Start {
        /// The VM.
        vm: VmId,
        /// Why, with the last lines of its log where there are any.
        reason: String,
    },
    /// The VM's process did not go away after SIGKILL. Its NICs and directory are still there.
    #[error(
        "process {pid} of VM {vm} is still there {waited_ms} ms after SIGKILL; it probably hangs in the kernel"
    )]
    Unkillable {
        /// The VM.
        vm: VmId,
        /// The process.
        pid: u32,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The VM's NICs could not be made or removed.
    #[error("NICs of VM {vm}: {source}")]
    Network {
        /// The VM.
        vm: VmId,
        /// Why.
        source: network::NetworkError,
    },
}

impl ComputeError {
    /// Names `path` and what was tried on it in an I/O error; for `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
