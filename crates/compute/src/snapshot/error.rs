//! What is wrong with a snapshot, or with its making.

use std::io;

use super::trust::Blame;
use crate::ComputeError;
use crate::qemu::QmpError;

/// The errors of a host that lacks something: space, memory, descriptors, processes.
const SHORTAGES: [i32; 7] = [
    libc::ENOSPC,
    libc::EDQUOT,
    libc::ENOMEM,
    libc::EMFILE,
    libc::ENFILE,
    libc::EAGAIN,
    libc::ENOBUFS,
];

/// How the end of a machine is told which the kernel ended for want of memory, or somebody by hand; and of one to
/// which it could not give a page of a file any more, since the disk is full.
const KILLED: [&str; 2] = ["killed by signal 9", "killed by signal 7"];

/// What is wrong with a snapshot, or with its making, in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// Its files are not what was written.
    #[error("{0}")]
    Damaged(String),
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    File(&'static str, io::Error),
    /// The machine did not get as far as it should: QEMU ended, or refused the state.
    #[error("{0}")]
    Machine(String),
    /// The machine did not get there in time.
    #[error("{0}")]
    Late(String),
    /// What every machine needs could not be had.
    #[error("{0}")]
    Host(ComputeError),
    /// QEMU broke off or refused.
    #[error("{0}")]
    Qmp(#[from] QmpError),
    /// There are no taps for it.
    #[error("{0}")]
    Network(#[from] network::NetworkError),
}

impl SnapshotError {
    /// Names what was tried; for `map_err`.
    pub(crate) fn file(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File(action, source)
    }

    /// What this speaks against. QEMU tells its reasons in the words of the C library alone.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::File(..) | Self::Host(_) | Self::Network(_) => Blame::Host,
            Self::Late(_) | Self::Qmp(QmpError::Io(_) | QmpError::Silent { .. }) => Blame::Unclear,
            Self::Absent | Self::Damaged(_) => Blame::Snapshot,
            Self::Machine(words) | Self::Qmp(QmpError::Refused { message: words, .. }) => {
                match names_shortage(words) {
                    true => Blame::Host,
                    false => Blame::Snapshot,
                }
            }
        }
    }
}

fn names_shortage(words: &str) -> bool {
    let tells = |error: &i32| {
        let text = io::Error::from_raw_os_error(*error).to_string();
        // The library adds the error's number, which QEMU does not.
        let text = text.split(" (os error").next().unwrap_or_default();
        words.contains(text)
    };
    SHORTAGES.iter().any(tells) || KILLED.iter().any(|end| words.contains(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_from_a_snapshot_that_is_wrong() {
        for (words, blame) in [
            (
                "QEMU exited with status 1: cannot set up guest memory 'ram': Cannot allocate memory",
                Blame::Host,
            ),
            ("QEMU killed by signal 9: ", Blame::Host),
            ("QEMU killed by signal 7: ", Blame::Host),
            (
                "QEMU exited with status 1: could not open '/dev/net/tun': Too many open files",
                Blame::Host,
            ),
            (
                "QEMU refused it: {\"status\":\"failed\",\"error-desc\":\"No space left on device\"}",
                Blame::Host,
            ),
            (
                "QEMU refused it: {\"status\":\"failed\",\"error-desc\":\"Unknown section footer\"}",
                Blame::Snapshot,
            ),
            ("QEMU killed by signal 11: ", Blame::Snapshot),
            (
                "QEMU exited with status 1: not a migration stream",
                Blame::Snapshot,
            ),
        ] {
            assert_eq!(
                SnapshotError::Machine(words.to_owned()).blame(),
                blame,
                "{words}"
            );
        }
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(SnapshotError::File("write", full).blame(), Blame::Host);
        assert_eq!(SnapshotError::Late(String::new()).blame(), Blame::Unclear);
    }
}
