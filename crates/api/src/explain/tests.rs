use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::{
    AutoScaling, BackendHealth, BackendReport, Criteria, Driver, Generation, HealthCheck,
    HealthProtocol, Instance, InstanceReport, Policy, ProjectId, Termination, Timeouts,
    TrafficType, Verdict, VmId, VmReport,
};

use super::*;

#[test]
fn every_termination_has_a_meaning_of_its_own() {
    let mut meanings = BTreeSet::new();
    for termination in Termination::ALL {
        let (meaning, _) = termination::meaning(*termination, &Timeouts::default());
        assert!(meaning.len() > 10, "{termination:?}: {meaning}");
        let alike = [
            Termination::ClientClosedInRequestHead,
            Termination::ClientClosedInRequestBody,
        ];
        assert!(
            meanings.insert(meaning) || alike.contains(termination),
            "{termination:?}"
        );
    }
}

#[test]
fn how_long_ago_is_told_roughly() {
    let now = Timestamp(1_000_000_000);
    for (before_s, words) in [
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7_200, "2 h ago"),
        (172_800, "2 days ago"),
    ] {
        assert_eq!(ago(Timestamp(now.0 - before_s * 1000), now), words);
    }
}

#[test]
fn an_address_is_not_found_in_another_one() {
    for (text, expected) in [
        ("backend 1.1.1.1:80 is down: refused", true),
        ("2 backends are up: 2.2.2.2:80, 1.1.1.1:80", true),
        ("backend 1.1.1.1:8080 is down", false),
        ("backend 11.1.1.1:80 is down", false),
        ("backend 1.1.1.1:80.example is down", false),
    ] {
        assert_eq!(instance::has_word(text, "1.1.1.1:80"), expected, "{text}");
    }
}

fn asked() -> Instance {
    Instance {
        id: InstanceId(1),
        project: ProjectId(1),
        name: "web".into(),
        label: "web".into(),
        former_labels: BTreeSet::new(),
        traffic: TrafficType::Http,
        port: 80,
        subnet: "1.1.1.0/24".parse().unwrap(),
        backends: Vec::new(),
        health_check: HealthCheck {
            protocol: HealthProtocol::Http,
            port: None,
            request_path: "/".into(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: Criteria::default(),
        },
        auto_scaling: AutoScaling::Off,
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

fn vm(id: u64, state: Verdict) -> VmReport {
    VmReport {
        id: VmId(id),
        state,
        since: Timestamp(0),
        evidence: "its heartbeats come".into(),
        aside: None,
        leaving: None,
        driver: Driver::Process,
        accelerator: None,
        pid: None,
        address: Ipv4Addr::LOCALHOST,
        tenant_address: Ipv4Addr::LOCALHOST,
        configuration: None,
        requests: 0,
        load: None,
    }
}

fn backend(number: u8, health: BackendHealth) -> BackendReport {
    BackendReport {
        entity: format!("1.1.1.{number}:80"),
        address: Some(Ipv4Addr::new(1, 1, 1, number)),
        port: 80,
        weight: 1,
        backup: false,
        health,
        since: None,
        last_check: "404 Not Found in 1 ms".into(),
        requests: 0,
    }
}

fn account(
    condition: Condition,
    vms: Vec<VmReport>,
    backends: Vec<BackendReport>,
) -> InstanceReport {
    InstanceReport {
        generation: Generation(1),
        condition,
        in_effect: true,
        configuration: Generation(1),
        addresses: Vec::new(),
        vms,
        backends,
        scaling: None,
        waiting_for: Vec::new(),
    }
}

fn explained(report: &InstanceReport, failed: Option<&access_log::Found>) -> Explanation {
    explain_instance(&Evidence {
        instance: &asked(),
        url: String::new(),
        report: Some(report),
        events: &[],
        unread: None,
        troubles: &[],
        absent_roles: &[],
        failed,
        now: Timestamp(1_000),
    })
}

#[test]
fn that_no_backend_is_up_is_said_first_and_once() {
    let mut report = account(
        Condition::NoBackend,
        vec![vm(1, Verdict::Suspect)],
        vec![backend(10, BackendHealth::Down)],
    );
    report.waiting_for.push(model::Waiting {
        what: "backends".into(),
        why: "none is up, so every request is answered with 503; 1.1.1.10:80: 404".into(),
    });
    let told = explained(&report, None);
    assert!(
        told.summary.starts_with("no backend is up"),
        "{}",
        told.summary
    );
    let about: Vec<_> = told.findings.iter().map(|it| &*it.about).collect();
    assert_eq!(about, ["backends", "backend 1.1.1.10:80", "VM 1"]);
    assert_eq!(told.findings[1].why, "404 Not Found in 1 ms");
}
