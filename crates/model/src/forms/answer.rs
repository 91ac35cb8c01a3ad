//! Answers: the mission's envelope, and objects as they are shown.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::error::FormError;
use super::form::InstanceForm;
use super::request::{Action, Kind};
use super::time::rfc3339;
use crate::{
    BackendHealth, BackendReport, Condition, Driver, Event, EventKind, Generation, Instance,
    InstanceId, InstanceReport, LoadSight, MetricReport, Project, ProjectId, ScalingReport,
    Verdict, VmId, VmReport, Waiting,
};

/// An answer in the mission's form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer<I> {
    status: &'static str,
    action: Option<Action>,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    info: I,
}

impl<I> Answer<I> {
    /// What was asked for is done.
    pub fn successful(action: Action, kind: Kind, info: I) -> Self {
        Self {
            status: "successful",
            action: Some(action),
            kind: Some(kind),
            info,
        }
    }
}

/// The `info` of an answer to a request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// A stable word for programs.
    pub code: &'static str,
    /// The field at fault; empty for the request as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl From<&FormError> for Refused {
    fn from(error: &FormError) -> Self {
        Self {
            code: error.code.as_str(),
            path: error.path.clone(),
            message: error.message.clone(),
            hint: error.hint.clone(),
        }
    }
}

/// What was asked for is not done; action and type as far as they could be read.
pub fn refusal(
    action: Option<Action>,
    kind: Option<Kind>,
    info: impl Into<Refused>,
) -> Answer<Refused> {
    Answer {
        status: "fail",
        action,
        kind,
        info: info.into(),
    }
}

/// A project in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectBrief {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: ProjectId,
    /// The instances that were made with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceBrief>,
}

/// A project with its instances.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectDocument {
    name: String,
    id: ProjectId,
    user: String,
    label: String,
    generation: Generation,
    created_at: String,
    instances: Vec<InstanceBrief>,
}

impl ProjectDocument {
    /// The project as it is shown.
    #[must_use]
    pub fn new(project: &Project, instances: Vec<InstanceBrief>) -> Self {
        Self {
            name: project.name.clone(),
            id: project.id,
            user: project.user.clone(),
            label: project.label.clone(),
            generation: project.generation,
            created_at: rfc3339(project.created_at),
            instances,
        }
    }
}

/// What the monitor log has of an instance's last whole minute; what it knows nothing of is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LastMinute {
    /// HTTP requests, or TCP sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Answers by the balancer itself, for want of a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors_per_second: Option<f64>,
    /// The time that 99 of 100 answers did not exceed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Client connections that were open, the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<f64>,
    /// Of its VMs' processors, the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
}

/// An instance in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceBrief {
    name: String,
    id: InstanceId,
    url: String,
    condition: Condition,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_minute: Option<LastMinute>,
}

impl InstanceBrief {
    /// The instance in one line.
    #[must_use]
    pub fn new(
        instance: &Instance,
        project: &Project,
        zone: &str,
        report: Option<&InstanceReport>,
    ) -> Self {
        Self {
            name: instance.name.clone(),
            id: instance.id,
            url: instance.url(&project.label, zone),
            condition: standing(instance, report).0,
            last_minute: None,
        }
    }

    /// With what was measured.
    #[must_use]
    pub fn with_last_minute(self, last_minute: Option<LastMinute>) -> Self {
        Self {
            last_minute,
            ..self
        }
    }
}

/// An instance with its account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceDocument {
    name: String,
    id: InstanceId,
    url: String,
    project: String,
    user: String,
    #[serde(flatten)]
    form: InstanceForm,
    generation: Generation,
    created_at: String,
    condition: Condition,
    addresses: Vec<Ipv4Addr>,
    configuration: Option<Generation>,
    vms: Vec<VmDocument>,
    backends: Vec<BackendDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<ScalingDocument>,
    waiting_for: Vec<Waiting>,
    events: Vec<EventDocument>,
}

impl InstanceDocument {
    /// The instance as it is shown. Without a report, the controller has not seen it yet.
    #[must_use]
    pub fn new(
        instance: &Instance,
        project: &Project,
        zone: &str,
        report: Option<&InstanceReport>,
        events: &[Event],
    ) -> Self {
        let (condition, waiting_for) = standing(instance, report);
        Self {
            name: instance.name.clone(),
            id: instance.id,
            url: instance.url(&project.label, zone),
            project: project.name.clone(),
            user: project.user.clone(),
            form: InstanceForm::from(instance),
            generation: instance.generation,
            created_at: rfc3339(instance.created_at),
            condition,
            addresses: report.map_or_else(Vec::new, |report| report.addresses.clone()),
            configuration: report.map(|report| report.configuration),
            vms: report.map_or_else(Vec::new, |report| {
                report.vms.iter().map(VmDocument::from).collect()
            }),
            backends: report.map_or_else(Vec::new, |report| {
                report.backends.iter().map(BackendDocument::from).collect()
            }),
            scaling: report.and_then(|report| report.scaling.as_ref().map(ScalingDocument::from)),
            waiting_for,
            events: events.iter().map(EventDocument::from).collect(),
        }
    }
}

/// An event as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventDocument {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<VmId>,
    kind: EventKind,
    text: String,
}

impl From<&Event> for EventDocument {
    fn from(event: &Event) -> Self {
        Self {
            at: rfc3339(event.at),
            vm: event.vm,
            kind: event.kind,
            text: event.text.clone(),
        }
    }
}

/// How the instance stands in relation to what its user asked for last. An account of an older
/// generation is true of that one only.
fn standing(instance: &Instance, report: Option<&InstanceReport>) -> (Condition, Vec<Waiting>) {
    let controller = |why: String| Waiting {
        what: "controller".into(),
        why,
    };
    let Some(report) = report else {
        let why = "it has not taken up this instance yet".into();
        return (Condition::Pending, vec![controller(why)]);
    };
    let mut waiting = report.waiting_for.clone();
    if report.generation >= instance.generation {
        return (report.condition, waiting);
    }
    let why = format!(
        "it has not taken up generation {} yet: this account is of generation {}",
        instance.generation, report.generation
    );
    waiting.insert(0, controller(why));
    match report.condition {
        Condition::Serving => (Condition::Degraded, waiting),
        other => (other, waiting),
    }
}

/// A VM as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VmDocument {
    id: VmId,
    state: Verdict,
    since: String,
    evidence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aside: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaving: Option<String>,
    driver: Driver,
    accelerator: Option<String>,
    pid: Option<u32>,
    address: Ipv4Addr,
    tenant_address: Ipv4Addr,
    configuration: Option<Generation>,
    requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<LoadSight>,
}

impl From<&VmReport> for VmDocument {
    fn from(vm: &VmReport) -> Self {
        Self {
            id: vm.id,
            state: vm.state,
            since: rfc3339(vm.since),
            evidence: vm.evidence.clone(),
            aside: vm.aside.clone(),
            leaving: vm.leaving.clone(),
            driver: vm.driver,
            accelerator: vm.accelerator.clone(),
            pid: vm.pid,
            address: vm.address,
            tenant_address: vm.tenant_address,
            configuration: vm.configuration,
            requests: vm.requests,
            load: vm.load,
        }
    }
}

/// A backend with its account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendDocument {
    entity: String,
    address: Option<Ipv4Addr>,
    port: u16,
    weight: u16,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    backup: bool,
    health: BackendHealth,
    since: Option<String>,
    last_check: String,
    requests: u64,
}

impl From<&BackendReport> for BackendDocument {
    fn from(backend: &BackendReport) -> Self {
        Self {
            entity: backend.entity.clone(),
            address: backend.address,
            port: backend.port,
            weight: backend.weight,
            backup: backend.backup,
            health: backend.health,
            since: backend.since.map(rfc3339),
            last_check: backend.last_check.clone(),
            requests: backend.requests,
        }
    }
}

/// How the number of VMs follows from the load, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingDocument {
    wanted: u32,
    decision: String,
    decided_at: Option<String>,
    rule: String,
    metrics: Vec<MetricReport>,
}

impl From<&ScalingReport> for ScalingDocument {
    fn from(scaling: &ScalingReport) -> Self {
        Self {
            wanted: scaling.wanted,
            decision: scaling.decision.clone(),
            decided_at: scaling.decided_at.map(rfc3339),
            rule: scaling.rule.clone(),
            metrics: scaling.metrics.clone(),
        }
    }
}
