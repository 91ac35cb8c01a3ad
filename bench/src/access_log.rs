//! What the access log costs: CPU time of a balancer for each request, with it and without, in rounds that take turns.
//!
//! The balancer has the first processor, its backend and its client have the second: where a thread happens to run makes more of a
//! difference than any log. They share the machine with whatever else there is, so only the difference within a
//! pair of rounds counts, and its median. The time is that of the forwarding thread, and what the log's own thread took in
//! all is added, as the scheduler accounts for it (`/proc/PID/task/*/schedstat`), and the kernel's work on their behalf is in it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

/// Requests of one round.
const REQUESTS: u32 = 500;
/// Requests before the first round, in which memory is found.
const WARM_UP: u32 = 500;
/// Bytes of an answer's body.
const BODY_BYTES: usize = 1024;
/// How long a balancer may take to serve.
const PATIENCE: Duration = Duration::from_secs(20);
/// The threads by their names.
const FORWARDING: &str = "forward-0";
const LOGGING: &str = "access-log";
const REQUEST: &[u8] =
    b"GET /some/path/of/a/site?page=2 HTTP/1.1\r\nHost: web.shop.lb.example.net\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("usage: bench-access-log BALANCER [ROUNDS]");
    let program = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let rounds = arguments.next().map_or(Ok(400), |rounds| rounds.parse());
    let rounds: u32 = rounds.map_err(|_| usage())?;
    let backend = serve()?;
    let directory = tempfile::tempdir()?;
    let mut balancers =
        [false, true].map(|logs| Balancer::start(&program, directory.path(), backend, logs));
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let mut costs = [0.0; 2];
        // Each is first in every second pair.
        for turn in [round % 2, (round + 1) % 2] {
            let turn = turn as usize;
            if let (Some(Ok(balancer)), Some(cost)) = (balancers.get_mut(turn), costs.get_mut(turn))
            {
                *cost = balancer.round()?;
            }
        }
        pairs.push(costs);
    }
    let [_, logs] = balancers;
    let asked = f64::from(rounds * REQUESTS + WARM_UP);
    let log_us = logs?.cpu_ns(LOGGING)? as f64 / 1000.0 / asked;
    tell(&pairs, log_us);
    Ok(())
}

/// Prints the medians, and the difference with the interval in which its median lies with 95 % (by order statistics).
fn tell(pairs: &[[f64; 2]], log_us: f64) {
    let sorted = |of: fn(&[f64; 2]) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let at = |values: &[f64], place: f64| values.get(place as usize).copied().unwrap_or(f64::NAN);
    let count = pairs.len() as f64;
    let off = at(&sorted(|[off, _]| *off), count / 2.0);
    let more = sorted(|[off, on]| on - off);
    let places = [-1.0, 0.0, 1.0].map(|side| count / 2.0 + side * 0.98 * count.sqrt());
    let [least, middle, most] = places.map(|place| (at(&more, place) + log_us) / off * 100.0);
    println!(
        "without a log a request costs {off:.2} us of CPU ({} pairs of {REQUESTS} requests)",
        pairs.len()
    );
    println!(
        "the log costs {middle:.1} % more ({least:.1} to {most:.1}), its own thread's {log_us:.2} us among them"
    );
}

/// A backend that answers every request alike.
fn serve() -> io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let answer = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes(),
        vec![b'x'; BODY_BYTES],
    ]
    .concat();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|count| count > 0) {
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

struct Balancer {
    process: Child,
    client: BufReader<TcpStream>,
}

impl Balancer {
    /// Starts one with a thread for traffic, whose log somebody reads and throws away.
    fn start(
        program: &Path,
        directory: &Path,
        backend: SocketAddrV4,
        logs: bool,
    ) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let config = directory.join(format!("{logs}.json"));
        let text = json!({
            "generation": 1, "instance": "web", "traffic": "http", "port": port,
            "backends": [{"address": backend.ip(), "port": backend.port(), "weight": 1}],
            "health_check": {"protocol": "TCP", "request_path": "/", "criteria": {"interval_ms": 3_600_000,
                "timeout_ms": 60_000, "health_threshold": 1, "unhealth_threshold": 1}},
            "policy": {"access_log": logs},
        });
        fs::write(&config, text.to_string())?;
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec taskset -c 0 \"$0\" \"$@\" --log-fd 3 3>&1 1>/dev/null",
            ])
            .arg(program)
            .args([
                "standalone",
                "--threads",
                "1",
                "--listen",
                &format!("127.0.0.1:{port}"),
            ])
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut log) = process.stdout.take() {
            std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        }
        let began = Instant::now();
        let client = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(Duration::from_millis(10)),
            }
        };
        client.set_nodelay(true)?;
        let mut balancer = Self {
            process,
            client: BufReader::new(client),
        };
        while !balancer.ask()? {
            sleep(Duration::from_millis(50));
        }
        for _ in 0..WARM_UP {
            balancer.ask()?;
        }
        Ok(balancer)
    }

    /// Asks once; says whether the backend answered.
    fn ask(&mut self) -> io::Result<bool> {
        self.client.get_mut().write_all(REQUEST)?;
        let (mut line, mut length, mut is_good) = (String::new(), 0, None);
        loop {
            line.clear();
            self.client.read_line(&mut line)?;
            is_good.get_or_insert(line.contains(" 200 "));
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.client.read_exact(&mut body)?;
        Ok(is_good == Some(true))
    }

    /// Microseconds of CPU of the forwarding thread for each request of a round.
    fn round(&mut self) -> io::Result<f64> {
        let before = self.cpu_ns(FORWARDING)?;
        for _ in 0..REQUESTS {
            self.ask()?;
        }
        Ok((self.cpu_ns(FORWARDING)? - before) as f64 / 1000.0 / f64::from(REQUESTS))
    }

    /// Nanoseconds that the thread of this name has run for.
    fn cpu_ns(&self, thread: &str) -> io::Result<u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()))?;
        let mut sum = 0;
        for task in tasks {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.trim_end() != thread {
                continue;
            }
            let text = fs::read_to_string(task.join("schedstat"))?;
            let first = text.split(' ').next().unwrap_or_default();
            sum += first.parse::<u64>().map_err(io::Error::other)?;
        }
        Ok(sum)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _has_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
