use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::{
    BackendHealth, BackendReport, Generation, InstanceReport, Termination, Timeouts, Verdict,
    VmReport,
};

use super::*;
use crate::samples::{instance, vm};

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
        instance: &instance(1),
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

#[test]
fn a_vm_that_is_set_aside_is_not_counted_among_those_that_are_to_serve() {
    let aside = VmReport {
        aside: Some("found down".into()),
        ..vm(1, Verdict::Down)
    };
    let leaving = VmReport {
        leaving: Some("fewer VMs are wanted".into()),
        ..vm(2, Verdict::Serving)
    };
    let counts = |vms| {
        let backends = vec![backend(10, BackendHealth::Up)];
        let summary = explained(&account(Condition::Serving, vms, backends), None).summary;
        summary
            .split_once(": ")
            .map(|(_, counts)| counts.to_owned())
    };
    let crew = |count: u64| (3..3 + count).map(|id| vm(id, Verdict::Serving));
    for (vms, words) in [
        (crew(2).collect(), "2 of 2 VMs serve, 1 of 1 backend is up"),
        (
            [aside.clone(), leaving]
                .into_iter()
                .chain(crew(2))
                .collect(),
            "2 of 2 VMs serve, 1 of 1 backend is up",
        ),
        (
            vec![aside, vm(3, Verdict::Starting)],
            "0 of 1 VM serves, 1 of 1 backend is up",
        ),
    ] {
        assert_eq!(counts(vms).as_deref(), Some(words));
    }
}

#[test]
fn why_a_vm_is_down_is_said_once() {
    let ended = "its process ended: killed by signal 9";
    let aside = format!("found down: {ended}; its ports are closed");
    let dead = VmReport {
        evidence: ended.into(),
        aside: Some(aside.clone()),
        ..vm(1, Verdict::Down)
    };
    let told = explained(&account(Condition::Serving, vec![dead], Vec::new()), None);
    let machine = told.findings.iter().find(|it| it.about == "VM 1");
    assert_eq!(machine.map(|it| &*it.why), Some(&*aside));
}

fn line(termination: Termination, backend: &str) -> access_log::Line {
    access_log::Line {
        number: 1,
        head: model::access::AccessHead {
            status: 503,
            termination,
            backend: backend.parse().unwrap(),
            total_us: 1_500,
            ..model::access::AccessHead::default()
        },
        method: "GET".into(),
        host: "web".into(),
        path: "/".into(),
        id: "one".into(),
        trace: String::new(),
        detail: String::new(),
    }
}

fn explained_request(line: &access_log::Line) -> Explanation {
    explain_request(&RequestEvidence {
        instance: &instance(1),
        url: String::new(),
        request: "one",
        lines: std::slice::from_ref(line),
        looked_at_all: true,
        events: &[],
    })
}

#[test]
fn a_connection_is_told_of_where_there_was_one() {
    let times = |backend, connect_us| {
        let mut line = line(Termination::Complete, backend);
        line.head.connect_us = connect_us;
        explained_request(&line).findings[0].evidence[0].clone()
    };
    assert_eq!(times("0.0.0.0:0", 0), "VM 0, 1.5 ms in all");
    let there = "VM 0, backend 1.1.1.10:80, over a connection that was open, 1.5 ms in all";
    assert_eq!(times("1.1.1.10:80", 0), there);
    let made = "VM 0, backend 1.1.1.10:80, connected after 0.5 ms, 1.5 ms in all";
    assert_eq!(times("1.1.1.10:80", 500), made);
    let mut again = line(Termination::Complete, "1.1.1.10:80");
    again.head.further_tries = 1;
    let told = explained_request(&again).findings[0].evidence[0].clone();
    assert!(
        told.contains("backend 1.1.1.10:80, tried 2 times,"),
        "{told}"
    );
}

#[test]
fn an_explanation_sends_nobody_to_itself() {
    let line = line(Termination::NoHealthyBackend, "0.0.0.0:0");
    let of_request = explained_request(&line).findings[0].advice.clone();
    assert!(
        of_request.contains("`evenkeel explain web-1`"),
        "{of_request}"
    );
    let failed = access_log::Found {
        lines: vec![line],
        ..access_log::Found::default()
    };
    let report = account(
        Condition::Degraded,
        Vec::new(),
        vec![backend(10, BackendHealth::Up)],
    );
    let told = explained(&report, Some(&failed));
    let of_instance = told.findings.iter().find(|it| it.about == "requests");
    let advice = &of_instance.expect("it failed").advice;
    assert!(!advice.contains("evenkeel explain"), "{advice}");
}
