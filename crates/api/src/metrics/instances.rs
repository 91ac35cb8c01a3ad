//! Figures of users' instances, their VMs and their backends. Pure.
//!
//! An instance's label is `lb`: Prometheus means by `instance` the address that it scraped. With `user` and `project` it
//! is one of a kind. What a client chooses (a path, a host, an address) is no label, so the number of figures follows
//! from what users asked for alone.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use model::{
    BackendCounts, BackendHealth, Condition, Instance, InstanceCounts, InstanceReport, Newest,
    Project, Verdict, VmGauges, VmReport,
};

use super::counted;
use super::family::{Family, Kind, Labels, Sample, Value};
use super::installation::bit;
use super::sources::Sources;

/// One instance with all that is known of it.
struct Seen<'s> {
    labels: Labels,
    asked: &'s Instance,
    report: Option<&'s InstanceReport>,
    /// Absent when the monitor does not answer. Nothing is told then that only it knows: a count of 0 would be read
    /// as one that began anew.
    counts: Option<&'s InstanceCounts>,
    newest: Option<&'s Newest>,
}

/// One of its VMs.
struct SeenVm<'s> {
    labels: Labels,
    report: &'s VmReport,
    gauges: VmGauges,
}

/// One of its backends.
struct SeenBackend<'s> {
    labels: Labels,
    is_up: bool,
    counts: Option<&'s BackendCounts>,
}

/// What is counted of what the monitor has not heard of yet.
#[derive(Default)]
struct Nothing {
    instance: InstanceCounts,
    backend: BackendCounts,
}

/// A family, and what of `T` is its figure.
struct Figure<T> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&T) -> Option<f64>,
}

/// All of them, in the order in which they are told.
pub(crate) fn families(sources: &Sources) -> Vec<Family> {
    let nothing = Nothing::default();
    let seen = seen(sources, &nothing);
    let vms: Vec<SeenVm<'_>> = seen.iter().flat_map(vms_of).collect();
    let backends: Vec<SeenBackend<'_>> = seen
        .iter()
        .flat_map(|seen| backends_of(seen, &nothing))
        .collect();
    let mut families = told(&instance_figures(), &seen, |seen| &seen.labels);
    let counted = seen
        .iter()
        .filter_map(|one| Some((&one.labels, one.counts?)));
    families.extend(counted::families(counted));
    families.extend(told(&backend_figures(), &backends, |backend| {
        &backend.labels
    }));
    families.push(backend_latencies(&backends));
    // All of these the monitor counts, and a VM's own since its balancer began, which nobody knows here.
    let began_at = sources
        .newest
        .as_ref()
        .and_then(|newest| newest.intake.began_at);
    for family in families
        .iter_mut()
        .filter(|family| family.kind != Kind::Gauge)
    {
        family.since = began_at;
    }
    families.extend(told(&vm_figures(), &vms, |vm| &vm.labels));
    families
}

fn told<T>(figures: &[Figure<T>], of: &[T], labels: fn(&T) -> &Labels) -> Vec<Family> {
    let family = |figure: &Figure<T>| {
        let mut family = Family::new(figure.name, figure.help, figure.kind);
        for one in of {
            if let Some(value) = (figure.value)(one) {
                family.add(labels(one).clone(), value);
            }
        }
        family
    };
    figures.iter().map(family).collect()
}

/// Instances that users ask for. One that was deleted has no name any more by which it could be told.
fn seen<'s>(sources: &'s Sources, nothing: &'s Nothing) -> Vec<Seen<'s>> {
    let newest = sources.newest.as_ref();
    let instances = sources.intent.instances.values();
    let seen = instances.filter_map(|asked| {
        let Project { user, name, .. } = sources.intent.projects.get(&asked.project)?;
        let labels = Labels::none()
            .and("user", user.as_str())
            .and("project", name.as_str())
            .and("lb", asked.name.as_str());
        let counts =
            newest.map(|newest| newest.instances.get(&asked.id).unwrap_or(&nothing.instance));
        Some(Seen {
            labels,
            asked,
            report: sources.reports.get(&asked.id),
            counts,
            newest,
        })
    });
    seen.collect()
}

impl Seen<'_> {
    fn is(&self, condition: Condition) -> bool {
        let report = self.report;
        report.is_some_and(|report| report.condition == condition)
    }

    fn serving_vms(&self) -> usize {
        let vms = self.report.into_iter().flat_map(|report| &report.vms);
        vms.filter(|vm| is_serving(vm)).count()
    }

    fn wanted_vms(&self) -> u32 {
        let scaling = self.report.and_then(|report| report.scaling.as_ref());
        scaling.map_or_else(|| self.asked.auto_scaling.min(), |scaling| scaling.wanted)
    }

    /// What all VMs have together; nothing where nobody can tell.
    fn sum(&self, of: fn(&VmGauges) -> Option<f64>) -> Option<f64> {
        let gauges = &self.newest?.vms;
        let vms = self.report.into_iter().flat_map(|report| &report.vms);
        Some(vms.filter_map(|vm| of(gauges.get(&vm.id)?)).sum())
    }
}

fn is_serving(vm: &VmReport) -> bool {
    vm.state == Verdict::Serving && vm.aside.is_none() && vm.leaving.is_none()
}

fn vms_of<'s>(seen: &Seen<'s>) -> Vec<SeenVm<'s>> {
    let vms = seen.report.into_iter().flat_map(|report| &report.vms);
    let gauges = |vm: &VmReport| seen.newest?.vms.get(&vm.id).copied();
    vms.map(|report| SeenVm {
        labels: seen.labels.and("vm", report.id.to_string()),
        report,
        gauges: gauges(report).unwrap_or_default(),
    })
    .collect()
}

/// Each server once, whatever it is called by how many names.
fn backends_of<'s>(seen: &Seen<'s>, nothing: &'s Nothing) -> Vec<SeenBackend<'s>> {
    let mut is_up = BTreeMap::<SocketAddrV4, bool>::new();
    for backend in seen.report.into_iter().flat_map(|report| &report.backends) {
        if let Some(address) = backend.address {
            let server = SocketAddrV4::new(address, backend.port);
            *is_up.entry(server).or_default() |= backend.health == BackendHealth::Up;
        }
    }
    let counts = |server| {
        let known = &seen.counts?.backends;
        Some(known.get(server).unwrap_or(&nothing.backend))
    };
    let servers = is_up.iter();
    servers
        .map(|(server, is_up)| SeenBackend {
            labels: seen.labels.and("backend", server.to_string()),
            is_up: *is_up,
            counts: counts(server),
        })
        .collect()
}

impl<T> Figure<T> {
    fn gauge(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Self {
        Self {
            name,
            help,
            kind: Kind::Gauge,
            value,
        }
    }

    fn counter(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Self {
        Self {
            name,
            help,
            kind: Kind::Counter,
            value,
        }
    }
}

fn instance_figures<'s>() -> [Figure<Seen<'s>>; 6] {
    [
        Figure::gauge(
            "evenkeel_lb_serving",
            "Whether all is as its user asked.",
            |seen| Some(bit(seen.is(Condition::Serving))),
        ),
        Figure::gauge(
            "evenkeel_lb_without_backend",
            "Whether its VMs serve and none of its backends is up.",
            |seen| Some(bit(seen.is(Condition::NoBackend))),
        ),
        Figure::gauge(
            "evenkeel_lb_wanted_vms",
            "VMs that it is to have.",
            |seen| Some(f64::from(seen.wanted_vms())),
        ),
        Figure::gauge("evenkeel_lb_serving_vms", "VMs that serve it.", |seen| {
            Some(seen.serving_vms() as f64)
        }),
        Figure::gauge(
            "evenkeel_lb_connections",
            "Client connections that are open.",
            |seen| seen.sum(|vm| vm.connections),
        ),
        Figure::gauge(
            "evenkeel_lb_waiting_requests",
            "Requests that wait for a backend.",
            |seen| seen.sum(|vm| vm.waiting),
        ),
    ]
}

fn vm_figures<'s>() -> [Figure<SeenVm<'s>>; 5] {
    [
        Figure::gauge(
            "evenkeel_vm_serving",
            "Whether the VM serves its load balancer.",
            |vm| Some(bit(is_serving(vm.report))),
        ),
        Figure::counter(
            "evenkeel_vm_requests_total",
            "HTTP requests, or TCP sessions, since the VM's balancer began.",
            |vm| Some(vm.report.requests as f64),
        ),
        Figure::gauge(
            "evenkeel_vm_connections",
            "Client connections that are open.",
            |vm| vm.gauges.connections,
        ),
        Figure::gauge(
            "evenkeel_vm_cpu_usage_ratio",
            "Share of the VM's processors that is in use.",
            |vm| Some(vm.gauges.cpu_percent? / 100.0),
        ),
        Figure::gauge(
            "evenkeel_vm_memory_used_bytes",
            "Memory in use, of a VM that has its own.",
            |vm| vm.gauges.memory_bytes,
        ),
    ]
}

fn backend_figures<'s>() -> [Figure<SeenBackend<'s>>; 4] {
    [
        Figure::gauge(
            "evenkeel_backend_up",
            "Whether every VM that checks it finds it well.",
            |backend| Some(bit(backend.is_up)),
        ),
        Figure::gauge(
            "evenkeel_backend_active_requests",
            "Requests or sessions under way.",
            |backend| Some(backend.counts?.active),
        ),
        Figure::counter(
            "evenkeel_backend_requests_total",
            "Requests or sessions that were sent to it.",
            |backend| Some(backend.counts?.requests as f64),
        ),
        Figure::counter(
            "evenkeel_backend_errors_total",
            "Those that failed there.",
            |backend| Some(backend.counts?.errors as f64),
        ),
    ]
}

fn backend_latencies(backends: &[SeenBackend<'_>]) -> Family {
    let mut family = Family::new(
        "evenkeel_backend_response_start_duration_seconds",
        "How long it took until an answer of the backend began, or its connection was taken.",
        Kind::Summary,
    );
    let known = backends.iter();
    for (labels, counts) in known.filter_map(|one| Some((&one.labels, one.counts?))) {
        family.samples.push(Sample {
            labels: labels.clone(),
            value: Value::Times {
                bounds_us: &[],
                parts: vec![counts.answers],
                sum_us: counts.answer_us,
            },
        });
    }
    family
}
