//! The checker's role: registers each VM of the layout, probes it, and tells what it saw.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Layout, VmId};
use monitor::{Checker, ProbeTarget, ProbeTiming};
use store::layout::{LAYOUT_PREFIX, read_layout};
use store::{LeaseId, Store, Transaction};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Shared;

/// This vantage point's name.
const CHECKER: &str = "local";
/// What a checker saw is forgotten when it has been silent for this long.
const SIGHT_TTL: Duration = Duration::from_secs(5);
/// How often a checker says that its sight still holds.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Shared) -> anyhow::Result<()> {
    let timing = ProbeTiming {
        interval: Duration::from_millis(shared.config.health.probe_ms),
        ..ProbeTiming::default()
    };
    let mut checker = Checker::new(timing);
    let mut layouts = shared.store.watch(LAYOUT_PREFIX);
    let mut sights = checker.changes();
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lease = None;
    let shutdown = shared.shutdown();
    tokio::pin!(shutdown);
    checker.set_targets(targets(&read_layout(&shared.store)?.layout));
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = layouts.changed() => match read_layout(&shared.store) {
                Ok(stored) => checker.set_targets(targets(&stored.layout)),
                Err(error) => warn!(%error, "cannot read the layout; watching the VMs that are known"),
            },
            _ = sights.changed() => {}
            _ = keep_alive.tick() => {}
        }
        lease = tell(&shared.status, &checker, lease)
            .inspect_err(|error| warn!(%error, "cannot tell what the checker saw; trying again"))
            .ok();
    }
}

/// Where each VM is to be asked. Those that leave are asked too: whether they still answer is news.
fn targets(layout: &Layout) -> BTreeMap<VmId, ProbeTarget> {
    let instances = layout.instances.values();
    instances
        .flat_map(|instance| instance.vms.iter().map(move |(id, vm)| (instance, id, vm)))
        .map(|(instance, id, vm)| {
            let config = &instance.config;
            let (port, traffic) = (config.port, config.traffic);
            (
                *id,
                ProbeTarget {
                    address: vm.front.address,
                    port,
                    traffic,
                },
            )
        })
        .collect()
}

/// Writes the sight under a lease, which is renewed or, where it ran out, taken anew.
fn tell(
    status: &Store,
    checker: &Checker,
    lease: Option<LeaseId>,
) -> Result<LeaseId, store::StoreError> {
    let renewed = lease.filter(|lease| status.keep_alive(*lease).is_ok());
    let lease = renewed.map_or_else(|| status.grant_lease(SIGHT_TTL), Ok)?;
    let key = store::status::sight_key(CHECKER);
    let sights = checker.sights();
    let known = status.get_json::<BTreeMap<VmId, model::ProbeSight>>(&key)?;
    if renewed.is_none() || known.is_none_or(|known| known.value != sights) {
        status.commit(Transaction::new().put_json_leased(key, &sights, lease)?)?;
    }
    Ok(lease)
}
