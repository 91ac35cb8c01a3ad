//! A snapshot: a machine in the moment in which it asks who it is, from which VMs go on instead of booting.
//!
//! ```text
//!  absent, or its digests are wrong ──▶ boot ─▶ stop ─▶ save ─▶ restore once ─▶ rename ──▶ used
//!                                                             (proof)                       │ a VM does not come
//!                                      cold boots until it is made again ◀──── distrusted ◀─┘
//! ```
//!
//! It is two files. `memory` is the machine's memory, which each VM maps privately: nothing is read or copied
//! before the guest touches it, and what siblings do not change they share. `state` is all else, some tens of
//! KiB, and goes to QEMU over QMP.
//!
//! Invariants:
//! - A snapshot belongs to one image, QEMU, accelerator, shape and command line: its name is their digest.
//! - One is used only after its digests were right and a machine was restored from it. A half-made one has
//!   another name.
//! - What VMs map cannot be changed, by them or by anybody: it is a sealed copy in memory.
//! - Whatever is wrong with it costs a cold boot, and is said once.

mod file;
mod key;
mod make;
mod restore;

pub(crate) use file::Snapshot;
pub(crate) use key::key;
pub(crate) use make::make;
pub(crate) use restore::load;

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
    File(&'static str, std::io::Error),
    /// The machine did not get as far as it should.
    #[error("{0}")]
    Machine(String),
    /// QEMU broke off or refused.
    #[error("{0}")]
    Qmp(#[from] crate::qemu::QmpError),
    /// There are no taps for it.
    #[error("{0}")]
    Network(#[from] network::NetworkError),
}

impl SnapshotError {
    /// Names what was tried; for `map_err`.
    fn file(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File(action, source)
    }
}
