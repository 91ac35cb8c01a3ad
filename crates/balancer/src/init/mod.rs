//! Process 1 of a VM: makes a bare kernel into a place where a balancer can run, and keeps it running.
//!
//! ```text
//!  mount ─▶ load modules ─▶ find the channel ─▶ ask for Boot ─▶ seed, clock, name, NICs ─▶ supervise
//!                                               (every 50 ms)                              (for ever)
//! ```
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
mod modules;
mod mounts;
mod nics;
mod supervisor;

use std::convert::Infallible;

use error::InitError;

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
    let boot = channel.await_boot()?;
    identity::assume(&boot)?;
    nics::configure(&boot)?;
    supervisor::supervise(&channel, &boot)
}
