//! Prometheus, as Debian has it, collects what there is to know, and its own tools find nothing wrong with it.
#![expect(
    clippy::indexing_slicing,
    reason = "what Prometheus answers is JSON, and a panic is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use end_to_end::{Driver, Evenkeel, Host, Load, Running, Web, eventually, within};
use serde_json::Value;

/// Requests that were under way when `wrk` ended, and that it did not count.
const UNDER_WAY: f64 = 32.0;
/// Where the configuration and the rules are that users are told to take.
const OFFERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics");
/// The door, where the configuration looks for figures.
const DOOR: &str = "http://127.0.0.1:7400/metrics";

/// Prometheus with what the documents offer, but that it asks each second.
struct Prometheus<'h> {
    host: &'h Host,
    _running: Running<'h>,
}

impl<'h> Prometheus<'h> {
    fn start(host: &'h Host) -> Self {
        for file in ["prometheus.yml", "rules.yml"] {
            let text = std::fs::read_to_string(Path::new(OFFERED).join(file)).expect("a document");
            let text = text.replace("_interval: 15s", "_interval: 1s");
            std::fs::write(host.path(file), text).expect("the host's directory can be written");
        }
        let directory = host.directory().display();
        host.shell(&format!("promtool check config {directory}/prometheus.yml"));
        host.shell(&format!("promtool check rules {directory}/rules.yml"));
        let running = host.start(
            "prometheus",
            "prometheus",
            &[
                &format!("--config.file={directory}/prometheus.yml"),
                &format!("--storage.tsdb.path={directory}/tsdb"),
                "--web.listen-address=127.0.0.1:9090",
            ],
        );
        Self {
            host,
            _running: running,
        }
    }

    /// What a question is answered with; nothing where there is no one figure.
    fn ask(&self, question: &str) -> Option<f64> {
        let url = "http://127.0.0.1:9090/api/v1/query";
        let asked = self.host.command("curl");
        let mut asked = asked;
        asked.args(["--silent", "--data-urlencode"]);
        let output = asked.arg(format!("query={question}")).arg(url).output();
        let answer: Value = serde_json::from_slice(&output.expect("curl").stdout).ok()?;
        let result = answer["data"]["result"].as_array()?;
        match result.as_slice() {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Waits until a question is answered with what is expected.
    fn await_answer(&self, question: &str, is_expected: impl Fn(f64) -> bool) {
        within(Duration::from_secs(30), question, || {
            match self.ask(question) {
                Some(value) if is_expected(value) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn await_count(&self, question: &str, count: u64) {
        let count = count as f64;
        self.await_answer(question, |value| {
            (count..count + UNDER_WAY).contains(&value)
        });
    }
}

#[test]
fn prometheus_collects_what_an_instance_does_and_its_counts_outlive_a_vm() {
    let host = Host::new();
    let evenkeel = Evenkeel::start(&host, Driver::Process);
    let prometheus = Prometheus::start(&host);
    let web = Web::create(&host, evenkeel.door(), 1);
    let vm = web.vms()[0].clone();
    // promtool fails where a name, a type or a unit is not as it should be.
    let complaints = host.try_shell(&format!("curl --silent {DOOR} | promtool check metrics"));
    let told = String::from_utf8_lossy(&complaints.stderr).into_owned();
    assert!(complaints.status.success() && told.is_empty(), "{told}");

    prometheus.await_answer("up", |value| value == 1.0);
    prometheus.await_answer("sum(evenkeel_up)", |value| value == 5.0);
    prometheus.await_answer("sum(evenkeel_backend_up)", |value| value == 2.0);
    let is_some = |value: f64| value > 0.0;
    for question in [
        "evenkeel_controller_rounds_total",
        "evenkeel_controller_effects_total",
        r#"evenkeel_checker_probes_total{result="answered"}"#,
        "evenkeel_dns_zone_current",
        "evenkeel_dns_names",
        "evenkeel_monitor_samples_total",
        "evenkeel_monitor_log_series",
        "evenkeel_vm_cpu_usage_ratio",
    ] {
        prometheus.await_answer(question, is_some);
    }
    prometheus.await_answer(
        "time() - evenkeel_controller_last_round_timestamp_seconds",
        |age| age < 10.0,
    );
    // A figure that begins with the requests has nothing to rise from.
    prometheus.await_answer("evenkeel_lb_requests_total", |value| value == 0.0);
    let first = Load::begin(&host, &vm.address, 2, false).assert_flawless();
    let of_web = r#"{project="p",lb="web"}"#;
    prometheus.await_count(&format!("evenkeel_lb_requests_total{of_web}"), first);
    prometheus.await_count(r#"evenkeel_lb_responses_total{class="2xx"}"#, first);
    prometheus.await_count("sum(evenkeel_backend_requests_total)", first);
    prometheus.await_count("evenkeel_lb_response_duration_seconds_count", first);
    prometheus.await_count("evenkeel_lb_log_lines_total", first);
    prometheus.await_answer("lb:evenkeel_lb_requests:rate5m", is_some);
    prometheus.await_answer(
        "lb:evenkeel_lb_response_duration_seconds:p99_rate5m",
        is_some,
    );
    let errors = "lb:evenkeel_lb_responses:error_ratio_rate5m";
    prometheus.await_answer(errors, |value| value == 0.0);

    host.kill(vm.pid.expect("it runs"));
    let another = eventually("another VM serves", || {
        let vms = web.vms();
        let serving = vms
            .iter()
            .find(|one| one.id != vm.id && one.state == "serving");
        serving.cloned().ok_or_else(|| format!("{vms:?}"))
    });
    let serves = format!(r#"evenkeel_vm_serving{{vm="{}"}}"#, another.id);
    prometheus.await_answer(&serves, |value| value == 1.0);
    let second = Load::begin(&host, &another.address, 1, false).assert_flawless();
    prometheus.await_answer("evenkeel_lb_requests_total", |value| {
        let both = (first + second) as f64;
        (both..both + 2.0 * UNDER_WAY).contains(&value)
    });
    let resets = "resets(evenkeel_lb_requests_total[5m])";
    assert_eq!(prometheus.ask(resets), Some(0.0), "no count ever fell");
}
