//! Whether this host can run VMs, in words for its operator.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What executes a VM's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, by `/dev/kvm`.
    Kvm,
    /// QEMU's software emulation.
    Tcg,
    /// No machine: the balancer is a process of the host.
    Process,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Process => "process",
        })
    }
}

/// Whether this host can run VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// VMs can be started.
    Ready {
        /// What executes them.
        accelerator: Accelerator,
        /// What an operator may want to know, each a sentence: why not KVM, which limit is missing.
        notes: Vec<String>,
    },
    /// It is being found out. A VM that is asked for now gets [`crate::ComputeError::NotReady`].
    Probing,
    /// No VM can be started.
    Unable {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { accelerator, notes } => {
                write!(f, "ready ({accelerator})")?;
                notes.iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Self::Probing => {
                f.write_str("still finding out whether VMs run under KVM; this takes some seconds")
            }
            Self::Unable { reason, remedy } => write!(f, "cannot run VMs: {reason}; {remedy}"),
        }
    }
}
