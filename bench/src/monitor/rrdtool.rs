//! RRDtool, at its best with many series: rrdcached takes the values over its socket, a second in a batch, and writes
//! those of 300 seconds at once to a series' file, as its default is. rrdtool reads the files.
//!
//! The trace is played faster than it was told, so rrdcached's timer, which would have a value wait for 300 s, is
//! replaced by a command for each file at the same places of the trace. Its journal is on, as where figures count: it
//! has what a crash would lose otherwise.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::recording::Reading;
use crate::server::{Server, bytes_of};
use crate::store::{Disk, Question, Store};
use crate::trace::Trace;

/// Seconds between two writes of a file: rrdcached's own default.
const WRITE_INTERVAL: u64 = 300;
/// What a file keeps: the finest resolution as it is, and the coarser ones of ours with their means, lowest and highest.
/// No more rows than the trace has, so that nothing is counted against it that is empty.
const ARCHIVES: [(&str, u64); 7] = [
    ("AVERAGE", 1),
    ("AVERAGE", 10),
    ("MIN", 10),
    ("MAX", 10),
    ("AVERAGE", 300),
    ("MIN", 300),
    ("MAX", 300),
];

/// rrdcached and rrdtool.
pub struct Rrdtool {
    daemon: Server,
    commands: BufReader<UnixStream>,
    reader: Server,
    asking: ChildStdin,
    answering: BufReader<ChildStdout>,
    directory: PathBuf,
    series: usize,
    batch: String,
}

impl Rrdtool {
    /// # Errors
    /// Where one of them cannot be started, or a file cannot be made.
    pub fn start(directory: &Path, trace: &Trace) -> Result<Self> {
        let (socket, journal) = (directory.join("socket"), directory.join("journal"));
        std::fs::create_dir(&journal)?;
        let mut command = Command::new("rrdcached");
        command.args(["-g", "-B", "-w", "7200", "-f", "14400", "-b"]);
        command.arg(directory).arg("-j").arg(&journal);
        command.arg("-p").arg(directory.join("pid"));
        command.arg("-l").arg(format!("unix:{}", socket.display()));
        let mut daemon = Server::start(&mut command)?;
        let stream = daemon.await_(|| UnixStream::connect(&socket).ok())?;
        let mut command = Command::new("rrdtool");
        command
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut reader = Server::start(&mut command)?;
        let asking = reader.pipes().stdin.take().context("it has no stdin")?;
        let answering = reader.pipes().stdout.take().context("it has no stdout")?;
        let mut all = Self {
            daemon,
            commands: BufReader::new(stream),
            reader,
            asking,
            answering: BufReader::new(answering),
            directory: directory.to_owned(),
            series: trace.names().count(),
            batch: String::new(),
        };
        all.create(trace)?;
        Ok(all)
    }

    fn create(&mut self, trace: &Trace) -> Result<()> {
        let archives = ARCHIVES.map(|(of, step)| {
            let rows = (trace.seconds as u64).div_ceil(step);
            format!(" RRA:{of}:0.5:{step}:{rows}")
        });
        let archives = archives.concat();
        let readings: Vec<_> = trace.readings(0).collect();
        for (place, reading) in readings.iter().enumerate() {
            let kind = match reading {
                Reading::Gauge(_) => "GAUGE",
                Reading::Count(_) => "DERIVE",
            };
            self.call(&format!(
                "CREATE {place}.rrd -b {} -s 1 DS:value:{kind}:{WRITE_INTERVAL}:U:U{archives}\n",
                trace.start - 1
            ))?;
        }
        Ok(())
    }

    /// Has a command carried out; its answer's first line begins with a number, which is below 0 where it fails.
    fn call(&mut self, command: &str) -> Result<String> {
        self.commands.get_mut().write_all(command.as_bytes())?;
        let mut answer = String::new();
        self.commands.read_line(&mut answer)?;
        ensure!(
            answer.starts_with("0 "),
            "rrdcached answered `{}` to `{}`",
            answer.trim_end(),
            command.lines().next().unwrap_or_default()
        );
        Ok(answer)
    }
}

impl Store for Rrdtool {
    fn take(&mut self, time: u64, readings: &[Reading]) -> Result<()> {
        use std::fmt::Write;
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for (place, reading) in readings.iter().enumerate() {
            match reading {
                Reading::Gauge(figure) => writeln!(batch, "UPDATE {place}.rrd {time}:{figure}")?,
                Reading::Count(count) => writeln!(batch, "UPDATE {place}.rrd {time}:{count}")?,
            }
        }
        batch.push_str(".\n");
        self.call("BATCH\n")?;
        self.call(&batch)?;
        self.batch = batch;
        for place in 0..self.series {
            if (time + place as u64).is_multiple_of(WRITE_INTERVAL) {
                self.call(&format!("FLUSH {place}.rrd\n"))?;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        for place in 0..self.series {
            self.call(&format!("FLUSH {place}.rrd\n"))?;
        }
        Ok(())
    }

    fn keeper(&self) -> &Server {
        &self.daemon
    }

    fn reader(&self) -> Option<&Server> {
        Some(&self.reader)
    }

    fn ask(&mut self, question: &Question) -> Result<Vec<u8>> {
        let mut answers = Vec::new();
        for place in &question.series {
            writeln!(
                self.asking,
                "fetch {}/{place}.rrd AVERAGE -r {} -s {} -e {}",
                self.directory.display(),
                question.step,
                // Rows are told from the one after the first time to the one after the last.
                question.from - 1,
                question.to - 1 - u64::from(question.step)
            )?;
            loop {
                let begin = answers.len();
                let read = self.answering.read_until(b'\n', &mut answers)?;
                let line = answers.get(begin..).unwrap_or_default();
                ensure!(read > 0 && !line.starts_with(b"ERROR"), "rrdtool failed");
                if line.starts_with(b"OK ") {
                    break;
                }
            }
        }
        Ok(answers)
    }

    fn values(&self, answer: &[u8]) -> Result<Vec<f64>> {
        let lines = std::str::from_utf8(answer)?.lines();
        let values = lines.filter_map(|line| line.split_once(": "));
        let known = values.filter(|(_, value)| !value.contains("nan"));
        known.map(|(_, value)| Ok(value.trim().parse()?)).collect()
    }

    fn disk(&mut self) -> Result<Disk> {
        let of_archives = ARCHIVES.iter().map(|(_, step)| 1.0 / *step as f64);
        let files = bytes_of(&self.directory, &|name| name.ends_with(".rrd"))?;
        let finest = files as f64 / of_archives.sum::<f64>();
        Ok(Disk {
            as_it_is: bytes_of(&self.directory, &|_| true)?,
            full_resolution: finest as u64,
        })
    }
}
