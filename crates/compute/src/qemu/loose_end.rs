//! A machine whose start was broken off: the server that was about to restore it died.
//!
//! ```text
//!   begun ── "inmigrate" ──▶ loads its state ── "paused" ──▶ goes on ── "running"
//!               │                                  │
//!      its state comes from nobody now             │ nobody but us says so
//!               ▼                                  ▼
//!              ends                             goes on
//! ```
//!
//! Such a machine looks well from outside: its process lives. Without this it would be waited for until the longest
//! boot is over.

use model::VmId;

use super::{Qmp, QmpError};

/// Ends a machine that waits for a state that does not come, and has one go on that has it. Of a machine that
/// runs, or stands still for another reason, such as a full disk, nothing is asked.
pub(super) async fn take_up(vm: VmId, qmp: &mut Qmp) -> Result<(), QmpError> {
    match qmp.status().await?.as_str() {
        "inmigrate" => {
            tracing::warn!(%vm, "its start was broken off before it was restored; ending it");
            qmp.execute("quit").await?;
        }
        "paused" | "prelaunch" => {
            tracing::info!(%vm, "its start was broken off after it was restored; going on with it");
            qmp.execute("cont").await?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;
    use tokio::process::{Child, Command};
    use tokio::time::{sleep, timeout};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// QEMU with an empty machine, and a connection to it.
    async fn begin(directory: &Path, option: &[&str]) -> (Child, Qmp) {
        let socket = directory.join("qmp");
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-M", "microvm,accel=tcg", "-nodefaults", "-nographic"])
            .args(option)
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let connected = async {
            loop {
                match Qmp::connect(&socket).await {
                    Ok(qmp) => return qmp,
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        (qemu, timeout(PATIENCE, connected).await.unwrap())
    }

    #[tokio::test]
    async fn a_machine_that_waits_for_a_state_in_vain_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (mut qemu, mut qmp) = begin(directory.path(), &["-incoming", "defer"]).await;
        take_up(VmId(1), &mut qmp).await.unwrap();
        let ended = timeout(PATIENCE, qemu.wait()).await.unwrap();
        assert!(ended.unwrap().success());
    }

    #[tokio::test]
    async fn a_machine_that_has_its_state_and_stands_still_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let (_qemu, mut qmp) = begin(directory.path(), &["-S"]).await;
        assert_eq!(qmp.status().await.unwrap(), "prelaunch");
        for _ in 0..2 {
            take_up(VmId(1), &mut qmp).await.unwrap();
            assert_eq!(qmp.status().await.unwrap(), "running");
        }
    }
}
