//! What the controller did and why, for people to read.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, VmId};

/// Something that was decided or found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The VM that it is about, where it is about one.
    pub vm: Option<VmId>,
    /// What kind of thing.
    pub kind: EventKind,
    /// What, and on what evidence, in words.
    pub text: String,
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A VM was added.
    Added,
    /// The verdict over a VM changed.
    Verdict,
    /// A VM that is down was fenced and is replaced.
    SetAside,
    /// A VM that came back had its ports opened again.
    Returned,
    /// A VM that came back serves again.
    PutBack,
    /// A VM was sent away, or the wait for its clients began or ended.
    Leaving,
    /// Nothing is left of a VM.
    Gone,
    /// The instance's configuration has a new generation.
    Configuration,
    /// DNS names other addresses.
    Dns,
    /// The wanted number of VMs changed.
    Scaling,
    /// The breaker opened or closed.
    Breaker,
}
