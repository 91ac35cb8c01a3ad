//! One load balancer as its user asked for it.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Backend, Generation, HealthCheck, InstanceId, Policy, ProjectId, Timeouts, Timestamp};

/// The most VMs that one instance may have.
pub const MAX_VMS: u32 = 32;
/// The most VMs of an instance whose user said `"auto-scaling": true` and nothing more.
pub const DEFAULT_MAX_VMS: u32 = 4;

/// What an instance balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficType {
    /// HTTP/1.1 requests.
    Http,
    /// TCP connections.
    Tcp,
}

impl TrafficType {
    /// The port that a URL of this kind needs not name, where there is one.
    #[must_use]
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Tcp => None,
        }
    }

    /// The URL's scheme.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// How many VMs an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoScaling {
    /// One.
    Off,
    /// As many as the load asks for, within bounds.
    Between(Scaling),
}

/// Bounds on the number of VMs, and how much each is to carry. Of the targets, the one that asks for most
/// VMs counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scaling {
    /// VMs at the least: 1 or more.
    pub min: u32,
    /// VMs at the most: `min` or more, at most [`MAX_VMS`].
    pub max: u32,
    /// The share of its processors that a VM is to use, in percent. VMs at 100 do not ask for more.
    pub target_cpu: u8,
    /// Client connections that a VM is to have open.
    pub target_connections: Option<u32>,
    /// HTTP requests, or TCP sessions, that a VM is to take in a second.
    pub target_requests: Option<u32>,
    /// Fewer VMs run only when fewer would have done for this long.
    pub scale_in_window_ms: u64,
}

impl Default for Scaling {
    /// What `"auto-scaling": true` means.
    fn default() -> Self {
        Self {
            min: 1,
            max: DEFAULT_MAX_VMS,
            target_cpu: 60,
            target_connections: None,
            target_requests: None,
            scale_in_window_ms: 300_000,
        }
    }
}

impl AutoScaling {
    /// From `min` to `max` VMs, with the default targets.
    #[must_use]
    pub fn between(min: u32, max: u32) -> Self {
        Self::Between(Scaling {
            min,
            max,
            ..Scaling::default()
        })
    }

    /// VMs at the least.
    #[must_use]
    pub fn min(self) -> u32 {
        match self {
            Self::Off => 1,
            Self::Between(scaling) => scaling.min,
        }
    }

    /// VMs at the most.
    #[must_use]
    pub fn max(self) -> u32 {
        match self {
            Self::Off => 1,
            Self::Between(scaling) => scaling.max,
        }
    }

    /// What the load decides by, where it has anything to decide.
    #[must_use]
    pub fn by_load(&self) -> Option<&Scaling> {
        match self {
            Self::Between(scaling) if scaling.min < scaling.max => Some(scaling),
            Self::Off | Self::Between(_) => None,
        }
    }
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its identity.
    pub id: InstanceId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Its name, one of a kind within the project.
    pub name: String,
    /// Its part of the URL: one DNS label, one of a kind within the project.
    pub label: String,
    /// Labels of names that it had before. They go on resolving, so that a new name breaks no URL.
    pub former_labels: BTreeSet<String>,
    /// What it balances.
    pub traffic: TrafficType,
    /// The port that clients use.
    pub port: u16,
    /// The CIDR of the subnet in which the backends are.
    pub subnet: Ipv4Net,
    /// Its backends, in the order in which they were given; no server stands there twice.
    pub backends: Vec<Backend>,
    /// How they are checked.
    pub health_check: HealthCheck,
    /// How many VMs.
    pub auto_scaling: AutoScaling,
    /// Bounds on waiting.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How traffic is spread, bounded and passed on.
    #[serde(default)]
    pub policy: Policy,
    /// Raised with each change.
    pub generation: Generation,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Instance {
    /// The name under which it is reached: `web.johns-project.lb.evenkeel.test`.
    #[must_use]
    pub fn host_name(&self, project_label: &str, zone: &str) -> String {
        format!("{}.{project_label}.{zone}", self.label)
    }

    /// Its URL: `http://name/`, `http://name:8080/` or `tcp://name:5432`.
    #[must_use]
    pub fn url(&self, project_label: &str, zone: &str) -> String {
        let name = self.host_name(project_label, zone);
        let scheme = self.traffic.scheme();
        let port = match self.traffic.default_port() == Some(self.port) {
            true => String::new(),
            false => format!(":{}", self.port),
        };
        let path = match self.traffic {
            TrafficType::Http => "/",
            TrafficType::Tcp => "",
        };
        format!("{scheme}://{name}{port}{path}")
    }
}
