use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::*;
use crate::latency::Recorder;
use crate::statistics::add;

fn times(all: impl IntoIterator<Item = u64>) -> Times {
    let recorder = Recorder::default();
    all.into_iter().for_each(|us| recorder.note(us));
    let mut times = Times::default();
    times.add(&recorder);
    times
}

fn target(host: u8, requests: u64) -> Target {
    let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), 80);
    let record = BackendRecord::new(address, 1, Instant::now());
    add(&record.counters(0).unwrap().requests, requests);
    Target {
        record: Arc::new(record),
        weight: 1,
        backup: false,
        max_connections: None,
    }
}

#[test]
fn latencies_travel_whole_in_as_many_lists_as_they_take() {
    for powers in [0, 1, 20, 31] {
        let all: Vec<u64> = (0..powers)
            .flat_map(|power| [1 << power, (1 << power) + (1 << power) / 3])
            .collect();
        let lists = latencies(WHOLE, &times(all.clone()));
        let mut found = series::Histogram::new();
        for list in &lists {
            let numbers: Vec<u64> = list
                .values
                .iter()
                .map(|value| match value {
                    Value::Absolute(number) => *number,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(numbers.len(), 1 + LATENCY_BUCKETS, "as types.db says");
            let buckets = numbers[1..]
                .iter()
                .map(|number| LatencyBucket::from_number(*number));
            let buckets = buckets.filter(|bucket| bucket.count > 0);
            let buckets = buckets.map(|bucket| (bucket.index, bucket.count)).collect();
            found.merge(&series::Histogram::from_buckets(buckets, numbers[0]).unwrap());
        }
        let mut expected = series::Histogram::new();
        all.iter().for_each(|us| expected.record(*us));
        assert_eq!(found, expected);
        assert_eq!(
            lists.is_empty(),
            all.is_empty(),
            "nothing is told of nothing"
        );
    }
}

#[test]
fn the_busiest_backends_are_told_and_those_left_out_are_counted() {
    let shared = Shared::new(1, String::new()).unwrap();
    let few: Vec<Target> = (1..=3).map(|host| target(host, 0)).collect();
    assert_eq!(backends(&few, &shared).0.len(), 3);
    let many: Vec<Target> = (0..200).map(|host| target(host, u64::from(host))).collect();
    let (told, untold) = backends(&many, &shared);
    let hosts: Vec<u8> = told
        .iter()
        .map(|backend| backend.status.address.octets()[3])
        .collect();
    assert_eq!(hosts, (168..200).collect::<Vec<u8>>());
    assert_eq!(untold, 168);
}

#[test]
fn every_list_has_as_many_values_as_its_type() {
    let shared = Shared::new(1, String::new()).unwrap();
    let mut told = Told::read(&shared, Counters::default());
    told.backends = backends(&[target(1, 5)], &shared).0;
    told.latencies.whole = times([7]);
    let types = model::figures::types_db();
    for figure in told.figures(&Totals::default()) {
        let own = types
            .lines()
            .find(|line| line.starts_with(&format!("{}\t", figure.kind)));
        let values = own.map_or(1, |line| line.matches(':').count() / 3);
        assert_eq!(figure.values.len(), values, "{figure:?}");
    }
}
