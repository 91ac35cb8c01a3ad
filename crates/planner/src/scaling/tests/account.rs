//! Which figures count, and what is said of them.

use model::{AutoScaling, Instance, LoadSight, Metric, ScalingReport};

use super::*;
use crate::samples::{Bench, instance};

/// An instance of two VMs that have served for a minute, of at the most `max`.
fn two_of(max: u32) -> Bench {
    let scaling = Scaling {
        min: 2,
        max,
        target_cpu: 100,
        target_requests: Some(TARGET),
        ..Scaling::default()
    };
    let mut bench = Bench::serving([Instance {
        auto_scaling: AutoScaling::Between(scaling),
        ..instance(1)
    }]);
    bench.pass(100_000);
    bench
}

fn requests(count: f64) -> LoadSight {
    LoadSight {
        cpu_percent: Some(10.0),
        connections: None,
        requests_per_second: Some(count),
        age_ms: 100,
        ..LoadSight::default()
    }
}

fn see(bench: &mut Bench, id: u64, load: LoadSight) {
    bench.observed.load.insert(VmId(id), load);
}

/// Plans twice, a second apart, and tells how it stands then.
fn account(bench: &mut Bench) -> ScalingReport {
    bench.plan();
    bench.pass(1_000);
    let report = bench.plan();
    let report = report.instances.get(&model::InstanceId(1));
    let report = report.expect("it is reported").scaling.clone();
    report.expect("its load decides")
}

fn sum(report: &ScalingReport, metric: Metric) -> (Option<f64>, u32) {
    let of = report.metrics.iter().find(|m| m.metric == metric);
    of.map(|m| (m.sum, m.vms)).expect("it has a target")
}

#[test]
fn an_instance_whose_number_of_vms_is_fixed_has_no_account_of_it() {
    let mut bench = two_of(2);
    see(&mut bench, 1, requests(900.0));
    let report = bench.plan();
    assert!(
        report
            .instances
            .values()
            .all(|report| report.scaling.is_none())
    );
    assert_eq!(bench.stay(1), [1, 2]);
}

#[test]
fn without_figures_the_least_run() {
    let mut bench = two_of(8);
    let report = account(&mut bench);
    assert_eq!(
        (report.wanted, report.rule.as_str()),
        (2, "no figures yet: 2, the least")
    );
    assert_eq!(sum(&report, Metric::Requests), (None, 0));
}

#[test]
fn the_metric_that_asks_for_most_decides_and_says_so() {
    let mut bench = two_of(8);
    for id in [1, 2] {
        see(&mut bench, id, requests(206.0));
    }
    let report = account(&mut bench);
    assert_eq!(report.wanted, 5);
    assert_eq!(
        report.decision,
        "requests 412/s over 2 VMs, target 100: 2 → 5"
    );
    assert_eq!(report.rule, "not fewer: VM 5 is starting");
    assert_eq!(
        report.metrics.first().map(|cpu| cpu.asks_for),
        Some(Some(1))
    );
    assert_eq!(report.decided_at, Some(bench.now));
    assert_eq!(bench.stay(1), [1, 2, 3, 4, 5]);
}

#[test]
fn what_max_refuses_is_said() {
    let mut bench = two_of(4);
    for id in [1, 2] {
        see(&mut bench, id, requests(300.0));
    }
    let report = account(&mut bench);
    assert_eq!(
        (report.wanted, report.rule.as_str()),
        (4, "would like 6, but max is 4")
    );
    assert!(report.decision.ends_with(": would like 6, but max is 4"));
    assert_eq!(bench.stay(1).len(), 4);
}

#[test]
fn the_rule_that_holds_a_vm_is_said() {
    for (load, rule) in [
        (99.0, "as many as the load asks for"),
        (
            60.0,
            "3 would do, but a VM goes only when the others would have at most 73 % of their target, and 3 would have 80 %",
        ),
        (
            10.0,
            "would be 2, held by the scale-in window until 00:23:56 UTC",
        ),
    ] {
        let mut bench = two_of(8);
        for id in [1, 2] {
            see(&mut bench, id, requests(200.0));
        }
        account(&mut bench);
        bench.make_all_serve();
        for id in [1, 2, 3, 4] {
            see(&mut bench, id, requests(load));
        }
        bench.plan();
        bench.pass(20_000);
        assert_eq!(account(&mut bench).rule, rule, "{load}");
    }
    let mut bench = two_of(8);
    see(&mut bench, 1, requests(1.0));
    see(&mut bench, 2, requests(1.0));
    assert_eq!(account(&mut bench).rule, "would be 1, but min is 2");
    see(&mut bench, 1, requests(900.0));
    let report = bench.plan();
    let report = report.instances.get(&model::InstanceId(1));
    let report = report.expect("it is reported").scaling.clone();
    let rule = report.expect("its load decides").rule;
    assert_eq!(rule, "9 are asked for, and one more sample is awaited");
}

#[test]
fn figures_that_are_old_or_no_numbers_count_as_none() {
    for load in [
        LoadSight {
            age_ms: 10_001,
            ..requests(500.0)
        },
        requests(f64::INFINITY),
        requests(-1.0),
        LoadSight {
            requests_per_second: None,
            ..requests(0.0)
        },
    ] {
        let mut bench = two_of(8);
        see(&mut bench, 1, requests(10.0));
        see(&mut bench, 2, load);
        let report = account(&mut bench);
        assert_eq!(
            (sum(&report, Metric::Requests), report.wanted),
            ((Some(10.0), 1), 2)
        );
    }
}

#[test]
fn the_load_of_a_vm_that_leaves_is_still_there_for_the_others() {
    let mut bench = two_of(8);
    for id in [1, 2] {
        see(&mut bench, id, requests(200.0));
    }
    account(&mut bench);
    bench.make_all_serve();
    bench.plan();
    for id in [1, 2, 3, 4] {
        see(&mut bench, id, requests(100.0));
    }
    bench.asked(1).auto_scaling = AutoScaling::Between(Scaling {
        max: 3,
        ..scaling(&bench)
    });
    let report = account(&mut bench);
    assert_eq!(bench.stay(1), [1, 2, 3]);
    assert_eq!(sum(&report, Metric::Requests), (Some(400.0), 4));
    assert_eq!(report.rule, "would like 4, but max is 3");
}

fn scaling(bench: &Bench) -> Scaling {
    let asked = &bench.intent.instances[&model::InstanceId(1)];
    *asked.auto_scaling.by_load().expect("it scales by load")
}

#[test]
fn a_vm_that_boots_does_not_count_with_the_processor_time_of_its_start() {
    let mut bench = two_of(8);
    for id in [1, 2] {
        see(&mut bench, id, requests(140.0));
    }
    account(&mut bench);
    assert_eq!(bench.stay(1), [1, 2, 3]);
    bench.make_all_serve();
    bench.plan();
    bench.pass(1_000);
    see(
        &mut bench,
        3,
        LoadSight {
            cpu_percent: Some(100.0),
            ..requests(90.0)
        },
    );
    let report = account(&mut bench);
    assert_eq!(sum(&report, Metric::Cpu), (Some(20.0), 2));
    assert_eq!(sum(&report, Metric::Requests), (Some(370.0), 3));
    bench.pass(5_000);
    assert_eq!(sum(&account(&mut bench), Metric::Cpu), (Some(120.0), 3));
}

#[test]
fn a_vm_that_is_set_aside_does_not_count_and_its_clients_are_not_taken_for_gone() {
    let mut bench = two_of(8);
    for id in [1, 2] {
        see(&mut bench, id, requests(140.0));
    }
    account(&mut bench);
    bench.make_all_serve();
    bench.plan();
    bench.pass(60_000);
    for id in [1, 2, 3] {
        see(&mut bench, id, requests(20.0));
    }
    bench.plan();
    bench.kill(2);
    let report = account(&mut bench);
    assert_eq!(sum(&report, Metric::Requests), (Some(40.0), 2));
    assert_eq!(report.rule, "not fewer: VM 4 is starting");
    bench.make_all_serve();
    bench.kill(2);
    bench.observed.load.remove(&VmId(2));
    see(&mut bench, 4, requests(20.0));
    bench.plan();
    bench.pass(20_000);
    let report = account(&mut bench);
    assert!(
        report
            .rule
            .starts_with("would be 2, held by the scale-in window"),
        "{}",
        report.rule
    );
}
