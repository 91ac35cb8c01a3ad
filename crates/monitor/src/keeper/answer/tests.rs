use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{InstanceId, ProjectId};
use series::{Histogram, Reading};

use super::*;
use crate::keeper::{Bounds, Keeper, Origin, answer_questions, ask_monitor, bind_questions};
use crate::{HostTaken, Sample, Taken, Tally};

const PROJECT: ProjectId = ProjectId(3);
/// The hosts of the instance's backends; of a third there are figures as well.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(1, 1, 1, 2)];
const BOUNDS: Bounds = Bounds {
    series: 100,
    series_of_project: 100,
};

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn latencies(all: impl IntoIterator<Item = u64>) -> Reading {
    let mut histogram = Histogram::new();
    all.into_iter().for_each(|us| histogram.record(us));
    Reading::Latencies(histogram)
}

/// Two VMs of instance 7 and one of instance 70, each of which tells three seconds that end at `last`.
fn keep_some(keeper: &Keeper, last: u64) {
    for (instance, vm, rate) in [(7, 1, 100), (7, 2, 10), (70, 3, 1_000)] {
        let origin = Origin {
            project: PROJECT,
            instance: InstanceId(instance),
            vm: VmId(vm),
        };
        for second in 0..3 {
            let risen = |each: u64| Reading::Count(each * second);
            let readings = [
                ("evenkeel/derive-requests", risen(rate)),
                ("evenkeel/evenkeel_answers.2xx", risen(rate)),
                ("evenkeel/gauge-connections", Reading::Gauge(rate as f64)),
                ("cpu/percent-active", Reading::Gauge(rate as f64)),
                // One is fast and one slow, and the fast one has ten times as many.
                (
                    "evenkeel/evenkeel_latencies-whole-0",
                    latencies((0..rate).map(|_| 1_000_000 / rate)),
                ),
                ("evenkeel-1.1.1.1:80/evenkeel_backend.answers", risen(rate)),
                (
                    "evenkeel-1.1.1.1:80/evenkeel_backend.answer_us",
                    risen(rate * 2_000),
                ),
                (
                    "evenkeel-1.1.1.1:80/evenkeel_backend.healthy",
                    Reading::Gauge((vm % 2) as f64),
                ),
            ];
            let time = Duration::from_secs(last - 2 + second);
            let samples = readings.map(|(name, reading)| Sample {
                name: name.into(),
                time,
                reading,
            });
            keeper.keep(
                origin,
                Taken {
                    lists: Vec::new(),
                    vm: origin.vm,
                    samples: samples.into(),
                },
            );
        }
    }
}

/// The value of the newest second in each row, with what the row is of.
async fn newest(
    socket: &Path,
    last: u64,
    figure: FigureName,
    by: Option<By>,
) -> Vec<(String, f64)> {
    let query = FigureQuery {
        project: PROJECT,
        instance: InstanceId(7),
        figures: vec![figure],
        from: last as i64,
        to: last as i64 + 1,
        step: Some(1),
        by,
        hosts: HOSTS.to_vec(),
    };
    let answer = ask_monitor(socket, &query).await.unwrap();
    assert_eq!(
        (answer.from, answer.step, answer.resolution),
        (last as i64, 1, 1)
    );
    let rows = answer.figures[0].rows.iter().map(|row| {
        let of = [
            row.vm.map(|vm| vm.to_string()),
            row.backend.clone(),
            row.part.clone(),
        ];
        let of: Vec<String> = of.into_iter().flatten().collect();
        (of.join(" "), row.values[0].unwrap())
    });
    rows.collect()
}

#[tokio::test]
async fn an_instance_is_the_sum_of_its_vms_and_percentiles_are_of_all_together() {
    let state = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(state.path().join("log"), BOUNDS).unwrap();
    let socket = state.path().join("monitor.sock");
    let questions = answer_questions(
        bind_questions(&socket).unwrap(),
        keeper.asker(Tally::default()),
    );
    let last = now();
    keep_some(&keeper, last);
    let ask = |figure, by| newest(&socket, last, figure, by);
    let one = |of: &str, value: f64| (of.to_owned(), value);
    let checks = async {
        use FigureName::{Answers, Connections, Cpu, Errors, Health, Latency, Requests};
        assert_eq!(ask(Requests, None).await, [one("", 110.0)]);
        let by_vm = ask(Requests, Some(By::Vm)).await;
        assert_eq!(by_vm, [one("1", 100.0), one("2", 10.0)]);
        assert_eq!(ask(Answers, None).await, [one("2xx", 110.0)]);
        assert_eq!(ask(Connections, None).await, [one("", 110.0)]);
        assert_eq!(ask(Cpu, None).await, [one("", 55.0)]);
        assert_eq!(ask(Errors, None).await, [], "nothing is known of it");
        let backend = Some(By::Backend);
        assert_eq!(ask(Latency, backend).await, [one("1.1.1.1:80", 2.0)]);
        assert_eq!(ask(Health, backend).await, [one("1.1.1.1:80", 0.5)]);
        let percentiles = ask(Latency, None).await;
        let near = |part: usize, ms: f64| (percentiles[part].1 - ms).abs() <= ms / 64.0;
        // A hundred took 10 ms, ten took 100 ms: a mean of both VMs' medians would be 55 ms.
        assert!(
            near(0, 10.0) && near(1, 10.0) && near(2, 100.0),
            "{percentiles:?}"
        );
    };
    tokio::select! {
        never = questions => match never {},
        () = checks => {}
    }
}

#[tokio::test]
async fn a_monitor_that_is_not_there_and_a_question_for_too_much_are_told() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("monitor.sock");
    let query = FigureQuery {
        project: PROJECT,
        instance: InstanceId(7),
        figures: vec![FigureName::Requests],
        from: 0,
        to: now() as i64,
        step: Some(1),
        by: None,
        hosts: Vec::new(),
    };
    let absent = ask_monitor(&socket, &query).await;
    assert!(matches!(absent, Err(Unanswered::Unavailable(why)) if why.contains("monitor.sock")));
    let keeper = Keeper::start(state.path().join("log"), BOUNDS).unwrap();
    keep_some(&keeper, now());
    let questions = answer_questions(
        bind_questions(&socket).unwrap(),
        keeper.asker(Tally::default()),
    );
    tokio::select! {
        never = questions => match never {},
        refused = ask_monitor(&socket, &query) => {
            assert!(matches!(refused, Err(Unanswered::TooMuch(_))), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn what_a_backends_host_tells_is_told_with_the_backend_and_no_other_hosts() {
    let state = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(state.path().join("log"), BOUNDS).unwrap();
    let socket = state.path().join("monitor.sock");
    let asker = keeper.asker(Tally::default());
    let questions = answer_questions(bind_questions(&socket).unwrap(), asker);
    let last = now();
    let keep = |project: u64, host: u8, figures: &[(&str, f64)]| {
        let figures = figures.iter();
        let samples = figures.map(|(name, figure)| Sample {
            name: (*name).to_owned(),
            time: Duration::from_secs(last),
            reading: Reading::Gauge(*figure),
        });
        keeper.hosts().keep(HostTaken {
            project: ProjectId(project),
            address: Ipv4Addr::new(1, 1, 1, host),
            samples: samples.collect(),
        });
    };
    let first = [
        ("cpu-0/cpu-idle", 90.0),
        ("cpu-1/cpu-idle", 40.0),
        ("interface-eth0/if_octets.rx", 5.0),
        ("interface-eth1/if_octets.rx", 6.0),
        ("df-root/df_complex-used", 30.0),
        ("df-root/df_complex-free", 10.0),
        ("df-data/percent_bytes-used", 12.0),
    ];
    keep(PROJECT.0, 1, &first);
    keep(
        PROJECT.0,
        2,
        &[("cpu/percent-active", 7.0), ("load/load.shortterm", 1.5)],
    );
    // Of an address that is no backend of the instance, and of one that is another project's.
    keep(PROJECT.0, 3, &first);
    keep(PROJECT.0 + 1, 2, &first);
    let ask = |figure| newest(&socket, last, figure, Some(By::Backend));
    let one = |of: &str, value: f64| (of.to_owned(), value);
    let checks = async {
        use FigureName::{HostCpu, HostDisk, HostLoad, HostMemory, HostReceived};
        let of_both = [one("1.1.1.1", 35.0), one("1.1.1.2", 7.0)];
        assert_eq!(ask(HostCpu).await, of_both);
        assert_eq!(ask(HostLoad).await, [one("1.1.1.2", 1.5)]);
        assert_eq!(ask(HostReceived).await, [one("1.1.1.1", 11.0)]);
        let full = [one("1.1.1.1 data", 12.0), one("1.1.1.1 root", 75.0)];
        assert_eq!(ask(HostDisk).await, full);
        assert_eq!(ask(HostMemory).await, [], "nobody tells it");
    };
    tokio::select! {
        never = questions => match never {},
        () = checks => {}
    }
}
