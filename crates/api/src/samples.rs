//! What tests of this crate tell of.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::forms::default_health_check;
use model::{
    AutoScaling, Driver, Generation, Instance, InstanceId, Policy, ProjectId, Timeouts, Timestamp,
    TrafficType, Verdict, VmId, VmReport,
};

/// `web-1` of project 1, as it is when nothing else was said.
pub(crate) fn instance(id: u64) -> Instance {
    Instance {
        id: InstanceId(id),
        project: ProjectId(1),
        name: format!("web-{id}"),
        label: format!("web-{id}"),
        former_labels: BTreeSet::new(),
        traffic: TrafficType::Http,
        port: 80,
        subnet: "1.1.1.0/24".parse().expect("a CIDR"),
        backends: Vec::new(),
        health_check: default_health_check(TrafficType::Http),
        auto_scaling: AutoScaling::Off,
        timeouts: Timeouts::default(),
        policy: Policy::default(),
        generation: Generation(1),
        created_at: Timestamp(0),
    }
}

/// A VM of the process driver.
pub(crate) fn vm(id: u64, state: Verdict) -> VmReport {
    VmReport {
        id: VmId(id),
        state,
        since: Timestamp(0),
        evidence: "its heartbeats come".into(),
        aside: None,
        leaving: None,
        driver: Driver::Process,
        accelerator: None,
        pid: None,
        address: Ipv4Addr::LOCALHOST,
        tenant_address: Ipv4Addr::LOCALHOST,
        configuration: None,
        requests: 0,
        load: None,
    }
}
