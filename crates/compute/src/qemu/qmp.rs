//! A client of QEMU's control protocol, as small as a VM's life needs.
//!
//! QEMU serves one client on its socket; a later one waits until the earlier is gone. No exchange lasts longer than
//! [`ANSWER_DEADLINE`], whatever state QEMU is in: one that is stopped by a signal takes commands and never answers.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Duration, timeout};

/// Within which QEMU answers a command, or greets. It takes a millisecond, and some hundred on a busy host.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// Bytes in one message of QEMU's. What we ask for is answered in far fewer.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Events that are kept for [`Qmp::event`] while an answer is waited for. The oldest go first.
const MOST_EVENTS: usize = 32;

/// A connection to QEMU that broke, or an answer that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    /// The connection broke: QEMU has ended, most likely.
    #[error("QMP: {0}")]
    Io(#[from] io::Error),
    /// QEMU refused a command.
    #[error("QMP `{command}`: {message}")]
    Refused { command: String, message: String },
    /// QEMU is there and does not answer. The connection is of no use any more: a late answer would be taken for
    /// that to another command.
    #[error("QMP `{command}`: no answer within {} s", ANSWER_DEADLINE.as_secs())]
    Silent { command: String },
}

/// What happens to a machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// QEMU is about to end: `guest-reset`, `guest-panic`, `host-signal`…
    Shutdown(String),
    /// The machine begins anew: `guest-reset`, `host-qmp-system-reset`…
    Reset(String),
}

/// One connection, past its greeting.
pub(crate) struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The part of a message that has come.
    line: Vec<u8>,
    /// What came while an answer was waited for.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and agrees on capabilities.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let greeted = async {
            let (reader, writer) = UnixStream::connect(socket).await?.into_split();
            let mut qmp = Self {
                reader: BufReader::new(reader),
                writer,
                line: Vec::new(),
                events: VecDeque::new(),
            };
            let _greeting = qmp.read().await?;
            Ok(qmp)
        };
        let mut qmp = in_time("connect", greeted).await?;
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
        let exchange = async {
            self.writer.write_all(line.as_bytes()).await?;
            self.answer(command).await
        };
        in_time(command, exchange).await
    }

    /// Hands QEMU a copy of a descriptor, which it knows by `name` from then on.
    pub(crate) async fn give(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let exchange = async {
            let line = line_of("getfd", json!({ "fdname": name }));
            self.send(&line, fd).await?;
            self.answer("getfd").await.map(|_nothing| ())
        };
        in_time("getfd", exchange).await
    }

    async fn send(&self, line: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let stream: &UnixStream = self.writer.as_ref();
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, || {
                send_with(stream, line.as_bytes(), fd)
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // So short a line goes whole or not at all into a socket that is not full.
                Ok(sent) if sent == line.len() => return Ok(()),
                Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The answer to the command that was just sent. Events that come before it are kept.
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
            self.events.push_back(message);
            let surplus = self.events.len().saturating_sub(MOST_EVENTS);
            self.events.drain(..surplus);
        }
    }

    /// The machine's state: `running`, `paused`, `internal-error`, `guest-panicked`…
    pub(crate) async fn status(&mut self) -> Result<String, QmpError> {
        let answer = self.execute("query-status").await?;
        let status = answer.get("status").and_then(Value::as_str);
        Ok(status.unwrap_or("unknown").to_owned())
    }

    /// Waits for something to happen to the machine. Nothing is lost when the future is dropped before.
    pub(crate) async fn event(&mut self) -> Result<Event, QmpError> {
        loop {
            let message = match self.events.pop_front() {
                Some(kept) => kept,
                None => self.read().await?,
            };
            let reason = message.pointer("/data/reason").and_then(Value::as_str);
            let reason = reason.unwrap_or("unknown").to_owned();
            match message.get("event").and_then(Value::as_str) {
                Some("SHUTDOWN") => return Ok(Event::Shutdown(reason)),
                Some("RESET") => return Ok(Event::Reset(reason)),
                _ => {}
            }
        }
    }

    /// The next message. What has come of one stays when the future is dropped.
    async fn read(&mut self) -> Result<Value, QmpError> {
        loop {
            let room = MAX_MESSAGE_BYTES.saturating_sub(self.line.len());
            let mut bounded = (&mut self.reader).take(u64::try_from(room).unwrap_or(0));
            if bounded.read_until(b'\n', &mut self.line).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                return Ok(serde_json::from_slice(&line).map_err(io::Error::from)?);
            }
        }
    }
}

/// The outcome of one exchange, or word that QEMU does not answer.
async fn in_time<T>(
    command: &str,
    exchange: impl Future<Output = Result<T, QmpError>>,
) -> Result<T, QmpError> {
    let outcome = timeout(ANSWER_DEADLINE, exchange).await;
    outcome.unwrap_or_else(|_| {
        let command = command.to_owned();
        Err(QmpError::Silent { command })
    })
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
