use model::LATENCY_BOUNDS_US;
use proptest::prelude::*;

use super::*;

const WEB: InstanceId = InstanceId(7);

fn instances(vms: &[u64]) -> BTreeMap<InstanceId, Vec<VmId>> {
    BTreeMap::from([(WEB, vms.iter().copied().map(VmId).collect())])
}

fn taken(vm: u64, name: &str, reading: Reading) -> Taken {
    let sample = Sample {
        name: name.into(),
        time: Duration::ZERO,
        reading,
    };
    Taken {
        lists: Vec::new(),
        vm: VmId(vm),
        samples: vec![sample],
    }
}

/// A tally for which an instance without VMs was there when it began.
fn begun() -> Tally {
    let tally = Tally::default();
    tally.set_instances(&instances(&[]));
    tally
}

fn requests(tally: &Tally) -> u64 {
    tally.newest(Instant::now()).instances[&WEB].counts.requests
}

fn count(tally: &Tally, vm: u64, requests: u64) {
    let taken = taken(vm, "evenkeel/derive-requests", Reading::Count(requests));
    tally.take(&taken, Instant::now());
}

#[test]
fn what_a_new_vm_did_before_it_was_seen_counts_and_what_one_did_under_another_monitor_does_not() {
    let tally = Tally::default();
    tally.set_instances(&instances(&[1]));
    count(&tally, 1, 1_000_000);
    assert_eq!(requests(&tally), 0);
    count(&tally, 1, 1_000_004);
    tally.set_instances(&instances(&[1, 2]));
    count(&tally, 2, 30);
    assert_eq!(requests(&tally), 34);
    // Its balancer was started again.
    count(&tally, 2, 5);
    assert_eq!(requests(&tally), 39);
}

#[test]
fn what_was_forgotten_of_a_vm_that_tells_ever_new_counts_is_not_counted_twice() {
    let tally = begun();
    tally.set_instances(&instances(&[1]));
    let began = Instant::now();
    let tell = |backend: u32, requests: u64, at: Instant| {
        let name = format!(
            "evenkeel-1.1.1.1:{}/evenkeel_backend.requests",
            8_000 + backend
        );
        tally.take(&taken(1, &name, Reading::Count(requests)), at);
    };
    tell(0, 700, began);
    let known = |tally: &Tally| tally.lock().vms[&VmId(1)].last.len();
    for backend in 1..900 {
        tell(backend, 1, began + SILENCE * backend / 100);
        assert!(known(&tally) <= MOST_SERIES);
    }
    let counted = |tally: &Tally| {
        let backends = tally.newest(began).instances.remove(&WEB).unwrap().backends;
        backends
            .values()
            .map(|backend| backend.requests)
            .sum::<u64>()
    };
    let before = counted(&tally);
    let late = began + SILENCE * 40;
    tell(0, 705, late);
    tell(0, 709, late);
    assert_eq!(
        counted(&tally) - before,
        4,
        "what it had before was counted"
    );
}

/// One answer tells of all users, and has to have a form.
#[test]
fn what_is_no_sensible_number_spoils_nobody_elses_figures() {
    let tally = begun();
    tally.set_instances(&instances(&[1, 2, 3]));
    let backend = "evenkeel-1.1.1.1:80/evenkeel_backend";
    for (vm, value) in [(1, f64::NAN), (1, f64::INFINITY), (2, 1e308), (3, -1e308)] {
        let now = Instant::now();
        let requests = format!("{backend}.requests");
        tally.take(&taken(vm, &requests, Reading::Count(1)), now);
        for name in [&*format!("{backend}.active"), "cpu/percent-active"] {
            tally.take(&taken(vm, name, Reading::Gauge(value)), now);
        }
        let newest = tally.newest(now);
        let text = serde_json::to_string(&newest).unwrap();
        assert_eq!(
            serde_json::from_str::<Newest>(&text).unwrap(),
            newest,
            "{value}"
        );
        assert!(newest.instances[&WEB].backends.len() == 1);
    }
}

#[test]
fn a_vm_that_goes_takes_nothing_with_it_and_an_instance_all() {
    let tally = begun();
    tally.set_instances(&instances(&[1]));
    count(&tally, 1, 10);
    tally.set_instances(&instances(&[]));
    assert_eq!(requests(&tally), 10);
    count(&tally, 1, 20);
    assert_eq!(
        requests(&tally),
        10,
        "of a VM that is gone nothing is taken"
    );
    tally.set_instances(&BTreeMap::new());
    assert!(tally.newest(Instant::now()).instances.is_empty());
}

proptest! {
    #[test]
    fn sums_never_fall_whatever_becomes_of_vms(
        steps in prop::collection::vec((0u64..4, 0u64..50, any::<bool>()), 1..60)
    ) {
        let tally = begun();
        let (mut there, mut raw) = (Vec::new(), BTreeMap::new());
        let (mut expected, mut before, mut next) = (0, 0, 0);
        for (which, more, is_restart) in steps {
            if which == 0 {
                // One comes, and the oldest of four goes.
                next += 1;
                there.push(next);
                if there.len() > 3 {
                    there.remove(0);
                }
                tally.set_instances(&instances(&there));
                continue;
            }
            let Some(vm) = there.get(which as usize % there.len().max(1)).copied() else {
                continue;
            };
            let known = raw.entry(vm).or_insert(0);
            // A balancer that begins anew is seen if it has counted less than the one before.
            if is_restart && more < *known {
                *known = more;
            } else {
                *known += more;
            }
            expected += more;
            count(&tally, vm, *known);
            let now = requests(&tally);
            prop_assert!(now >= before);
            prop_assert_eq!(now, expected);
            before = now;
        }
    }
}

#[test]
fn latencies_add_up_under_fixed_bounds() {
    let tally = begun();
    tally.set_instances(&instances(&[1]));
    let mut latencies = Histogram::new();
    [100, 900, 900, 60_000_000]
        .iter()
        .for_each(|us| latencies.record(*us));
    for list in 0..2 {
        let name = format!("evenkeel/evenkeel_latencies-whole-{list}");
        let taken = taken(1, &name, Reading::Latencies(latencies.clone()));
        tally.take(&taken, Instant::now());
    }
    let newest = tally.newest(Instant::now());
    let whole = &newest.instances[&WEB].whole;
    assert_eq!((whole.count(), whole.sum_us), (8, 2 * 60_001_900));
    let beyond = LATENCY_BOUNDS_US.len();
    assert_eq!(
        (whole.parts[0], whole.parts[2], whole.parts[beyond]),
        (2, 4, 2)
    );
}

#[test]
fn a_backends_load_is_of_all_vms_and_what_is_old_is_not_told() {
    let tally = begun();
    tally.set_instances(&instances(&[1, 2]));
    let now = Instant::now();
    let backend = "1.1.1.10:80".parse().unwrap();
    let name = |value: &str| format!("evenkeel-1.1.1.10:80/evenkeel_backend.{value}");
    for vm in [1, 2] {
        tally.take(&taken(vm, &name("requests"), Reading::Count(3)), now);
        tally.take(&taken(vm, &name("active"), Reading::Gauge(2.0)), now);
    }
    let cpu = taken(2, "cpu/percent-active", Reading::Gauge(12.5));
    tally.take(&cpu, now);
    let newest = tally.newest(now);
    let known = &newest.instances[&WEB].backends[&backend];
    assert_eq!((known.requests, known.active), (6, 4.0));
    assert_eq!(newest.vms[&VmId(2)].cpu_percent, Some(12.5));
    let later = tally.newest(now + STALE + Duration::from_secs(1));
    let known = &later.instances[&WEB].backends[&backend];
    assert_eq!((known.requests, known.active), (6, 0.0));
    assert!(later.vms.is_empty());
}

#[test]
fn of_backends_that_come_and_go_a_bounded_number_is_kept() {
    let tally = begun();
    tally.set_instances(&instances(&[1]));
    let now = Instant::now();
    for port in 0..=MAX_BACKENDS {
        let name = format!("evenkeel-1.1.1.10:{port}/evenkeel_backend.requests");
        let at = now + Duration::from_millis(port as u64);
        tally.take(&taken(1, &name, Reading::Count(1)), at);
    }
    let newest = tally.newest(now);
    let kept = &newest.instances[&WEB].backends;
    assert_eq!(kept.len(), MAX_BACKENDS);
    assert!(!kept.contains_key(&"1.1.1.10:0".parse().unwrap()));
}
