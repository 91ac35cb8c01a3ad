//! Process 1 of a VM: makes a bare kernel into a place where a balancer can run, and keeps it running.
//!
//! ```text
//!  mount ─▶ load modules ─▶ find the channel ─▶ ask for Boot ─▶ seed, clock, name, NICs ─▶ supervise
//!                                               (every 50 ms)                              (for ever)
//! ```
//!
//! One that waits in the host's pool rehearses in between, when the host asks for it ([`balancer::rehearsal`]).
//!
//! Nothing here waits for the host but the question who this VM is, without which there is nothing
//! to do. Whatever goes wrong before the balancer runs ends this process, and with it the kernel and
//! the virtual machine, which the host sees at once.
//!
//! Deliberately not here: a shell, a log daemon, a reader of configuration. The balancer speaks with
//! the host by itself.

mod channel;
mod error;
mod identity;
mod measuring;
mod modules;
mod mounts;
mod nics;

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd};

use balancer::supervisor::Supervisor;
use balancer::supervisor::store::descriptor_of;
use error::InitError;
use model::Boot;

/// Is process 1 until the virtual machine ends. Never returns; when it cannot go on it exits, which
/// the kernel answers with a panic and the host with the end of QEMU.
pub fn run() -> ! {
    if std::process::id() != 1 {
        eprintln!(
            "evenkeel-balancer init: this is process 1 of a VM and does nothing elsewhere; use `evenkeel-balancer run`"
        );
        std::process::exit(2);
    }
    let Err(error) = start();
    eprintln!("evenkeel init: {error}");
    std::process::exit(1)
}

fn start() -> Result<Infallible, InitError> {
    mounts::mount_all()?;
    modules::load_all()?;
    let mut channel = channel::Channel::find()?;
    let log = channel::open_log();
    let boot = channel.await_boot()?;
    identity::assume(&boot)?;
    nics::configure(&boot)?;
    supervise(&channel, log.as_ref(), boot)
}

/// Runs the balancer for ever, and collectd beside it. The balancer inherits the channel, and finds who this VM
/// is among what is kept for it.
fn supervise(
    channel: &channel::Channel,
    log: Option<&OwnedFd>,
    boot: Boot,
) -> Result<Infallible, InitError> {
    let number = channel.descriptor().as_raw_fd().to_string();
    let mut arguments = vec!["run", "--channel-fd", &number, "--clock", "own"];
    let log = log.map(|log| log.as_raw_fd().to_string());
    if let Some(log) = &log {
        arguments.extend(["--log-fd", log]);
    }
    let collectd = measuring::prepare(boot.monitor.as_ref())?;
    if collectd.is_some() {
        arguments.extend(["--collectd", measuring::SOCKET]);
    }
    let supervisor = Supervisor::new(arguments.into_iter().map(Into::into).collect());
    let mut supervisor = supervisor.map_err(InitError::system("supervise the balancer"))?;
    if let Some(collectd) = collectd {
        supervisor.accompany(collectd);
    }
    // The seed has served its purpose.
    let boot = Boot {
        seed: String::new(),
        ..boot
    };
    let kept = serde_json::to_vec(&boot).map_err(std::io::Error::from);
    let kept = kept.and_then(|bytes| descriptor_of("boot", &bytes));
    supervisor.keep("boot", kept.map_err(InitError::system("keep Boot"))?);
    let ended = supervisor.run(|_| false);
    ended.map_err(InitError::system("supervise the balancer"))?;
    Err(InitError::Missing("the VM was told to end".to_owned()))
}
