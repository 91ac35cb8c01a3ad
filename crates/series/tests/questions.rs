//! What is made of several series, which resolution answers, and what is asked in vain.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use series::{
    Across, Histogram, Kind, MOST_CHUNKS, MOST_POINTS, MonitorLog, Options, Query, QueryError,
    RELATIVE_ERROR, Reading, Reads, SeriesId, Statistic,
};

const START: i64 = 1_800_000_000;
const VMS: u64 = 5;

fn at(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// How long a request took on a VM, in microseconds: few VMs are slow, so that no mean of percentiles is right.
fn latency(vm: u64, request: u64) -> u64 {
    100 + request * 37 % 900 * if vm == 0 { 50 } else { 1 }
}

/// Five VMs for a thousand seconds: gauges, counters, and latencies of ten requests in a second.
fn filled(directory: &std::path::Path) -> (MonitorLog, [Vec<SeriesId>; 3]) {
    let mut log = MonitorLog::open(directory, &Options::default(), at(START)).unwrap();
    let mut register = |what: &str, kind| {
        (0..VMS)
            .map(|vm| log.register(vm, what, kind).unwrap())
            .collect::<Vec<_>>()
    };
    let gauges = register("cpu", Kind::Gauge);
    let counters = register("requests", Kind::Counter);
    let latencies = register("latency", Kind::Latencies);
    for second in 0..1_000u64 {
        let now = START + second as i64;
        log.advance(at(now)).unwrap();
        for (vm, ((gauge, counter), latencies)) in
            (0..).zip(gauges.iter().zip(&counters).zip(&latencies))
        {
            log.add(*gauge, at(now), Reading::Gauge((vm * 10) as f64))
                .unwrap();
            // Each begins anew after 300 seconds.
            log.add(
                *counter,
                at(now),
                Reading::Count(second % 300 * (vm + 1) + vm + 1),
            )
            .unwrap();
            let mut histogram = Histogram::new();
            (0..10).for_each(|n| histogram.record(latency(vm, second * 10 + n)));
            log.add(*latencies, at(now), Reading::Latencies(histogram))
                .unwrap();
        }
    }
    log.advance(at(START + 1_000)).unwrap();
    (log, [gauges, counters, latencies])
}

#[test]
fn the_series_of_an_owner_are_found_by_how_their_names_begin() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = MonitorLog::open(directory.path(), &Options::default(), at(START)).unwrap();
    for (owner, name) in [
        (1, "7/12/a"),
        (1, "7/3/a"),
        (1, "70/1/a"),
        (1, "8/1/a"),
        (1, "host/1.1.1.1/a"),
        (2, "7/12/a"),
        (u64::MAX, "7/1/a"),
    ] {
        log.register(owner, name, Kind::Gauge).unwrap();
    }
    for (owner, beginning, expected) in [
        (1, "7/", vec!["7/12/a", "7/3/a"]),
        (1, "host/1.1.1.1/", vec!["host/1.1.1.1/a"]),
        (1, "host/1.1.1.10/", vec![]),
        (2, "", vec!["7/12/a"]),
        (3, "", vec![]),
        (u64::MAX, "", vec!["7/1/a"]),
    ] {
        let found: Vec<&str> = log
            .series(owner, beginning)
            .map(|(_, name, _)| name)
            .collect();
        assert_eq!(found, expected, "{owner} {beginning}");
    }
}

#[test]
fn series_are_put_together_as_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (log, [gauges, counters, latencies]) = filled(directory.path());
    let ask = |series: &[SeriesId], statistic, across| {
        let (from, to) = (START + 100, START + 900);
        let query = Query {
            series,
            from,
            to,
            step: Some(100),
            statistic,
            across,
        };
        log.query(&query).unwrap().rows.remove(0).values
    };
    for (what, found, expected) in [
        (
            "sum of means",
            ask(&gauges, Statistic::Mean, Across::Sum),
            100.0,
        ),
        (
            "mean of means",
            ask(&gauges, Statistic::Mean, Across::Mean),
            20.0,
        ),
        ("lowest", ask(&gauges, Statistic::Min, Across::Min), 0.0),
        ("highest", ask(&gauges, Statistic::Max, Across::Max), 40.0),
        (
            "mean of all readings",
            ask(&gauges, Statistic::Mean, Across::Merged),
            20.0,
        ),
        (
            "readings",
            ask(&gauges, Statistic::Count, Across::Merged),
            500.0,
        ),
        (
            "rate over resets",
            ask(&counters, Statistic::Rate, Across::Sum),
            15.0,
        ),
        (
            "latencies in a second",
            ask(&latencies, Statistic::Rate, Across::Sum),
            50.0,
        ),
    ] {
        assert_eq!(found, vec![Some(expected); 8], "{what}");
    }
    let found = ask(&latencies, Statistic::Quantile(0.95), Across::Merged);
    for (step, found) in (1..).zip(found) {
        let requests = step * 1_000..(step + 1) * 1_000;
        let mut all: Vec<u64> = (0..VMS)
            .flat_map(|vm| requests.clone().map(move |request| latency(vm, request)))
            .collect();
        all.sort_unstable();
        let expected = *all.get(all.len() * 95 / 100 - 1).unwrap() as f64;
        assert!(
            (found.unwrap() - expected).abs() <= expected * RELATIVE_ERROR,
            "{found:?} for {expected}"
        );
    }
}

#[test]
fn the_span_chooses_the_resolution_and_too_much_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (log, [gauges, _, latencies]) = filled(directory.path());
    let end = START + 1_000;
    let ask = |series: &[SeriesId], span: i64, step, across| {
        let (from, statistic) = (end - span, Statistic::Mean);
        let query = Query {
            series,
            from,
            to: end,
            step,
            statistic,
            across,
        };
        log.query(&query)
    };
    for (span, step, resolution, told) in [
        (300, None, 1, 1),
        (3_600, None, 10, 20),
        (3_600, Some(1), 1, 1),
        (3_601, Some(1), 10, 10),
        (86_400, None, 10, 290),
        (86_401, Some(15), 300, 300),
        (30 * 86_400, None, 300, 8_700),
        (400 * 86_400, Some(86_400), 300, 86_400),
    ] {
        let answer = ask(&gauges, span, step, Across::Sum).unwrap();
        assert_eq!(
            (answer.resolution, answer.step),
            (resolution, told),
            "{span} s in {step:?}"
        );
        let points = answer.rows.first().unwrap().values.len();
        assert!(points <= MOST_POINTS);
    }
    for (series, span, across) in [
        (&gauges, 86_400 * 90, Across::Sum),
        (&latencies, 3_000, Across::Sum),
        (&gauges, i64::MAX / 2, Across::Each),
    ] {
        let found = ask(series, span, Some(1), across);
        assert!(
            matches!(found, Err(QueryError::TooMuch { .. })),
            "{span}: {found:?}"
        );
    }
    assert!(matches!(
        ask(&gauges, 0, None, Across::Each),
        Err(QueryError::Empty)
    ));
}

/// How many chunks are read for something.
fn reads_of<T>(ask: impl FnOnce(&Reads) -> Result<T, QueryError>) -> (T, u64) {
    let reads = Reads::new(Arc::default());
    let answer = ask(&reads).unwrap();
    (answer, MOST_CHUNKS - reads.left())
}

#[test]
fn several_percentiles_are_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let (log, [_, _, latencies]) = filled(directory.path());
    let query = Query {
        series: &latencies,
        from: START,
        to: START + 1_000,
        step: Some(1),
        statistic: Statistic::Count,
        across: Across::Merged,
    };
    let snapshots = (0..VMS).map(|vm| log.snapshot_of(vm, ["latency"]).unwrap());
    for snapshot in snapshots {
        let (id, name) = snapshot.series().next().unwrap();
        assert_eq!(name, "latency");
        let query = Query {
            series: &[id],
            ..query.clone()
        };
        let shares = [0.5, 0.9, 1.0].map(Statistic::Quantile);
        let (all, read) = reads_of(|reads| snapshot.query_all(&query, &shares, reads));
        let one = Query {
            statistic: shares[1],
            ..query
        };
        let (second, read_for_one) = reads_of(|reads| snapshot.query(&one, reads));
        assert_eq!((&all[1], read), (&second, read_for_one));
        assert!(all[0].rows != all[2].rows && read > 1);
    }
}

#[test]
fn segments_of_before_and_after_a_series_are_not_read_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = MonitorLog::open(directory.path(), &Options::default(), at(START)).unwrap();
    // Each VM lives for ten minutes, a segment of the finest level and one more where it does not begin with it.
    for vm in 0..6 {
        let id = log
            .register(1, &format!("7/{vm}/cpu"), Kind::Gauge)
            .unwrap();
        for second in START + vm * 600..START + (vm + 1) * 600 {
            log.advance(at(second)).unwrap();
            log.add(id, at(second), Reading::Gauge(1.0)).unwrap();
        }
    }
    let snapshot = log.snapshot_of(1, ["7/"]).unwrap();
    let ids: Vec<SeriesId> = snapshot.series().map(|(id, _)| id).collect();
    let query = Query {
        series: &ids,
        from: START,
        to: START + 3_600,
        step: Some(1),
        statistic: Statistic::Sum,
        across: Across::Sum,
    };
    let (answer, read) = reads_of(|reads| snapshot.query(&query, reads));
    assert_eq!(answer.resolution, 1);
    assert_eq!(answer.rows[0].values, vec![Some(1.0); 3_600]);
    // Each in memory, and in two segments at most where there are six.
    assert!(read <= 6 + 12, "{read}");
}

#[test]
fn a_question_for_too_much_and_one_that_nobody_waits_for_end_early() {
    let directory = tempfile::tempdir().unwrap();
    let (log, [gauges, ..]) = filled(directory.path());
    let snapshot = log.snapshot_of(0, ["cpu"]).unwrap();
    let query = Query {
        series: &gauges[..1],
        from: START,
        to: START + 1_000,
        step: Some(100),
        statistic: Statistic::Mean,
        across: Across::Sum,
    };
    let reads = Reads::new(Arc::default());
    let refused = (0..=MOST_CHUNKS).find_map(|_| snapshot.query(&query, &reads).err());
    assert!(
        matches!(refused, Some(QueryError::TooMuchToRead)),
        "{refused:?}"
    );
    let reads = Reads::new(Arc::new(AtomicBool::new(true)));
    let refused = snapshot.query(&query, &reads);
    assert!(matches!(refused, Err(QueryError::Unwanted)), "{refused:?}");
}
