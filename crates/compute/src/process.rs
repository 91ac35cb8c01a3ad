//! Driver `process`: the balancer in a network namespace and a cgroup of its own, without a machine
//! around it.
//!
//! The VM's process is the balancer's supervisor, which starts the balancer again when it ends, replaces
//! it by a new one on SIGUSR2, and takes it along when it ends itself. It carries the tag; its children
//! do not, so there is one process that is the VM.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::config::ComputeConfig;
use crate::directory::Directory;
use crate::launch::{Confinement, Launch, inheritable, number};
use crate::{log_file, log_port};

/// What is needed to start a balancer besides the configuration.
pub(crate) struct Plan<'a> {
    pub directory: &'a Directory,
    /// Tag for the command line.
    pub owner: String,
    /// The file of the network namespace with the two NICs.
    pub namespace: &'a Path,
    /// Threads that forward traffic.
    pub vcpu: u32,
    /// `cgroup.procs` files to join.
    pub cgroups: Vec<OwnedFd>,
}

/// Makes the listening socket of the control channel and everything else that the balancer is born
/// with. The socket lives on in the balancer, so it survives this process.
pub(crate) fn prepare(config: &ComputeConfig, plan: Plan<'_>) -> io::Result<Launch> {
    let listener = UnixListener::bind(plan.directory.channel())?;
    let listener = inheritable(&listener)?;
    let log = inheritable(log_port::make_pipe(&plan.directory.log_pipe())?)?;
    Ok(Launch {
        program: config.balancer_program.clone(),
        arguments: arguments(
            [&number(listener.as_fd()), &number(log.as_fd())],
            &plan.owner,
            plan.vcpu,
        ),
        log: log_file::open(&plan.directory.balancer_log())?,
        inherited: vec![listener, log],
        cgroups: plan.cgroups,
        confinement: Some(Confinement {
            network_namespace: File::open(plan.namespace)?.into(),
            identity: config.unprivileged,
        }),
    })
}

fn arguments([channel, log]: [&str; 2], owner: &str, vcpu: u32) -> Vec<OsString> {
    let threads = vcpu.to_string();
    let words = [
        "supervise",
        "--owner",
        owner,
        "run",
        "--listen-channel-fd",
        channel,
        "--log-fd",
        log,
        "--threads",
        &threads,
    ];
    words.map(OsString::from).to_vec()
}
