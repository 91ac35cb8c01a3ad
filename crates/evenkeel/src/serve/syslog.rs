//! Sending lines of access logs on to a syslog server: RFC 5424, over UDP (RFC 5426) or over TCP with counted octets
//! (RFC 6587, section 3.4.1).
//!
//! Nothing waits for it. Lines wait in a queue of a bound while the server does not take them, and what has no room is
//! dropped, counted, told in `status` and, when the server is back, to it.

use std::fmt::Write;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use access_log::{Line, LineDocument};
use anyhow::{Context, bail};
use model::Timestamp;
use model::access::AccessKind;
use model::forms::rfc3339;
use serde::Serialize;
use store::Store;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::trouble::Trouble;

/// Messages that wait for the server.
const QUEUE: usize = 10_000;
/// Messages that are written at once over TCP.
const AT_ONCE: usize = 256;
/// How long a connection, or a write, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts, at first and at the most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// A connection that did not live for this long was none.
const LIFE: Duration = Duration::from_secs(5);
/// The largest message over UDP: what fits into one frame of the usual size.
const MOST_UDP_BYTES: usize = 1_400;

/// The facility local0, and the severities warning and informational (RFC 5424, section 6.2.1).
const FACILITY: u8 = 16;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// Where messages are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    transport: Transport,
    /// `host:port`; a name is looked up with each connection.
    address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl FromStr for SyslogTarget {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write tcp://HOST:PORT or udp://HOST:PORT";
        let (transport, address) = match text.split_once("://") {
            Some(("tcp", address)) => (Transport::Tcp, address),
            Some(("udp", address)) => (Transport::Udp, address),
            _ => bail!("`{text}` is no syslog server: {FORM}"),
        };
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty());
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            Some(1..) => Ok(Self {
                transport,
                address: address.to_owned(),
            }),
            _ => bail!("`{text}` names no port: {FORM}"),
        }
    }
}

/// Whose line it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Names {
    pub instance: String,
    pub id: u64,
    pub project: String,
    pub user: String,
}

/// Sends on, for as long as it is there.
pub(super) struct Syslog {
    sender: mpsc::Sender<Message>,
    dropped: Arc<AtomicU64>,
    host: String,
    task: JoinHandle<()>,
}

struct Message(String);

impl Drop for Syslog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Syslog {
    pub(super) fn start(target: SyslogTarget, status: Store) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let host = host_name();
        let carrier = Carrier {
            target,
            trouble: Trouble::new(status, "syslog"),
            dropped: Arc::clone(&dropped),
            host: host.clone(),
        };
        Self {
            sender,
            dropped,
            host,
            task: tokio::spawn(carrier.carry(messages)),
        }
    }

    /// Hands a line over, or counts it as dropped. Says whether there was room.
    pub(super) fn send(&self, names: &Names, line: Line) -> bool {
        let is_sent = self.sender.capacity() > 0 && self.try_send(names, line);
        if !is_sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
    }

    fn try_send(&self, names: &Names, line: Line) -> bool {
        let message = message(&self.host, names, line);
        message.is_some_and(|message| self.sender.try_send(Message(message)).is_ok())
    }
}

/// One message of RFC 5424. What it says is JSON with the cookie `@cee:`, by which servers know it.
fn message(host: &str, names: &Names, line: Line) -> Option<String> {
    #[derive(Serialize)]
    struct Said<'n> {
        #[serde(flatten)]
        names: &'n Names,
        #[serde(flatten)]
        line: LineDocument,
    }
    let head = line.head;
    let severity = match head.has_failed() || head.kind == AccessKind::Gap {
        true => WARNING,
        false => INFORMATIONAL,
    };
    let header = header(
        severity,
        head.ended_us / 1000,
        host,
        &format!("vm-{}", head.vm),
    );
    let line = LineDocument::from(line);
    let said = serde_json::to_string(&Said { names, line }).ok()?;
    Some(format!("{header}access - @cee: {said}"))
}

/// All up to the message's id.
fn header(severity: u8, ms: u64, host: &str, process: &str) -> String {
    let priority = FACILITY * 8 + severity;
    let time = rfc3339(Timestamp(ms));
    format!("<{priority}>1 {time} {host} evenkeel {process} ")
}

/// The machine's name, as far as it may stand in a message: printable, without spaces, and not too long.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let name: String = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    match name.is_empty() {
        true => "-".to_owned(),
        false => name,
    }
}

/// Brings messages to the server.
struct Carrier {
    target: SyslogTarget,
    trouble: Trouble,
    dropped: Arc<AtomicU64>,
    host: String,
}

enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Carrier {
    async fn carry(mut self, mut messages: mpsc::Receiver<Message>) {
        let [first, most] = PAUSES;
        let mut pause = first;
        let mut held = Vec::new();
        loop {
            let error = match self.connect().await {
                Ok(way) => {
                    let began = Instant::now();
                    let ended = self.carry_by(way, &mut messages, &mut held).await;
                    if began.elapsed() >= LIFE {
                        pause = first;
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.complain(&format!("{error:#}"));
            sleep(pause).await;
            pause = (pause * 2).min(most);
        }
    }

    /// Tells why lines are not sent, and how many have been lost by that since the last that was sent.
    fn complain(&mut self, why: &str) {
        let address = &self.target.address;
        let lost = match self.dropped.load(Ordering::Relaxed) {
            0 => String::new(),
            lost => format!("; {lost} were dropped"),
        };
        self.trouble.tell(Some(format!(
            "lines of access logs are not sent to the syslog server {address}: {why}{lost}"
        )));
    }

    async fn connect(&self) -> anyhow::Result<Way> {
        let address = &self.target.address;
        match self.target.transport {
            Transport::Tcp => {
                let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
                let stream = connected.context("no connection in time")??;
                Ok(Way::Tcp(stream))
            }
            Transport::Udp => {
                let found = timeout(PATIENCE, tokio::net::lookup_host(address)).await;
                let mut found = found.context("no answer for its name in time")??;
                let server = found.next().context("its name has no address")?;
                let own = match server.is_ipv4() {
                    true => "0.0.0.0:0",
                    false => "[::]:0",
                };
                let socket = UdpSocket::bind(own).await?;
                socket.connect(server).await?;
                Ok(Way::Udp(socket))
            }
        }
    }

    /// Carries until nobody hands anything over any more. What could not be written whole stays in `held`.
    async fn carry_by(
        &mut self,
        mut way: Way,
        messages: &mut mpsc::Receiver<Message>,
        held: &mut Vec<Message>,
    ) -> anyhow::Result<()> {
        loop {
            if held.is_empty() && !self.receive(&mut way, messages, held).await? {
                return Ok(());
            }
            let lost = self.dropped.load(Ordering::Relaxed);
            if lost > 0 {
                self.complain("it takes them too slowly");
                held.push(Message(self.words_for(lost)));
            }
            let written = timeout(PATIENCE, way.write(held)).await;
            written.context("it takes nothing")??;
            held.clear();
            self.dropped.fetch_sub(lost, Ordering::Relaxed);
            if lost == 0 {
                self.trouble.tell(None);
            }
        }
    }

    /// Waits for messages, as many as are written at once. Over TCP, a server that goes is noticed meanwhile.
    async fn receive(
        &self,
        way: &mut Way,
        messages: &mut mpsc::Receiver<Message>,
        held: &mut Vec<Message>,
    ) -> anyhow::Result<bool> {
        tokio::select! {
            biased;
            gone = way.closed() => Err(gone.into()),
            count = messages.recv_many(held, AT_ONCE) => Ok(count > 0),
        }
    }

    fn words_for(&self, lost: u64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ms = now.unwrap_or_default().as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let header = header(WARNING, ms, &self.host, "monitor");
        format!("{header}dropped - @cee: {{\"dropped\":{lost}}}")
    }
}

impl Way {
    async fn write(&mut self, messages: &[Message]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                for Message(message) in messages {
                    let bytes = message.as_bytes();
                    socket
                        .send(bytes.get(..MOST_UDP_BYTES).unwrap_or(bytes))
                        .await?;
                }
                Ok(())
            }
            Self::Tcp(stream) => {
                let mut counted = String::new();
                for Message(message) in messages {
                    let _infallible = write!(counted, "{} {message}", message.len());
                }
                stream.write_all(counted.as_bytes()).await
            }
        }
    }

    /// Resolves when the server has ended the connection. It says nothing else, so whatever can be read tells of that.
    async fn closed(&mut self) -> io::Error {
        let Self::Tcp(stream) = self else {
            return std::future::pending().await;
        };
        let mut unasked = [0; 256];
        loop {
            if let Err(error) = stream.readable().await {
                return error;
            }
            match stream.try_read(&mut unasked) {
                Ok(0) => return io::Error::from(io::ErrorKind::ConnectionAborted),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::access::{AccessHead, AccessLengths, AccessRecord};
    use model::{Termination, VmId};

    use super::*;

    fn line(termination: Termination, status: u16) -> Line {
        let head = AccessHead {
            status,
            termination,
            vm: VmId(7),
            ended_us: 1_795_369_892_123_000,
            lengths: AccessLengths {
                method: 3,
                host: 3,
                path: 5,
                ..AccessLengths::default()
            },
            ..AccessHead::default()
        };
        let mut bytes = Vec::new();
        AccessRecord::write(&head, b"GETweb/a\"\n ", &mut bytes);
        let mut records = AccessRecord::read_all(&bytes);
        Line::new(1, records.next().expect("one record"))
    }

    #[test]
    fn a_message_has_a_header_of_rfc_5424_and_says_its_line_in_json_without_a_line_break() {
        let names = Names {
            instance: "web".into(),
            id: 3,
            project: "john's project".into(),
            user: "john".into(),
        };
        for (line, severity) in [
            (line(Termination::Complete, 200), INFORMATIONAL),
            (line(Termination::ResponseTimeout, 504), WARNING),
        ] {
            let message = message("lab", &names, line).expect("it has a form");
            let header = format!(
                "<{}>1 2026-11-22T17:51:32.123Z lab evenkeel vm-7 access - @cee: ",
                FACILITY * 8 + severity
            );
            let said = message.strip_prefix(&header).expect(&message);
            assert!(!said.contains('\n'), "{said}");
            let said: serde_json::Value = serde_json::from_str(said).expect("JSON");
            assert_eq!(said["path"], "/a\"\n ");
            assert_eq!(
                (&said["instance"], &said["id"], &said["vm"]),
                (&"web".into(), &3.into(), &7.into())
            );
        }
    }

    #[test]
    fn a_server_is_named_by_transport_host_and_port() {
        for good in [
            "tcp://127.0.0.1:514",
            "udp://log.example:5514",
            "tcp://[::1]:601",
        ] {
            assert!(good.parse::<SyslogTarget>().is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:514",
            "tls://a:1",
            "tcp://a",
            "udp://:514",
            "tcp://a:0",
            "tcp://a:99999",
        ] {
            assert!(bad.parse::<SyslogTarget>().is_err(), "{bad}");
        }
    }
}
