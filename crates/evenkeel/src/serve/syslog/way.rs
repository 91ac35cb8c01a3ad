//! A way to the server: what was sent on it, and how much of that has arrived.
//!
//! Over TCP a message has arrived when the server's kernel has acknowledged all of it. What the server itself does not
//! read then, since it dies, nobody can know of: syslog has no answers (RFC 6587, section 4.1). A datagram has arrived
//! when it was sent, unless the server's kernel says that nobody is there.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use anyhow::Context;
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::Message;
use super::{SyslogTarget, Transport};

/// How long a connection, or a write, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that the other end has not acknowledged: `SIOCOUTQ` (tcp(7)), which is `TIOCOUTQ`.
const UNACKNOWLEDGED: Opcode = 0x5411;

pub(super) enum Way {
    Udp(Datagrams),
    Tcp(Connection),
}

/// How it went with messages since that was last asked.
#[derive(Default)]
pub(super) struct Went {
    /// So many have arrived, in their order.
    pub arrived: usize,
    /// So many that had been held to have arrived have not.
    pub lost_lines: u64,
    /// Lost lines of which the server was not told, though it had been held to be.
    pub untold: u64,
}

impl Way {
    /// # Errors
    /// When the server's name is not known, or it is not reached.
    pub(super) async fn open(target: &SyslogTarget) -> anyhow::Result<Self> {
        let address = &target.address;
        match target.transport {
            Transport::Tcp => {
                let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
                let stream = connected.context("no connection in time")??;
                Ok(Self::Tcp(Connection::new(stream)))
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
                Ok(Self::Udp(Datagrams::new(socket)))
            }
        }
    }

    /// Sends messages, which are those that follow the ones before.
    ///
    /// # Errors
    /// When the way ended, or takes nothing. What was sent nevertheless, [`Way::went`] says.
    pub(super) async fn send(
        &mut self,
        messages: impl Iterator<Item = &Message>,
    ) -> anyhow::Result<()> {
        let sent = match self {
            Self::Udp(datagrams) => timeout(PATIENCE, datagrams.send(messages)).await,
            Self::Tcp(connection) => timeout(PATIENCE, connection.write(messages)).await,
        };
        Ok(sent.context("it takes nothing")??)
    }

    pub(super) fn went(&mut self) -> Went {
        match self {
            Self::Udp(datagrams) => std::mem::take(&mut datagrams.went),
            Self::Tcp(connection) => Went {
                arrived: connection.arrived(),
                ..Went::default()
            },
        }
    }

    /// Resolves when the server has ended the way.
    pub(super) async fn closed(&mut self) -> io::Error {
        match self {
            Self::Udp(datagrams) => datagrams.refused().await,
            Self::Tcp(connection) => connection.closed().await,
        }
    }

    /// Ends it so that nothing more of what was sent arrives, and says how it went in the end.
    pub(super) fn end(mut self) -> Went {
        if let Self::Tcp(connection) = &self {
            // Else the kernel would go on with what is to be sent by another connection as well.
            let _gone_already = connection.stream.set_zero_linger();
        }
        self.went()
    }
}

/// A socket for datagrams of one server.
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// How many lost lines the last one told of; `None` before the first.
    last: Option<u64>,
    went: Went,
}

impl Datagrams {
    fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            last: None,
            went: Went::default(),
        }
    }

    async fn send(&mut self, messages: impl Iterator<Item = &Message>) -> io::Result<()> {
        for message in messages {
            match self.socket.send(message.text.as_bytes()).await {
                Ok(_) => {
                    self.went.arrived += 1;
                    self.last = Some(message.tells_of);
                }
                Err(error) => return Err(self.noted(error)),
            }
        }
        Ok(())
    }

    /// Resolves when nobody took what was sent.
    async fn refused(&mut self) -> io::Error {
        let mut unasked = [0; 256];
        loop {
            if let Err(error) = self.socket.recv(&mut unasked).await {
                return self.noted(error);
            }
        }
    }

    /// That nobody is there is said of what was sent before: one datagram at the least, and how many more there were,
    /// nobody says.
    fn noted(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            match self.last.take() {
                Some(0) => self.went.lost_lines += 1,
                Some(told) => self.went.untold += told,
                None => {}
            }
        }
        error
    }
}

/// A connection, and where in it each message ends.
pub(super) struct Connection {
    stream: TcpStream,
    written: u64,
    /// Those that are not known to have arrived. No more than the kernel's buffer holds, and what is sent at once.
    ends: VecDeque<u64>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            written: 0,
            ends: VecDeque::new(),
        }
    }

    /// Where it ends early, what it had written is known all the same.
    async fn write(&mut self, messages: impl Iterator<Item = &Message>) -> io::Result<()> {
        let mut counted = String::new();
        for Message { text, .. } in messages {
            let _infallible = write!(counted, "{} {text}", text.len());
            self.ends.push_back(self.written + counted.len() as u64);
        }
        let mut rest = counted.as_bytes();
        while !rest.is_empty() {
            let taken = self.stream.write(rest).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// How many messages have arrived since this was last asked.
    fn arrived(&mut self) -> usize {
        // Where the kernel does not say, as before it has a connection, nothing is held to have arrived.
        let waiting = unacknowledged(&self.stream).unwrap_or(self.written);
        let acknowledged = self.written.saturating_sub(waiting);
        let arrived = self.ends.partition_point(|end| *end <= acknowledged);
        self.ends.drain(..arrived);
        arrived
    }

    /// Resolves when the server has ended the connection. It says nothing else, so whatever can be read tells of that.
    async fn closed(&self) -> io::Error {
        let mut unasked = [0; 256];
        loop {
            if let Err(error) = self.stream.readable().await {
                return error;
            }
            match self.stream.try_read(&mut unasked) {
                Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            }
        }
    }
}

/// How much of what was written is not acknowledged, also of a connection that has ended.
fn unacknowledged(stream: &TcpStream) -> io::Result<u64> {
    // SAFETY: the kernel writes one C int for this opcode, and reads nothing.
    let bytes = unsafe { ioctl(stream, Getter::<UNACKNOWLEDGED, c_int>::new()) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
