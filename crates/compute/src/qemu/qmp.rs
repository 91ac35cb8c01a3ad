//! A client of QEMU's control protocol, as small as a VM's life needs.
//!
//! QEMU serves one client on its socket; a later one waits until the earlier is gone.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes in one message of QEMU's. What we ask for is answered in far fewer.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// A connection to QEMU that broke, or an answer that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    /// The connection broke: QEMU has ended, most likely.
    #[error("QMP: {0}")]
    Io(#[from] io::Error),
    /// QEMU refused a command.
    #[error("QMP `{command}`: {message}")]
    Refused { command: String, message: String },
}

/// One connection, past its greeting.
pub(crate) struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Qmp {
    /// Connects and agrees on capabilities.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let mut qmp = Self {
            reader: BufReader::new(reader),
            writer,
        };
        let _greeting = qmp.read().await?;
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Carries out a command without arguments and returns its answer. Events that come before the
    /// answer are passed over.
    pub(crate) async fn execute(&mut self, command: &str) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command }).to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).await?;
        loop {
            let message = self.read().await?;
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
            if let Some(error) = message.get("error") {
                return Err(QmpError::Refused {
                    command: command.to_owned(),
                    message: error.to_string(),
                });
            }
        }
    }

    /// The machine's state: `running`, `paused`, `internal-error`, `guest-panicked`…
    pub(crate) async fn status(&mut self) -> Result<String, QmpError> {
        let answer = self.execute("query-status").await?;
        let status = answer.get("status").and_then(Value::as_str);
        Ok(status.unwrap_or("unknown").to_owned())
    }

    /// Waits for QEMU to say why it shuts down: `guest-reset`, `guest-panic`, `host-signal`…
    pub(crate) async fn shutdown_reason(&mut self) -> Result<String, QmpError> {
        loop {
            let message = self.read().await?;
            if message.get("event").and_then(Value::as_str) == Some("SHUTDOWN") {
                let reason = message.pointer("/data/reason").and_then(Value::as_str);
                return Ok(reason.unwrap_or("unknown").to_owned());
            }
        }
    }

    async fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_MESSAGE_BYTES);
        let count = bounded.read_until(b'\n', &mut line).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_slice(&line).map_err(io::Error::from)?)
    }
}
