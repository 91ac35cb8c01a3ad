//! Clients that cost memory and time. Each attack is made of thousands of connections of one process that
//! does not go away; the balancer serves others meanwhile, grows by less than a bound, and gives
//! everything back by itself.

use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use model::{BalancerConfig, Heartbeat};

use crate::support::{
    Client, Host, Options, Origin, eventually, get, http_config, in_namespace, plain,
};

/// Bytes by which an attack may have the balancer grow.
const GROWTH_BYTES: u64 = 64 << 20;
/// Connections of an attack that needs no backend.
const CONNECTIONS: usize = 10_000;
/// Files that the balancer may keep for later: each thread some empty pipes.
const KEPT_FILES: usize = 2 * 2 * 8;
/// Milliseconds that the balancer has patience for; by default it is seconds and minutes.
const PATIENCE_MS: u64 = 1_500;

/// A balancer under attack, and its backend.
struct Target {
    host: Host,
    _origin: Origin,
    before: Usage,
}

/// What a process uses.
#[derive(Debug)]
struct Usage {
    peak_bytes: u64,
    files: usize,
}

impl Target {
    /// With a backend that answers at once.
    fn start() -> Self {
        Self::before(Origin::http(|_| plain("served")), |_| ())
    }

    fn before(origin: Origin, change: impl FnOnce(&mut BalancerConfig)) -> Self {
        let open_files = raise_open_files();
        let host = Host::start_with(Options {
            open_files: Some(open_files),
            ..Options::default()
        });
        let mut config = http_config(1, &[origin.address]);
        config.health_check.protocol = model::HealthProtocol::Tcp;
        config.health_check.criteria.interval_ms = 60_000;
        config.timeouts.request_head_ms = PATIENCE_MS;
        config.timeouts.keep_alive_ms = PATIENCE_MS;
        config.timeouts.idle_ms = PATIENCE_MS;
        change(&mut config);
        host.serve(&config);
        host.await_heartbeat("all is at rest", at_rest);
        forget_peak(&host);
        let before = usage(&host);
        Self {
            host,
            _origin: origin,
            before,
        }
    }

    /// So many connections that send these bytes.
    fn flood(&self, connections: usize, bytes: &[u8]) -> Vec<TcpStream> {
        (0..connections).map(|_| self.attack(bytes)).collect()
    }

    /// One connection that sends these bytes, as many as are taken.
    fn attack(&self, mut bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.host.front()).unwrap();
        take_in_little(&stream);
        stream.set_nonblocking(true).unwrap();
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                // What is refused may be refused before it has all come.
                Err(_) => break,
            }
        }
        stream
    }

    fn assert_serves_others(&self) {
        for _ in 0..20 {
            assert_eq!(get(self.host.front(), "/").text(), "served");
        }
    }

    /// The attackers are still there, but their connections are not.
    fn assert_bounded(&self, attack: &str, attackers: Vec<TcpStream>) {
        self.host.await_heartbeat("all is given back", at_rest);
        let after = eventually("files are closed", || {
            let after = usage(&self.host);
            (after.files <= self.before.files + KEPT_FILES).then_some(after)
        });
        let grown = after.peak_bytes.saturating_sub(self.before.peak_bytes);
        println!(
            "{attack}: {} connections, grown by {} KiB",
            attackers.len(),
            grown >> 10
        );
        assert!(
            grown < GROWTH_BYTES,
            "{attack}: grown by {} KiB",
            grown >> 10
        );
    }
}

fn at_rest(heartbeat: &Heartbeat) -> bool {
    heartbeat.counters.open_connections == 0 && heartbeat.backends.iter().all(|b| b.active == 0)
}

fn usage(host: &Host) -> Usage {
    let process = format!("/proc/{}", host.process.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    Usage {
        peak_bytes: kib * 1024,
        files: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
    }
}

/// Has the kernel keep hardly anything of what nobody reads.
fn take_in_little(stream: &TcpStream) {
    let bytes: libc::c_int = 4_096;
    // SAFETY: the option's value lives through the call, and its size is given.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}

/// Has the kernel take the process's highest use of memory for what it uses now.
fn forget_peak(host: &Host) {
    std::fs::write(format!("/proc/{}/clear_refs", host.process.id()), "5").unwrap();
}

/// Lets the test have as many open files as it may, and returns how many that is.
fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives through both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    assert!(
        limit.rlim_cur > 2 * CONNECTIONS as u64 - 1_000,
        "too few open files are allowed"
    );
    limit.rlim_cur
}

#[test]
fn a_flood_of_silent_connections() {
    in_namespace(|| {
        let target = Target::start();
        let attackers = target.flood(CONNECTIONS, b"");
        target.assert_serves_others();
        target.assert_bounded("silent connections", attackers);
    });
}

#[test]
fn slow_heads() {
    in_namespace(|| {
        let target = Target::start();
        let attackers = target.flood(CONNECTIONS, b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
        target.assert_serves_others();
        target.assert_bounded("slow heads", attackers);
    });
}

#[test]
fn large_heads_that_never_end() {
    in_namespace(|| {
        let target = Target::start();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(31 << 10));
        let attackers = target.flood(CONNECTIONS, head.as_bytes());
        target.assert_serves_others();
        target.assert_bounded("large heads", attackers);
    });
}

/// Each request could be sent again, as long as no answer has begun.
#[test]
fn large_heads_that_wait_for_a_backend() {
    in_namespace(|| {
        let mute = Mute::start();
        let target = Target::before(Origin::named("checked"), |config| {
            config.health_check.port = Some(config.backends[0].port);
            config.backends[0].port = mute.address.port();
            config.timeouts.response_ms = PATIENCE_MS;
        });
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(31 << 10)
        );
        let attackers = target.flood(4_000, head.as_bytes());
        target.assert_bounded("large heads at a mute backend", attackers);
    });
}

#[test]
fn slow_bodies() {
    in_namespace(|| {
        let target = Target::start();
        let bodies = [
            "Content-Length: 1000000\r\n\r\nbegin",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        ];
        let attackers: Vec<_> = bodies
            .iter()
            .flat_map(|body| {
                target.flood(
                    500,
                    format!("POST / HTTP/1.1\r\nHost: a\r\n{body}").as_bytes(),
                )
            })
            .collect();
        target.assert_serves_others();
        target.assert_bounded("slow bodies", attackers);
    });
}

#[test]
fn readers_that_do_not_read() {
    in_namespace(|| {
        let origin = Origin::serving(|mut stream, log| {
            let mut buffer = [0u8; 16 << 10];
            while log.read(&mut stream, &mut buffer) > 0 {
                if buffer.starts_with(b"GET /large ") {
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
                    let mut sent = stream.write_all(head.as_bytes());
                    while sent.is_ok() {
                        sent = stream.write_all(&[0; 65536]);
                    }
                }
                let _ = stream.write_all(&plain("served"));
            }
        });
        let target = Target::before(origin, |_| ());
        let attackers = target.flood(500, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        target.assert_serves_others();
        // Nor is anything asked of the others: they may say as much as ever.
        let cookie = "c".repeat(8 << 10);
        let mut client = Client::connect(target.host.front());
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"
        ));
        assert_eq!(client.reply(false).unwrap().text(), "served");
        target.assert_bounded("slow readers", attackers);
    });
}

#[test]
fn pipelined_requests_whose_answers_nobody_reads() {
    in_namespace(|| {
        let page = "p".repeat(64 << 10);
        let origin = Origin::http(move |request| match request.target() {
            "/page" => plain(&page),
            _ => plain("served"),
        });
        let target = Target::before(origin, |_| ());
        let requests = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
        let attackers = target.flood(50, requests.as_bytes());
        target.assert_serves_others();
        target.assert_bounded("pipelined requests", attackers);
    });
}

#[test]
fn chunks_of_one_byte() {
    in_namespace(|| {
        let target = Target::start();
        let mut client = Client::connect(target.host.front());
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            client.send("1\r\na\r\n".repeat(1_000));
        }
        target.assert_serves_others();
        client.send("0\r\n\r\n");
        assert_eq!(client.reply(false).unwrap().text(), "served");
        target.assert_bounded("chunks of one byte", vec![client.stream]);
    });
}

/// An origin that accepts and keeps connections, and neither reads nor answers.
struct Mute {
    address: SocketAddrV4,
    _held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Mute {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let held = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                keep.lock().unwrap().push(stream);
            }
        });
        Self {
            address,
            _held: held,
        }
    }
}
