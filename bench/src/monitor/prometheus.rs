//! Prometheus, which is written to by remote write: a request for each second, as a sender would that has nothing older.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::recording::Reading;
use crate::remote_write::{compress, labels, put_sample};
use crate::server::{Server, bytes_of};
use crate::store::{Disk, Question, Store};
use crate::trace::{Trace, group_of};

/// Where it listens, in the network of this measurement.
const PORT: u16 = 9_090;
/// All samples are of one metric; what they are of is in the labels.
const METRIC: &str = "collectd";

/// Prometheus.
pub struct Prometheus {
    server: Server,
    writing: BufReader<TcpStream>,
    data: PathBuf,
    labels: Vec<Vec<u8>>,
    /// How to ask for each alone.
    selectors: Vec<String>,
}

impl Prometheus {
    /// # Errors
    /// Where it does not start.
    pub fn start(directory: &Path, trace: &Trace) -> Result<Self> {
        let (config, data) = (directory.join("config.yml"), directory.join("data"));
        std::fs::write(&config, "{}\n")?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        command.args([
            "--web.enable-remote-write-receiver",
            "--web.enable-admin-api",
        ]);
        command.arg("--log.level=error");
        command.stdout(Stdio::null());
        let mut server = Server::start(&mut command)?;
        server.await_(|| get("/-/ready").ok())?;
        let names: Vec<_> = trace.names().collect();
        let all = names.len();
        Ok(Self {
            server,
            writing: BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?),
            data,
            labels: names
                .iter()
                .enumerate()
                .map(|(place, (host, name))| {
                    let group = group_of(place, all).to_string();
                    let of = [
                        ("__name__", METRIC),
                        ("figure", name),
                        ("group", &group),
                        ("host", host),
                    ];
                    labels(&of)
                })
                .collect(),
            selectors: names
                .iter()
                .map(|(host, name)| format!("{METRIC}{{host=\"{host}\",figure=\"{name}\"}}"))
                .collect(),
        })
    }

    fn selector(&self, question: &Question) -> Result<String> {
        if let Some(group) = question.group {
            return Ok(format!("{METRIC}{{group=\"{group}\"}}"));
        }
        let one = question
            .series
            .first()
            .and_then(|place| self.selectors.get(*place));
        one.cloned().context("no such series")
    }
}

impl Store for Prometheus {
    fn take(&mut self, time: u64, readings: &[Reading]) -> Result<()> {
        let mut request = Vec::new();
        for (labels, reading) in self.labels.iter().zip(readings) {
            let value = match reading {
                Reading::Gauge(figure) => *figure,
                Reading::Count(count) => *count as f64,
            };
            put_sample(&mut request, labels, time * 1_000, value);
        }
        let body = compress(&request)?;
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.writing
            .get_mut()
            .write_all(&[head.as_bytes(), &body].concat())?;
        let mut status = String::new();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            ensure!(
                self.writing.read_line(&mut line)? > 0,
                "Prometheus has ended"
            );
            if status.is_empty() {
                status.clone_from(&line);
            }
        }
        ensure!(status.contains(" 204 "), "Prometheus answered {status}");
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    fn keeper(&self) -> &Server {
        &self.server
    }

    /// Of what was told, the samples themselves: no other question costs Prometheus less. Of means, a subquery.
    fn ask(&mut self, question: &Question) -> Result<Vec<u8>> {
        let selector = self.selector(question)?;
        let Question { from, to, step, .. } = question;
        if *step == 1 {
            // Both ends are in it.
            let query = escaped(&format!("{selector}[{}s]", to - from - 1));
            return get(&format!("/api/v1/query?query={query}&time={}", to - 1));
        }
        let query = escaped(&format!("avg_over_time({selector}[{}s])", step - 1));
        let first = from + u64::from(*step) - 1;
        get(&format!(
            "/api/v1/query_range?query={query}&start={first}&end={}&step={step}",
            to - 1
        ))
    }

    fn values(&self, answer: &[u8]) -> Result<Vec<f64>> {
        let answer: Value = serde_json::from_slice(answer)?;
        let rows = answer.pointer("/data/result").and_then(Value::as_array);
        let rows = rows.into_iter().flatten();
        let samples = rows
            .filter_map(|row| row.get("values")?.as_array())
            .flatten();
        let values = samples.map(|sample| sample.get(1).and_then(Value::as_str));
        values
            .map(|value| Ok(value.context("a sample has no value")?.parse()?))
            .collect()
    }

    fn disk(&mut self) -> Result<Disk> {
        let as_it_is = bytes_of(&self.data, &|_| true)?;
        // A snapshot is the block that compaction would make of the head.
        let answer = request("POST", "/api/v1/admin/tsdb/snapshot")?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let name = answer.pointer("/data/name").and_then(Value::as_str);
        let snapshot = self
            .data
            .join("snapshots")
            .join(name.context("there is no snapshot")?);
        Ok(Disk {
            as_it_is,
            full_resolution: bytes_of(&snapshot, &|_| true)?,
        })
    }
}

fn get(path: &str) -> Result<Vec<u8>> {
    request("GET", path)
}

/// The body of an answer of 200, over a connection of its own.
fn request(method: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    // Of HTTP/1.0, for which an answer ends with its connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    let mut line = status.clone();
    while line != "\r\n" {
        line.clear();
        ensure!(
            answer.read_line(&mut line)? > 0,
            "Prometheus gave no answer"
        );
    }
    let mut body = Vec::new();
    answer.read_to_end(&mut body)?;
    ensure!(
        status.contains(" 200 "),
        "Prometheus answered {} to {path}: {}",
        status.trim_end(),
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}

/// For use in a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
