//! An instance in the form in which it can be given again: what `info` shows of it beside its account, and
//! the document that an update's merge patch is applied to.
//!
//! Address, health check and bounds on the number of VMs are shown whole. Of the other settings those are shown that
//! are not at their defaults.

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::{Number, Value};

use super::auto_scaling;
use super::numbers::seconds;
use super::request::Kind;
use super::settings::{show_beside_backend, show_within_backend};
use super::shown::Shown;
use super::status;
use crate::{Backend, DEFAULT_WEIGHT, HealthCheck, HealthProtocol, Instance, TrafficType};

/// An instance in the form in which it is given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceForm {
    #[serde(rename = "type")]
    kind: Kind,
    traffic_type: TrafficType,
    port: u16,
    subnet: Ipv4Net,
    backend: BackendForm,
    #[serde(flatten)]
    settings: Shown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BackendForm {
    entities: Vec<EntityForm>,
    health_check: HealthCheckForm,
    #[serde(flatten)]
    settings: Shown,
}

/// A backend in the form in which it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum EntityForm {
    /// `1.1.1.10:8080`.
    Plain(String),
    /// With something that is not at its default.
    Detailed {
        address: String,
        port: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        backup: Option<bool>,
        #[serde(rename = "max-connections", skip_serializing_if = "Option::is_none")]
        max_connections: Option<u32>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct HealthCheckForm {
    protocol: HealthProtocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    request_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expected_status: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_body: Option<String>,
    criteria: CriteriaForm,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CriteriaForm {
    interval: Number,
    timeout: Number,
    health_threshold: u32,
    unhealth_threshold: u32,
}

impl From<&Instance> for InstanceForm {
    fn from(instance: &Instance) -> Self {
        let mut within_backend = Shown::default();
        auto_scaling::show(instance.auto_scaling, &mut within_backend);
        within_backend.append(show_within_backend(&instance.policy));
        Self {
            kind: Kind::Instance,
            traffic_type: instance.traffic,
            port: instance.port,
            subnet: instance.subnet,
            backend: BackendForm {
                entities: instance.backends.iter().map(EntityForm::from).collect(),
                health_check: HealthCheckForm::from(&instance.health_check),
                settings: within_backend,
            },
            settings: show_beside_backend(&instance.timeouts, &instance.policy),
        }
    }
}

impl From<&Backend> for EntityForm {
    fn from(backend: &Backend) -> Self {
        let weight = Some(backend.weight).filter(|weight| *weight != DEFAULT_WEIGHT);
        let backup = backend.backup.then_some(true);
        match (weight, backup, backend.max_connections) {
            (None, None, None) => Self::Plain(backend.to_string()),
            (weight, backup, max_connections) => Self::Detailed {
                address: backend.host.to_string(),
                port: backend.port,
                weight,
                backup,
                max_connections,
            },
        }
    }
}

impl From<&HealthCheck> for HealthCheckForm {
    fn from(check: &HealthCheck) -> Self {
        Self {
            protocol: check.protocol,
            port: check.port,
            request_path: check.request_path.clone(),
            host: check.host.clone(),
            expected_status: check.expected_status.iter().map(status::show).collect(),
            expected_body: check.expected_body.clone(),
            criteria: CriteriaForm {
                interval: seconds(check.criteria.interval_ms),
                timeout: seconds(check.criteria.timeout_ms),
                health_threshold: check.criteria.health_threshold,
                unhealth_threshold: check.criteria.unhealth_threshold,
            },
        }
    }
}
