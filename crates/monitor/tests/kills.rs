//! A process that takes a VM's packets and keeps what is in them is killed again and again, and what it had for longer
//! than a flush is there each time, as it was sent.
//!
//! The process is this test's own program: a socket, an [`Intake`] and a [`Keeper`], as the server's role has them, by
//! the real clock. The test is the VM, and goes on sending whether anybody listens or not. `EVENKEEL_KILLS` says how
//! often it is killed.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use collectd::{Key, PacketWriter, Time, Value, ValueList, seal_encrypted};
use model::figures::collectd_host;
use model::{InstanceId, ProjectId, VmId};
use monitor::{Bounds, Intake, Keeper, Moment, Origin, VmKeys};
use series::{Across, FLUSH_INTERVAL, MonitorLog, Options, Query, Statistic};

const DIRECTORY: &str = "EVENKEEL_KILLS_DIRECTORY";
/// How often the process is killed in all.
const KILLS: &str = "EVENKEEL_KILLS";
const FEW_KILLS: u64 = 10;
/// Processes that are killed at the same time, each with a log of its own.
const LANES: u64 = 5;

const VM: VmId = VmId(12);
/// Lists in a second, each a series of its own, so that in each slot of a second each series has one sample.
const SERIES: u64 = 25;
/// Between two lists.
const STEP: Duration = Duration::from_millis(1_000 / SERIES);
/// Between the process's looks at how late it is itself.
const LOOK: Duration = Duration::from_millis(20);
/// What a flush takes, and the ways between the processes, when the machine is not late.
const MARGIN: Duration = Duration::from_millis(300);
/// Samples that must have survived a kill, or it proves nothing: the machine was too late.
const LEAST_DUE: usize = 5;
/// Such a kill is done again. For each that is wanted there are so many at most.
const MOST_TRIES: u64 = 4;

fn keys() -> VmKeys {
    VmKeys::new(b"an installation's secret of 32 b".to_vec())
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What a series shows in a second: a gauge, or by how much a count is to rise.
fn figure(series: u64, second: u64) -> u64 {
    (series * 1_000_003 + second).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51
}

/// Where a count stands that rises in each second, by no second's rise but its own.
fn count(series: u64, second: u64) -> u64 {
    const BEGINNING: u64 = 1_700_000_000;
    // More than a figure can be less than the one before, and a sum that nobody has to work out.
    (second - BEGINNING) * 10_000 + figure(series, second)
}

fn is_count(series: u64) -> bool {
    series % 2 == 1
}

/// Takes packets until it is killed. Says on which port, and how late it is whenever it is late.
fn take_packets(directory: &Path) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bounds = Bounds {
        series: 1_000,
        series_of_project: 1_000,
    };
    let keeper = Keeper::start(directory.to_owned(), bounds).unwrap();
    let mut intake = Intake::new(keys());
    intake.set_senders(&[(VM, Ipv4Addr::LOCALHOST)].into());
    let origin = Origin {
        project: ProjectId(3),
        instance: InstanceId(7),
        vm: VM,
    };
    println!("port {}", socket.local_addr().unwrap().port());
    std::thread::spawn(|| {
        loop {
            let before = Instant::now();
            sleep(LOOK);
            let late = (before.elapsed() - LOOK).as_millis();
            if writeln!(std::io::stdout(), "late {late}").is_err() {
                // The test has ended without it.
                std::process::exit(1);
            }
        }
    });
    let (began, mut buffer) = (Instant::now(), [0; 2_048]);
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let now = Moment {
            monotonic: began.elapsed(),
            wall: wall(),
        };
        let taken = intake.take(&buffer[..length], Ipv4Addr::LOCALHOST, now);
        keeper.keep(origin, taken.unwrap());
    }
}

/// Does nothing unless it is the process that is to be killed.
#[test]
fn the_process_that_is_killed() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        take_packets(Path::new(&directory));
    }
}

/// The process, which is killed when this goes.
struct Victim {
    child: Child,
    port: u16,
    /// By how much it was late, each time that it looked.
    late: Receiver<Duration>,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Victim {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
            if let Some((_, port)) = line.trim().split_once("port ") {
                break port.parse().unwrap();
            }
        };
        let late = follow(lines);
        Self { child, port, late }
    }

    /// Kills it, and returns by how much it was late at most.
    fn kill(mut self) -> Duration {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.late.iter().max().unwrap_or_default()
    }
}

/// Reads on, so that the process never waits for a reader.
fn follow(lines: BufReader<ChildStdout>) -> Receiver<Duration> {
    let (tell, late) = channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let ms = line.strip_prefix("late ").and_then(|ms| ms.parse().ok());
            let _over = ms.map(|ms| tell.send(Duration::from_millis(ms)));
        }
    });
    late
}

/// The VM: what it sent, by series and second, with when.
struct Sender {
    socket: UdpSocket,
    key: Key,
    next: Duration,
    ivs: u64,
    sent: BTreeMap<(u64, u64), Duration>,
}

impl Sender {
    fn new() -> Self {
        Self {
            socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            key: Key {
                user: collectd_host(VM),
                password: keys().of(VM).into_bytes(),
            },
            next: Duration::from_secs(wall().as_secs() + 1),
            ivs: 0,
            sent: BTreeMap::new(),
        }
    }

    /// Sends what is due for this long, each at its time.
    fn send(&mut self, port: u16, span: Duration) {
        let began = Instant::now();
        // What nobody was there for is left out.
        while self.next < wall() {
            self.next += STEP;
        }
        while began.elapsed() < span {
            sleep(self.next.saturating_sub(wall()));
            let second = self.next.as_secs();
            let series = u64::from(self.next.subsec_millis()) / STEP.as_millis() as u64;
            let packet = self.packet(series, second);
            self.socket
                .send_to(&packet, (Ipv4Addr::LOCALHOST, port))
                .unwrap();
            self.sent.insert((series, second), wall());
            self.next += STEP;
        }
    }

    fn packet(&mut self, series: u64, second: u64) -> Vec<u8> {
        let (kind, value) = match is_count(series) {
            true => ("derive", Value::Derive(count(series, second) as i64)),
            false => ("gauge", Value::Gauge(figure(series, second) as f64)),
        };
        let list = ValueList {
            host: self.key.user.clone(),
            plugin: "evenkeel".into(),
            kind: kind.into(),
            kind_instance: series.to_string(),
            time: Time::from_duration(self.next),
            interval: Time::from_secs(1),
            values: vec![value],
            ..ValueList::default()
        };
        let mut writer = PacketWriter::new(1_024);
        assert!(writer.add(&list).is_none());
        let mut iv = [0; 16];
        iv[..8].copy_from_slice(&self.ivs.to_ne_bytes());
        self.ivs += 1;
        seal_encrypted(&writer.take().unwrap(), &self.key, iv)
    }
}

/// What the log has of each series and second in a span.
fn read(directory: &Path, from: u64, to: u64) -> BTreeMap<(u64, u64), u64> {
    let log = MonitorLog::open(directory, &Options::default(), wall()).unwrap();
    assert_eq!(log.figures().damaged, 0);
    let mut found = BTreeMap::new();
    for (id, name, _) in log.series(3, "") {
        let (_, series) = name.rsplit_once('-').unwrap();
        let query = Query {
            series: &[id],
            from: from as i64,
            to: to as i64,
            step: Some(1),
            statistic: Statistic::Sum,
            across: Across::Each,
        };
        let answer = log.query(&query).unwrap();
        assert_eq!((answer.from, answer.resolution), (from as i64, 1));
        for (second, value) in (from..).zip(&answer.rows[0].values) {
            let Some(value) = value else { continue };
            assert_eq!(value.fract(), 0.0);
            found.insert((series.parse().unwrap(), second), *value as u64);
        }
    }
    found
}

/// Which reading of a count the log has last.
enum Last {
    /// Any of these may be its first, which tells no rise, or none.
    First(Vec<u64>),
    /// This one.
    Of(u64),
}

impl Last {
    /// Holds that a count's rise in a second is the one since the reading before it, and that it is there if it must
    /// be.
    fn check(&mut self, series: u64, second: u64, rise: Option<u64>, is_due: bool) {
        let since = |before: &u64| count(series, second) - count(series, *before);
        let what = format!("count {series} at {second}: {rise:?}");
        match (&mut *self, rise) {
            (Self::Of(before), Some(rise)) => assert_eq!(since(before), rise, "{what}"),
            (Self::Of(_), None) => {
                assert!(!is_due, "missing: {what}");
                return;
            }
            (Self::First(before), Some(rise)) => {
                let is_right = before.iter().any(|before| since(before) == rise);
                assert!(is_right, "{what}, after {before:?}");
            }
            (Self::First(before), None) if !is_due => return before.push(second),
            (Self::First(_), None) => {}
        }
        *self = Self::Of(second);
    }
}

/// One end of the process.
#[derive(Clone, Copy)]
struct Kill {
    at: Duration,
    /// By how much the process was late at most before it. Late in one is late at its flush, and again on the way there.
    late: Duration,
}

impl Kill {
    /// Whether what was sent then must be there.
    fn spares(&self, sent: Duration) -> bool {
        sent + FLUSH_INTERVAL + MARGIN + self.late * 2 < self.at
    }
}

/// Holds that all that is there is what was sent, and that nothing is missing of what was sent long enough before the
/// kill that followed. Returns of how many samples that was so before the last kill.
fn check(sender: &Sender, kills: &[Kill], directory: &Path) -> usize {
    let first = sender.sent.keys().map(|(_, second)| *second).min().unwrap();
    let mut found = read(directory, first, wall().as_secs() + 2);
    let (mut counts, mut due) = (BTreeMap::new(), 0);
    for ((series, second), sent) in &sender.sent {
        let nth = kills.iter().position(|kill| kill.at > *sent).unwrap();
        let is_due = kills[nth].spares(*sent);
        due += usize::from(is_due && nth + 1 == kills.len());
        let value = found.remove(&(*series, *second));
        if is_count(*series) {
            let last = counts.entry(series).or_insert(Last::First(Vec::new()));
            last.check(*series, *second, value, is_due);
            continue;
        }
        let what = format!("series {series} at {second}: {value:?}");
        assert!(value.is_some() || !is_due, "missing: {what}");
        let right = figure(*series, *second);
        assert!(value.is_none_or(|value| value == right), "{what}");
    }
    assert!(found.is_empty(), "nobody sent {found:?}");
    due
}

fn kill_again_and_again(lane: u64, kills: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut sender = Sender::new();
    let (mut killed, mut proofs) = (Vec::new(), 0);
    for kill in 0..kills * MOST_TRIES {
        let victim = Victim::start(directory.path());
        // At any time between two flushes, with one before it and up to two.
        let beyond = Duration::from_millis(figure(lane, kill) % 1_000);
        let due = STEP * (2 * LEAST_DUE as u32);
        sender.send(victim.port, FLUSH_INTERVAL + MARGIN + due + beyond);
        let at = wall();
        let late = victim.kill();
        killed.push(Kill { at, late });
        let due = check(&sender, &killed, directory.path());
        proofs += u64::from(due >= LEAST_DUE);
        if proofs == kills {
            return;
        }
    }
    let late: Vec<Duration> = killed.iter().map(|kill| kill.late).collect();
    panic!("{proofs} kills of {kills} prove something, the process was late by {late:?}");
}

#[test]
fn a_monitor_that_is_killed_during_ingest_loses_what_came_since_its_last_flush_and_no_more() {
    let kills = std::env::var(KILLS).map_or(FEW_KILLS, |kills| kills.parse().unwrap());
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| std::thread::spawn(move || kill_again_and_again(lane, kills.div_ceil(LANES))))
        .collect();
    for lane in lanes {
        lane.join().unwrap();
    }
}
