//! `/metrics`, over sockets, with figures of a monitor's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use api::Api;
use model::{
    BackendHealth, BackendReport, Condition, ControllerCounts, Driver, Generation, InstanceId,
    InstanceReport, Timestamp, Verdict, VmId, VmReport,
};
use monitor::{Bounds, Keeper, Sample, Taken, Tally, answer_questions, bind_questions};
use serde_json::json;
use series::Reading;
use store::{Store, Transaction, status};

use crate::support::{Door, PATIENCE, config};

const GET: &str = "GET /metrics HTTP/1.1";

fn vm(id: u64, state: Verdict) -> VmReport {
    VmReport {
        id: VmId(id),
        state,
        since: Timestamp(0),
        evidence: String::new(),
        aside: None,
        leaving: None,
        driver: Driver::Process,
        accelerator: None,
        pid: None,
        address: Ipv4Addr::LOCALHOST,
        tenant_address: Ipv4Addr::LOCALHOST,
        configuration: None,
        requests: 4,
        load: None,
    }
}

fn backend(entity: &str, health: BackendHealth) -> BackendReport {
    BackendReport {
        entity: entity.into(),
        address: Some(Ipv4Addr::new(1, 1, 1, 10)),
        port: 80,
        weight: 1,
        backup: false,
        health,
        since: None,
        last_check: String::new(),
        requests: 0,
    }
}

fn report(first_vm: u64) -> InstanceReport {
    InstanceReport {
        generation: Generation(1),
        condition: Condition::Degraded,
        in_effect: true,
        configuration: Generation(1),
        addresses: Vec::new(),
        vms: vec![
            vm(first_vm, Verdict::Serving),
            vm(first_vm + 1, Verdict::Down),
        ],
        // One server under two names.
        backends: vec![
            backend("1.1.1.10:80", BackendHealth::Down),
            backend("ten.example:80", BackendHealth::Up),
        ],
        scaling: None,
        waiting_for: Vec::new(),
    }
}

fn put(door: &Door, key: String, value: &impl serde::Serialize) {
    let put = Transaction::new().put_json(key, value).expect("JSON");
    door.status.commit(put).expect("a commit");
}

/// Two users with a project and an instance of the same names, each of which has two VMs.
async fn two_users() -> Door {
    let door = Door::open().await;
    for (user, id) in [("ann", 1), ("bob", 2)] {
        door.succeed(&json!({"action": "create", "type": "project",
            "info": {"user": user, "name": "shop"}}))
            .await;
        door.succeed(
            &json!({"action": "create", "type": "instance", "info": {"user": user,
            "project": "shop", "name": "web", "subnet": "1.1.1.0/24", "wait": false}}),
        )
        .await;
        put(&door, status::report_key(InstanceId(id)), &report(10 * id));
    }
    let counts = ControllerCounts {
        rounds: 12,
        ..ControllerCounts::default()
    };
    put(&door, status::CONTROLLER_COUNTS_KEY.into(), &counts);
    put(&door, status::role_key("controller"), &json!({"pid": 1}));
    door
}

/// A monitor that heard of the first instance's first VM, for as long as this is kept.
fn monitor(door: &Door) -> (Keeper, tokio::task::JoinHandle<()>) {
    let bounds = Bounds {
        series: 10,
        series_of_project: 10,
    };
    let directory = door.socket.with_file_name("log");
    let keeper = Keeper::start(directory, bounds).expect("a thread");
    let tally = Tally::default();
    tally.set_instances(&BTreeMap::new());
    let vms = BTreeMap::from([(InstanceId(1), vec![VmId(10)])]);
    tally.set_instances(&vms);
    let sample = |name: &str, reading| Sample {
        name: name.into(),
        time: Duration::ZERO,
        reading,
    };
    let samples = vec![
        sample("evenkeel/derive-requests", Reading::Count(7)),
        sample("cpu/percent-active", Reading::Gauge(25.0)),
    ];
    let vm = VmId(10);
    tally.take(
        &Taken {
            lists: Vec::new(),
            vm,
            samples,
        },
        Instant::now(),
    );
    tally.set_refused_of_hosts(&[("sealed", 2)].into());
    tally.set_unused_of_hosts(6);
    tally.note_forwarded(5, 3);
    tally.note_syslog_dropped(4);
    let asker = keeper.asker(tally);
    let questions = bind_questions(&door.socket.with_file_name("monitor.sock")).expect("a socket");
    let answering = tokio::spawn(async move {
        answer_questions(questions, asker).await;
    });
    (keeper, answering)
}

async fn told(door: &Door) -> String {
    let (status, head, text) = door.send(GET, "", b"").await;
    assert_eq!(status, 200, "{text}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    text
}

/// The samples by their names and labels, of which none comes twice, and of each name all in a row.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let (mut samples, mut names) = (BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().expect("a name");
            assert!(names.insert(name), "{name} comes twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let value = value.parse().expect("a number");
            assert!(samples.insert(name, value).is_none(), "{line} comes twice");
        }
    }
    samples
}

const ANN: &str = r#"user="ann",project="shop",lb="web""#;
const BOB: &str = r#"user="bob",project="shop",lb="web""#;

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_all_users_are_told_apart_and_what_is_not_so_is_told_as_zero() {
    let door = two_users().await;
    let (_keeper, answering) = monitor(&door);
    let text = told(&door).await;
    let samples = samples(&text);
    for (name, value) in [
        (r#"evenkeel_up{role="controller"}"#.to_owned(), 1.0),
        (r#"evenkeel_up{role="dns"}"#.to_owned(), 0.0),
        ("evenkeel_breaker_open".to_owned(), 0.0),
        ("evenkeel_monitor_answers".to_owned(), 1.0),
        ("evenkeel_monitor_samples_total".to_owned(), 2.0),
        (
            r#"evenkeel_monitor_refused_packets_total{reason="sealed"}"#.to_owned(),
            0.0,
        ),
        (
            r#"evenkeel_monitor_refused_host_packets_total{reason="sealed"}"#.to_owned(),
            2.0,
        ),
        (
            r#"evenkeel_monitor_refused_host_packets_total{reason="late"}"#.to_owned(),
            0.0,
        ),
        (
            r#"evenkeel_monitor_refused_host_packets_total{reason="unread"}"#.to_owned(),
            0.0,
        ),
        ("evenkeel_monitor_unused_host_figures_total".to_owned(), 6.0),
        ("evenkeel_monitor_forwarded_packets_total".to_owned(), 5.0),
        ("evenkeel_monitor_unforwarded_packets_total".to_owned(), 3.0),
        (
            "evenkeel_monitor_dropped_syslog_lines_total".to_owned(),
            4.0,
        ),
        ("evenkeel_monitor_log_damaged_files".to_owned(), 0.0),
        ("evenkeel_monitor_log_lost_samples".to_owned(), 0.0),
        ("evenkeel_controller_rounds_total".to_owned(), 12.0),
        (r#"evenkeel_vms{state="down"}"#.to_owned(), 2.0),
        (r#"evenkeel_vms{state="suspect"}"#.to_owned(), 0.0),
        (format!("evenkeel_lb_serving{{{ANN}}}"), 0.0),
        (format!("evenkeel_lb_wanted_vms{{{ANN}}}"), 1.0),
        (format!("evenkeel_lb_serving_vms{{{ANN}}}"), 1.0),
        (format!("evenkeel_lb_requests_total{{{ANN}}}"), 7.0),
        (format!("evenkeel_lb_requests_total{{{BOB}}}"), 0.0),
        (
            format!(r#"evenkeel_lb_responses_total{{{BOB},class="5xx"}}"#),
            0.0,
        ),
        (
            format!(r#"evenkeel_lb_response_duration_seconds_bucket{{{BOB},le="+Inf"}}"#),
            0.0,
        ),
        (format!(r#"evenkeel_vm_serving{{{ANN},vm="10"}}"#), 1.0),
        (format!(r#"evenkeel_vm_serving{{{ANN},vm="11"}}"#), 0.0),
        (
            format!(r#"evenkeel_vm_cpu_usage_ratio{{{ANN},vm="10"}}"#),
            0.25,
        ),
        (
            format!(r#"evenkeel_backend_up{{{ANN},backend="1.1.1.10:80"}}"#),
            1.0,
        ),
        (
            format!(r#"evenkeel_backend_requests_total{{{BOB},backend="1.1.1.10:80"}}"#),
            0.0,
        ),
    ] {
        assert_eq!(samples.get(name.as_str()), Some(&value), "{name}\n{text}");
    }
    answering.abort();
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_monitor_no_count_of_its_is_told_which_would_be_read_as_begun_anew() {
    let door = two_users().await;
    let text = told(&door).await;
    let samples = samples(&text);
    assert_eq!(samples.get("evenkeel_monitor_answers"), Some(&0.0));
    let serving = format!("evenkeel_lb_serving_vms{{{ANN}}}");
    assert_eq!(samples.get(&*serving), Some(&1.0));
    assert!(!text.contains("evenkeel_lb_requests_total"), "{text}");
    assert!(!text.contains("evenkeel_lb_connections"), "{text}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_other_methods_are_refused() {
    let door = Door::open().await;
    for (line, head, expected) in [
        (GET, "", 200),
        ("HEAD /metrics HTTP/1.1", "", 200),
        ("POST /metrics HTTP/1.1", "Content-Length: 0\r\n", 405),
        (GET, "Host: rebound.example\r\n", 403),
        (GET, "Sec-Fetch-Site: cross-site\r\n", 403),
    ] {
        let (status, _, text) = door.send(line, head, b"").await;
        assert_eq!(status, expected, "{line} {head} {text}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_for_figures_has_figures_alone_under_any_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(directory.path().join("s"), Duration::ZERO);
    config.metrics_listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let api = Api::bind(config, Store::in_memory(), Store::in_memory());
    let api = api.await.expect("a door");
    let address = api.metrics_addresses()[0];
    let server = tokio::spawn(api.run(std::future::pending()));
    for (line, head, expected) in [
        (GET, "Host: monitor.example:9000\r\n", 200),
        (GET, "Host: a\r\nOrigin: http://b\r\n", 403),
        ("GET / HTTP/1.1", "Host: a\r\n", 404),
        ("POST / HTTP/1.1", "Host: a\r\nContent-Length: 0\r\n", 404),
        ("GET /healthz HTTP/1.1", "Host: a\r\n", 404),
    ] {
        let status = tokio::time::timeout(PATIENCE, status_of(address, line, head)).await;
        assert_eq!(status.expect("in time"), expected, "{line} {head}");
    }
    server.abort();
}

async fn status_of(address: SocketAddr, line: &str, head: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let request = format!("{line}\r\n{head}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("UTF-8");
    let status = answer.split(' ').nth(1).expect("a status");
    status.parse().expect("a number")
}
