//! A rehearsal: a balancer of which nobody hears goes once through the first second of a VM's life.
//!
//! ```text
//!   this process ── Boot, Configure ──▶ supervisor ─▶ balancer ──▶ backend (a thread here)
//!        └───────── requests ─────────────────────────▲  127.0.0.1
//! ```
//!
//! An emulated processor translates code when it first comes to it, and what it has translated is no part of a
//! snapshot. So the first second of a machine that was restored is spent on that, and little of it on the work
//! itself. A machine that waits for somebody to be has that second to spare: after a rehearsal the code that brings a
//! balancer up, checks a backend and forwards is at hand, in the same places of the same files.
//!
//! It leaves nothing behind but that: the processes are killed and the sockets, all on loopback, are closed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use model::forms::default_health_check;
use model::{
    BackendConfig, BackendHealth, BalancerConfig, Boot, BootNic, Generation, GuestMessage,
    Heartbeat, HostMessage, Mac, Policy, Timeouts, TrafficType, VmId,
};
use rustix::io::{FdFlags, fcntl_setfd};

/// How long the rehearsal may take.
pub const LONGEST: Duration = Duration::from_secs(5);
/// Connections on each of which a few requests are made. Code that is seldom run is translated the first time as well,
/// but some of the way, such as a window that grows, begins only after a while.
const CONNECTIONS: usize = 12;
/// Requests on each connection.
const REQUESTS: usize = 3;
/// How long one read may wait: a balancer on loopback that needs longer has something else to do.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of the backend for a connection.
const LOOK: Duration = Duration::from_millis(1);
/// As quick as heartbeats can be asked for.
const HEARTBEAT_MS: u64 = 50;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Goes through it with this program, and returns how many requests were answered. Loopback must be up.
///
/// # Errors
/// What could not be done, or that it took longer than [`LONGEST`]. Nothing is left of it then either.
pub fn rehearse(program: &Path) -> io::Result<usize> {
    let until = Instant::now() + LONGEST;
    let backend = Backend::begin()?;
    let (ours, theirs) = UnixStream::pair()?;
    let balancer = Balancer::start(program, theirs)?;
    let mut host = Host::over(ours)?;
    let front = free_port()?;
    host.say(&HostMessage::Boot(boot()))?;
    host.hear(until, |_| true)?;
    host.say(&HostMessage::Configure(config(front, backend.address)))?;
    host.hear(until, serves)?;
    let mut answered = 0;
    for _ in 0..CONNECTIONS {
        answered += ask(front, until)?;
    }
    drop(balancer);
    await_end(front, until)?;
    Ok(answered)
}

fn serves(heartbeat: &Heartbeat) -> bool {
    let mut backends = heartbeat.backends.iter();
    heartbeat.progress_age_ms.is_some() && backends.all(|b| b.health == BackendHealth::Up)
}

/// Makes some requests on one connection, and returns how many were answered.
fn ask(front: u16, until: Instant) -> io::Result<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, front))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answered = 0;
    for _ in 0..REQUESTS {
        if Instant::now() >= until {
            return Err(late());
        }
        stream.write_all(b"GET /rehearsal HTTP/1.1\r\nHost: rehearsal\r\n\r\n")?;
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer)?;
        let answer = buffer.get(..count).unwrap_or_default();
        answered += usize::from(answer.starts_with(b"HTTP/1.1 200 "));
    }
    Ok(answered)
}

/// The balancer dies with its supervisor, and with it its sockets, a moment later.
fn await_end(front: u16, until: Instant) -> io::Result<()> {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, front)).is_ok() {
        if Instant::now() >= until {
            return Err(late());
        }
        sleep(LOOK);
    }
    Ok(())
}

fn late() -> io::Error {
    let words = format!("the rehearsal took longer than {} s", LONGEST.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, words)
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn boot() -> Boot {
    let nic = BootNic {
        mac: Mac([2, 0, 0, 0, 0, 3]),
        address: Ipv4Addr::LOCALHOST,
        prefix: 8,
        gateway: None,
    };
    Boot {
        vm: VmId(0),
        hostname: "rehearsal".into(),
        front: nic.clone(),
        tenant: nic,
        seed: String::new(),
        unix_time_ms: 0,
        heartbeat_ms: HEARTBEAT_MS,
        monitor: None,
    }
}

fn config(front: u16, backend: SocketAddrV4) -> BalancerConfig {
    BalancerConfig {
        generation: Generation(1),
        instance: "rehearsal".into(),
        traffic: TrafficType::Http,
        port: front,
        backends: vec![BackendConfig {
            address: *backend.ip(),
            port: backend.port(),
            weight: 1,
            backup: false,
            max_connections: None,
        }],
        health_check: default_health_check(TrafficType::Http),
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        checker: None,
    }
}

/// A supervisor and its balancer, which ends with it.
struct Balancer(Child);

impl Balancer {
    fn start(program: &Path, channel: UnixStream) -> io::Result<Self> {
        // Closed here as soon as the child has it.
        fcntl_setfd(&channel, FdFlags::empty())?;
        let number = channel.as_raw_fd().to_string();
        let child = Command::new(program)
            .args(["supervise", "run", "--channel-fd", &number])
            .args(["--threads", "1"])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _has_ended_already = self.0.kill();
        let _is_reaped = self.0.wait();
    }
}

/// The host's part.
struct Host {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Host {
    fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK * 20))?;
        Ok(Self {
            reader: BufReader::new(stream),
            line: Vec::new(),
        })
    }

    fn say(&mut self, message: &HostMessage) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)
    }

    /// Listens until a heartbeat says what is waited for.
    fn hear(&mut self, until: Instant, is_meant: impl Fn(&Heartbeat) -> bool) -> io::Result<()> {
        while Instant::now() < until {
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // What came of the line stays until the rest of it comes.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let message = serde_json::from_slice(&self.line);
            self.line.clear();
            if matches!(message, Ok(GuestMessage::Heartbeat(heartbeat)) if is_meant(&heartbeat)) {
                return Ok(());
            }
        }
        Err(late())
    }
}

/// Answers everything with two bytes, on a thread that ends with it.
struct Backend {
    address: SocketAddrV4,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn begin() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let serve = move || {
            while !seen.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(answer(stream)),
                    Err(_) => sleep(LOOK),
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("rehearsal".into())
            .spawn(serve)?;
        Ok(Self {
            address,
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let _head = stream.read(&mut [0; 4096])?;
    stream.write_all(ANSWER)
}
