//! What becomes of a machine whose guest resets itself: its kernel panicked, or its processor met a triple fault.
//!
//! ```text
//!   QEMU ends ◀── resets itself ── a guest that has not worked since it began
//!                                        │         ▲
//!                                 works  │         │ begins anew
//!                                        ▼         │
//!                                  a guest that works ── resets itself
//! ```
//!
//! A guest that works may begin anew in its machine: it asks who it is, is told the same as before, and comes back
//! as what it was. One that never came so far would do the same again and again, and nobody would learn why; so it
//! ends, and its last words are found in its log.

use std::path::Path;
use std::time::Duration;

use model::VmId;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::loose_end::take_up;
use super::{Event, Qmp, QmpError};

/// Between two attempts to connect to QEMU's control socket.
const RECONNECT: Duration = Duration::from_millis(200);

/// Keeps the one connection to QEMU's control socket until QEMU ends by itself, and returns why. `works` tells
/// whether the guest's balancer has been heard since the guest began; it is unset here when the guest resets
/// itself, and is set by whoever hears the balancer.
pub(crate) async fn follow(vm: VmId, socket: &Path, works: watch::Sender<bool>) -> String {
    loop {
        match follow_once(vm, socket, &works).await {
            Ok(reason) => return reason,
            Err(error @ QmpError::Refused { .. }) => {
                tracing::warn!(%vm, %error, "QEMU cannot be told what to do when its guest resets itself");
            }
            // It may not listen yet, or no more, or stand still for a while.
            Err(QmpError::Io(_) | QmpError::Silent { .. }) => {}
        }
        sleep(RECONNECT).await;
    }
}

async fn follow_once(
    vm: VmId,
    socket: &Path,
    works: &watch::Sender<bool>,
) -> Result<String, QmpError> {
    let mut qmp = Qmp::connect(socket).await?;
    take_up(vm, &mut qmp).await?;
    let mut working = works.subscribe();
    loop {
        let reboot = match *working.borrow_and_update() {
            true => "reset",
            false => "shutdown",
        };
        qmp.execute_with("set-action", json!({ "reboot": reboot }))
            .await?;
        tokio::select! {
            event = qmp.event() => match event? {
                Event::Shutdown(reason) => return Ok(reason),
                Event::Reset(reason) => {
                    tracing::warn!(%vm, reason, "the guest reset itself and begins anew");
                    works.send_replace(false);
                }
            },
            // Its sender is `works` itself.
            _ = working.changed() => {}
        }
    }
}
