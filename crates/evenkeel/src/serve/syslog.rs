//! Sending lines of access logs on to a syslog server: RFC 5424, over UDP (RFC 5426) or over TCP with counted octets
//! (RFC 6587, section 3.4.1).
//!
//! ```text
//!  lines ──queue, bounded──▶ carrier: held until they have arrived ──▶ way: a connection, or a socket for datagrams
//!           full: lost                                                       datagram refused: lost
//!                 └────────────── losses: counted, and told to the server once ──────┘
//! ```
//!
//! Nothing waits for it. Lines wait in a queue of a bound while the server does not take them, and what has no room is
//! dropped and counted. The server is told how many are lost when it takes something again, and `status` that some are.

mod carrier;
mod losses;
mod message;
mod way;

use std::str::FromStr;

use ::monitor::Tally;
use access_log::Line;
use anyhow::bail;
use serde::Serialize;
use store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::trouble::Trouble;
use carrier::Carrier;
use losses::Losses;
use message::{Form, Message};

/// Lines that wait for the server.
const QUEUE: usize = 10_000;

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
    queue: mpsc::Sender<Message>,
    losses: Losses,
    form: Form,
    task: JoinHandle<()>,
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Syslog {
    pub(super) fn start(target: SyslogTarget, status: Store, tally: Tally) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let losses = Losses::counted_in(tally);
        let form = Form::of(target.transport);
        let trouble = Trouble::new(status, "syslog");
        let carrier = Carrier::new(target, trouble, losses.clone(), form.clone());
        Self {
            queue,
            losses,
            form,
            task: tokio::spawn(carrier.carry(messages)),
        }
    }

    /// Hands a line over, or counts it as lost.
    pub(super) fn send(&self, names: &Names, line: Line) {
        if self.queue.capacity() == 0 || !self.try_send(names, line) {
            self.losses.note(1);
        }
    }

    fn try_send(&self, names: &Names, line: Line) -> bool {
        let message = self.form.line(names, line);
        message.is_some_and(|message| self.queue.try_send(message).is_ok())
    }
}

#[cfg(test)]
mod tests;
