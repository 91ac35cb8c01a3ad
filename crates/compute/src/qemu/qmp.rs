//! A client of QEMU's control protocol, as small as a VM's life needs.
//!
//! QEMU serves one client on its socket; a later one waits until the earlier is gone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
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

    /// Carries out a command without arguments and returns its answer.
    pub(crate) async fn execute(&mut self, command: &str) -> Result<Value, QmpError> {
        self.execute_with(command, json!({})).await
    }

    /// Carries out a command and returns its answer.
    pub(crate) async fn execute_with(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let line = line_of(command, arguments);
        self.writer.write_all(line.as_bytes()).await?;
        self.answer(command).await
    }

    /// Hands QEMU a copy of a descriptor, which it knows by `name` from then on.
    pub(crate) async fn give(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let line = line_of("getfd", json!({ "fdname": name }));
        let stream: &UnixStream = self.writer.as_ref();
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, || {
                send_with(stream, line.as_bytes(), fd)
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // So short a line goes whole or not at all into a socket that is not full.
                Ok(sent) if sent == line.len() => break,
                Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Err(error) => return Err(error.into()),
            }
        }
        self.answer("getfd").await.map(|_nothing| ())
    }

    /// The answer to the command that was just sent. Events that come before it are passed over.
    async fn answer(&mut self, command: &str) -> Result<Value, QmpError> {
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

fn line_of(command: &str, arguments: Value) -> String {
    let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
    line.push('\n');
    line
}

fn send_with(stream: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    // There is room for one, which is what is pushed.
    let _fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL;
    Ok(sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        flags,
    )?)
}
