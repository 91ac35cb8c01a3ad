//! Has a machine that is to wait go once through what it will do when it is claimed.
//!
//! What an emulated processor has translated is no part of a snapshot, and to translate it takes longer than all else
//! that a restored VM does until it serves. A machine of the pool does it before anybody waits.

use std::time::Duration;

use model::{GuestMessage, HostMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::line::LineSplitter;

/// Longer than the guest gives itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// Has the machine behind the channel rehearse, and returns the channel once it says that it has. One that does not is
/// of an older image: it can be had all the same, and takes longer to serve.
pub(super) async fn rehearse(mut channel: UnixStream) -> UnixStream {
    match timeout(DEADLINE, converse(&mut channel)).await {
        Ok(Ok((answered, None))) => {
            tracing::debug!(answered, "a machine of the pool has rehearsed")
        }
        Ok(Ok((_, Some(trouble)))) => {
            tracing::info!(
                trouble,
                "a machine of the pool could not rehearse and will serve later"
            );
        }
        Ok(Err(error)) => tracing::info!(%error, "a machine of the pool was not heard to rehearse"),
        Err(_) => tracing::info!("a machine of the pool does not rehearse: its image may be older"),
    }
    channel
}

/// How many requests were answered, and what went wrong.
async fn converse(channel: &mut UnixStream) -> std::io::Result<(usize, Option<String>)> {
    // Whatever came before ends here.
    let mut line = b"\n".to_vec();
    serde_json::to_writer(&mut line, &HostMessage::Rehearse)?;
    line.push(b'\n');
    channel.write_all(&line).await?;
    let mut splitter = LineSplitter::default();
    let mut buffer = [0; 4096];
    let mut told = None;
    while told.is_none() {
        let count = channel.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        splitter.push(buffer.get(..count).unwrap_or_default(), |text| {
            if let Ok(GuestMessage::Rehearsed { answered, trouble }) = serde_json::from_slice(text)
            {
                told = Some((answered, trouble));
            }
        });
    }
    Ok(told.unwrap_or_default())
}
