//! The checker's role: registers each VM of the layout, probes it, and tells what it saw.
//!
//! It needs the two stores and its own sockets, and nothing else: it may run in another network namespace. More than
//! half of the checkers that are alive must agree on a VM's death, so one that cannot look does not count as alive: it
//! gives its place up for as long as it has no means to ask any VM, or does not know which there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use model::{CheckerCounts, Layout, VmId};
use monitor::{Checker, ProbeTarget, ProbeTiming};
use store::Store;
use store::layout::{LAYOUT_PREFIX, read_layout};
use store::status::{checker_counts_key, means_key, sight_key};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::place::{Place, Told};
use super::{Shared, Watchdog};

/// How often a checker says that its sight still holds.
const KEEP_ALIVE: Duration = Duration::from_millis(400);
/// What a checker saw is forgotten when it has been silent for this long.
const TTL: Duration = Duration::from_millis(1_500);
/// Between two tellings of what it counted.
const COUNTING: Duration = Duration::from_secs(1);
/// What it counted is forgotten when it has been silent for this long.
const COUNTS_TTL: Duration = Duration::from_secs(5);
/// For how long a checker may not know which VMs there are.
const LAYOUT_PATIENCE: Duration = Duration::from_secs(3);
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
    let mut place = Place::new(shared.status.clone(), sight_key(&name), TTL);
    let mut taken_since = None;
    let mut counting = Counting::new(shared.status.clone(), &name);
    let mut complaint = Complaint::new(shared.status.clone(), &name);
    let mut behind_since = None;
    let shutdown = shared.shutdown();
    tokio::pin!(shutdown);
    watch(&mut checker, &read_layout(&shared.store)?.layout);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = layouts.changed() => {
                behind_since.get_or_insert_with(Instant::now);
            }
            _ = sights.changed() => {}
            _ = keep_alive.tick() => {}
        }
        if let Some(since) = behind_since {
            match read_layout(&shared.store) {
                Ok(stored) => {
                    watch(&mut checker, &stored.layout);
                    behind_since = None;
                }
                Err(error) => {
                    let since_ms = since.elapsed().as_millis();
                    warn!(%error, since_ms, "cannot read the layout; watching the VMs that are known");
                }
            }
        }
        complaint.tell(checker.trouble());
        counting.tell(checker.counts());
        let is_lost = behind_since.is_some_and(|since: Instant| since.elapsed() > LAYOUT_PATIENCE);
        if checker.is_blind() || is_lost {
            if let Err(error) = place.leave() {
                warn!(%error, "cannot give up the checker's place; it lapses");
            }
            taken_since = None;
            watchdog.feed();
            continue;
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

/// What a checker counts, told from time to time.
struct Counting {
    place: Place<CheckerCounts>,
    told_at: Option<Instant>,
}

impl Counting {
    fn new(status: Store, name: &str) -> Self {
        Self {
            place: Place::new(status, checker_counts_key(name), COUNTS_TTL),
            told_at: None,
        }
    }

    /// Tells it where that is due. What cannot be told is told later: nothing depends on it.
    fn tell(&mut self, counts: CheckerCounts) {
        if self.told_at.is_some_and(|at| at.elapsed() < COUNTING) {
            return;
        }
        self.told_at = Some(Instant::now());
        if let Err(error) = self.place.tell(counts) {
            debug!(%error, "the checker's counts cannot be told");
        }
    }
}

/// What a checker says that it lacks, for as long as it lives.
struct Complaint {
    place: Place<String>,
    told: Option<String>,
}

impl Complaint {
    fn new(status: Store, name: &str) -> Self {
        Self {
            place: Place::new(status, means_key(name), TTL),
            told: None,
        }
    }

    /// Says it, or that it still holds, or takes it back. To be called as often as [`Place::tell`].
    fn tell(&mut self, trouble: Option<String>) {
        if trouble != self.told {
            match &trouble {
                Some(words) => warn!("{words}"),
                None => info!("the checker can ask all VMs again"),
            }
            self.told.clone_from(&trouble);
        }
        let said = match trouble {
            // An earlier checker of that name is forgotten in a moment.
            Some(words) => self.place.tell(words).map(|_| ()),
            None => self.place.leave(),
        };
        if let Err(error) = said {
            warn!(%error, "cannot tell what the checker lacks; trying again");
        }
    }
}

fn watch(checker: &mut Checker, layout: &Layout) {
    checker.set_targets(targets(layout));
    let vms = layout.instances.values().flat_map(|it| &it.vms);
    let aside = vms.filter(|(_, vm)| vm.aside.is_some());
    checker.set_aside(aside.map(|(id, _)| *id).collect());
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
                    from: config.checker,
                },
            )
        })
        .collect()
}
