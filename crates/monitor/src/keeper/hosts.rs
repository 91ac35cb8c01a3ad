//! Keeping what hosts of backends tell, and telling it with their backends.
//!
//! A series of a host belongs to the backend's project, whichever of its instances have the backend; its name begins
//! with `host` and the backend's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{FigureName, FigureQuery, FigureRow, Unanswered};
use series::{Across, SeriesId, Snapshot, Statistic};

use super::answer::{Inquiry, row};
use super::{Keeper, Queue};
use crate::HostTaken;

/// Begins the names of hosts' series.
const HOST: &str = "host";
/// Of a processor that is wholly idle, collectd counts so many ticks in a second.
const ALL: f64 = 100.0;

/// Keeps what hosts tell. As long as there is one, the log's thread goes on.
pub struct HostKeeper {
    queue: Queue,
}

impl Keeper {
    /// A handle for whoever hears hosts.
    #[must_use]
    pub fn hosts(&self) -> HostKeeper {
        HostKeeper {
            queue: self.queue.clone(),
        }
    }
}

impl HostKeeper {
    /// Keeps what was taken of a host, or counts it where there is no room. Never waits.
    pub fn keep(&self, taken: HostTaken) {
        let within = format!("{HOST}/{}", taken.address);
        self.queue.keep(taken.project, within, taken.samples);
    }
}

/// The series of each host that a question names, by identifier.
pub(super) type Hosts<'a> = BTreeMap<Ipv4Addr, Vec<(&'a str, SeriesId)>>;

/// What the names of a host's series begin with.
pub(super) fn within_host(address: &Ipv4Addr) -> String {
    format!("{HOST}/{address}/")
}

/// Finds them.
pub(super) fn hosts<'a>(snapshot: &'a Snapshot, query: &FigureQuery) -> Hosts<'a> {
    let asked: BTreeSet<Ipv4Addr> = query.hosts.iter().copied().collect();
    let mut hosts = Hosts::new();
    for (id, name) in snapshot.series() {
        let of_host = name
            .strip_prefix(HOST)
            .and_then(|name| name.strip_prefix('/'));
        let of_host = of_host.and_then(|name| name.split_once('/'));
        let Some((address, identifier)) = of_host else {
            continue;
        };
        if let Some(address) = address
            .parse()
            .ok()
            .filter(|address| asked.contains(address))
        {
            hosts.entry(address).or_default().push((identifier, id));
        }
    }
    hosts
}

impl Inquiry<'_> {
    /// A row for each host that tells such a figure, or several where it has several of them.
    pub(super) fn rows_of_hosts(&self, name: FigureName) -> Result<Vec<FigureRow>, Unanswered> {
        let mut rows = Vec::new();
        for (address, series) in &self.hosts {
            let host = Host {
                inquiry: self,
                series,
            };
            let found = match name {
                FigureName::HostCpu => host.processors()?,
                FigureName::HostLoad => host.of("load/load.shortterm", Across::Mean)?,
                FigureName::HostMemory => host.of("memory/memory-used", Across::Sum)?,
                FigureName::HostReceived => host.of("/if_octets.rx", Across::Sum)?,
                FigureName::HostSent => host.of("/if_octets.tx", Across::Sum)?,
                FigureName::HostDisk => host.file_systems()?,
                _ => Vec::new(),
            };
            let known = found.into_iter();
            let known = known.filter(|row| row.values.iter().any(Option::is_some));
            rows.extend(known.map(|row| FigureRow {
                backend: Some(address.to_string()),
                ..row
            }));
        }
        Ok(rows)
    }
}

struct Host<'a> {
    inquiry: &'a Inquiry<'a>,
    series: &'a [(&'a str, SeriesId)],
}

impl Host<'_> {
    /// The means of the series whose identifiers end so.
    fn mean(&self, end: &str, across: Across) -> Result<Vec<Option<f64>>, Unanswered> {
        let meant = self.series.iter().filter(|(name, _)| name.ends_with(end));
        let meant: Vec<SeriesId> = meant.map(|(_, id)| *id).collect();
        if meant.is_empty() {
            return Ok(Vec::new());
        }
        self.inquiry.values(&meant, Statistic::Mean, across)
    }

    fn of(&self, end: &str, across: Across) -> Result<Vec<FigureRow>, Unanswered> {
        Ok(vec![row(None, None, self.mean(end, across)?)])
    }

    /// The processors' share in use, from whichever of its forms the host tells.
    fn processors(&self) -> Result<Vec<FigureRow>, Unanswered> {
        let active = self.mean("/percent-active", Across::Mean)?;
        if !active.is_empty() {
            return Ok(vec![row(None, None, active)]);
        }
        let mut idle = self.mean("/percent-idle", Across::Mean)?;
        if idle.is_empty() {
            idle = self.mean("/cpu-idle", Across::Mean)?;
        }
        let in_use = |idle: Option<f64>| Some((ALL - idle?).clamp(0.0, ALL));
        let in_use = idle.into_iter().map(in_use).collect();
        Ok(vec![row(None, None, in_use)])
    }

    /// How full each file system is.
    fn file_systems(&self) -> Result<Vec<FigureRow>, Unanswered> {
        let plugins = self
            .series
            .iter()
            .filter_map(|(name, _)| name.split_once('/'));
        let plugins: BTreeSet<&str> = plugins.map(|(plugin, _)| plugin).collect();
        let named = plugins.iter();
        let named = named.filter_map(|plugin| Some((plugin, plugin.strip_prefix("df-")?)));
        let rows = named.map(|(plugin, name)| {
            let mean = |of: &str| self.mean(&format!("{plugin}/{of}"), Across::Mean);
            let percent = mean("percent_bytes-used")?;
            if !percent.is_empty() {
                return Ok(row(None, Some(name), percent));
            }
            let used = mean("df_complex-used")?;
            let (free, reserved) = (mean("df_complex-free")?, mean("df_complex-reserved")?);
            let at = |values: &[Option<f64>], index| values.get(index).copied().flatten();
            let share = |(index, used): (usize, Option<f64>)| {
                let all = used? + at(&free, index)? + at(&reserved, index).unwrap_or(0.0);
                (all > 0.0).then_some(used? * ALL / all)
            };
            let full = used.into_iter().enumerate().map(share).collect();
            Ok(row(None, Some(name), full))
        });
        rows.collect()
    }
}
