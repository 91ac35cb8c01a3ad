use std::net::Ipv4Addr;
use std::time::{Duration, UNIX_EPOCH};

use model::forms::{InstanceBrief, InstanceDocument, ProjectDocument, default_health_check};
use model::{
    Algorithm, AutoScaling, Backend, BackendHealth, BackendHost, BackendReport, Condition, Driver,
    Generation, HashKey, Instance, InstanceId, InstanceReport, LoadSight, Metric, MetricReport,
    OutlierEjection, Policy, Project, ProjectId, Scaling, ScalingReport, StatusRange, Timeouts,
    Timestamp, TrafficType, Verdict, VmId, VmReport, Waiting,
};
use serde_json::json;

use super::*;

/// 2026-11-22, 17:51:32 UTC.
const NOW_MS: u64 = 1_795_369_892_000;

fn at(seconds_ago: u64) -> Timestamp {
    Timestamp(NOW_MS - seconds_ago * 1000)
}

fn show_in(paint: Paint, view: View, action: &str, kind: &str, info: Value) -> String {
    let done = Done {
        action: action.into(),
        kind: kind.into(),
        info,
    };
    let now = UNIX_EPOCH + Duration::from_millis(NOW_MS);
    render(view, &done, Style { paint, now })
        .expect("the answer has the shape that the view expects")
}

fn show(view: View, action: &str, kind: &str, info: Value) -> String {
    show_in(Paint::Plain, view, action, kind, info)
}

fn project() -> Project {
    Project {
        id: ProjectId(1),
        user: "john".into(),
        name: "john's project".into(),
        label: "johns-project".into(),
        generation: Generation(1),
        created_at: at(7200),
    }
}

fn instance() -> Instance {
    let backend = |host, port, weight| Backend {
        host,
        port,
        weight,
        backup: false,
        max_connections: None,
    };
    let address = |last| BackendHost::Address(Ipv4Addr::new(1, 1, 1, last));
    Instance {
        id: InstanceId(3),
        project: ProjectId(1),
        name: "web".into(),
        label: "web".into(),
        former_labels: Default::default(),
        traffic: TrafficType::Http,
        port: 80,
        subnet: "1.1.1.0/24".parse().unwrap(),
        backends: vec![
            backend(address(10), 8080, 1),
            backend(address(11), 8080, 5),
            backend(BackendHost::Name("origin.test".into()), 80, 1),
        ],
        health_check: default_health_check(TrafficType::Http),
        auto_scaling: AutoScaling::Between(Scaling {
            min: 2,
            max: 4,
            target_requests: Some(150),
            ..Scaling::default()
        }),
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(2),
        created_at: at(3600),
    }
}

fn vm(id: u64, state: Verdict, seconds_ago: u64) -> VmReport {
    VmReport {
        id: VmId(id),
        state,
        since: at(seconds_ago),
        evidence: "heartbeat 120 ms ago, answers the checker".into(),
        aside: None,
        leaving: None,
        driver: Driver::Qemu,
        accelerator: Some("tcg".into()),
        pid: Some(4242),
        address: Ipv4Addr::new(10, 200, 0, 5),
        tenant_address: Ipv4Addr::new(1, 1, 1, 2),
        configuration: Some(Generation(2)),
        requests: 123_456,
        load: Some(LoadSight {
            cpu_percent: Some(42.4),
            connections: Some(12.0),
            requests_per_second: Some(98.7),
            age_ms: 300,
            ..LoadSight::default()
        }),
    }
}

fn backend(
    entity: &str,
    address: Option<u8>,
    health: BackendHealth,
    last_check: &str,
) -> BackendReport {
    BackendReport {
        entity: entity.into(),
        address: address.map(|last| Ipv4Addr::new(1, 1, 1, last)),
        port: 8080,
        weight: 1,
        backup: false,
        health,
        since: address.map(|_| at(95)),
        last_check: last_check.into(),
        requests: 40,
    }
}

fn metric(metric: Metric, target: u32, sum: Option<f64>) -> MetricReport {
    let asks_for = sum.map(|_| 3);
    let vms = sum.map_or(0, |_| 2);
    MetricReport {
        metric,
        target,
        sum,
        vms,
        asks_for,
    }
}

fn report() -> InstanceReport {
    let starting = VmReport {
        accelerator: None,
        pid: None,
        configuration: None,
        requests: 0,
        load: None,
        ..vm(12, Verdict::Starting, 1)
    };
    let leaving = VmReport {
        leaving: Some("replaced by VM 12".into()),
        ..vm(7, Verdict::Down, 30)
    };
    let process = VmReport {
        driver: Driver::Process,
        accelerator: Some("process".into()),
        ..vm(8, Verdict::Serving, 3000)
    };
    InstanceReport {
        generation: Generation(2),
        condition: Condition::Degraded,
        in_effect: false,
        configuration: Generation(2),
        addresses: vec![Ipv4Addr::new(10, 200, 0, 5)],
        vms: vec![leaving, process, starting],
        backends: vec![
            backend(
                "1.1.1.10:8080",
                Some(10),
                BackendHealth::Up,
                "200 OK in 3 ms",
            ),
            backend(
                "1.1.1.11:8080",
                Some(11),
                BackendHealth::Down,
                "connection refused",
            ),
            backend(
                "origin.test:80",
                Some(12),
                BackendHealth::Unknown,
                "not checked yet",
            ),
            backend(
                "lost.test:80",
                None,
                BackendHealth::Unknown,
                "no address: no such name",
            ),
        ],
        scaling: Some(ScalingReport {
            wanted: 4,
            decision: "requests 412/s over 2 VMs, target 150: 2 → 3".into(),
            decided_at: Some(at(40)),
            rule: "not fewer: VM 12 is starting".into(),
            metrics: vec![
                metric(Metric::Cpu, 60, None),
                metric(Metric::Requests, 150, Some(412.5)),
            ],
        }),
        waiting_for: vec![Waiting {
            what: "VM 12".into(),
            why: "it boots: no heartbeat yet".into(),
        }],
    }
}

fn document(instance: &Instance, report: Option<&InstanceReport>) -> Value {
    let document = InstanceDocument::new(instance, &project(), "lb.evenkeel.test", report, &[]);
    serde_json::to_value(document).unwrap()
}

#[test]
fn an_instance_shows_how_it_stands_and_why() {
    let info = document(&instance(), Some(&report()));
    insta::assert_snapshot!("instance", show(View::Instance, "info", "instance", info));
}

#[test]
fn settings_are_shown_as_they_can_be_set() {
    let mut instance = instance();
    instance.policy.algorithm = Algorithm::Maglev { key: HashKey::Uri };
    instance.policy.outlier_ejection = Some(OutlierEjection::default());
    instance.policy.retry.attempts = 2;
    instance.policy.allowed_clients = vec!["10.0.0.0/8".parse().unwrap()];
    instance.timeouts.connect_ms = 500;
    instance.health_check.host = Some("shop.example".into());
    instance.health_check.expected_body = Some("all is well".into());
    instance.health_check.expected_status = vec![StatusRange { from: 200, to: 204 }];
    let mut report = report();
    report.backends[1].backup = true;
    let info = document(&instance, Some(&report));
    let text = show(View::Instance, "info", "instance", info);
    for line in [
        "  backend.algorithm={\"key\":\"uri\",\"name\":\"maglev\"}\n",
        "  backend.outlier-ejection=true\n",
        "  backend.retry.attempts=2\n",
        "  timeouts.connect=0.5\n",
        "  allowed-clients=[\"10.0.0.0/8\"]\n",
        "GET http://shop.example/, expecting 200-204 and \"all is well\", every 5 s",
        "1.1.1.11:8080 (backup)",
        "2, run by 2 of 3 VMs",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn an_instance_that_is_new_shows_what_it_waits_for() {
    let bare = Instance {
        backends: Vec::new(),
        auto_scaling: AutoScaling::Off,
        traffic: TrafficType::Tcp,
        port: 5432,
        health_check: default_health_check(TrafficType::Tcp),
        created_at: at(0),
        ..instance()
    };
    insta::assert_snapshot!(
        "instance-created",
        show(View::Instance, "create", "instance", document(&bare, None))
    );
}

#[test]
fn an_instance_that_was_made_and_has_no_backend_up_says_so_last() {
    let mut report = report();
    report.condition = Condition::NoBackend;
    let info = document(&instance(), Some(&report));
    let line = "No backend is up, so nobody is served yet; `evenkeel explain` says what helps.\n";
    let made = show(View::Instance, "create", "instance", info.clone());
    assert!(made.ends_with(line), "{made}");
    let looked_at = show(View::Instance, "info", "instance", info);
    assert!(!looked_at.contains(line), "{looked_at}");
}

#[test]
fn colour_says_good_from_bad() {
    let info = document(&instance(), Some(&report()));
    let text = show_in(Paint::Coloured, View::Instance, "info", "instance", info);
    assert!(text.contains("\u{1b}[32mserving\u{1b}[0m"), "{text}");
    assert!(text.contains("\u{1b}[1m\u{1b}[31mdown\u{1b}[0m"), "{text}");
}

#[test]
fn a_project_shows_its_instances() {
    let brief = InstanceBrief::new(&instance(), &project(), "lb.evenkeel.test", Some(&report()));
    let info = serde_json::to_value(ProjectDocument::new(&project(), vec![brief])).unwrap();
    let other = ProjectDocument::new(
        &Project {
            id: ProjectId(2),
            name: "shop".into(),
            ..project()
        },
        Vec::new(),
    );
    let both = json!({"projects": [info, other]});
    insta::assert_snapshot!("project", show(View::Project, "info", "project", info));
    insta::assert_snapshot!("projects", show(View::Projects, "info", "project", both));
    let created = json!({"name": "shop", "id": 2});
    insta::assert_snapshot!(
        "project-created",
        show(View::Project, "create", "project", created)
    );
}

#[test]
fn what_was_measured_of_a_projects_instances_stands_beside_them() {
    let instances = json!([
        {"name": "web", "id": 3, "url": "http://web/", "condition": "serving",
         "last_minute": {"requests_per_second": 412.25, "errors_per_second": 0.0, "p99_ms": 6.016, "cpu_percent": 31.0}},
        {"name": "db", "id": 4, "url": "tcp://db:5432", "condition": "pending"},
    ]);
    let info = json!({"name": "shop", "id": 1, "user": "john", "instances": instances});
    insta::assert_snapshot!(
        "project-measured",
        show(View::Project, "info", "project", info)
    );
}

#[test]
fn lists_and_their_absence_are_shown() {
    let brief = InstanceBrief::new(&instance(), &project(), "lb.evenkeel.test", Some(&report()));
    let info = json!({"instances": [brief]});
    insta::assert_snapshot!("instances", show(View::Instances, "info", "instance", info));
    let none = [
        show(
            View::Instances,
            "info",
            "instance",
            json!({"instances": []}),
        ),
        show(View::Projects, "info", "project", json!({"projects": []})),
        show(View::Subnets, "info", "subnet", json!({"subnets": []})),
    ];
    insta::assert_snapshot!("none", none.concat());
}

#[test]
fn subnets_show_what_is_attached() {
    let subnet = |cidr, interfaces: &[&str], instances: &[&str]| json!({"subnet": cidr, "project": "shop", "interfaces": interfaces, "instances": instances});
    let one = subnet("10.1.0.0/24", &["eth1", "eth2"], &["web"]);
    let all = json!({"subnets": [one, subnet("10.2.0.0/24", &[], &["db", "cache"])]});
    insta::assert_snapshot!("subnets", show(View::Subnets, "info", "subnet", all));
    insta::assert_snapshot!(
        "subnet-updated",
        show(View::Subnets, "update", "subnet", one)
    );
}

#[test]
fn the_system_shows_roles_troubles_and_all_instances() {
    let instances = [InstanceBrief::new(
        &instance(),
        &project(),
        "lb.evenkeel.test",
        Some(&report()),
    )];
    let info = json!({
        "zone": "lb.evenkeel.test",
        "projects": [
            {"name": "john's project", "id": 1, "user": "john", "instances": instances},
            {"name": "empty", "id": 2, "user": "jane", "instances": []},
        ],
        "vms": {"starting": 1, "serving": 1, "suspect": 0, "down": 1},
        "troubles": ["DNS does not answer: 10.200.0.1:53 is taken"],
        "refused": {"vms": {"sealed": 3, "stale": 12}},
        "roles": {"api": {"pid": 1}, "controller": {"pid": 1}, "checker": {"pid": 2}, "monitor": {"pid": 1}},
    });
    insta::assert_snapshot!("system", show(View::System, "info", "system", info));
    insta::assert_snapshot!(
        "system-empty",
        show(View::System, "info", "system", json!({}))
    );
}

#[test]
fn what_happened_is_a_line_each_with_whom_it_happened_to() {
    let info = json!({"after": 9, "more": false, "events": [
        {"at": "2026-11-22T17:51:30.000Z", "number": 7, "user": "john", "project": 1, "instance": "web", "id": 3,
         "kind": "asked", "text": "john asked to change auto-scaling: generation 4"},
        {"at": "2026-11-22T17:51:31.000Z", "number": 8, "kind": "breaker", "text": "the breaker closed"},
        {"at": "2026-11-22T17:51:31.500Z", "number": 9, "id": 4, "vm": 7, "kind": "gone", "text": "VM 7 is gone"},
    ]});
    insta::assert_snapshot!("events", show(View::Events, "info", "events", info));
    let none = json!({"after": 9, "more": false, "events": []});
    assert_eq!(show(View::Events, "info", "events", none), "");
}

#[test]
fn an_explanation_says_what_is_so_why_on_what_evidence_and_what_to_try() {
    let info = json!({"instance": "web", "id": 3, "url": "http://web.shop.lb.test/", "condition": "degraded",
    "summary": "it answers, but something that was asked for is not there: 1 of 1 VM serves, 1 of 2 backends are up",
    "findings": [
        {"about": "backend 1.1.1.11:8080", "what": "it is down, for the last time since 3 min",
         "why": "connection refused", "advice": "see that the server runs",
         "evidence": ["2026-11-22T17:48:32.000Z backend 1.1.1.11:8080 is down: connection refused"]},
        {"about": "number of VMs", "what": "the load decides: 1 VM wanted"},
    ]});
    insta::assert_snapshot!(
        "explanation",
        show(View::Explanation, "info", "explain", info)
    );
}

#[test]
fn a_line_of_the_log_has_the_id_that_explain_asks_for() {
    let line = json!({"time": "2026-11-22T17:51:32.123Z", "vm": 7, "client": "10.200.0.1:51234", "method": "GET",
        "host": "web", "path": "/", "status": 504, "termination": "response-timeout", "failed": true, "bytes_in": 112,
        "bytes_out": 213, "backend": "10.1.0.10:8080", "tries": 2, "request_id": "9f2c", "traceparent": "00-4bf9-00f0-01"});
    let text = show(View::Log, "info", "log", json!({"lines": [line]}));
    let expected = "2026-11-22T17:51:32.123Z  10.200.0.1:51234  GET web/  504 response-timeout  0.0 ms  \
                    112 in, 213 out  by 10.1.0.10:8080 at try 2  id 9f2c  trace 4bf9\n";
    assert_eq!(text, expected);
}

#[test]
fn figures_without_a_row_say_why_there_may_be_none() {
    let figure = |rows: Value| {
        json!({"instance": "web", "from": "a", "to": "b", "step": 1, "figures": [
            {"figure": "requests", "unit": "per second", "rows": rows}, {"figure": "cpu", "unit": "percent", "rows": []}]})
    };
    let none = show(View::Figures, "info", "figures", figure(json!([])));
    assert!(none.contains("Nothing was measured in that time"), "{none}");
    let some = figure(json!([{"values": [1.0, null]}]));
    let some = show(View::Figures, "info", "figures", some);
    assert!(!some.contains("Nothing was measured"), "{some}");
}

#[test]
fn what_is_deleted_is_gone_or_going() {
    let gone = json!({"name": "web", "id": 3, "condition": "deleted"});
    assert_eq!(
        show(View::Deleted, "delete", "instance", gone),
        "Deleted instance web\n"
    );
    let going = json!({"name": "web", "id": 3, "condition": "deleting",
        "waiting_for": [{"for": "VM 7", "why": "it is being removed"}]});
    let expected = "Deleting instance web\n  VM 7: it is being removed\n";
    assert_eq!(show(View::Deleted, "delete", "instance", going), expected);
}

#[test]
fn text_from_elsewhere_cannot_move_the_cursor() {
    let mut report = report();
    report.backends[0].last_check = "200 \u{1b}[2J\u{7}".into();
    report.waiting_for[0].why = "x\r\u{1b}]0;title".into();
    let text = show(
        View::Instance,
        "info",
        "instance",
        document(&instance(), Some(&report)),
    );
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
}

#[test]
fn an_answer_of_another_shape_is_left_to_be_shown_as_it_is() {
    let done = Done {
        action: "info".into(),
        kind: "instance".into(),
        info: json!({"vms": 3}),
    };
    let style = Style {
        paint: Paint::Plain,
        now: UNIX_EPOCH,
    };
    assert_eq!(render(View::Instance, &done, style), None);
    assert_eq!(render(View::Raw, &done, style), None);
}
