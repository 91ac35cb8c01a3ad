//! One look at everything, from adapters and from what other roles told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::dns::{HostFiles, HostResolver, NameWatch};
use compute::{Compute, News, Readiness};
use model::{LoadSight, NetworkSight, Observation, ProbeSight, VmId, VmSight};
use monitor::LagMeter;
use network::Network;
use store::status::{DNS_SERIAL_KEY, LOAD_PREFIX, SIGHT_PREFIX};
use store::{Revision, Store, Watch};
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
    /// Of whom something was seen that may call for a decision, and was not asked for yet.
    news: News,
    /// VMs that were seen to have ended.
    ended: BTreeSet<VmId>,
}

/// What each checker that is alive tells of each VM.
type Probes = BTreeMap<String, BTreeMap<VmId, ProbeSight>>;

/// What other roles tell through the status store.
#[derive(Clone, Default)]
struct Told {
    probes: Probes,
    dns_serial: Option<u32>,
    loads: BTreeMap<String, Loads>,
}

/// What one monitor told last, and when that was first seen here.
#[derive(Clone)]
struct Loads {
    modified: Revision,
    seen: Instant,
    loads: BTreeMap<VmId, LoadSight>,
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
            news: News::default(),
            ended: BTreeSet::new(),
        }
    }

    /// Everything that is seen now, but for the effects, of which the caller knows.
    pub(super) async fn observe(&mut self) -> anyhow::Result<Observation> {
        let network = self.network_view().await?;
        self.listen();
        // Asked before the look, so that nothing that is seen later is held to be old.
        let news = self.compute.take_news();
        self.news.vms.extend(news.vms);
        self.news.of_all |= news.of_all;
        let Told {
            probes,
            dns_serial,
            loads,
        } = self.told.clone();
        let vms = self.compute.observe().await;
        self.note_what_ended(&vms);
        let host_lag_ms = u64::try_from(self.lag.longest().as_millis()).unwrap_or(u64::MAX);
        self.log_lateness(&vms, host_lag_ms);
        Ok(Observation {
            vms,
            probes,
            load: newest_loads(&loads, Instant::now()),
            network,
            resolved: self.names.snapshot(),
            dns_serial,
            compute_trouble: match self.compute.readiness() {
                Readiness::Ready { .. } => None,
                trouble => Some(trouble.to_string()),
            },
            compute_notes: self.compute.troubles(),
            boot_id: self.boot_id.clone(),
            host_lag_ms,
            ..Observation::default()
        })
    }

    /// Resolves when something was seen that may call for a decision. Of whom, the next look finds out.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = self.sights.changed() => {}
            // What waits for the zone is part of every plan.
            () = self.dns_serials.changed() => {}
            _ = self.compute_changes.changed() => {}
            _ = self.name_changes.changed() => self.news.of_all = true,
        }
    }

    /// Of whom something was new in what was seen since this was last asked.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Has the network looked at again in the next round.
    pub(super) fn network_may_have_changed(&mut self) {
        self.view = None;
    }

    /// Notes the VMs that ended since the last look. Of many that end together, all are judged together: the breaker
    /// counts them, and the news of some may not have come yet.
    fn note_what_ended(&mut self, vms: &BTreeMap<VmId, VmSight>) {
        let ended = vms.iter().filter(|(_, vm)| vm.exit.is_some());
        let ended: BTreeSet<_> = ended.map(|(id, _)| *id).collect();
        self.news.vms.extend(ended.difference(&self.ended));
        self.ended = ended;
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
            Ok(Told {
                probes,
                dns_serial: serial.map(|entry| entry.value),
                loads: self.loads()?,
            })
        });
        match heard {
            Ok(told) => {
                note_what_checkers_saw(&self.told.probes, &told.probes, &mut self.news);
                (self.told, self.deaf) = (told, false);
            }
            Err(error) => {
                self.news.of_all = true;
                self.told.probes.clear();
                self.told.loads.clear();
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
    fn probes(&self) -> anyhow::Result<Probes> {
        let (_, told) = self
            .status
            .range_json::<BTreeMap<VmId, ProbeSight>>(SIGHT_PREFIX)?;
        let checker = |key: &str| key.strip_prefix(SIGHT_PREFIX).map(str::to_owned);
        Ok(told
            .into_iter()
            .filter_map(|entry| Some((checker(&entry.key)?, entry.value)))
            .collect())
    }

    /// What the monitors that are alive told. Its age counts from when it was first seen here, so that no two
    /// clocks have to agree.
    fn loads(&self) -> anyhow::Result<BTreeMap<String, Loads>> {
        let (_, told) = self
            .status
            .range_json::<BTreeMap<VmId, LoadSight>>(LOAD_PREFIX)?;
        let fresh = |entry: store::Entry<BTreeMap<VmId, LoadSight>>| {
            let known = self.told.loads.get(&entry.key);
            let known = known.filter(|known| known.modified == entry.modified);
            let seen = known.map_or_else(Instant::now, |known| known.seen);
            let loads = Loads {
                modified: entry.modified,
                seen,
                loads: entry.value,
            };
            (entry.key, loads)
        };
        Ok(told.into_iter().map(fresh).collect())
    }
}

/// Notes the VMs of which a checker tells something else. One that joins the others, or leaves them, makes a
/// difference to every VM.
fn note_what_checkers_saw(before: &Probes, after: &Probes, news: &mut News) {
    news.of_all |= !before.keys().eq(after.keys());
    for (before, after) in before.values().zip(after.values()) {
        let is_other = |vm: &&VmId| before.get(vm) != after.get(vm);
        let vms = before.keys().chain(after.keys()).filter(is_other);
        news.vms.extend(vms.copied());
    }
}

/// Each VM's load, by the monitor that heard of it last.
fn newest_loads(told: &BTreeMap<String, Loads>, now: Instant) -> BTreeMap<VmId, LoadSight> {
    let mut newest: BTreeMap<VmId, LoadSight> = BTreeMap::new();
    for Loads { seen, loads, .. } in told.values() {
        let since = now.saturating_duration_since(*seen).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        for (vm, load) in loads {
            let load = LoadSight {
                age_ms: load.age_ms.saturating_add(since),
                ..*load
            };
            let known = newest.entry(*vm).or_insert(load);
            if load.age_ms < known.age_ms {
                *known = load;
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkers_word_is_news_of_the_vms_of_which_it_says_something_else() {
        let probes = |told: &[(&str, &[(u64, bool)])]| -> Probes {
            let sight = |(vm, answered): &(u64, bool)| {
                let sight = ProbeSight {
                    answered: *answered,
                    since: model::Timestamp(0),
                    streak: 1,
                    evidence: String::new(),
                };
                (VmId(*vm), sight)
            };
            let rows = told
                .iter()
                .map(|(name, seen)| ((*name).to_owned(), seen.iter().map(sight).collect()));
            rows.collect()
        };
        let before = probes(&[
            ("a", &[(1, true), (2, true), (3, true)]),
            ("b", &[(1, true)]),
        ]);
        for (after, vms, of_all) in [
            (before.clone(), vec![], false),
            (
                probes(&[
                    ("a", &[(1, true), (2, false), (4, true)]),
                    ("b", &[(1, true)]),
                ]),
                vec![2, 3, 4],
                false,
            ),
            (probes(&[("b", &[(1, true)])]), vec![], true),
        ] {
            let mut news = News::default();
            note_what_checkers_saw(&before, &after, &mut news);
            assert_eq!(news.of_all, of_all);
            if !of_all {
                assert_eq!(news.vms, vms.into_iter().map(VmId).collect());
            }
        }
    }

    #[test]
    fn of_two_monitors_the_one_that_heard_last_is_believed_and_what_it_told_grows_old() {
        let now = Instant::now();
        let told = |ago_ms: u64, loads: &[(u64, u64)]| Loads {
            modified: Revision::ZERO,
            seen: now - Duration::from_millis(ago_ms),
            loads: loads
                .iter()
                .map(|(vm, age_ms)| {
                    let load = LoadSight {
                        age_ms: *age_ms,
                        ..LoadSight::default()
                    };
                    (VmId(*vm), load)
                })
                .collect(),
        };
        let told = BTreeMap::from([
            ("a".to_owned(), told(700, &[(1, 100), (2, 5_000)])),
            ("b".to_owned(), told(10, &[(2, 200), (3, 0)])),
        ]);
        let ages: Vec<_> = newest_loads(&told, now)
            .into_iter()
            .map(|(vm, load)| (vm.0, load.age_ms))
            .collect();
        assert_eq!(ages, [(1, 800), (2, 210), (3, 10)]);
    }
}
