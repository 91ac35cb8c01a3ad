//! What the measurement needs of the machine: a network of its own, cores, and many open files.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bench::own_network;
use bench::signals::unblock_signals;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The ports that connections to somewhere else come from. Proxies and origin listen below them.
const LOCAL_PORTS: &str = "10000 65535";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Moves this process into a network namespace of its own, with room for many connections. To be called before
/// there are threads.
///
/// # Errors
/// Without root.
pub fn enter_own_network() -> Result<()> {
    own_network::enter()?;
    for (name, value) in [
        ("ipv4/ip_local_port_range", LOCAL_PORTS),
        // A connection for each request uses up the ports within a second or two.
        ("ipv4/tcp_tw_reuse", "1"),
        ("core/somaxconn", "65535"),
        ("ipv4/tcp_max_syn_backlog", "65535"),
    ] {
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).with_context(|| format!("{path} cannot be set to {value}"))?;
    }
    // Not BBR, which a machine may default to and which paces even loopback. Which ones a namespace may
    // choose is the machine's affair.
    for name in ["cubic", "reno"] {
        if fs::write(CONGESTION_CONTROL, name).is_ok() {
            break;
        }
    }
    Ok(())
}

/// How TCP decides how much to send at once.
pub fn congestion_control() -> String {
    let name = fs::read_to_string(CONGESTION_CONTROL).unwrap_or_default();
    name.trim().to_owned()
}

/// Raises the number of open files as far as the kernel lets us, and returns it. Children inherit it.
pub fn raise_open_files() -> u64 {
    const WANTED: u64 = 65_536;
    let wanted = Rlimit {
        current: Some(WANTED),
        maximum: Some(WANTED),
    };
    let now = getrlimit(Resource::Nofile);
    let enough = now.maximum.is_none_or(|most| most >= WANTED);
    if enough || setrlimit(Resource::Nofile, wanted).is_err() {
        let raised = Rlimit {
            current: now.maximum,
            ..now
        };
        // Without it there is only less room, which the caller sees.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(WANTED)
}

/// Keeps the calling thread, and the threads and processes that it starts, on these cores.
///
/// # Errors
/// When there is no such core.
pub fn pin(cores: &[usize]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set)
}

/// Puts the caller before other work of the machine, where that is allowed. All that is measured gets the
/// same.
pub fn hurry() {
    let _ = rustix::process::setpriority_process(None, -20);
}

/// The cores that the measurement uses.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The proxy's.
    pub proxy: usize,
    /// A second one for a proxy with two threads; the load's, where there are only two.
    pub second: usize,
    /// The load's: generator and origin.
    pub load: usize,
}

impl Cores {
    /// Core 0 for the proxy, and the last of the first three for the load.
    ///
    /// # Errors
    /// With one core only.
    pub fn choose() -> Result<Self> {
        match std::thread::available_parallelism()?.get() {
            0 | 1 => bail!("measuring takes two cores: one for the proxy, one for the load"),
            2 => Ok(Self {
                proxy: 0,
                second: 1,
                load: 1,
            }),
            _ => Ok(Self {
                proxy: 0,
                second: 1,
                load: 2,
            }),
        }
    }
}

/// Has a command run on these cores, before other work of the machine, and end with us, by this signal.
pub fn confine<'a>(
    command: &'a mut Command,
    cores: &[usize],
    at_our_end: Signal,
) -> &'a mut Command {
    let cores = cores.to_vec();
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            unblock_signals();
            set_parent_process_death_signal(Some(at_our_end))?;
            hurry();
            pin(&cores)?;
            Ok(())
        })
    }
}
