//! What can be asked of an instance's past, and the answer. It travels between roles as JSON.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{InstanceId, ProjectId, VmId};

/// A figure of an instance that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FigureName {
    /// HTTP requests, or TCP sessions.
    Requests,
    /// Those that the balancer answered itself for want of a good answer; of a backend, those that failed there.
    Errors,
    /// HTTP answers by class.
    Answers,
    /// How long answers took until they were whole; of a backend, until they began.
    Latency,
    /// How long answers took until they began.
    FirstByte,
    /// Client connections that are open; of a backend, requests or sessions under way.
    Connections,
    /// Client connections that were accepted.
    Accepted,
    /// Requests that wait for a backend.
    Waiting,
    /// Requests that were sent once more.
    Retries,
    /// Bytes from clients.
    BytesIn,
    /// Bytes to clients.
    BytesOut,
    /// The processors' share in use.
    Cpu,
    /// Memory in use, of a VM that has its own.
    Memory,
    /// Whether a backend is healthy, as a share of the VMs that check it.
    Health,
    /// The share of the processors in use of the host that a backend is on, as the user's own collectd tells it.
    HostCpu,
    /// The load average of a minute of a backend's host.
    HostLoad,
    /// Memory in use on a backend's host.
    HostMemory,
    /// Bytes that a backend's host received.
    HostReceived,
    /// Bytes that a backend's host sent.
    HostSent,
    /// How full the file systems of a backend's host are.
    HostDisk,
}

/// By what an answer is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By VM, those that are gone among them.
    Vm,
    /// By backend.
    Backend,
}

/// A question about an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureQuery {
    /// Whose instance.
    pub project: ProjectId,
    /// Which.
    pub instance: InstanceId,
    /// What of it.
    pub figures: Vec<FigureName>,
    /// From this second, since the Unix epoch.
    pub from: i64,
    /// Up to this second, which is not in it.
    pub to: i64,
    /// Seconds of a step; chosen by the span if there are none.
    pub step: Option<u32>,
    /// By what it is taken apart.
    pub by: Option<By>,
    /// Where the instance's backends are, whose hosts may tell figures.
    #[serde(default)]
    pub hosts: Vec<Ipv4Addr>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureAnswer {
    /// When the first step begins, in seconds since the Unix epoch.
    pub from: i64,
    /// Seconds of a step.
    pub step: u32,
    /// Seconds of what is kept that it was made of.
    pub resolution: u32,
    /// Series of the project that were forgotten for want of room and may have told something of this time. Where there
    /// are any, sums may be less than they were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// In the order asked for.
    pub figures: Vec<FigureRows>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One figure over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureRows {
    /// Which.
    pub figure: FigureName,
    /// Of what the values are: `per second`, `milliseconds`.
    pub unit: String,
    /// What it is made of; none where nothing is known.
    pub rows: Vec<FigureRow>,
}

/// The values of one row, in order of time; none where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureRow {
    /// Of which VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// Of which backend: address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Which part of it: a class of answers, a percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// One for each step.
    pub values: Vec<Option<f64>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unanswered {
    /// It asks for more than is told at once.
    #[error("{0}")]
    TooMuch(String),
    /// Nobody can tell at present.
    #[error("{0}")]
    Unavailable(String),
}

impl FigureName {
    /// All of them with their words.
    pub const ALL: [(&str, Self); 20] = [
        ("requests", Self::Requests),
        ("errors", Self::Errors),
        ("answers", Self::Answers),
        ("latency", Self::Latency),
        ("first-byte", Self::FirstByte),
        ("connections", Self::Connections),
        ("accepted", Self::Accepted),
        ("waiting", Self::Waiting),
        ("retries", Self::Retries),
        ("bytes-in", Self::BytesIn),
        ("bytes-out", Self::BytesOut),
        ("cpu", Self::Cpu),
        ("memory", Self::Memory),
        ("health", Self::Health),
        ("host-cpu", Self::HostCpu),
        ("host-load", Self::HostLoad),
        ("host-memory", Self::HostMemory),
        ("host-received", Self::HostReceived),
        ("host-sent", Self::HostSent),
        ("host-disk", Self::HostDisk),
    ];

    /// What is told where no figure is named.
    #[must_use]
    pub fn usual(by: Option<By>) -> &'static [Self] {
        use FigureName::{
            Answers, BytesIn, BytesOut, Connections, Cpu, Errors, Health, HostCpu, HostLoad,
            HostMemory, Latency, Requests,
        };
        match by {
            None => &[
                Requests,
                Errors,
                Answers,
                Latency,
                Connections,
                BytesIn,
                BytesOut,
                Cpu,
            ],
            Some(By::Vm) => &[Requests, Errors, Latency, Connections, Cpu],
            Some(By::Backend) => &[
                Requests,
                Errors,
                Latency,
                Connections,
                Health,
                HostCpu,
                HostLoad,
                HostMemory,
            ],
        }
    }

    /// Whether it is told by the hosts that backends are on, and not by VMs.
    #[must_use]
    pub fn is_of_hosts(self) -> bool {
        matches!(
            self,
            Self::HostCpu
                | Self::HostLoad
                | Self::HostMemory
                | Self::HostReceived
                | Self::HostSent
                | Self::HostDisk
        )
    }

    /// Whether it can be taken apart so. Health, and what hosts tell, is of backends alone.
    #[must_use]
    pub fn can_be_told(self, by: Option<By>) -> bool {
        let of_backends = [
            Self::Requests,
            Self::Errors,
            Self::Latency,
            Self::Connections,
            Self::Health,
        ];
        match by {
            Some(By::Backend) => of_backends.contains(&self) || self.is_of_hosts(),
            _ => self != Self::Health && !self.is_of_hosts(),
        }
    }

    /// Of what its values are.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency | Self::FirstByte => "milliseconds",
            Self::BytesIn | Self::BytesOut | Self::HostReceived | Self::HostSent => {
                "bytes per second"
            }
            Self::Connections | Self::Waiting | Self::HostLoad => "number",
            Self::Cpu | Self::HostCpu | Self::HostDisk => "percent",
            Self::Memory | Self::HostMemory => "bytes",
            Self::Health => "share",
            _ => "per second",
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, name)| *name == self);
        found.map_or("", |(word, _)| *word)
    }
}
