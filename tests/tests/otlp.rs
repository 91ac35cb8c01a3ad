//! Figures are sent by OTLP, and a decoder that nobody here wrote finds in them what `/metrics` tells.
#![expect(
    clippy::indexing_slicing,
    reason = "what was told is JSON, and a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Load, Running, Web, within};
use serde_json::{Value, json};

/// Requests that were under way when `wrk` ended, and that it did not count.
const UNDER_WAY: f64 = 32.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver, which puts off the first request.
struct Receiver<'h> {
    file: PathBuf,
    running: Running<'h>,
}

impl<'h> Receiver<'h> {
    fn start(host: &'h Host) -> Self {
        let tools = std::env::var("EVENKEEL_TOOLS").expect("`make test` says where the tools are");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/otlp.py");
        let file = host.path("told.json");
        let told = file.to_str().expect("the path is text");
        let python = format!("{tools}/python3");
        let running = host.start("otlp", python, &[program, "127.0.0.1", "4318", told]);
        Self { file, running }
    }

    /// Waits until what was told last fits.
    fn await_told(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(PATIENCE, what, || {
            let text = std::fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
            let told: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            match fits(&told) {
                true => Ok(told),
                false => Err(told["metrics"]["evenkeel_lb_requests_total"].to_string()),
            }
        })
    }

    /// Ends, with what it was told.
    fn end(self) {
        self.running.kill();
        std::fs::remove_file(self.file).expect("it was told something");
    }
}

/// The requests of the only load balancer.
fn requests(told: &Value) -> f64 {
    let metric = &told["metrics"]["evenkeel_lb_requests_total"];
    metric["points"][0]["value"].as_f64().unwrap_or(-1.0)
}

#[test]
fn what_metrics_tells_arrives_by_otlp_also_after_the_receiver_was_away() {
    let host = Host::new();
    let otlp = "[otlp]\nendpoint = 'http://127.0.0.1:4318'\ninterval = 1\n";
    let evenkeel = Evenkeel::start_with(&host, Driver::Process, otlp);
    let web = Web::create(&host, evenkeel.door(), 1);
    let address = web.vms()[0].address.clone();
    // Nobody listened so far, and whoever begins to says first that it has no time.
    let receiver = Receiver::start(&host);
    let told = receiver.await_told("figures", |told| requests(told) == 0.0);
    assert_eq!(told["put_off"], 1);
    let first = Load::begin(&host, &address, 1, false).assert_flawless() as f64;
    let are_told = |told: &Value| (first..first + UNDER_WAY).contains(&requests(told));
    let told = receiver.await_told("all requests", are_told);
    check_forms(&told, first);
    let names: BTreeSet<&str> = told["metrics"]
        .as_object()
        .expect("by name")
        .keys()
        .map(String::as_str)
        .collect();
    let text = host.shell("curl --silent http://127.0.0.1:7400/metrics");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let expected: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, expected);

    receiver.end();
    let troubles = || evenkeel.door().do_("info", "system", json!({}))["troubles"].clone();
    within(
        PATIENCE,
        "it is told that nobody listens",
        || match troubles().to_string() {
            told if told.contains("not sent to 127.0.0.1:4318 by OTLP") => Ok(()),
            told => Err(told),
        },
    );
    let second = Load::begin(&host, &address, 1, false).assert_flawless() as f64;
    let receiver = Receiver::start(&host);
    receiver.await_told("the sum of both", |told| {
        let both = first + second;
        (both..both + 2.0 * UNDER_WAY).contains(&requests(told))
    });
    within(PATIENCE, "the trouble is over", || match troubles() {
        told if told == json!([]) => Ok(()),
        told => Err(told),
    });
}

/// Each kind of figure is what OpenTelemetry has for it.
fn check_forms(told: &Value, asked: f64) {
    let resource = &told["resource"];
    assert_eq!(resource["service.name"], "evenkeel");
    let installation = resource["service.instance.id"].as_str();
    assert_eq!(installation.map(str::len), Some(8), "{resource}");
    let metric = |name: &str| told["metrics"][name].clone();
    let requests = metric("evenkeel_lb_requests_total");
    assert_eq!(
        [
            &requests["kind"],
            &requests["cumulative"],
            &requests["monotonic"]
        ],
        [&json!("sum"), &json!(true), &json!(true)]
    );
    let point = &requests["points"][0];
    let attributes = point["attributes"].as_object().expect("by name");
    let names: Vec<&str> = attributes.keys().map(String::as_str).collect();
    assert_eq!(names, ["lb", "project", "user"], "{point}");
    let (start, time) = (point["start"].as_u64(), point["time"].as_u64());
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("it is later")
        .as_nanos() as u64;
    assert!(
        start > Some(0) && start < time && time <= Some(now),
        "{point}"
    );
    let latency = metric("evenkeel_lb_response_duration_seconds");
    assert_eq!(
        (&latency["kind"], &latency["unit"]),
        (&json!("histogram"), &json!("s"))
    );
    let point = &latency["points"][0];
    let numbers = |field: &str| -> Vec<f64> {
        let all = point[field].as_array().into_iter().flatten();
        all.filter_map(Value::as_f64).collect()
    };
    let (counts, bounds) = (numbers("counts"), numbers("bounds"));
    assert_eq!((counts.len(), bounds.len()), (15, 14));
    assert_eq!((bounds[0], bounds[13]), (0.000_25, 10.0));
    let count = point["count"].as_f64().expect("a number");
    assert_eq!(counts.iter().sum::<f64>(), count);
    assert!(
        (asked - UNDER_WAY..asked + UNDER_WAY).contains(&count),
        "{count} of {asked}"
    );
    assert!(point["sum"].as_f64() > Some(0.0));
    assert_eq!(metric("evenkeel_backend_up")["kind"], "gauge");
    assert_eq!(metric("evenkeel_lb_sent_bytes_total")["unit"], "By");
    let backend = metric("evenkeel_backend_response_start_duration_seconds");
    assert_eq!(backend["points"][0]["bounds"], json!([]));
    assert_eq!(
        backend["points"][0]["counts"].as_array().map(Vec::len),
        Some(1)
    );
}
