//! What is compared: something that keeps figures, in a process of its own.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::evenkeel::Evenkeel;
use crate::prometheus::Prometheus;
use crate::recording::Reading;
use crate::rrdtool::Rrdtool;
use crate::server::Server;
use crate::trace::Trace;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The monitor log.
    Evenkeel,
    /// rrdcached, asked by rrdtool.
    Rrdtool,
    /// Prometheus, which is written to.
    Prometheus,
}

/// All, in the order in which they are told.
pub const KINDS: [Kind; 3] = [Kind::Evenkeel, Kind::Rrdtool, Kind::Prometheus];

impl Kind {
    /// As tables have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Rrdtool => "rrdtool",
            Self::Prometheus => "prometheus",
        }
    }

    /// Starts it in an empty directory, ready for the series of the trace.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(self, directory: &Path, trace: &Trace) -> Result<Box<dyn Store>> {
        Ok(match self {
            Self::Evenkeel => Box::new(Evenkeel::start(directory, trace)?),
            Self::Rrdtool => Box::new(Rrdtool::start(directory, trace)?),
            Self::Prometheus => Box::new(Prometheus::start(directory, trace)?),
        })
    }
}

/// A question about some series and a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Which, by their places in the trace: one, or all of a group.
    pub series: Vec<usize>,
    /// Which group, if it is one.
    pub group: Option<usize>,
    /// From this second, since the Unix epoch.
    pub from: u64,
    /// Up to this second, which is not in it.
    pub to: u64,
    /// Seconds between two points: 1 for what was told, more for means.
    pub step: u32,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disk {
    /// All files, as they are once everything was told: logs of what is in memory alone among them.
    pub as_it_is: u64,
    /// What the full resolution takes once it is in files of its own for good, with what it takes to find a series.
    pub full_resolution: u64,
}

/// Something that keeps figures.
pub trait Store {
    /// Takes a value for each series, all of one second.
    ///
    /// # Errors
    /// Where one is not taken.
    fn take(&mut self, time: u64, readings: &[Reading]) -> Result<()>;

    /// Waits until all that was given is taken and can be asked for.
    ///
    /// # Errors
    /// Where something was not taken.
    fn settle(&mut self) -> Result<()>;

    /// The process that takes and keeps.
    fn keeper(&self) -> &Server;

    /// The process that reads for an answer, where it is another one.
    fn reader(&self) -> Option<&Server> {
        None
    }

    /// Asks, and returns the answer as it comes, whole.
    ///
    /// # Errors
    /// Where there is none.
    fn ask(&mut self, question: &Question) -> Result<Vec<u8>>;

    /// The values of such an answer that are known, a series after the other.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn values(&self, answer: &[u8]) -> Result<Vec<f64>>;

    /// What it takes of the disk. The last that is done with it.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn disk(&mut self) -> Result<Disk>;
}
