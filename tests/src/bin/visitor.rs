//! A client of the tests' own: `visitor HOST [MILLISECONDS]` asks `http://HOST/` again and again until its standard
//! input ends, then tells how often each server answered and what failed. It looks the name up again
//! when the answer's TTL, one second, is over, and takes the addresses in turn. Between two requests it waits for
//! so many milliseconds, 5 where none are named.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// For how long an answer of DNS is used.
const TTL: Duration = Duration::from_secs(1);
/// Between two requests, where nothing else is asked for.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let host = std::env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: visitor HOST [MILLISECONDS]"))?;
    let pause = std::env::args().nth(2).and_then(|ms| ms.parse().ok());
    let pause = pause.map_or(PAUSE, Duration::from_millis);
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let (mut answers, mut failures) = (BTreeMap::<String, u64>::new(), Vec::new());
    let (mut known, mut looked_up) = (Vec::new(), None::<Instant>);
    for turn in 0_usize.. {
        if looked_up.is_none_or(|at| at.elapsed() > TTL) {
            known = addresses(&host).unwrap_or_default();
            looked_up = Some(Instant::now());
        }
        match visit(&host, &known, turn) {
            Ok(name) => *answers.entry(name).or_default() += 1,
            Err(error) => failures.push(format!("request {turn} to {known:?}: {error}")),
        }
        if turn == 0 {
            println!("began");
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(pause);
    }
    let mut stdout = io::stdout().lock();
    for (name, count) in answers {
        writeln!(stdout, "{count} {name}")?;
    }
    failures
        .iter()
        .try_for_each(|failure| writeln!(stdout, "failed {failure}"))
}

fn addresses(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 80).to_socket_addrs()?.collect())
}

/// One request on a connection of its own; the answer's body is the server's name.
fn visit(host: &str, known: &[SocketAddr], turn: usize) -> io::Result<String> {
    let address = known
        .get(turn % known.len().max(1))
        .ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("the answer ends in its head"))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(head.replace("\r\n", "; ")));
    }
    Ok(body.trim_end().to_owned())
}
