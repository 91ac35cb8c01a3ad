//! One look at everything, from adapters and from what other roles told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::dns::{HostFiles, HostResolver, NameWatch};
use compute::{Compute, Readiness};
use model::{NetworkSight, Observation, ProbeSight, VmId, VmSight};
use monitor::LagMeter;
use network::Network;
use store::Store;
use store::Watch;
use store::status::{DNS_SERIAL_KEY, SIGHT_PREFIX};
use tokio::sync::watch;
use tracing::{debug, warn};

/// How old the view of the network may be when nothing is known to have changed it. What was changed
/// by hand is found within this time.
const NETWORK_VIEW_AGE: Duration = Duration::from_secs(2);
/// Between two lines in the log that say how late everything is.
const LATENESS_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at the world for the controller.
pub(super) struct Observer {
    network: Network,
    compute: Compute,
    status: Store,
    names: NameWatch,
    /// How late this process's own timers are: for so long it may not have heard what VMs said.
    lag: LagMeter,
    view: Option<(Instant, NetworkSight)>,
    sights: Watch,
    dns_serials: Watch,
    compute_changes: watch::Receiver<u64>,
    name_changes: watch::Receiver<u64>,
    boot_id: String,
    lateness_told: Option<Instant>,
    /// What the other roles told last.
    told: Told,
    /// Whether the status store could not be read the last time.
    deaf: bool,
}

/// What other roles tell through the status store.
#[derive(Clone, Default)]
struct Told {
    probes: BTreeMap<String, BTreeMap<VmId, ProbeSight>>,
    dns_serial: Option<u32>,
}

/// The kernel's mark of its last start; empty where it has none to read.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|id| id.trim().to_owned()).unwrap_or_default()
}

impl Observer {
    pub(super) fn new(network: Network, compute: Compute, status: Store) -> Self {
        let names = NameWatch::new(HostResolver::new(HostFiles::default()));
        Self {
            lag: LagMeter::start(),
            view: None,
            boot_id: boot_id(),
            sights: status.watch(SIGHT_PREFIX),
            dns_serials: status.watch(DNS_SERIAL_KEY),
            compute_changes: compute.changes(),
            name_changes: names.changes(),
            network,
            compute,
            status,
            names,
            lateness_told: None,
            told: Told::default(),
            deaf: false,
        }
    }

    /// Everything that is seen now, but for the effects, of which the caller knows.
    pub(super) async fn observe(&mut self) -> anyhow::Result<Observation> {
        let network = self.network_view().await?;
        self.listen();
        let Told { probes, dns_serial } = self.told.clone();
        let vms = self.compute.observe().await;
        let host_lag_ms = u64::try_from(self.lag.longest().as_millis()).unwrap_or(u64::MAX);
        self.log_lateness(&vms, host_lag_ms);
        Ok(Observation {
            vms,
            probes,
            network,
            resolved: self.names.snapshot(),
            dns_serial,
            compute_trouble: match self.compute.readiness() {
                Readiness::Ready { .. } => None,
                trouble => Some(trouble.to_string()),
            },
            boot_id: self.boot_id.clone(),
            host_lag_ms,
            ..Observation::default()
        })
    }

    /// Resolves when something was seen that may call for a decision.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = self.sights.changed() => {}
            () = self.dns_serials.changed() => {}
            _ = self.compute_changes.changed() => {}
            _ = self.name_changes.changed() => {}
        }
    }

    /// Has the network looked at again in the next round.
    pub(super) fn network_may_have_changed(&mut self) {
        self.view = None;
    }

    /// Keeps these host names resolved from now on.
    pub(super) fn look_up(&self, names: BTreeSet<String>) {
        self.names.set_names(names);
    }

    async fn network_view(&mut self) -> anyhow::Result<NetworkSight> {
        match &self.view {
            Some((taken, view)) if taken.elapsed() < NETWORK_VIEW_AGE => Ok(view.clone()),
            _ => {
                let view = self.network.inventory().await?;
                self.view = Some((Instant::now(), view.clone()));
                Ok(view)
            }
        }
    }

    /// Says now and then how late everything is, for whoever looks into a verdict.
    fn log_lateness(&mut self, vms: &BTreeMap<VmId, VmSight>, host_lag_ms: u64) {
        if self
            .lateness_told
            .is_some_and(|at| at.elapsed() < LATENESS_LOG_INTERVAL)
        {
            return;
        }
        self.lateness_told = Some(Instant::now());
        let heard = || vms.values().filter_map(|vm| vm.heartbeat.as_ref());
        let late_ms = heard().map(|heard| heard.late_ms).max().unwrap_or(0);
        let lag_ms = heard().map(|heard| heard.heartbeat.lag_ms).max();
        let lag_ms = lag_ms.unwrap_or(0);
        debug!(
            host_lag_ms,
            late_ms, lag_ms, "how late timers and heartbeats are"
        );
    }

    /// Hears what the other roles tell. A controller that cannot must still act: checkers count as silent then,
    /// and the zone as it was.
    fn listen(&mut self) {
        let heard = self.probes().and_then(|probes| {
            let serial = self.status.get_json(DNS_SERIAL_KEY)?;
            let dns_serial = serial.map(|entry| entry.value);
            Ok(Told { probes, dns_serial })
        });
        match heard {
            Ok(told) => (self.told, self.deaf) = (told, false),
            Err(error) => {
                self.told.probes.clear();
                if !std::mem::replace(&mut self.deaf, true) {
                    let error = format!("{error:#}");
                    warn!(
                        error,
                        "cannot read what the other roles tell; going on without"
                    );
                }
            }
        }
    }

    /// What the checkers that are alive told.
    fn probes(&self) -> anyhow::Result<BTreeMap<String, BTreeMap<VmId, ProbeSight>>> {
        let (_, told) = self
            .status
            .range_json::<BTreeMap<VmId, ProbeSight>>(SIGHT_PREFIX)?;
        let checker = |key: &str| key.strip_prefix(SIGHT_PREFIX).map(str::to_owned);
        Ok(told
            .into_iter()
            .filter_map(|entry| Some((checker(&entry.key)?, entry.value)))
            .collect())
    }
}
