//! An instance as people look at it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::age::ago;
use super::events::{self, Happened};
use super::paint::{Tone, plain};
use super::table::{Cell, Table, render_facts, render_heading};
use super::{Style, Waiting, brief, counted, listed, render_waiting};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instance {
    name: String,
    id: u64,
    url: String,
    project: String,
    user: String,
    traffic_type: String,
    port: u16,
    subnet: String,
    backend: Backend,
    timeouts: Value,
    limits: Value,
    #[serde(rename = "allowed-clients")]
    allowed_clients: Value,
    #[serde(rename = "proxy-protocol-from")]
    proxy_protocol_from: Value,
    #[serde(rename = "client-close")]
    client_close: Value,
    forwarding: Value,
    configuration: Option<u64>,
    created_at: String,
    condition: String,
    addresses: Vec<String>,
    vms: Vec<Vm>,
    backends: Vec<Entity>,
    scaling: Option<ScalingAccount>,
    waiting_for: Vec<Waiting>,
    events: Vec<Happened>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Backend {
    health_check: HealthCheck,
    auto_scaling: Value,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct HealthCheck {
    protocol: String,
    port: Option<u16>,
    request_path: String,
    host: Option<String>,
    expected_status: Vec<Value>,
    expected_body: Option<String>,
    criteria: Criteria,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Criteria {
    interval: Value,
    timeout: Value,
    health_threshold: u32,
    unhealth_threshold: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Vm {
    id: u64,
    state: String,
    since: String,
    evidence: String,
    aside: Option<String>,
    leaving: Option<String>,
    driver: String,
    accelerator: Option<String>,
    pid: Option<u32>,
    address: String,
    configuration: Option<u64>,
    requests: u64,
    load: Option<Load>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Load {
    cpu_percent: Option<f64>,
    connections: Option<f64>,
    requests_per_second: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entity {
    entity: String,
    address: Option<String>,
    weight: u16,
    backup: bool,
    health: String,
    since: Option<String>,
    last_check: String,
    requests: u64,
}

/// How the number of VMs follows from the load.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ScalingAccount {
    wanted: usize,
    decision: String,
    decided_at: Option<String>,
    rule: String,
    metrics: Vec<Metric>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metric {
    metric: String,
    target: u64,
    sum: Option<f64>,
    vms: usize,
    asks_for: Option<usize>,
}

/// One instance, whole.
///
/// # Errors
/// When `info` is of another shape.
pub fn render(info: &Value, done: Option<&str>, style: Style) -> serde_json::Result<String> {
    let instance = Instance::deserialize(info)?;
    let paint = style.paint;
    let verb = done.map_or(String::new(), |done| format!("{done} "));
    let mut text = format!(
        "{verb}instance {}: {}\n",
        paint.tint(Tone::Title, &plain(&instance.name)),
        paint.tint(
            Tone::of_state(&instance.condition),
            &plain(&instance.condition)
        )
    );
    text += &render_facts(&instance.facts(style), paint);
    let settings = instance.settings();
    if !settings.is_empty() {
        text += &render_heading("Settings that are not at their defaults", paint);
        text += &settings;
    }
    text += &render_heading("VMs", paint);
    text += &instance.render_vms(style);
    if let Some(scaling) = &instance.scaling {
        text += &render_heading("Scaling", paint);
        text += &scaling.render(style);
    }
    text += &render_heading("Backends", paint);
    text += &instance.render_backends(style);
    if !instance.waiting_for.is_empty() {
        text += &render_heading("Waiting for", paint);
        text += &render_waiting(&instance.waiting_for);
    }
    if !instance.events.is_empty() {
        text += &render_heading("Events", paint);
        text += &events::render(&instance.events, style);
    }
    if done.is_some() && instance.condition == "no-backend" {
        text +=
            "\nNo backend is up, so nobody is served yet; `evenkeel explain` says what helps.\n";
    }
    Ok(text)
}

/// Instances in one line each.
///
/// # Errors
/// When `info` is of another shape.
pub fn render_list(info: &Value, style: Style) -> serde_json::Result<String> {
    let briefs = listed(info, "instances")?;
    Ok(match briefs.is_empty() {
        true => "No instances. `evenkeel instance create --help` shows how to make one.\n".into(),
        false => brief::table(&briefs).render(style.paint),
    })
}

impl Instance {
    fn facts(&self, style: Style) -> [(&'static str, String); 9] {
        [
            ("URL", plain(&self.url)),
            ("Addresses", plain(&self.addresses.join(", "))),
            (
                "Project",
                plain(&format!("{}, of user {}", self.project, self.user)),
            ),
            (
                "Traffic",
                plain(&format!("{} on port {}", self.traffic_type, self.port)),
            ),
            ("Subnet", plain(&self.subnet)),
            ("Health check", plain(&self.backend.health_check.words())),
            ("Auto-scaling", scaling_words(&self.backend.auto_scaling)),
            ("Configuration", self.configuration_words()),
            (
                "Created",
                format!("{}, id {}", ago(&self.created_at, style.now), self.id),
            ),
        ]
    }

    /// Which configuration is the newest, and how many VMs have acknowledged it.
    fn configuration_words(&self) -> String {
        let Some(newest) = self.configuration else {
            return "none yet".into();
        };
        let runs = |vm: &&Vm| vm.configuration == Some(newest);
        let running = self.vms.iter().filter(runs).count();
        match running == self.vms.len() {
            true => format!("{newest}, run by every VM"),
            false => format!(
                "{newest}, run by {running} of {}",
                counted(self.vms.len(), "VM")
            ),
        }
    }

    /// The settings that are shown, each on a line as `--set` takes it.
    fn settings(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.backend.settings {
            if name != "entities" {
                write_settings(&format!("backend.{name}"), value, &mut text);
            }
        }
        for (name, value) in [
            ("timeouts", &self.timeouts),
            ("limits", &self.limits),
            ("allowed-clients", &self.allowed_clients),
            ("proxy-protocol-from", &self.proxy_protocol_from),
            ("client-close", &self.client_close),
            ("forwarding", &self.forwarding),
        ] {
            write_settings(name, value, &mut text);
        }
        text
    }

    fn render_vms(&self, style: Style) -> String {
        if self.vms.is_empty() {
            return "  none yet\n".into();
        }
        let columns = [
            "ID", "STATE", "SINCE", "ADDRESS", "DRIVER", "PID", "LOAD", "REQUESTS", "EVIDENCE",
        ];
        let mut table = Table::new(&columns);
        for vm in &self.vms {
            table.push(vm.cells(style));
        }
        table.render(style.paint)
    }

    fn render_backends(&self, style: Style) -> String {
        if self.backends.is_empty() {
            return "  none; `evenkeel instance update NAME --add-backend ENTITY` adds one\n"
                .into();
        }
        let columns = [
            "ENTITY",
            "HEALTH",
            "SINCE",
            "WEIGHT",
            "REQUESTS",
            "LAST CHECK",
        ];
        let mut table = Table::new(&columns);
        for backend in &self.backends {
            table.push(backend.cells(style));
        }
        table.render(style.paint)
    }
}

impl Load {
    /// `42 % cpu, 12 open, 99/s`: processors, client connections, requests or sessions; without what is not
    /// known.
    fn words(&self) -> String {
        let parts = [
            self.cpu_percent.map(|share| format!("{share:.0} % cpu")),
            self.connections.map(|count| format!("{count:.0} open")),
            self.requests_per_second.map(|rate| format!("{rate:.0}/s")),
        ];
        let known: Vec<String> = parts.into_iter().flatten().collect();
        known.join(", ")
    }
}

impl Vm {
    fn cells(&self, style: Style) -> Vec<Cell> {
        let (state, evidence) = match (&self.leaving, &self.aside) {
            (Some(reason), _) => (format!("leaving, {}", self.state), reason),
            (None, Some(reason)) => (format!("aside, {}", self.state), reason),
            (None, None) => (self.state.clone(), &self.evidence),
        };
        vec![
            Cell::number(Some(self.id)),
            Cell::state(&state),
            Cell::text(ago(&self.since, style.now)),
            Cell::text(&self.address),
            Cell::text(self.driver_words()),
            Cell::number(self.pid),
            Cell::text(self.load.as_ref().map_or("-".into(), Load::words)),
            Cell::number(Some(self.requests)),
            Cell::text(evidence),
        ]
    }

    /// `qemu (tcg)`, `process`.
    fn driver_words(&self) -> String {
        match &self.accelerator {
            Some(accelerator) if *accelerator != self.driver => {
                format!("{} ({accelerator})", self.driver)
            }
            _ => self.driver.clone(),
        }
    }
}

impl ScalingAccount {
    fn render(&self, style: Style) -> String {
        let decided = self.decided_at.as_ref();
        let decided = decided.map_or(String::new(), |at| format!(", {}", ago(at, style.now)));
        let facts = [
            (
                "Wanted",
                format!("{}: {}", counted(self.wanted, "VM"), plain(&self.rule)),
            ),
            ("Decision", format!("{}{decided}", plain(&self.decision))),
        ];
        let metrics = self.metrics.iter().map(Metric::words);
        let metrics: Vec<_> = metrics.collect();
        let facts = facts.into_iter().chain([("Load", metrics.join("; "))]);
        render_facts(&facts.collect::<Vec<_>>(), style.paint)
    }
}

impl Metric {
    /// `requests 412 over 3 VMs, target 150: asks for 3`.
    fn words(&self) -> String {
        let (metric, target) = (plain(&self.metric), self.target);
        match (self.sum, self.asks_for) {
            (Some(sum), Some(asks_for)) => format!(
                "{metric} {sum} over {}, target {target}: asks for {asks_for}",
                counted(self.vms, "VM")
            ),
            _ => format!("{metric} not known, target {target}"),
        }
    }
}

impl Entity {
    fn cells(&self, style: Style) -> Vec<Cell> {
        let since = self
            .since
            .as_ref()
            .map_or(String::new(), |since| ago(since, style.now));
        vec![
            Cell::text(self.words()),
            Cell::state(&self.health),
            Cell::text(since),
            Cell::number(Some(self.weight)),
            Cell::number(Some(self.requests)),
            Cell::text(&self.last_check),
        ]
    }

    /// As the user named it, and where that is, should the name not say so.
    fn words(&self) -> String {
        let backup = match self.backup {
            true => " (backup)",
            false => "",
        };
        match &self.address {
            Some(address) if !self.entity.contains(address.as_str()) => {
                format!("{} at {address}{backup}", self.entity)
            }
            _ => format!("{}{backup}", self.entity),
        }
    }
}

impl HealthCheck {
    fn words(&self) -> String {
        let question = match self.protocol.as_str() {
            "HTTP" => match &self.host {
                Some(host) => format!("GET http://{host}{}", self.request_path),
                None => format!("GET {}", self.request_path),
            },
            protocol => format!("{protocol} connection"),
        };
        let port = self
            .port
            .map_or(String::new(), |port| format!(" on port {port}"));
        let expected = self.expected_words();
        let Criteria {
            interval,
            timeout,
            health_threshold,
            unhealth_threshold,
        } = &self.criteria;
        format!(
            "{question}{port}{expected} every {interval} s, timeout {timeout} s; up after {health_threshold} good, \
             down after {unhealth_threshold} failed"
        )
    }
}

impl HealthCheck {
    /// What is expected of the answer, where that was asked for.
    fn expected_words(&self) -> String {
        let texts = self.expected_status.iter().map(|status| match status {
            Value::String(range) => range.clone(),
            code => code.to_string(),
        });
        let status: Vec<_> = texts.collect();
        let body = self.expected_body.iter().map(|body| format!("{body:?}"));
        let parts: Vec<_> = [status.join(", ")]
            .into_iter()
            .filter(|status| !status.is_empty())
            .chain(body)
            .collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!(", expecting {},", parts.join(" and ")),
        }
    }
}

/// One line for each value that is no object, with its path.
fn write_settings(path: &str, value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        // An algorithm is given whole.
        Value::Object(fields) if !path.ends_with(".algorithm") => {
            for (name, value) in fields {
                write_settings(&format!("{path}.{name}"), value, text);
            }
        }
        Value::String(word) => *text += &format!("  {path}={}\n", plain(word)),
        value => *text += &format!("  {path}={}\n", plain(&value.to_string())),
    }
}

fn scaling_words(scaling: &Value) -> String {
    let bound = |name: &str| {
        scaling
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    match (bound("min"), bound("max")) {
        (Some(min), Some(max)) if min == max => format!("always {}", counted(min, "VM")),
        (Some(min), Some(max)) => {
            let targets = scaling_targets(scaling);
            format!("{min} to {}{targets}", counted(max, "VM"))
        }
        _ => "off, 1 VM".into(),
    }
}

/// Those that are not at their defaults.
fn scaling_targets(scaling: &Value) -> String {
    [
        ("target-cpu", "cpu at", " %"),
        ("target-connections", "connections at", " each"),
        ("target-requests", "requests at", "/s each"),
        ("scale-in-window", "fewer after", " s"),
    ]
    .into_iter()
    .filter_map(|(name, words, unit)| Some((scaling.get(name)?, words, unit)))
    .map(|(value, words, unit)| format!(", {words} {value}{unit}"))
    .collect()
}
