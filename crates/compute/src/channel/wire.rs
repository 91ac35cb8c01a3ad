//! Carries a conversation over the VM's socket.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Boot, GuestMessage, HostMessage, MAX_LINE_BYTES, VmId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::conversation::{Conversation, Say, Wanted};
use crate::line::LineSplitter;

/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(20);

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Lines that a VM may write into the host's log in one second; further ones are counted.
const LOG_LINES_PER_SECOND: u32 = 20;

/// What the conversation is about.
pub(crate) struct Line {
    pub vm: VmId,
    pub socket: PathBuf,
    /// Who the VM is, once that is known.
    pub boot: watch::Receiver<Option<Boot>>,
    /// What it is to do.
    pub wanted: watch::Receiver<Wanted>,
    /// Whether the guest is known to wait for word who it is, whatever it says.
    pub awaits_boot: bool,
    /// Set while the socket is connected.
    pub connected: watch::Sender<bool>,
    /// Set once the guest has said anything.
    pub spoken: watch::Sender<bool>,
}

/// Talks to the VM until the task is aborted. Each heartbeat goes to `hear`.
pub(crate) async fn converse(mut line: Line, hear: impl Fn(model::Heartbeat) + Send) {
    loop {
        if let Ok(stream) = UnixStream::connect(&line.socket).await {
            line.connected.send_replace(true);
            if let Err(error) = talk(&mut line, stream, &hear).await {
                tracing::debug!(vm = %line.vm, %error, "control channel broke; connecting again");
            }
            line.connected.send_replace(false);
        }
        sleep(RECONNECT).await;
    }
}

async fn talk(
    line: &mut Line,
    stream: UnixStream,
    hear: &(impl Fn(model::Heartbeat) + Send),
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut conversation = Conversation::new(std::mem::take(&mut line.awaits_boot));
    let mut splitter = LineSplitter::default();
    let mut log = GuestLog::default();
    let mut buffer = vec![0; READ_BYTES];
    // The host's end may have broken off within a line before: end that line, so that the next one
    // is read.
    let mut outgoing: &[u8] = b"\n";
    let mut message: Vec<u8>;
    loop {
        if outgoing.is_empty() {
            message = next_message(line, &mut conversation);
            outgoing = &message;
        }
        tokio::select! {
            count = reader.read(&mut buffer) => {
                let bytes = buffer.get(..count?).unwrap_or_default();
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                splitter.push(bytes, |text| match serde_json::from_slice(text) {
                    Ok(said) => {
                        line.spoken.send_if_modified(|spoken| !std::mem::replace(spoken, true));
                        conversation.hear(&said, unix_time_ms());
                        match said {
                            GuestMessage::Heartbeat(heartbeat) => hear(heartbeat),
                            GuestMessage::Log { level, text } => log.write(line.vm, &level, &text),
                            GuestMessage::AwaitingBoot { .. }
                            | GuestMessage::Rehearsed { .. }
                            | GuestMessage::Clock { .. } => {}
                        }
                    }
                    // The tail of a line that began before the connection, most likely.
                    Err(error) => tracing::debug!(vm = %line.vm, %error, "unreadable line on the control channel"),
                });
            }
            count = writer.write(outgoing), if !outgoing.is_empty() => {
                outgoing = outgoing.get(count?..).unwrap_or_default();
            }
            Ok(()) = line.wanted.changed() => {}
            Ok(()) = line.boot.changed() => {}
        }
    }
}

/// What is to be said now, as a line; empty when nothing is.
fn next_message(line: &Line, conversation: &mut Conversation) -> Vec<u8> {
    let boot = line.boot.borrow().clone();
    let wanted = line.wanted.borrow().clone();
    let said = conversation.speak(Instant::now(), boot.is_some(), &wanted);
    let message = match (said, boot, wanted.config) {
        (Some(Say::Boot), Some(boot), _) => match freshen(boot) {
            Ok(boot) => HostMessage::Boot(boot),
            Err(error) => {
                tracing::error!(vm = %line.vm, %error, "cannot draw a seed from /dev/urandom");
                return Vec::new();
            }
        },
        (Some(Say::Time), ..) => HostMessage::Time {
            unix_time_ms: unix_time_ms(),
        },
        (Some(Say::Configure), _, Some(config)) => HostMessage::Configure((*config).clone()),
        (Some(Say::Drain), _, _) => HostMessage::Drain,
        _ => return Vec::new(),
    };
    match serde_json::to_vec(&message) {
        Ok(mut text) if text.len() < MAX_LINE_BYTES => {
            text.push(b'\n');
            text
        }
        Ok(text) => {
            tracing::error!(vm = %line.vm, bytes = text.len(), "the configuration is too large for the control channel; use fewer backends");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(vm = %line.vm, %error, "a message cannot be written as JSON");
            Vec::new()
        }
    }
}

/// Fills in what must differ with each boot.
fn freshen(mut boot: Boot) -> io::Result<Boot> {
    let mut seed = [0; 32];
    std::fs::File::open(Path::new("/dev/urandom"))?.read_exact(&mut seed)?;
    boot.seed = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    boot.unix_time_ms = unix_time_ms();
    Ok(boot)
}

/// What the host's clock shows.
fn unix_time_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A guest's lines in the host's log, no more than a bound in each second.
#[derive(Default)]
struct GuestLog {
    second: Option<Instant>,
    lines: u32,
}

impl GuestLog {
    fn write(&mut self, vm: VmId, level: &str, text: &str) {
        let now = Instant::now();
        if self
            .second
            .is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1))
        {
            self.second = Some(now);
            if let Some(dropped @ 1..) = self.lines.checked_sub(LOG_LINES_PER_SECOND) {
                tracing::warn!(%vm, dropped, "the VM writes too many log lines");
            }
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines > LOG_LINES_PER_SECOND {
            return;
        }
        match level {
            "error" => tracing::error!(%vm, "{text}"),
            "warn" => tracing::warn!(%vm, "{text}"),
            "debug" => tracing::debug!(%vm, "{text}"),
            _ => tracing::info!(%vm, "{text}"),
        }
    }
}
