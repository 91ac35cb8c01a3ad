//! Handing figures to the collectd beside the balancer, by its plugin `unixsock`.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use collectd::Value;
use model::figures::{BALANCER_PLUGIN, FIGURES_INTERVAL_S};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Figure;

/// Bytes of collectd's answers that are read, and thrown away, before the next second.
const MOST_ANSWER_BYTES: usize = 64 << 10;

/// The way to collectd. It may come and go at any time.
pub(super) struct Daemon {
    path: PathBuf,
    host: String,
    stream: Option<OwnedFd>,
    /// What was begun and did not fit into the socket: never more than one second's. It goes first, for what is behind
    /// it would be garbled else.
    rest: Vec<u8>,
}

impl Daemon {
    /// Nothing is connected yet. `host` is under which name the figures stand.
    pub(super) fn new(path: &Path, host: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: host.to_owned(),
            stream: None,
            rest: Vec::new(),
        }
    }

    /// Hands figures over, all or, where there is no room or nobody to take them, none. Says whether it did, so that none
    /// is told twice: of those that were begun the rest follows before the next ones, and is lost when collectd goes
    /// meanwhile.
    pub(super) fn put(&mut self, figures: &[Figure]) -> bool {
        let stream = match self.stream.take() {
            Some(stream) if is_there(&stream) => stream,
            _ => match self.connect() {
                Ok(stream) => {
                    self.rest.clear();
                    stream
                }
                Err(_not_there) => return false,
            },
        };
        let (is_begun, goes_on) = match self.write_rest(&stream) {
            Ok(true) => self.begin(&stream, figures),
            Ok(false) => (false, true),
            Err(_gone) => (false, false),
        };
        self.stream = goes_on.then_some(stream);
        is_begun
    }

    /// Writes what there is room for. Says whether that was anything, and whether collectd is still there.
    fn begin(&mut self, stream: &OwnedFd, figures: &[Figure]) -> (bool, bool) {
        self.rest = commands(&self.host, figures).into_bytes();
        let whole = self.rest.len();
        let goes_on = self.write_rest(stream).is_ok();
        let is_begun = self.rest.len() < whole;
        if !is_begun {
            self.rest.clear();
        }
        (is_begun, goes_on)
    }

    /// Writes as much of the rest as there is room for; says whether that was all.
    fn write_rest(&mut self, stream: &OwnedFd) -> Result<bool, Errno> {
        while !self.rest.is_empty() {
            match write(stream, &self.rest) {
                Ok(written @ 1..) => drop(self.rest.drain(..written)),
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// A connection that never blocks, not even in being made.
    fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&stream, &SocketAddrUnix::new(&self.path)?)?;
        Ok(stream)
    }
}

/// The commands of one second. The last has collectd send what it has rather than wait until a packet is full.
fn commands(host: &str, figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let Figure {
            kind,
            of,
            instance,
            values,
        } = figure;
        let hyphen = |name: &str| if name.is_empty() { "" } else { "-" };
        let (of_hyphen, hyphen) = (hyphen(of), hyphen(instance));
        let _never_fails = write!(
            text,
            "PUTVAL \"{host}/{BALANCER_PLUGIN}{of_hyphen}{of}/{kind}{hyphen}{instance}\" interval={FIGURES_INTERVAL_S} N"
        );
        for value in values {
            let _never_fails = match value {
                Value::Gauge(figure) => write!(text, ":{figure}"),
                Value::Derive(count) => write!(text, ":{count}"),
                Value::Counter(count) | Value::Absolute(count) => write!(text, ":{count}"),
            };
        }
        text.push('\n');
    }
    text.push_str("FLUSH timeout=-1 plugin=\"network\"\n");
    text
}

/// Throws collectd's answers away, and says whether it is still there.
fn is_there(stream: &OwnedFd) -> bool {
    let (mut buffer, mut taken) = ([0; 4096], 0);
    while taken < MOST_ANSWER_BYTES {
        match read(stream, &mut buffer) {
            Ok(count @ 1..) => taken += count,
            Err(Errno::AGAIN) => return true,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::net::UnixListener;

    fn figure(kind: &'static str, instance: &str, values: Vec<Value>) -> Figure {
        Figure {
            of: String::new(),
            kind,
            instance: instance.to_owned(),
            values,
        }
    }

    fn sample(requests: u64) -> [Figure; 2] {
        [
            figure("gauge", "connections", vec![Value::Gauge(3.0)]),
            figure("derive", "requests", vec![Value::Derive(requests as i64)]),
        ]
    }

    #[test]
    fn figures_are_put_in_collectds_words() {
        let mut backend = figure(
            "evenkeel_backend",
            "",
            vec![Value::Derive(7), Value::Gauge(0.5)],
        );
        backend.of = "1.1.1.10:80".to_owned();
        let [first, second] = sample(42);
        assert_eq!(
            commands("vm-7", &[first, second, backend]),
            "PUTVAL \"vm-7/evenkeel/gauge-connections\" interval=1 N:3\n\
             PUTVAL \"vm-7/evenkeel/derive-requests\" interval=1 N:42\n\
             PUTVAL \"vm-7/evenkeel-1.1.1.10:80/evenkeel_backend\" interval=1 N:7:0.5\n\
             FLUSH timeout=-1 plugin=\"network\"\n"
        );
    }

    #[test]
    fn a_list_of_the_most_latencies_is_no_longer_than_collectd_reads() {
        let most = vec![Value::Absolute(u64::MAX); 1 + model::figures::LATENCY_BUCKETS];
        let list = figure(model::figures::LATENCIES_TYPE, "first_byte-99", most);
        let text = commands("vm-18446744073709551615", &[list]);
        let longest = text.lines().map(str::len).max().unwrap();
        assert!(longest < 1_023, "{longest}");
    }

    #[test]
    fn a_collectd_that_reads_slowly_is_told_each_figure_once_and_whole() {
        const LISTS: usize = 8_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut daemon = Daemon::new(&path, "vm-7");
        let figures = |second| {
            let list =
                |at: usize| figure("latencies", &at.to_string(), vec![Value::Absolute(second)]);
            (0..LISTS).map(list).collect::<Vec<_>>()
        };
        assert!(daemon.put(&figures(0)));
        assert!(!daemon.rest.is_empty(), "more than there is room for");
        let (mut taken, _) = listener.accept().unwrap();
        taken.set_nonblocking(true).unwrap();
        let (mut text, mut some) = (Vec::new(), vec![0; 64 << 10]);
        let mut told = vec![0];
        for second in 1..1_000 {
            if let Ok(read) = taken.read(&mut some) {
                text.extend_from_slice(&some[..read]);
            }
            if told.len() < 4 {
                told.extend(daemon.put(&figures(second)).then_some(second));
            } else if daemon.rest.is_empty() || daemon.put(&[]) {
                break;
            }
        }
        while let Ok(read @ 1..) = taken.read(&mut some) {
            text.extend_from_slice(&some[..read]);
        }
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("PUTVAL"));
        assert_eq!(told.len(), 4, "it reads, so it is told");
        let expected = told.iter().flat_map(|second| {
            let name =
                move |at| format!("PUTVAL \"vm-7/evenkeel/latencies-{at}\" interval=1 N:{second}");
            (0..LISTS).map(name)
        });
        assert!(lines.eq(expected), "each second that was told, once");
    }

    #[test]
    fn a_collectd_that_comes_late_stands_still_or_comes_again_is_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let mut daemon = Daemon::new(&path, "vm-7");
        daemon.put(&sample(1));
        for life in 0..2u64 {
            let listener = UnixListener::bind(&path).unwrap();
            daemon.put(&sample(1_000 + life));
            let (taken, _) = listener.accept().unwrap();
            let first = BufReader::new(&taken).lines().nth(1).unwrap().unwrap();
            assert!(first.ends_with(&format!("N:{}", 1_000 + life)), "{first}");
            // It reads no more: the balancer goes on, far beyond what the socket holds.
            for requests in 0..10_000 {
                daemon.put(&sample(requests));
            }
            drop((listener, taken));
            std::fs::remove_file(&path).unwrap();
        }
        daemon.put(&sample(2));
    }
}
