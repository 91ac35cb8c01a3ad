//! What was decided about an instance's number of VMs, and the account of it.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What the load asked for, as far as the next decision rests on it. The default stands for a load that
/// has asked for nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScaleLayout {
    /// VMs that the load asks for, whatever the user's most; 0 while the user's least is enough.
    pub wish: u32,
    /// The last change of that number.
    pub decision: Option<ScaleDecision>,
    /// Since when the load asks for more, while that is not confirmed by newer samples.
    pub rising: Option<Timestamp>,
    /// VMs that would do at present; 0 while there are no more than the user's least.
    pub enough: u32,
    /// Larger numbers that were needed of late: the most first, and each longer ago than the next. There is
    /// one at the most for each number of VMs.
    pub peaks: Vec<ScalePeak>,
}

/// A number of VMs that was needed until some time ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalePeak {
    /// The number.
    pub vms: u32,
    /// It counts as needed until then: a little longer than it was, so that a load that comes and goes is
    /// not written down each time.
    pub until: Timestamp,
}

/// A change of the number of VMs that the load asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleDecision {
    /// When.
    pub at: Timestamp,
    /// From how many.
    pub from: u32,
    /// To how many; may be more than the user's most.
    pub to: u32,
    /// The figures that decided, in words.
    pub cause: String,
}

/// How an instance's number of VMs follows from its load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingReport {
    /// VMs that it is to have.
    pub wanted: u32,
    /// The last decision and its cause, in words: changes with the decision and at no other time.
    pub decision: String,
    /// When that was decided; absent before the first decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Why there are not more or fewer at present, in words.
    pub rule: String,
    /// What each metric with a target asks for.
    pub metrics: Vec<MetricReport>,
}

/// Something that VMs have a target for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of a VM's processors that is in use, in percent.
    Cpu,
    /// Open client connections.
    Connections,
    /// HTTP requests, or TCP sessions, in a second.
    Requests,
}

/// What one metric asks for, and from which figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The metric.
    pub metric: Metric,
    /// What a VM is to carry of it.
    pub target: u32,
    /// What all VMs together carry; absent without figures.
    pub sum: Option<f64>,
    /// VMs whose figures are in the sum.
    pub vms: u32,
    /// VMs that would each carry the target; absent without figures.
    pub asks_for: Option<u32>,
}
