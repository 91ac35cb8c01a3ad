//! What the planner has to say about each instance: how it stands, what is waited for, and why.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    BackendHealth, Driver, Generation, InstanceId, LoadSight, PersistentMap, ScalingReport,
    Timestamp, Verdict, VmId,
};

/// One account of everything. A copy costs next to nothing, as of a [`crate::Layout`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By instance; a deleted one stays until all of it is gone.
    pub instances: PersistentMap<InstanceId, Arc<InstanceReport>>,
    /// What keeps the whole installation from its work, in words.
    pub troubles: Vec<String>,
}

/// How an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// As it was asked for: every VM serves its newest configuration, and DNS names them all.
    Serving,
    /// It answers, but something that was asked for is not there.
    Degraded,
    /// Its VMs serve, and none of its backends is up: HTTP requests are answered with 503, TCP sessions reset.
    NoBackend,
    /// It does not answer yet.
    Pending,
    /// It does not answer, and did before.
    Failing,
    /// It was deleted and is being taken apart.
    Deleting,
}

/// One instance's account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The user's generation that this account is about.
    pub generation: Generation,
    /// How it stands.
    pub condition: Condition,
    /// Whether that generation is in effect: each VM that was asked for runs it, and DNS names them
    /// all. The URL answers then, be it with 503 because no backend is well. Requests that wait, wait
    /// for this.
    pub in_effect: bool,
    /// The newest configuration that its VMs are to run. It rises with what the user changes and with what
    /// host names resolve to, and so has a count of its own.
    #[serde(default)]
    pub configuration: Generation,
    /// The addresses that DNS gives for it.
    pub addresses: Vec<Ipv4Addr>,
    /// Its VMs, oldest first.
    pub vms: Vec<VmReport>,
    /// Its backends, in the user's order; a host name stands there once for each address.
    pub backends: Vec<BackendReport>,
    /// How its number of VMs follows from the load; absent where that decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingReport>,
    /// What is not as asked for, and why. Empty when the condition is `serving`.
    pub waiting_for: Vec<Waiting>,
}

/// One VM's account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmReport {
    /// The VM.
    pub id: VmId,
    /// The verdict over it.
    pub state: Verdict,
    /// Since when.
    pub since: Timestamp,
    /// What the verdict rests on.
    pub evidence: String,
    /// Why it is set aside and what is waited for, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// Why it is to go, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<String>,
    /// How it is run.
    pub driver: Driver,
    /// `kvm`, `tcg` or `process`; absent while it has no process.
    pub accelerator: Option<String>,
    /// Its process on the host.
    pub pid: Option<u32>,
    /// Where clients reach it.
    pub address: Ipv4Addr,
    /// Its address on the tenant's subnet.
    pub tenant_address: Ipv4Addr,
    /// The configuration that it runs; absent before the first.
    #[serde(default)]
    pub configuration: Option<Generation>,
    /// HTTP requests, or TCP sessions, since its balancer began.
    pub requests: u64,
    /// What it has to do at present; absent while the monitor hears nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadSight>,
}

/// One backend's account, over all VMs that check it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendReport {
    /// As the user named it: `1.1.1.10:8080`.
    pub entity: String,
    /// Where it is; absent while a host name has no address.
    pub address: Option<Ipv4Addr>,
    /// Its port.
    pub port: u16,
    /// Its weight.
    pub weight: u16,
    /// Whether it takes traffic only while no other backend may.
    #[serde(default)]
    pub backup: bool,
    /// `up` when every VM that checks it says so, `down` when every one does, else `unknown`.
    pub health: BackendHealth,
    /// Since when, by the VM that changed its mind last.
    pub since: Option<Timestamp>,
    /// The last check's result in words.
    pub last_check: String,
    /// Requests or sessions that were sent to it.
    pub requests: u64,
}

/// Something that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What is waited for: `VM 7`, `DNS`, `backend 1.1.1.10:8080`.
    #[serde(rename = "for")]
    pub what: String,
    /// Why it is not there, in words.
    pub why: String,
}
