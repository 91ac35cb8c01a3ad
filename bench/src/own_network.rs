//! A network that a measurement has for itself: nobody else's ports, and nothing of it stays.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a network namespace that ends with it and has nothing in it but loopback. To be
/// called before there are threads.
///
/// # Errors
/// Without root.
pub fn enter() -> Result<()> {
    // SAFETY: a new network namespace changes no memory, and no descriptors are shared or lost by it.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("measuring needs root")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("iproute2 is missing")?;
    ensure!(up.success(), "loopback did not come up");
    Ok(())
}
