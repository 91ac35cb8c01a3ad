//! The steady path takes no memory: real requests and sessions through a real forwarding thread, whose
//! every allocation is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balancer::forward::{Worker, listen};
use balancer::shared::{Order, Shared};
use balancer::snapshot::{BackendRecord, Snapshot, Target};
use model::{Algorithm, BackendHealth, Policy, Timeouts, TrafficType};

#[path = "balancer/support/namespace.rs"]
mod namespace;

/// Requests, or round trips, in which none may be counted.
const STEADY: usize = 10_000;
/// Those before, in which the thread finds its memory.
const WARM_UP: usize = 1_000;
/// Connections that take turns.
const CLIENTS: usize = 8;

/// Counts what the watched thread takes.
struct Counting;

thread_local! {
    /// Where this thread's allocations are counted, if they are.
    static COUNTER: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

impl Counting {
    fn note() {
        if let Ok(Some(counter)) = COUNTER.try_with(Cell::get) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers every read with the same bytes, on a thread for each connection.
fn origin(answer: Vec<u8>) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &answer));
        }
    });
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("it is bound to IPv4"),
    }
}

fn serve(mut stream: TcpStream, answer: &[u8]) {
    let mut request = [0u8; 4096];
    while stream.read(&mut request).is_ok_and(|count| count > 0) {
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// A running forwarding thread.
struct Balancer {
    /// Where clients reach it.
    address: SocketAddrV4,
    /// How many allocations it has made.
    taken: &'static AtomicU64,
}

/// Starts one forwarding thread before these backends.
fn start(traffic: TrafficType, policy: Policy, backends: &[SocketAddrV4]) -> Balancer {
    start_with(traffic, policy, Timeouts::default(), backends)
}

fn start_with(
    traffic: TrafficType,
    policy: Policy,
    timeouts: Timeouts,
    backends: &[SocketAddrV4],
) -> Balancer {
    let shared = Arc::new(Shared::new(1, "/own".to_owned()).expect("event descriptors"));
    let now = Instant::now();
    let targets = backends.iter().map(|&address| {
        let record = BackendRecord::new(address, 1, now);
        record.set_health(BackendHealth::Up, now);
        Target {
            record: Arc::new(record),
            weight: 1,
            backup: false,
            max_connections: None,
        }
    });
    // Nobody reads the log, so it also comes to be full.
    shared.logs.store(true, Ordering::SeqCst);
    shared.publish(Arc::new(Snapshot {
        traffic,
        targets: targets.collect(),
        policy,
        timeouts,
        ..Snapshot::empty()
    }));
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
    let listener = listen(address).expect("the namespace is the test's own");
    let desk = shared.threads.first().expect("there is one thread");
    desk.order(Order::Listen(listener));
    let worker = Worker::new(0, &shared, 7).expect("an epoll descriptor");
    let taken: &AtomicU64 = Box::leak(Box::default());
    std::thread::spawn(move || {
        COUNTER.set(Some(taken));
        worker.run()
    });
    Balancer { address, taken }
}

impl Balancer {
    /// Sends `request` and reads an answer of so many bytes, again and again over kept connections; returns
    /// what the thread took once it was warm.
    fn taken_by(&self, request: &[u8], answer_bytes: usize) -> u64 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| self.connect()).collect();
        let mut answer = vec![0u8; answer_bytes];
        let mut exchange = |client: &mut TcpStream| {
            client.write_all(request).expect("a connection");
            client.read_exact(&mut answer).expect("an answer");
        };
        let mut before = 0;
        for round in 0..(WARM_UP + STEADY) / CLIENTS {
            if round == WARM_UP / CLIENTS {
                before = self.taken.load(Ordering::SeqCst);
            }
            clients.iter_mut().for_each(&mut exchange);
        }
        self.taken.load(Ordering::SeqCst) - before
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("it listens");
        let patience = Some(Duration::from_secs(15));
        client.set_read_timeout(patience).expect("a bound");
        client.set_nodelay(true).expect("an option");
        client
    }

    /// The bytes of one answer as they come through the balancer over a kept connection.
    fn answer_bytes(&self) -> usize {
        let mut client = self.connect();
        let closing = [REQUEST.trim_ascii_end(), b"\r\nConnection: close\r\n\r\n"].concat();
        client.write_all(&closing).expect("a connection");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an answer");
        answer.len() - "Connection: close\r\n".len()
    }
}

const REQUEST: &[u8] =
    b"GET /a/path?with=query HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\n\
    Accept: */*\r\nCookie: a=b; c=d\r\n\r\n";

fn http_takes_nothing(algorithm: Algorithm) {
    namespace::in_namespace(move || {
        let body = "x".repeat(1024);
        let answer = format!("HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 1024\r\n\r\n{body}");
        let backends = [(); 3].map(|()| origin(answer.clone().into_bytes()));
        let policy = Policy {
            algorithm,
            ..Policy::default()
        };
        let balancer = start(TrafficType::Http, policy, &backends);
        let taken = balancer.taken_by(REQUEST, balancer.answer_bytes());
        assert_eq!(taken, 0, "allocations in {STEADY} requests");
    });
}

/// Each timer fires, and goes on for what is the deadline by then, while requests come one after the other.
#[test]
fn timers_that_fire_take_no_memory() {
    namespace::in_namespace(|| {
        let backends = [origin(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        )];
        let timeouts = Timeouts {
            keep_alive_ms: 2_000,
            ..Timeouts::default()
        };
        let balancer = start_with(TrafficType::Http, Policy::default(), timeouts, &backends);
        let mut answer = vec![0u8; balancer.answer_bytes()];
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| balancer.connect()).collect();
        let (began, mut before) = (Instant::now(), None);
        while began.elapsed() < Duration::from_secs(4) {
            for client in &mut clients {
                client.write_all(REQUEST).expect("a connection");
                client.read_exact(&mut answer).expect("an answer");
            }
            if began.elapsed() > Duration::from_secs(1) {
                before.get_or_insert(balancer.taken.load(Ordering::SeqCst));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let taken = balancer.taken.load(Ordering::SeqCst) - before.expect("it took a second");
        assert_eq!(taken, 0, "allocations while timers fired");
    });
}

#[test]
fn ten_thousand_requests_in_turn_take_no_memory() {
    http_takes_nothing(Algorithm::RoundRobin);
}

#[test]
fn ten_thousand_requests_by_connections_take_no_memory() {
    http_takes_nothing(Algorithm::LeastConnections);
}

#[test]
fn ten_thousand_requests_by_latency_take_no_memory() {
    http_takes_nothing(Algorithm::PeakEwma);
}

#[test]
fn ten_thousand_requests_by_source_take_no_memory() {
    http_takes_nothing(Algorithm::SourceHash);
}

#[test]
fn ten_thousand_round_trips_of_tcp_sessions_take_no_memory() {
    namespace::in_namespace(|| {
        let backends = [(); 3].map(|()| origin(vec![7; 1024]));
        let balancer = start(TrafficType::Tcp, Policy::default(), &backends);
        let taken = balancer.taken_by(&[5; 100], 1024);
        assert_eq!(taken, 0, "allocations in {STEADY} round trips");
    });
}

#[test]
fn what_the_thread_takes_is_counted() {
    namespace::in_namespace(|| {
        let backends = [origin(vec![7; 10])];
        let balancer = start(TrafficType::Tcp, Policy::default(), &backends);
        balancer.taken_by(&[5; 100], 10);
        // Eight sessions were begun, each of which is a box.
        assert!(balancer.taken.load(Ordering::SeqCst) >= CLIENTS as u64);
    });
}
