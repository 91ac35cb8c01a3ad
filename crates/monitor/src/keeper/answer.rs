//! Questions about an instance, answered from a snapshot of the monitor log. Pure but for reading the log's files.
//!
//! What an instance did is the sum over all VMs that it ever had, or their mean where a sum says nothing. Percentiles
//! are of all VMs' latencies together, and never means of percentiles.

use std::collections::{BTreeMap, BTreeSet};

use super::hosts::{Hosts, hosts, within_host};
use model::figures::{
    ANSWERS_TYPE, ANSWERS_VALUES, BACKEND_TYPE, BALANCER_PLUGIN, CONNECTIONS, CPU_INSTANCE,
    CPU_PLUGIN, CPU_TYPE, DERIVE_TYPE, FIRST_BYTE, GAUGE_TYPE, LATENCIES_TYPE, REQUESTS, WHOLE,
};
use model::{By, FigureAnswer, FigureName, FigureQuery, FigureRow, FigureRows, Unanswered, VmId};
use series::{Across, Answer, MonitorLog, Query, QueryError, Reads, SeriesId, Snapshot, Statistic};

/// The percentiles that are told of latencies.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
/// Microseconds of what latencies are told in.
const MILLISECOND: f64 = 1_000.0;
/// Rows of one answer; an instance may have had very many VMs, and their past is asked for in parts.
const MOST_ROWS: usize = 1_000;

/// All that a question is about, as it is now; to take it is all that the log's own thread does for it.
pub(super) fn snapshot(log: &MonitorLog, query: &FigureQuery) -> Result<Snapshot, Unanswered> {
    let mut beginnings: BTreeSet<String> = query.hosts.iter().map(within_host).collect();
    beginnings.insert(within_instance(query));
    let beginnings = beginnings.iter().map(String::as_str);
    let snapshot = log.snapshot_of(query.project.0, beginnings);
    snapshot.map_err(unanswered)
}

/// The answer from a snapshot, within what may be read for one question.
pub(super) fn answer(
    snapshot: &Snapshot,
    query: &FigureQuery,
    reads: &Reads,
) -> Result<FigureAnswer, Unanswered> {
    let inquiry = Inquiry {
        snapshot,
        reads,
        query,
        series: series_of(snapshot, query),
        hosts: hosts(snapshot, query),
    };
    let frame = inquiry.ask(&[], &[Statistic::Count], Across::Sum)?;
    let frame = frame.first();
    let (mut figures, mut count) = (Vec::new(), 0);
    for name in &query.figures {
        let rows = inquiry.rows(*name)?;
        count += rows.len();
        if count > MOST_ROWS {
            return Err(Unanswered::TooMuch(format!(
                "more than {MOST_ROWS} rows are not told at once: take fewer figures, a shorter span, or leave `by` out"
            )));
        }
        figures.push(FigureRows {
            figure: *name,
            unit: name.unit().to_owned(),
            rows,
        });
    }
    Ok(FigureAnswer {
        from: frame.map_or(query.from, |frame| frame.from),
        step: frame.map_or(0, |frame| frame.step),
        resolution: frame.map_or(0, |frame| frame.resolution),
        forgotten: snapshot.forgotten_since(query.from),
        figures,
    })
}

/// One series of the instance: of which VM, and collectd's identifier.
struct Known<'a> {
    vm: VmId,
    identifier: &'a str,
    id: SeriesId,
}

/// A question with the series that it is about.
pub(super) struct Inquiry<'a> {
    snapshot: &'a Snapshot,
    reads: &'a Reads,
    query: &'a FigureQuery,
    series: Vec<Known<'a>>,
    pub(super) hosts: Hosts<'a>,
}

/// The series of an instance, those of VMs that are gone among them.
fn series_of<'a>(snapshot: &'a Snapshot, query: &FigureQuery) -> Vec<Known<'a>> {
    let instance = within_instance(query);
    let known = snapshot.series().filter_map(|(id, name)| {
        let (vm, identifier) = name.strip_prefix(&instance)?.split_once('/')?;
        let vm = vm.parse().ok()?;
        Some(Known { vm, identifier, id })
    });
    known.collect()
}

/// What the names of an instance's series begin with.
fn within_instance(query: &FigureQuery) -> String {
    format!("{}/", query.instance)
}

fn unanswered(error: QueryError) -> Unanswered {
    match error {
        QueryError::TooMuch { .. }
        | QueryError::Empty
        | QueryError::TooManySeries
        | QueryError::TooMuchToRead => Unanswered::TooMuch(error.to_string()),
        QueryError::Unknown(_) | QueryError::File { .. } | QueryError::Unwanted => {
            Unanswered::Unavailable(error.to_string())
        }
    }
}

impl Inquiry<'_> {
    /// An answer for each statistic, of what is read once.
    fn ask(
        &self,
        series: &[SeriesId],
        statistics: &[Statistic],
        across: Across,
    ) -> Result<Vec<Answer>, Unanswered> {
        let query = Query {
            series,
            from: self.query.from,
            to: self.query.to,
            step: self.query.step,
            statistic: Statistic::Count,
            across,
        };
        let answers = self.snapshot.query_all(&query, statistics, self.reads);
        answers.map_err(unanswered)
    }

    /// The values of several series together.
    pub(super) fn values(
        &self,
        series: &[SeriesId],
        statistic: Statistic,
        across: Across,
    ) -> Result<Vec<Option<f64>>, Unanswered> {
        let answers = self.ask(series, &[statistic], across)?;
        let rows = answers.into_iter().flat_map(|answer| answer.rows);
        Ok(rows.map(|row| row.values).next().unwrap_or_default())
    }

    fn rows(&self, name: FigureName) -> Result<Vec<FigureRow>, Unanswered> {
        if name.is_of_hosts() {
            return self.rows_of_hosts(name);
        }
        if self.query.by == Some(By::Backend) {
            return self.rows_of_backends(name);
        }
        let vms: BTreeSet<VmId> = self.series.iter().map(|known| known.vm).collect();
        let groups: Vec<Option<VmId>> = match self.query.by {
            Some(By::Vm) => vms.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        let mut rows = Vec::new();
        for vm in groups {
            let found = match name {
                FigureName::Answers => self.answers(vm)?,
                FigureName::Latency => self.latencies(vm, WHOLE)?,
                FigureName::FirstByte => self.latencies(vm, FIRST_BYTE)?,
                _ => self.plain(vm, name)?,
            };
            rows.extend(found);
        }
        rows.retain(|row| row.values.iter().any(Option::is_some));
        Ok(rows)
    }

    /// The series of all VMs or of one that have such an identifier.
    fn found(&self, vm: Option<VmId>, is_meant: impl Fn(&str) -> bool) -> Vec<SeriesId> {
        let fits =
            |known: &&Known<'_>| vm.is_none_or(|vm| vm == known.vm) && is_meant(known.identifier);
        self.series
            .iter()
            .filter(fits)
            .map(|known| known.id)
            .collect()
    }

    fn plain(&self, vm: Option<VmId>, name: FigureName) -> Result<Vec<FigureRow>, Unanswered> {
        let Some((identifier, statistic, across)) = source(name) else {
            return Ok(Vec::new());
        };
        let series = self.found(vm, |known| known == identifier);
        let values = self.values(&series, statistic, across)?;
        Ok(vec![row(vm, None, values)])
    }

    fn answers(&self, vm: Option<VmId>) -> Result<Vec<FigureRow>, Unanswered> {
        let classes = ANSWERS_VALUES.iter().map(|class| {
            let identifier = format!("{BALANCER_PLUGIN}/{ANSWERS_TYPE}.{class}");
            let series = self.found(vm, |known| known == identifier);
            let values = self.values(&series, Statistic::Rate, Across::Sum)?;
            Ok(row(vm, Some(class), values))
        });
        classes.collect()
    }

    fn latencies(&self, vm: Option<VmId>, which: &str) -> Result<Vec<FigureRow>, Unanswered> {
        let beginning = format!("{BALANCER_PLUGIN}/{LATENCIES_TYPE}-{which}-");
        let series = self.found(vm, |known| known.starts_with(&beginning));
        let statistics = PERCENTILES.map(|(_, share)| Statistic::Quantile(share));
        let answers = self.ask(&series, &statistics, Across::Merged)?;
        let rows = answers.into_iter().flat_map(|answer| answer.rows);
        let rows = PERCENTILES.iter().zip(rows).map(|((part, _), found)| {
            let values = found.values.into_iter();
            let values = values.map(|us| Some(us? / MILLISECOND)).collect();
            row(vm, Some(part), values)
        });
        Ok(rows.collect())
    }

    fn rows_of_backends(&self, name: FigureName) -> Result<Vec<FigureRow>, Unanswered> {
        let mut backends: BTreeMap<&str, Vec<(&str, SeriesId)>> = BTreeMap::new();
        for known in &self.series {
            if let Some((backend, value)) = of_backend(known.identifier) {
                backends.entry(backend).or_default().push((value, known.id));
            }
        }
        let mut rows = Vec::new();
        for (backend, series) in backends {
            let of = |value: &str| -> Vec<SeriesId> {
                let fits = series.iter().filter(|(known, _)| *known == value);
                fits.map(|(_, id)| *id).collect()
            };
            let ask = |value, statistic, across| self.values(&of(value), statistic, across);
            let values = match name {
                FigureName::Requests => ask("requests", Statistic::Rate, Across::Sum)?,
                FigureName::Errors => ask("errors", Statistic::Rate, Across::Sum)?,
                FigureName::Connections => ask("active", Statistic::Mean, Across::Sum)?,
                FigureName::Health => ask("healthy", Statistic::Mean, Across::Mean)?,
                FigureName::Latency => {
                    let us = ask("answer_us", Statistic::Sum, Across::Sum)?;
                    let answers = ask("answers", Statistic::Sum, Across::Sum)?;
                    us.into_iter().zip(answers).map(mean_ms).collect()
                }
                _ => Vec::new(),
            };
            if values.iter().any(Option::is_some) {
                rows.push(FigureRow {
                    backend: Some(backend.to_owned()),
                    ..row(None, None, values)
                });
            }
        }
        Ok(rows)
    }
}

/// What a figure is made of: collectd's identifier, and what to make of its readings and of several VMs.
fn source(name: FigureName) -> Option<(String, Statistic, Across)> {
    let count = |instance: &str| {
        let identifier = format!("{BALANCER_PLUGIN}/{DERIVE_TYPE}-{instance}");
        Some((identifier, Statistic::Rate, Across::Sum))
    };
    let gauge = |instance: &str| {
        let identifier = format!("{BALANCER_PLUGIN}/{GAUGE_TYPE}-{instance}");
        Some((identifier, Statistic::Mean, Across::Sum))
    };
    match name {
        FigureName::Requests => count(REQUESTS),
        FigureName::Errors => count("errors"),
        FigureName::Accepted => count("accepted"),
        FigureName::Retries => count("retries"),
        FigureName::BytesIn => count("bytes_in"),
        FigureName::BytesOut => count("bytes_out"),
        FigureName::Connections => gauge(CONNECTIONS),
        FigureName::Waiting => gauge("waiting"),
        FigureName::Cpu => {
            let identifier = format!("{CPU_PLUGIN}/{CPU_TYPE}-{CPU_INSTANCE}");
            Some((identifier, Statistic::Mean, Across::Mean))
        }
        FigureName::Memory => Some(("memory/memory-used".into(), Statistic::Mean, Across::Sum)),
        _ => None,
    }
}

/// The backend of an identifier such as `evenkeel-1.1.1.10:80/evenkeel_backend.requests`, and which value it is.
pub(crate) fn of_backend(identifier: &str) -> Option<(&str, &str)> {
    let (plugin, value) = identifier.split_once('/')?;
    let backend = plugin.strip_prefix(BALANCER_PLUGIN)?.strip_prefix('-')?;
    let value = value.strip_prefix(BACKEND_TYPE)?.strip_prefix('.')?;
    Some((backend, value))
}

fn mean_ms((us, answers): (Option<f64>, Option<f64>)) -> Option<f64> {
    let answers = answers.filter(|answers| *answers > 0.0)?;
    Some(us? / answers / MILLISECOND)
}

pub(super) fn row(vm: Option<VmId>, part: Option<&str>, values: Vec<Option<f64>>) -> FigureRow {
    FigureRow {
        vm,
        backend: None,
        part: part.map(str::to_owned),
        values: values
            .into_iter()
            .map(|value| value.map(to_thousandths))
            .collect(),
    }
}

fn to_thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests;
