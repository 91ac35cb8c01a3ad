//! Starts QEMU as a plan says.

use std::io;
use std::os::fd::OwnedFd;

use super::{Machine, Plan};
use crate::launch::{Launch, launch};
use crate::log_file;
use crate::pidfd::Process;

/// Starts QEMU with the descriptors of which the plan tells it, and returns once it runs.
///
/// # Errors
/// The program is not there, or the log cannot be opened; nothing runs then.
pub(crate) async fn begin(
    machine: &Machine,
    plan: &Plan<'_>,
    inherited: Vec<OwnedFd>,
    cgroups: Vec<OwnedFd>,
) -> io::Result<Process> {
    let program = machine.program.clone();
    let prepared = Launch {
        program: program.clone(),
        arguments: plan.arguments(),
        log: log_file::open(&plan.directory.qemu_log())?,
        inherited,
        cgroups,
        confinement: None,
    };
    tokio::task::spawn_blocking(move || launch(prepared))
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|error| io::Error::other(format!("{} cannot be run: {error}", program.display())))
}
