//! A client that reads answers strictly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The status line and the fields.
    pub head: String,
    /// The body, chunks taken apart.
    pub body: Vec<u8>,
}

impl Reply {
    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Why the balancer answered itself.
    pub fn reason(&self) -> Option<&str> {
        self.field("Evenkeel-Reason")
    }
}

/// A connection to the balancer.
pub struct Client {
    pub stream: TcpStream,
    held: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddrV4) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects from this address of the machine.
    pub fn connect_from(source: [u8; 4], address: SocketAddrV4) -> Self {
        let kind = rustix::net::SocketType::STREAM;
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, kind, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrV4::new(source.into(), 0)).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            held: Vec::new(),
        }
    }

    /// Whether there is anything to read.
    pub fn has_something(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let has = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).unwrap();
        has
    }

    /// Sends bytes, unless the connection is broken.
    pub fn send_if_open(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Ends its half.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Breaks the connection off, so that the balancer sees a reset.
    pub fn reset(self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the option's value lives through the call, and its size is given.
        let set = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
    }

    /// Reads an answer, if one begins within this time.
    pub fn reply_within(&mut self, wait: Duration) -> Option<Reply> {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let begun = self.more().is_some_and(|count| count > 0);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        begun.then(|| self.reply(false)).flatten()
    }

    /// Asks for a path and reads the answer.
    pub fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.reply(false).expect("an answer")
    }

    /// Reads an answer; nothing when the connection ends before it is whole.
    pub fn reply(&mut self, to_head: bool) -> Option<Reply> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        if to_head || matches!(status, 100..=199 | 204 | 304) {
            return Some(reply);
        }
        reply.body = if reply.field("Transfer-Encoding").is_some() {
            self.chunks()?
        } else if let Some(length) = reply.field("Content-Length") {
            let length = length.parse().unwrap();
            self.exactly(length)?
        } else {
            self.rest()?
        };
        Some(reply)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            data.extend(self.exactly(size)?);
            assert_eq!(self.exactly(2)?, b"\r\n");
            if size == 0 {
                return Some(data);
            }
        }
    }

    fn more(&mut self) -> Option<usize> {
        let mut buffer = [0u8; 65536];
        let count = self.stream.read(&mut buffer).ok()?;
        self.held.extend_from_slice(&buffer[..count]);
        Some(count)
    }

    /// Reads up to and with these bytes.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.held.windows(end.len()).position(|w| w == end) {
                return Some(self.held.drain(..at + end.len()).collect());
            }
            if self.more()? == 0 {
                return None;
            }
        }
    }

    /// Reads so many bytes.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.held.len() < count {
            if self.more()? == 0 {
                return None;
            }
        }
        Some(self.held.drain(..count).collect())
    }

    /// Reads until the connection's end; nothing when it is broken off.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        while self.more()? > 0 {}
        Some(std::mem::take(&mut self.held))
    }
}

/// Asks for a path over a connection of its own.
pub fn get(address: SocketAddrV4, path: &str) -> Reply {
    Client::connect(address).get(path)
}
