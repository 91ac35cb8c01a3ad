//! The half of this program that has the monitor log. It is a process of its own, so that what it takes of
//! the machine can be told apart: it reads packets of collectd's protocol, finds the series by its name, and keeps the
//! sample, and it answers questions in JSON. So it has the work that the others have as well.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use collectd::{Value, ValueList};
use series::{Across, Level, MonitorLog, Options, Query, Reading, SeriesId, Statistic};

use crate::frame::{self, Frame};
use crate::store::Question;

/// The first argument of this half.
pub const KEEP: &str = "keep";
/// All series have one owner.
const OWNER: u64 = 1;
/// Longer than the span of any segment: after it, all are written.
const BEYOND_SEGMENTS: Duration = Duration::from_secs(2 * 43_200);

/// The log's own resolutions, with the finest kept for as long as the trace is.
fn options() -> Options {
    let mut options = Options::default();
    if let Some(Level { keep, .. }) = options.levels.first_mut() {
        *keep = 7_200;
    }
    options
}

/// Keeps what comes over a socket, until it ends.
///
/// # Errors
/// Where the log's files fail, or something is not taken.
pub fn keep(directory: &Path, start: u64, socket: UnixStream) -> Result<()> {
    let mut answers = socket.try_clone()?;
    let mut frames = BufReader::with_capacity(64 << 10, socket);
    let mut keeper = Keeper {
        log: MonitorLog::open(directory, &options(), Duration::from_secs(start))?,
        known: HashMap::new(),
        ids: Vec::new(),
        now: Duration::from_secs(start),
        taken: 0,
    };
    while let Some((frame, body)) = frame::read(&mut frames)? {
        match frame {
            Frame::Packets => {
                keeper.take(&body)?;
                continue;
            }
            Frame::Settle => answer(&mut answers, &serde_json::to_vec(&keeper.taken)?)?,
            Frame::Ask => answer(&mut answers, &keeper.ask(&serde_json::from_slice(&body)?)?)?,
            Frame::Seal => {
                keeper.log.advance(keeper.now + BEYOND_SEGMENTS)?;
                answer(&mut answers, b"")?;
            }
            Frame::Answer => {}
        }
    }
    Ok(())
}

fn answer(to: &mut impl Write, body: &[u8]) -> Result<()> {
    Ok(frame::write(to, Frame::Answer, body)?)
}

struct Keeper {
    log: MonitorLog,
    known: HashMap<String, SeriesId>,
    /// In the order in which they came first, which is the trace's.
    ids: Vec<SeriesId>,
    now: Duration,
    taken: u64,
}

impl Keeper {
    /// Takes a second.
    fn take(&mut self, body: &[u8]) -> Result<()> {
        for packet in frame::packets(body) {
            for list in collectd::read(packet)? {
                self.take_list(&list)?;
            }
        }
        Ok(self.log.advance(self.now)?)
    }

    fn take_list(&mut self, list: &ValueList) -> Result<()> {
        let reading = match list.values.first() {
            Some(Value::Gauge(figure)) => Reading::Gauge(*figure),
            Some(Value::Derive(count)) => Reading::Count(u64::try_from(*count)?),
            other => anyhow::bail!("{other:?} is not in the trace"),
        };
        let name = list.to_string();
        let id = match self.known.get(&name) {
            Some(id) => *id,
            None => {
                let id = self.log.register(OWNER, &name, reading.kind())?;
                self.ids.push(id);
                self.known.insert(name, id);
                id
            }
        };
        self.now = list.time.to_duration();
        self.log.add(id, self.now, reading)?;
        self.taken += 1;
        Ok(())
    }

    /// A row of values for each series.
    fn ask(&self, question: &Question) -> Result<Vec<u8>> {
        let ids = question.series.iter();
        let ids: Option<Vec<_>> = ids.map(|place| self.ids.get(*place).copied()).collect();
        let answer = self.log.query(&Query {
            series: &ids.context("no such series")?,
            from: i64::try_from(question.from)?,
            to: i64::try_from(question.to)?,
            step: Some(question.step),
            statistic: Statistic::Mean,
            across: Across::Each,
        })?;
        ensure!(
            answer.resolution == question.step,
            "it was answered from {} s",
            answer.resolution
        );
        let rows: Vec<_> = answer.rows.iter().map(|row| &row.values).collect();
        Ok(serde_json::to_vec(&rows)?)
    }
}
