//! What a trace of real figures costs: bytes of each sample, by kind of series, and processor time.
//!
//! `measure TRACE [COPIES [TIMES]]` takes a text file with a sample on each line, `SECONDS NAME g BITS` for a gauge, whose 64
//! bits are in hexadecimal, or `SECONDS NAME c COUNT` for a counter. Each series is taken COPIES times, and the whole TIMES times one after the other.

mod gorilla;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use series::{Across, Level, MonitorLog, Options, Query, Reading, SeriesId, Statistic};

struct Sample {
    time: Duration,
    name: String,
    reading: Reading,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let trace = arguments.next().ok_or("which trace?")?;
    let copies: usize = arguments.next().map_or(Ok(1), |copies| copies.parse())?;
    let times: u32 = arguments.next().map_or(Ok(1), |times| times.parse())?;
    let samples = read(&std::fs::read_to_string(trace)?)?;
    let samples = lasting(samples);
    let kinds = kinds(&samples);
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, kind) in &kinds {
        groups.entry(kind).or_default().insert(name);
    }
    println!(
        "{:<28}{:>8}{:>12}{:>16}{:>10}",
        "series", "number", "samples", "bytes a sample", "Gorilla"
    );
    let mut everything = BTreeSet::new();
    for (kind, names) in &groups {
        measure(kind, &samples, names, (1, 1), false)?;
        everything.extend(names.iter().copied());
    }
    // Constant series are left out until they are 30 % of all.
    let constant = groups.get("constant").cloned().unwrap_or_default();
    let others = everything.len() - constant.len();
    let surplus = constant.len().saturating_sub(others * 3 / 7);
    let mixed: BTreeSet<&str> = everything
        .iter()
        .copied()
        .filter(|name| {
            !constant
                .iter()
                .take(surplus)
                .any(|left_out| left_out == name)
        })
        .collect();
    measure(
        "all, 30 % constant at most",
        &samples,
        &mixed,
        (copies, times),
        true,
    )
}

fn read(text: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut samples = Vec::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [time, name, kind, value] = parts.as_slice() else {
            continue;
        };
        let reading = match *kind {
            "g" => Reading::Gauge(f64::from_bits(u64::from_str_radix(value, 16)?)),
            _ => Reading::Count(value.parse::<i64>()?.try_into()?),
        };
        let time = Duration::from_secs_f64(time.parse()?);
        samples.push(Sample {
            time,
            name: (*name).to_owned(),
            reading,
        });
    }
    Ok(samples)
}

/// The samples of those series that are there for nine tenths of the trace: not of what came and went.
fn lasting(samples: Vec<Sample>) -> Vec<Sample> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in &samples {
        *counts.entry(&sample.name).or_default() += 1;
    }
    let most = counts.values().max().copied().unwrap_or(0);
    let last = |name: &str| counts.get(name).is_some_and(|count| count * 10 >= most * 9);
    let kept: Vec<bool> = samples.iter().map(|sample| last(&sample.name)).collect();
    samples
        .into_iter()
        .zip(kept)
        .filter_map(|(sample, kept)| kept.then_some(sample))
        .collect()
}

/// What kind of figure each series is.
fn kinds(samples: &[Sample]) -> BTreeMap<String, &'static str> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut counters = BTreeSet::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in samples {
        let name = sample.name.as_str();
        match sample.reading {
            Reading::Gauge(figure) => values.entry(name).or_default().push(figure),
            Reading::Count(count) => {
                counters.insert(name);
                let rise = last
                    .insert(name, count)
                    .map_or(0, |before| count.abs_diff(before));
                values.entry(name).or_default().push(rise as f64);
            }
            Reading::Latencies(_) => {}
        }
    }
    let kind = |name: &str, values: &[f64]| {
        let values = values
            .get(usize::from(counters.contains(name))..)
            .unwrap_or_default();
        if values.windows(2).all(|pair| pair.first() == pair.last()) {
            "constant"
        } else if counters.contains(name) {
            "counter"
        } else if values.iter().all(|value| value.fract() == 0.0) {
            "gauge of whole numbers"
        } else {
            "gauge of fractions"
        }
    };
    values
        .iter()
        .map(|(name, values)| ((*name).to_owned(), kind(name, values)))
        .collect()
}

fn measure(
    what: &str,
    samples: &[Sample],
    names: &BTreeSet<&str>,
    (copies, times): (usize, u32),
    is_detailed: bool,
) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let start = samples.first().ok_or("an empty trace")?.time;
    let mut options = Options::default();
    if !is_detailed {
        options.levels = vec![Level {
            step: 1,
            segment: 600,
            keep: 86_400,
        }];
    } else if let Some(finest) = options.levels.first_mut() {
        finest.keep = 86_400;
    }
    options.most_series = names.len() * copies;
    let before = cpu();
    let mut log = MonitorLog::open(directory.path(), &options, start)?;
    let mut ids: BTreeMap<&str, Vec<SeriesId>> = BTreeMap::new();
    let mut now = start;
    let mut taken = 0u64;
    let length = samples.last().ok_or("an empty trace")?.time - start + Duration::from_secs(1);
    let ours = || {
        samples
            .iter()
            .filter(|sample| names.contains(sample.name.as_str()))
    };
    let resident_before = resident();
    let mut longest = Duration::ZERO;
    for (time, sample) in
        (0..times).flat_map(|n| ours().map(move |sample| (sample.time + length * n, sample)))
    {
        if time >= now + Duration::from_secs(1) {
            now = time;
            let began = Instant::now();
            log.advance(now)?;
            longest = longest.max(began.elapsed());
        }
        if !ids.contains_key(sample.name.as_str()) {
            let kind = sample.reading.kind();
            let made: Result<Vec<_>, _> = (0..copies)
                .map(|copy| log.register(copy as u64, &sample.name, kind))
                .collect();
            ids.insert(&sample.name, made?);
        }
        for id in ids.get(sample.name.as_str()).into_iter().flatten() {
            taken += u64::from(log.add(*id, time, sample.reading.clone()).is_ok());
        }
    }
    let memory = resident() - resident_before;
    let used = cpu() - before;
    if is_detailed {
        ask(&log, &ids, start, now)?;
    }
    log.advance(now + Duration::from_secs(2 * 43_200))?;
    let finest = sizes(directory.path(), "1s-")?;
    println!(
        "{what:<28}{:>8}{taken:>12}{:>16.3}{:>10.3}",
        names.len() * copies,
        finest as f64 / taken as f64,
        by_gorilla(samples, names)
    );
    if is_detailed {
        println!(
            "{:.0} samples in a second of processor time, {:.0} bytes of memory a series",
            taken as f64 / used,
            memory as f64 / (names.len() * copies) as f64
        );
        for prefix in ["10s-", "300s-"] {
            let bytes = sizes(directory.path(), prefix)? as f64;
            println!(
                "{prefix} {bytes} bytes, {:.3} for each sample of the trace",
                bytes / taken as f64
            );
        }
        println!("the longest flush, with segments and a checkpoint: {longest:?}");
        println!("{:?}", log.figures());
    }
    Ok(())
}

fn ask(
    log: &MonitorLog,
    ids: &BTreeMap<&str, Vec<SeriesId>>,
    start: Duration,
    end: Duration,
) -> Result<(), Box<dyn Error>> {
    let all: Vec<SeriesId> = ids.values().flatten().copied().take(100).collect();
    let (from, to) = (start.as_secs() as i64, end.as_secs() as i64);
    for (what, series, from, step) in [
        ("ten minutes of one", all.get(..1), to - 600, Some(1)),
        ("ten minutes of 100", all.get(..), to - 600, Some(1)),
        ("the whole of one", all.get(..1), from, None),
        ("the whole of 100", all.get(..), from, None),
    ] {
        let series = series.ok_or("no series")?;
        let began = Instant::now();
        let query = Query {
            series,
            from,
            to,
            step,
            statistic: Statistic::Sum,
            across: Across::Sum,
        };
        let answer = log.query(&query)?;
        let points: usize = answer.rows.iter().map(|row| row.values.len()).sum();
        println!("{what}: {points} points in {:?}", began.elapsed());
    }
    Ok(())
}

/// Bytes of each sample as Gorilla writes them.
fn by_gorilla(samples: &[Sample], names: &BTreeSet<&str>) -> f64 {
    let mut series: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
    for sample in samples
        .iter()
        .filter(|sample| names.contains(sample.name.as_str()))
    {
        let figure = match sample.reading {
            Reading::Gauge(figure) => figure,
            Reading::Count(count) => count as f64,
            Reading::Latencies(_) => continue,
        };
        let time = sample.time.as_millis() as i64;
        series.entry(&sample.name).or_default().push((time, figure));
    }
    let bytes: u64 = series.values().map(|samples| gorilla::bytes(samples)).sum();
    let count: usize = series.values().map(Vec::len).sum();
    bytes as f64 / count as f64
}

fn sizes(directory: &Path, prefix: &str) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
