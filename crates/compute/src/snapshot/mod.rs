//! A snapshot: a machine in the moment in which it asks who it is, from which VMs go on instead of booting.
//!
//! ```text
//!  absent, or its digests are wrong ──▶ boot ─▶ stop ─▶ save ─▶ restore once ─▶ rename ──▶ used
//!                                                             (proof)                       │ a VM does not come,
//!                    cold boots until, after a pause, it is made again ◀──── distrusted ◀─┘ by its fault (trust)
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
//! - Whatever is wrong with it costs a cold boot, and is said once. Nothing is wrong with it for good.

mod error;
mod file;
mod key;
mod make;
mod restore;
mod trust;

pub(crate) use error::SnapshotError;
pub(crate) use file::Snapshot;
pub(crate) use key::key;
pub(crate) use make::{make, sweep_drafts};
pub(crate) use restore::load;
pub(crate) use trust::Trust;
