//! The checker's role: registers each VM of the layout, probes it, and tells what it saw.
//!
//! It needs the two stores and its own sockets, and nothing else: it may run in another network namespace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use model::{Layout, VmId};
use monitor::{Checker, ProbeTarget, ProbeTiming};
use store::layout::{LAYOUT_PREFIX, read_layout};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::place::{Place, Told};
use super::{Shared, Watchdog};

/// How often a checker says that its sight still holds.
const KEEP_ALIVE: Duration = Duration::from_millis(400);
/// How long another checker of that name may be there: for longer than one that died stays known.
const NAME_PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(shared: Shared, watchdog: Watchdog) -> anyhow::Result<()> {
    let timing = ProbeTiming {
        interval: Duration::from_millis(shared.config.health.probe_ms),
        ..ProbeTiming::default()
    };
    let mut checker = Checker::new(timing);
    let mut layouts = shared.store.watch(LAYOUT_PREFIX);
    let mut sights = checker.changes();
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let name = shared.config.checker_name();
    let mut place = Place::new(shared.status.clone(), &name);
    let mut taken_since = None;
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
        match place.tell(checker.sights()) {
            Ok(Told::Stands) => {
                taken_since = None;
                watchdog.feed();
            }
            Ok(Told::NameTaken) => {
                let since = *taken_since.get_or_insert_with(Instant::now);
                ensure!(
                    since.elapsed() < NAME_PATIENCE,
                    "another checker named `{name}` is at work in this installation: give one of the two another \
                     name, by --name or by health.checker_name"
                );
            }
            // A store that cannot be written is seen to by whoever plays the role.
            Err(error) => {
                warn!(%error, "cannot tell what the checker saw; trying again");
                watchdog.feed();
            }
        }
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
