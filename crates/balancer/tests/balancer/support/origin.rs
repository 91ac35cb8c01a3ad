//! A backend that records every byte that it is sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as the origin understood it.
pub struct Request {
    /// The first line and the fields.
    pub head: String,
    /// The body as it came, chunk framing included.
    pub body: Vec<u8>,
}

impl Request {
    /// What was asked for.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

type Serve = dyn Fn(TcpStream, &Log) + Send + Sync;

/// What an origin has seen.
#[derive(Default)]
pub struct Log {
    bytes: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Log {
    /// Reads and records.
    pub fn read(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
        let count = stream.read(buffer).unwrap_or(0);
        self.bytes
            .lock()
            .unwrap()
            .extend_from_slice(&buffer[..count]);
        count
    }
}

/// A backend that the test plays. Stops with the test.
pub struct Origin {
    pub address: SocketAddrV4,
    pub log: Arc<Log>,
    stopped: Arc<AtomicBool>,
}

impl Origin {
    /// Serves each connection with this, on a thread of its own.
    pub fn serving(serve: impl Fn(TcpStream, &Log) + Send + Sync + 'static) -> Self {
        Self::serving_at((Ipv4Addr::LOCALHOST, 0).into(), Arc::new(serve))
    }

    fn serving_at(address: SocketAddr, serve: Arc<Serve>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("the origin listens on IPv4");
        };
        let (log, stopped) = (Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
        let (its_log, its_stop) = (Arc::clone(&log), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if its_stop.load(Ordering::SeqCst) {
                    return;
                }
                its_log.connections.fetch_add(1, Ordering::SeqCst);
                its_log
                    .open
                    .lock()
                    .unwrap()
                    .push(stream.try_clone().unwrap());
                let (serve, log) = (Arc::clone(&serve), Arc::clone(&its_log));
                std::thread::spawn(move || {
                    let served = stream.try_clone().unwrap();
                    serve(stream, &log);
                    // The log holds the connection as well, so dropping it would not end it.
                    let _ = served.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            address,
            log,
            stopped,
        }
    }

    /// Answers each request with the bytes that `answer` makes; a health check gets its 200. After an
    /// answer with `Connection: close` or without a length the connection ends.
    pub fn http(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::http_at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    /// The same at a given address.
    pub fn http_at(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let serve = move |mut stream: TcpStream, log: &Log| {
            let _ = stream.set_nodelay(true);
            let mut held = Vec::new();
            while let Some(request) = read_request(&mut stream, &mut held, log) {
                if request.target() == "/health" {
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                    return;
                }
                log.requests.fetch_add(1, Ordering::SeqCst);
                let answer = answer(&request);
                if stream.write_all(&answer).is_err() || ends_connection(&answer) {
                    return;
                }
            }
        };
        Self::serving_at(address, Arc::new(serve))
    }

    /// An origin that says who it is.
    pub fn named(name: &'static str) -> Self {
        Self::http(move |_| plain(name))
    }

    /// How many requests, health checks left out, were understood.
    pub fn requests(&self) -> usize {
        self.log.requests.load(Ordering::SeqCst)
    }

    /// How many connections were made, those of health checks included.
    pub fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Every byte that came, health checks left out.
    pub fn bytes(&self) -> Vec<u8> {
        let text = self.log.bytes.lock().unwrap().clone();
        let mut rest = &text[..];
        let mut kept = Vec::new();
        let (check, end) = (b"GET /health HTTP/1.1\r\n", b"\r\n\r\n");
        while !rest.is_empty() {
            if rest.starts_with(check) {
                let length = rest
                    .windows(4)
                    .position(|w| w == end)
                    .map_or(rest.len(), |p| p + 4);
                rest = &rest[length..];
            } else {
                kept.push(rest[0]);
                rest = &rest[1..];
            }
        }
        kept
    }

    /// Stops: closes the port and breaks every connection off.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for stream in self.log.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Breaks a connection off, so that the other side sees a reset, whoever else holds the socket.
pub fn break_off(stream: &TcpStream) {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    let length = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address lives through the call, and its size is given.
    let ended = unsafe { libc::connect(stream.as_raw_fd(), &raw const nowhere, length) };
    assert_eq!(ended, 0);
}

/// A plain answer of 200.
pub fn plain(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn ends_connection(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let head = &answer[..end.unwrap_or(answer.len())];
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    text.contains("connection: close") || text.starts_with("http/1.0")
}

/// Reads one request by the rules that any server has.
fn read_request(stream: &mut TcpStream, held: &mut Vec<u8>, log: &Log) -> Option<Request> {
    let mut more = |held: &mut Vec<u8>| {
        let mut buffer = [0u8; 65536];
        let count = log.read(stream, &mut buffer);
        held.extend_from_slice(&buffer[..count]);
        count > 0
    };
    let end = loop {
        match held.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if more(held) => {}
            None => return None,
        }
    };
    let head = String::from_utf8_lossy(&held[..end]).into_owned();
    held.drain(..end);
    let mut request = Request {
        head,
        body: Vec::new(),
    };
    let length = if request.field("transfer-encoding").is_some() {
        loop {
            match held.windows(5).position(|w| w == b"0\r\n\r\n") {
                Some(at) => break at + 5,
                None if more(held) => {}
                None => return None,
            }
        }
    } else {
        request
            .field("content-length")
            .map_or(0, |value| value.parse().unwrap())
    };
    while held.len() < length {
        if !more(held) {
            return None;
        }
    }
    request.body = held.drain(..length).collect();
    Some(request)
}
