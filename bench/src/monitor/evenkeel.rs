//! Ours: the monitor log, which the other half of this program has.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use collectd::{PACKET_BYTES, PacketWriter, Time, Value, ValueList};

use crate::frame::{self, Frame};
use crate::keeper::KEEP;
use crate::recording::Reading;
use crate::server::{Server, bytes_of};
use crate::store::{Disk, Question, Store};
use crate::trace::Trace;

/// The monitor log in a process of its own.
pub struct Evenkeel {
    keeper: Server,
    socket: UnixStream,
    directory: PathBuf,
    lists: Vec<ValueList>,
    given: u64,
}

impl Evenkeel {
    /// # Errors
    /// Where the process cannot be started.
    pub fn start(directory: &Path, trace: &Trace) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(KEEP)
            .arg(directory)
            .arg(trace.start.to_string());
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        Ok(Self {
            keeper: Server::start(&mut command)?,
            socket,
            directory: directory.to_owned(),
            lists: trace.names().map(|(host, name)| list(host, name)).collect(),
            given: 0,
        })
    }

    fn call(&mut self, frame: Frame, body: &[u8]) -> Result<Vec<u8>> {
        frame::write(&mut self.socket, frame, body)?;
        let (_, answer) = frame::read(&mut self.socket)?.context("the keeper has ended")?;
        Ok(answer)
    }
}

/// A list of one value of this name.
fn list(host: String, name: &str) -> ValueList {
    let (plugin, kind) = name.split_once('/').unwrap_or((name, ""));
    ValueList {
        host,
        plugin: plugin.to_owned(),
        kind: kind.to_owned(),
        interval: Time::from_secs(1),
        ..ValueList::default()
    }
}

impl Store for Evenkeel {
    fn take(&mut self, time: u64, readings: &[Reading]) -> Result<()> {
        let (mut writer, mut body) = (PacketWriter::new(PACKET_BYTES), Vec::new());
        for (list, reading) in self.lists.iter_mut().zip(readings) {
            list.time = Time::from_secs(time);
            list.values = vec![match reading {
                Reading::Gauge(figure) => Value::Gauge(*figure),
                Reading::Count(count) => Value::Derive(i64::try_from(*count)?),
            }];
            let full = writer.add(list);
            full.iter()
                .for_each(|packet| frame::put_packet(&mut body, packet));
        }
        let last = writer.take();
        last.iter()
            .for_each(|packet| frame::put_packet(&mut body, packet));
        self.given += readings.len() as u64;
        Ok(frame::write(&mut self.socket, Frame::Packets, &body)?)
    }

    fn settle(&mut self) -> Result<()> {
        let taken: u64 = serde_json::from_slice(&self.call(Frame::Settle, b"")?)?;
        ensure!(taken == self.given, "{taken} of {} were taken", self.given);
        Ok(())
    }

    fn keeper(&self) -> &Server {
        &self.keeper
    }

    fn ask(&mut self, question: &Question) -> Result<Vec<u8>> {
        self.call(Frame::Ask, &serde_json::to_vec(question)?)
    }

    fn values(&self, answer: &[u8]) -> Result<Vec<f64>> {
        let rows: Vec<Vec<Option<f64>>> = serde_json::from_slice(answer)?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    fn disk(&mut self) -> Result<Disk> {
        let as_it_is = bytes_of(&self.directory, &|_| true)?;
        self.call(Frame::Seal, b"")?;
        // The checkpoint has the names; what the coarser resolutions have in it then counts as well.
        let newest = newest_checkpoint(&self.directory)?;
        let is_meant = |name: &str| name.starts_with("1s-") || name == newest;
        Ok(Disk {
            as_it_is,
            full_resolution: bytes_of(&self.directory, &is_meant)?,
        })
    }
}

fn newest_checkpoint(directory: &Path) -> Result<String> {
    let names = std::fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let number = |name: &String| name.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let checkpoints = names.filter(|name| number(name).is_some());
    checkpoints
        .max_by_key(number)
        .context("there is no checkpoint")
}
