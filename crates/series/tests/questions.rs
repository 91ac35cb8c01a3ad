//! What is made of several series, which resolution answers, and what is asked in vain.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

use std::time::Duration;

use series::{
    Across, Histogram, Kind, MOST_POINTS, MonitorLog, Options, Query, QueryError, RELATIVE_ERROR,
    Reading, SeriesId, Statistic,
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
