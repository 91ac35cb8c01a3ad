//! Brings a machine to where the snapshot is.

use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Snapshot, SnapshotError};
use crate::directory::Directory;
use crate::log_file;
use crate::pidfd::Process;
use crate::qemu::{Qmp, QmpError};

/// Within which a machine is restored. It takes a tenth of a second, and several times that on a busy host.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Loads a snapshot into a machine that was begun with its memory. The machine stands still afterwards, and
/// goes on with the QMP command `cont`.
///
/// # Errors
/// `Qmp`, `File`, or `Machine` with what QEMU said when it ended.
pub(crate) async fn load(
    snapshot: &Snapshot,
    directory: &Directory,
    process: &Process,
) -> Result<Qmp, SnapshotError> {
    tokio::select! {
        loaded = timeout(DEADLINE, load_by_qmp(snapshot, directory)) => match loaded {
            Ok(Err(SnapshotError::Qmp(QmpError::Io(error)))) => {
                Err(SnapshotError::Machine(format!("QEMU broke off: {error}; {}", log_file::tail(&directory.qemu_log()))))
            }
            Ok(loaded) => loaded,
            Err(_) => Err(SnapshotError::Late(format!("it was not restored within {} s", DEADLINE.as_secs()))),
        },
        end = process.ended() => {
            let end = end.unwrap_or_else(|error| error.to_string());
            Err(SnapshotError::Machine(format!("QEMU {end}: {}", log_file::tail(&directory.qemu_log()))))
        }
    }
}

async fn load_by_qmp(snapshot: &Snapshot, directory: &Directory) -> Result<Qmp, SnapshotError> {
    let state = snapshot
        .state()
        .map_err(SnapshotError::file("copy its state"))?;
    let mut qmp = connect(directory).await;
    ignore_memory(&mut qmp).await?;
    // The guest's NICs have stand-ins' MACs yet, which nobody must hear of.
    let silent = json!({ "announce-rounds": 0 });
    qmp.execute_with("migrate-set-parameters", silent).await?;
    qmp.give("state", state.as_fd()).await?;
    let from = json!({ "uri": "fd:state" });
    qmp.execute_with("migrate-incoming", from).await?;
    await_migration(&mut qmp).await?;
    Ok(qmp)
}

/// Connects to QEMU's control socket as soon as it is there.
pub(super) async fn connect(directory: &Directory) -> Qmp {
    let socket = directory.qmp();
    loop {
        if let Ok(qmp) = Qmp::connect(&socket).await {
            return qmp;
        }
        sleep(PAUSE).await;
    }
}

/// Leaves memory that is in a file of its own out of the state.
pub(super) async fn ignore_memory(qmp: &mut Qmp) -> Result<(), QmpError> {
    let capability = json!({ "capability": "x-ignore-shared", "state": true });
    let arguments = json!({ "capabilities": [capability] });
    qmp.execute_with("migrate-set-capabilities", arguments)
        .await
        .map(|_nothing| ())
}

/// Waits until QEMU has written or read the whole state.
pub(super) async fn await_migration(qmp: &mut Qmp) -> Result<(), SnapshotError> {
    loop {
        let answer = qmp.execute("query-migrate").await?;
        match answer.get("status").and_then(Value::as_str) {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                return Err(SnapshotError::Machine(format!("QEMU refused it: {answer}")));
            }
            _ => sleep(PAUSE).await,
        }
    }
}
