//! What figures are made of: what stands in the stores, and what the monitor counted.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    CheckerCounts, ControllerCounts, DnsLayout, HostLayout, InstanceId, InstanceReport, Intent,
    Newest,
};
use serde_json::Value;
use store::layout::{read_dns_layout, read_host_layout};
use store::{Store, StoreError, status};

/// Everything, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub intent: Intent,
    pub reports: BTreeMap<InstanceId, InstanceReport>,
    pub dns: DnsLayout,
    pub host: HostLayout,
    /// Names of roles that are alive.
    pub roles: BTreeSet<String>,
    pub controller: Option<ControllerCounts>,
    /// By name; absent when the checker is silent.
    pub checkers: BTreeMap<String, CheckerCounts>,
    /// Checkers that are alive and can look.
    pub looking: usize,
    pub troubles: usize,
    pub published_serial: Option<u32>,
    /// Absent when the monitor does not answer.
    pub newest: Option<Newest>,
}

impl Sources {
    /// Reads the stores, which blocks for as long as they are large: some milliseconds for a thousand instances.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(
        intent: &Store,
        status_store: &Store,
        newest: Option<Newest>,
    ) -> Result<Self, StoreError> {
        let store = status_store;
        let (_, reports) = store.range_json::<InstanceReport>(status::INSTANCE_REPORT_PREFIX)?;
        let reports = reports.into_iter().filter_map(|entry| {
            let id = entry.key.strip_prefix(status::INSTANCE_REPORT_PREFIX)?;
            Some((InstanceId(id.parse().ok()?), entry.value))
        });
        let (_, roles) = store.range_json::<Value>(status::ROLE_PREFIX)?;
        let roles = roles.iter().filter_map(|entry| {
            let name = entry.key.strip_prefix(status::ROLE_PREFIX)?;
            Some(name.to_owned())
        });
        let (_, checkers) = store.range_json(status::CHECKER_COUNTS_PREFIX)?;
        let checkers = checkers.into_iter().filter_map(|entry| {
            let name = entry.key.strip_prefix(status::CHECKER_COUNTS_PREFIX)?;
            Some((name.to_owned(), entry.value))
        });
        let reported = store.get_json::<Vec<String>>(status::TROUBLES_KEY)?;
        let reported = reported.map_or(0, |entry| entry.value.len());
        Ok(Self {
            intent: store::intent::read_intent(intent)?.1,
            reports: reports.collect(),
            dns: read_dns_layout(intent)?,
            host: read_host_layout(intent)?,
            roles: roles.collect(),
            controller: value(store.get_json(status::CONTROLLER_COUNTS_KEY)?),
            checkers: checkers.collect(),
            looking: store.range(status::SIGHT_PREFIX)?.1.len(),
            troubles: reported + status::troubles(store)?.len(),
            published_serial: value(store.get_json(status::DNS_SERIAL_KEY)?),
            newest,
        })
    }
}

fn value<T>(entry: Option<store::Entry<T>>) -> Option<T> {
    entry.map(|entry| entry.value)
}
