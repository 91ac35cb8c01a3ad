//! Clients of many kinds at once, which hold every answer to be whole and right, and count each that is not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::Host;

/// How long an answer, or a part of one, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two requests of one client: the machine has more to do than this.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two requests of a client that mostly has nothing to ask.
const REST: Duration = Duration::from_millis(400);
/// Bytes of a download, and of one piece of it, after which its client rests.
const DOWNLOAD: usize = 12 << 20;
const PIECE: usize = 256 << 10;
/// Failures whose words are kept.
const TOLD: usize = 20;

/// How many clients there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// Ask over one connection for as long as it is kept.
    pub kept: usize,
    /// The same, and mostly rest.
    pub resting: usize,
    /// Make a connection for each request.
    pub new: usize,
    /// Have something echoed over one upgraded connection, which must never end.
    pub tunnels: usize,
    /// Fetch a large body slowly, again and again.
    pub downloads: usize,
}

/// What the clients have got.
#[derive(Debug, Default)]
pub struct Count {
    answers: AtomicU64,
    echoes: AtomicU64,
    downloads: AtomicU64,
    failures: AtomicU64,
    told: Mutex<Vec<String>>,
    first: OnceLock<Instant>,
}

impl Count {
    /// Requests that were answered rightly and wholly.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Messages that came back through tunnels.
    #[must_use]
    pub fn echoes(&self) -> u64 {
        self.echoes.load(Ordering::Relaxed)
    }

    /// Downloads that came whole.
    #[must_use]
    pub fn downloads(&self) -> u64 {
        self.downloads.load(Ordering::Relaxed)
    }

    /// Requests that were refused, broken off, cut short or answered wrongly.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn fail(&self, text: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD {
            told.push(text);
        }
    }

    /// The first failures, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.join("\n")
    }
}

/// Where clients make their connections, in turn.
#[derive(Debug)]
struct Signpost {
    addresses: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Signpost {
    fn next(&self) -> io::Result<SocketAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let known = self.addresses.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let address = known.get(turn % known.len().max(1)).copied();
        address.ok_or_else(|| io::Error::other("no address is known"))
    }
}

/// Clients that are at it.
pub struct Crowd {
    over: Arc<AtomicBool>,
    signpost: Arc<Signpost>,
    count: Arc<Count>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Has clients on the host ask this address, and returns when some have been answered.
    ///
    /// # Panics
    /// When there are no answers.
    #[must_use]
    pub fn begin(host: &Host, address: SocketAddr, kinds: Kinds) -> Self {
        Self::begin_at(host, vec![address], kinds)
    }

    /// The same at several addresses, which connections are made to in turn.
    ///
    /// # Panics
    /// When there are no answers.
    #[must_use]
    pub fn begin_at(host: &Host, addresses: Vec<SocketAddr>, kinds: Kinds) -> Self {
        let signpost = Arc::new(Signpost {
            addresses: Mutex::new(addresses),
            turn: AtomicUsize::new(0),
        });
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(Count::default()));
        let client = |run: Task, pause: Duration| {
            let client = Client {
                signpost: Arc::clone(&signpost),
                pause,
                over: Arc::clone(&over),
                count: Arc::clone(&count),
            };
            move || client.attend(run)
        };
        let plan: [(usize, Task, Duration); 5] = [
            (kinds.kept, Client::keep_asking, PAUSE),
            (kinds.resting, Client::keep_asking, REST),
            (kinds.new, Client::ask_anew, PAUSE),
            (kinds.tunnels, Client::talk, PAUSE),
            (kinds.downloads, Client::download, 20 * PAUSE),
        ];
        let mut clients = Vec::new();
        for (number, run, pause) in plan {
            clients.extend((0..number).map(|_| host.spawn(client(run, pause))));
        }
        let crowd = Self {
            over,
            signpost,
            count,
            clients,
        };
        crate::eventually("the crowd is answered", || {
            let begun = crowd.count.answers() > 20 || crowd.count.failures() > 0;
            begun.then_some(()).ok_or("no answers")
        });
        crowd
    }

    /// New connections are made to these addresses from now on.
    pub fn turn_to(&self, addresses: Vec<SocketAddr>) {
        let known = self.signpost.addresses.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// What they have got so far.
    #[must_use]
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// How long after `began` the first answer came.
    ///
    /// # Panics
    /// When none has come.
    #[must_use]
    pub fn first_answer(&self, began: Instant) -> Duration {
        let first = self.count.first.get();
        let first = first.expect("the crowd has begun");
        first.saturating_duration_since(began)
    }

    /// Lets each client finish what it is at, and holds that nothing failed.
    ///
    /// # Panics
    /// When anything did.
    #[must_use]
    pub fn end_without_failure(self) -> Arc<Count> {
        let count = self.end();
        let failures = count.failures();
        assert_eq!(
            failures,
            0,
            "{} answers, and\n{}",
            count.answers(),
            count.words()
        );
        count
    }

    /// Lets each client finish what it is at.
    ///
    /// # Panics
    /// When a client itself broke.
    #[must_use]
    pub fn end(self) -> Arc<Count> {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        self.count
    }
}

/// What a client does, from one connection's beginning to its end.
type Task = fn(&Client) -> io::Result<()>;

struct Client {
    signpost: Arc<Signpost>,
    pause: Duration,
    over: Arc<AtomicBool>,
    count: Arc<Count>,
}

impl Client {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Begins again after each failure.
    fn attend(&self, run: Task) {
        while self.goes_on() {
            if let Err(error) = run(self) {
                self.count.fail(error.to_string());
                sleep(REST);
            }
        }
    }

    fn connect(&self, what: &str) -> io::Result<Connection> {
        let named = |error| explain(what, "connecting", error);
        let address = self.signpost.next()?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(named)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            held: Vec::new(),
        })
    }

    /// Asks over one connection until its end is announced.
    fn keep_asking(&self) -> io::Result<()> {
        let mut connection = self.connect("a kept connection")?;
        let mut asked = 0;
        while self.goes_on() {
            let what = format!("request {asked} of a kept connection");
            let ends = self.ask(&mut connection, &what, false)?;
            if ends {
                return Ok(());
            }
            asked += 1;
            sleep(self.pause);
        }
        Ok(())
    }

    fn ask_anew(&self) -> io::Result<()> {
        let what = "a request on a new connection";
        let mut connection = self.connect(what)?;
        self.ask(&mut connection, what, true)?;
        sleep(self.pause);
        Ok(())
    }

    /// One request, whose answer repeats a number. Says whether the connection ends with it.
    fn ask(&self, connection: &mut Connection, what: &str, last: bool) -> io::Result<bool> {
        let number = self.count.answers();
        let close = if last { "Connection: close\r\n" } else { "" };
        let request = format!("GET /echo/{number} HTTP/1.1\r\nHost: crowd\r\n{close}\r\n");
        let named = |step: &'static str| move |error| explain(what, step, error);
        connection
            .send(request.as_bytes())
            .map_err(named("asking"))?;
        let head = connection.head().map_err(named("reading the head"))?;
        let expected = format!("{number}\n");
        let length = format!("content-length: {}\r\n", expected.len());
        if !head.starts_with("http/1.1 200 ") || !head.contains(&length) {
            return Err(io::Error::other(format!("{what}: answered {head:?}")));
        }
        let body = connection.exactly(expected.len());
        let body = body.map_err(named("reading the body"))?;
        if body != expected.as_bytes() {
            return Err(io::Error::other(format!("{what}: another's answer")));
        }
        self.count.answers.fetch_add(1, Ordering::Relaxed);
        self.count.first.get_or_init(Instant::now);
        Ok(head.contains("connection: close\r\n"))
    }

    /// Sends messages through one tunnel and waits for each to come back.
    fn talk(&self) -> io::Result<()> {
        let what = "a tunnel";
        let named = |step: &'static str| move |error| explain(what, step, error);
        let mut connection = self.connect(what)?;
        let upgrade =
            "GET /tunnel HTTP/1.1\r\nHost: crowd\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        connection
            .send(upgrade.as_bytes())
            .map_err(named("asking"))?;
        let head = connection.head().map_err(named("reading the head"))?;
        if !head.starts_with("http/1.1 101 ") {
            return Err(io::Error::other(format!("{what}: answered {head:?}")));
        }
        for number in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let message = format!("message {number:056}");
            connection
                .send(message.as_bytes())
                .map_err(named("talking"))?;
            let back = connection.exactly(message.len());
            if back.map_err(named("listening"))? != message.as_bytes() {
                return Err(io::Error::other("a tunnel: something else came back"));
            }
            self.count.echoes.fetch_add(1, Ordering::Relaxed);
            sleep(self.pause);
        }
        Ok(())
    }

    /// Reads one large body, slowly while the crowd is at it.
    fn download(&self) -> io::Result<()> {
        let what = "a download";
        let named = |step: &'static str| move |error| explain(what, step, error);
        let mut connection = self.connect(what)?;
        let request =
            format!("GET /pattern/{DOWNLOAD} HTTP/1.1\r\nHost: crowd\r\nConnection: close\r\n\r\n");
        connection
            .send(request.as_bytes())
            .map_err(named("asking"))?;
        let head = connection.head().map_err(named("reading the head"))?;
        if !head.starts_with("http/1.1 200 ") {
            return Err(io::Error::other(format!("{what}: answered {head:?}")));
        }
        let mut got = 0;
        while got < DOWNLOAD {
            let piece = connection.exactly(PIECE.min(DOWNLOAD - got));
            let piece = piece.map_err(named("reading on"))?;
            if !piece
                .iter()
                .zip(pattern(got))
                .all(|(&is, should)| is == should)
            {
                return Err(io::Error::other(format!("{what}: wrong after {got} bytes")));
            }
            got += piece.len();
            if self.goes_on() {
                sleep(self.pause);
            }
        }
        self.count.downloads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The bytes of `/pattern` from a place on: 251 is prime, so that no piece can be taken for another.
fn pattern(from: usize) -> impl Iterator<Item = u8> {
    (from..).map(|at| u8::try_from(at % 251).unwrap_or(0))
}

fn explain(what: &str, step: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {step}: {error}"))
}

struct Connection {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// An answer's head in small letters, which is how names are compared.
    fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.held.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.held.drain(..end + 4).collect();
                return Ok(String::from_utf8_lossy(&head).to_ascii_lowercase());
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.held.len() < count {
            self.more()?;
        }
        Ok(self.held.drain(..count).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1 << 14];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            let held = self.held.len();
            let text = format!("the connection ended with {held} bytes there");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.held.extend(buffer.iter().take(count));
        Ok(())
    }
}
