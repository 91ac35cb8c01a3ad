//! Golden accounts: what a user reads at the turns of an instance's life.

use crate::samples::{Bench, backend, heartbeat, instance, instance_of, silent, unanswered};
use model::{
    BackendHealth, BackendStatus, Condition, Failure, Generation, HeartbeatSight, InstanceId,
    InstanceReport, Refusal, ResolvedName, Timestamp, VmId,
};

/// Plans, and gives the account of instance 1.
fn account(bench: &mut Bench) -> InstanceReport {
    let report = bench.plan();
    let account = report.instances.get(&InstanceId(1));
    InstanceReport::clone(account.expect("it is reported"))
}

/// The VM's heartbeats say so of its backend 1.1.1.10.
fn say_of_backend(bench: &mut Bench, vm: u64, health: BackendHealth, last_check: &str) {
    let mut beat = heartbeat(Generation(1));
    beat.counters.requests = 42;
    beat.backends.push(BackendStatus {
        address: "1.1.1.10".parse().expect("an address"),
        port: 8080,
        health,
        health_age_ms: 900,
        last_check: Some(last_check.into()),
        last_check_age_ms: Some(10),
        requests: 41,
        errors: 1,
        active: 0,
        passive: model::PassiveStatus::default(),
    });
    bench.sight(vm).heartbeat = Some(HeartbeatSight {
        age_ms: 100,
        late_ms: 0,
        heartbeat: beat,
    });
}

fn serving(vms: u32) -> Bench {
    let mut bench = Bench::serving([instance_of(1, vms)]);
    for vm in 1..=u64::from(vms) {
        say_of_backend(&mut bench, vm, BackendHealth::Up, "200 OK in 3 ms");
    }
    bench
}

#[test]
fn creating() {
    let mut bench = Bench::with([instance(1)]);
    bench.plan();
    bench.observed.vms.insert(VmId(1), silent());
    insta::assert_json_snapshot!(account(&mut bench));
}

#[test]
fn a_serving_instance_waits_for_nothing() {
    insta::assert_json_snapshot!(account(&mut serving(1)));
}

#[test]
fn a_backend_that_is_down_for_one_vm_degrades() {
    let mut bench = serving(2);
    say_of_backend(&mut bench, 2, BackendHealth::Down, "connection refused");
    let report = account(&mut bench);
    assert!(
        report.in_effect,
        "a request that waits for its configuration does not wait for backends"
    );
    insta::assert_json_snapshot!(report);
}

#[test]
fn an_instance_none_of_whose_backends_is_up_says_so_first() {
    let first = |change: &dyn Fn(&mut Bench)| {
        let mut bench = serving(2);
        bench.asked(1).backends.push(backend("db.test"));
        change(&mut bench);
        let report = account(&mut bench);
        let first = report.waiting_for.first();
        let line = first.map(|waiting| format!("{}: {}", waiting.what, waiting.why));
        (report.condition, report.in_effect, line.unwrap_or_default())
    };
    let down = |bench: &mut Bench, vm| {
        say_of_backend(bench, vm, BackendHealth::Down, "404 Not Found in 1 ms");
    };
    let all_down = first(&|bench| {
        down(bench, 1);
        down(bench, 2);
    });
    let line = "backends: none is up, so every request is answered with 503; 1.1.1.10:8080: 404 Not Found in 1 ms";
    assert_eq!(all_down, (Condition::NoBackend, true, line.to_owned()));
    let for_one = first(&|bench| down(bench, 1));
    assert_eq!(for_one.0, Condition::Degraded, "another VM's is up");
    let none = first(&|bench| bench.asked(1).backends.clear());
    let line = "backends: none was given, so every request is answered with 503";
    assert_eq!((none.0, &*none.2), (Condition::NoBackend, line));
    let over_tcp = first(&|bench| {
        bench.asked(1).traffic = model::TrafficType::Tcp;
        bench.asked(1).backends.clear();
    });
    assert_eq!(
        over_tcp.2,
        "backends: none was given, so every session is reset"
    );
}

#[test]
fn a_vm_that_is_down_has_no_load() {
    let mut bench = serving(1);
    let load = model::LoadSight {
        cpu_percent: Some(42.0),
        ..model::LoadSight::default()
    };
    bench.observed.load.insert(VmId(1), load);
    assert!(account(&mut bench).vms[0].load.is_some());
    bench.kill(1);
    let report = account(&mut bench);
    assert_eq!((report.vms[0].id, report.vms[0].load), (VmId(1), None));
}

#[test]
fn nothing_is_in_effect_before_a_backend_is_up_or_all_were_asked() {
    let mut bench = serving(1);
    let mut in_effect = |health, asked: bool| {
        say_of_backend(&mut bench, 1, health, "connection refused");
        let heard = bench.sight(1).heartbeat.as_mut().expect("it was just said");
        if !asked {
            heard.heartbeat.backends[0].last_check = None;
        }
        account(&mut bench).in_effect
    };
    assert!(!in_effect(BackendHealth::Unknown, false));
    assert!(in_effect(BackendHealth::Down, true));
    assert!(in_effect(BackendHealth::Up, true));
}

#[test]
fn a_replaced_vm() {
    let mut bench = serving(1);
    bench.kill(1);
    bench.plan();
    bench.observed.vms.insert(VmId(2), silent());
    insta::assert_json_snapshot!(account(&mut bench));
}

#[test]
fn a_host_name_that_does_not_resolve() {
    let mut bench = serving(1);
    bench.asked(1).backends.push(backend("db.test"));
    let answer = ResolvedName {
        addresses: Vec::new(),
        error: Some("no such name".into()),
    };
    bench.observed.resolved.insert("db.test".into(), answer);
    insta::assert_json_snapshot!(account(&mut bench));
}

#[test]
fn a_replacement_that_is_held_back() {
    let mut bench = serving(1);
    for vm in 1..=3 {
        bench.observed.vms.entry(VmId(vm)).or_insert_with(silent);
        bench.kill(vm);
        bench.plan();
    }
    (1..=3).for_each(|vm| bench.vanish(vm));
    insta::assert_json_snapshot!(account(&mut bench));
}

#[test]
fn one_line_says_what_is_waited_for() {
    type Change = fn(&mut Bench);
    let cases: [(Change, Condition, &str); 9] = [
        (
            |b| b.observed.dns_serial = Some(0),
            Condition::Degraded,
            "DNS: zone generation 1 is decided, 0 is published",
        ),
        (
            |b| b.observed.dns_serial = None,
            Condition::Degraded,
            "DNS: no DNS server has published the zone yet",
        ),
        (
            |b| {
                b.probes().insert(VmId(1), unanswered(3));
            },
            Condition::Degraded,
            "VM 1: its heartbeats come, but its front address does not answer: timed out",
        ),
        (
            |b| b.asked(1).port = 81,
            Condition::Degraded,
            "VM 1: it has yet to take configuration 2",
        ),
        (
            |b| {
                b.asked(1).port = 81;
                let heard = b.sight(1).heartbeat.as_mut().expect("it is heard");
                heard.heartbeat.refused = Some(Refusal {
                    generation: Generation(2),
                    path: "port".into(),
                    message: "it is taken".into(),
                });
            },
            Condition::Degraded,
            "VM 1: it refused configuration 2: port: it is taken",
        ),
        (
            |b| {
                let outside = ResolvedName {
                    addresses: vec!["9.9.9.9".parse().expect("an address")],
                    error: None,
                };
                b.asked(1).backends = vec![backend("db.test")];
                b.standing_mut(1).config.backends.clear();
                b.observed.resolved.insert("db.test".into(), outside);
            },
            Condition::NoBackend,
            "backend db.test:8080: 9.9.9.9 is not in subnet 1.1.1.0/24 and cannot be reached",
        ),
        (
            |b| {
                b.asked(1).backends.push(backend("1.1.1.253"));
                b.standing_mut(1).downs = vec![b.now; 3];
            },
            Condition::Degraded,
            "VM 1: a backend has its tenant address 1.1.1.253, so it is to be replaced",
        ),
        (
            |b| {
                b.intent.attachments.insert(model::Attachment {
                    project: model::ProjectId(1),
                    subnet: "1.1.1.0/24".parse().expect("a CIDR"),
                    interface: "eth1".into(),
                });
                fail(b, "project/1/port/eth1", 1);
            },
            Condition::Degraded,
            "interface eth1: no such device",
        ),
        (
            |b| {
                b.kill(1);
                fail(b, "vm/2", 3);
            },
            Condition::Failing,
            "VM 2: no such device (tried 3 times)",
        ),
    ];
    for (change, condition, line) in cases {
        let mut bench = serving(1);
        change(&mut bench);
        let report = account(&mut bench);
        let lines = report
            .waiting_for
            .iter()
            .map(|w| format!("{}: {}", w.what, w.why));
        let lines: Vec<_> = lines.collect();
        assert_eq!(report.condition, condition, "{lines:?}");
        assert!(lines.iter().any(|l| l == line), "{line}\n{lines:?}");
    }
}

#[test]
fn a_deleted_instance_is_reported_until_its_last_vm_is_gone() {
    let mut bench = serving(1);
    bench.intent.instances.clear();
    fail(&mut bench, "vm/1", 1);
    let report = account(&mut bench);
    assert_eq!(report.condition, Condition::Deleting);
    assert_eq!(
        report.vms[0].leaving.as_deref(),
        Some("the instance was deleted; its removal fails: no such device (tried once)")
    );
    bench.vanish(1);
    assert!(bench.plan().instances.is_empty());
}

fn fail(bench: &mut Bench, key: &str, attempts: u32) {
    let failure = Failure {
        message: "no such device".into(),
        since: Timestamp(0),
        attempts,
        lacks_room: false,
    };
    bench.observed.failures.insert(key.into(), failure);
}

#[test]
fn an_interface_that_cannot_be_attached_is_told_also_where_no_instance_waits() {
    let mut bench = Bench::with([instance(1)]);
    bench.intent.instances.clear();
    bench.intent.attachments.insert(model::Attachment {
        project: model::ProjectId(1),
        subnet: "1.1.1.0/24".parse().expect("a CIDR"),
        interface: "eth1".into(),
    });
    bench.plan();
    fail(&mut bench, "project/1/port/eth1", 3);
    let troubles = bench.plan().troubles;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(
        troubles[0].starts_with("interface eth1 is not attached: "),
        "{troubles:?}"
    );
}

#[test]
fn what_a_vm_runs_is_not_in_effect_before_it_is_heard() {
    let mut bench = serving(1);
    assert!(account(&mut bench).in_effect);
    bench.sight(1).heartbeat = None;
    bench.sight(1).watched_ms = 100;
    assert!(!account(&mut bench).in_effect);
}
