//! The controller: one loop that makes the world match what was asked.
//!
//! ```text
//!        ┌──────────────────────────────────────────────────────────────┐
//!        ▼                                                              │
//!     something changed (intent, sight, an effect ended), or a tick     │
//!        │                                                              │
//!     observe ─▶ plan ─▶ store the layout ─▶ report ─▶ diff ─▶ effects ─┘
//! ```
//!
//! No step waits for an effect: effects run beside the loop, each at most once at a time for what it
//! works on, and the next round is the retry. Nothing is done before the layout that asks for it is
//! stored, so a controller that is killed anywhere is followed by one that knows as much.

mod effects;
mod history;
mod observer;
mod reporter;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::time::Duration;

use anyhow::{Context, bail};
use compute::{Compute, Readiness};
use model::{BackendHost, Effect, Intent, Layout, ProjectId, Timestamp, Verdict, VmId};
use planner::{Breaker, Inputs, Settings, Windows};
use rustix::time::{ClockId, clock_gettime};
use store::layout::{StoredLayout, Written, read_layout, write_layout};
use store::{Revision, Store};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::serve::{Shared, Watchdog, open_world};
use effects::Effects;
use history::History;
use observer::Observer;
use reporter::Reporter;

/// The longest between two rounds: silence is no event, so somebody has to look.
const TICK: Duration = Duration::from_millis(250);
/// After a round that failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// Between two attempts to find out how VMs can be run.
const PREPARATION_PAUSE: Duration = Duration::from_secs(2);
/// What a look-up and the connection that follows it may take, and more: caches between clients and the DNS server
/// are seldom quite exact.
const LOOK_UP_MS: u64 = 5_000;
/// Rounds in a row without a pause: a bound on what a layout that never settles can cost.
const MOST_ROUNDS: u32 = 8;

/// The controller of one installation.
pub(crate) struct Controller {
    settings: Settings,
    store: Store,
    intent: (Revision, Intent),
    intent_is_stale: bool,
    layout: StoredLayout,
    observer: Observer,
    effects: Effects,
    reporter: Reporter,
    history: History,
    /// Namespaces that an earlier controller may have left half-made, which cannot be seen from outside:
    /// each is ensured once.
    inherited: BTreeSet<ProjectId>,
    /// VMs that an earlier controller made. Their networks may have been changed while nobody looked: each
    /// is ensured once.
    adopted: BTreeSet<VmId>,
    /// Ends with the controller, so that nothing but its successor talks to VMs then.
    _preparation: JoinSet<()>,
    /// Held for as long as this process is the installation's controller.
    _lock: std::fs::File,
}

impl Controller {
    /// Adopts what an earlier controller left and begins to find out how VMs can be run.
    pub(crate) async fn open(shared: &Shared) -> anyhow::Result<Self> {
        let lock = lock(shared)?;
        let (network, compute) = open_world(shared).await?;
        network
            .claim_front(&shared.installation.0)
            .await
            .context("cannot make the front network")?;
        let mut preparation = JoinSet::new();
        preparation.spawn(prepare(compute.clone()));
        let effects = Effects::new(network.clone(), compute.clone(), shared);
        let layout = read_layout(&shared.store)?;
        let vms = layout.layout.instances.values().flat_map(|i| &i.vms);
        let staying = vms.filter(|(_, vm)| vm.leaving.is_none());
        Ok(Self {
            adopted: staying.map(|(id, _)| *id).collect(),
            settings: settings(shared),
            store: shared.store.clone(),
            intent: store::intent::read_intent(&shared.store)?,
            intent_is_stale: false,
            inherited: layout.layout.networks.keys().copied().collect(),
            layout,
            observer: Observer::new(network, compute, shared.status.clone()),
            effects,
            reporter: Reporter::new(shared.status.clone())?,
            _preparation: preparation,
            history: History::open(shared.status.clone())?,
            _lock: lock,
        })
    }

    /// Goes round until asked to end. VMs are left as they are.
    pub(crate) async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        watchdog: Watchdog,
    ) -> anyhow::Result<()> {
        let mut intents = self.store.watch(store::intent::INTENT);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        info!("the controller began");
        loop {
            watchdog.feed();
            let failure = self.rounds().await.err();
            let failure = failure.map(|error| format!("{error:#}"));
            if let Some(error) = &failure {
                error!(error, "a round of the controller failed; trying again");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            self.reporter.tell_failure(failure);
            tokio::select! {
                () = &mut shutdown => break,
                () = intents.changed() => self.intent_is_stale = true,
                () = self.observer.changed() => {}
                () = self.effects.ended() => self.observer.network_may_have_changed(),
                _ = tick.tick() => {}
            }
        }
        self.effects.finish().await;
        Ok(())
    }

    /// Rounds until the layout stands still, so that a decision that follows from another waits for no tick.
    async fn rounds(&mut self) -> anyhow::Result<()> {
        for _ in 0..MOST_ROUNDS {
            if !self.round().await? {
                break;
            }
        }
        Ok(())
    }

    /// One round. Returns whether the layout changed.
    async fn round(&mut self) -> anyhow::Result<bool> {
        self.refresh_intent()?;
        let mut observed = self.observer.observe().await?;
        observed.failures = self.effects.failures();
        observed.in_flight = self.effects.in_flight();
        self.observer.look_up(host_names(&self.intent.1));
        let (now, uptime_ms) = clocks();
        observed.uptime_ms = uptime_ms;
        let inputs = Inputs {
            settings: &self.settings,
            intent: &self.intent.1,
            observed: &observed,
            now,
        };
        let (next, report) = planner::plan(inputs, &self.layout.layout);
        let changed = next != self.layout.layout;
        let told = planner::events(inputs, &self.layout.layout, &next);
        let stands = match changed {
            true => keep(&self.store, &mut self.layout, next)?,
            false => is_still_current(&self.store, &mut self.layout)?,
        };
        if !stands {
            return Ok(true);
        }
        let namespaces = observed.network.projects.keys();
        let projects = namespaces.chain(self.layout.layout.networks.keys());
        // Whoever cannot tell must still act.
        if let Err(error) = self.reporter.publish(&report, projects.copied().collect()) {
            error!(error = format!("{error:#}"), "the report cannot be told");
        }
        let instances = self.layout.layout.instances.keys().copied();
        if let Err(error) = self.history.note(told, instances) {
            error!(error = format!("{error:#}"), "what was done cannot be kept");
        }
        for effect in planner::diff(inputs, &self.layout.layout) {
            self.effects.begin(effect);
        }
        self.complete_what_is_inherited();
        Ok(changed)
    }

    fn complete_what_is_inherited(&mut self) {
        let (networks, effects) = (&self.layout.layout.networks, &mut self.effects);
        let adopted = &mut self.adopted;
        for (id, instance) in &self.layout.layout.instances {
            for (vm, layout) in &instance.vms {
                let ensure = || Effect::EnsureVm {
                    project: instance.project,
                    instance: *id,
                    vm: *vm,
                    layout: Box::new(layout.clone()),
                };
                let stays = layout.leaving.is_none() && layout.verdict != Verdict::Down;
                let waits = adopted.contains(vm) && stays;
                if !waits || effects.begin(ensure()) {
                    adopted.remove(vm);
                }
            }
        }
        self.inherited.retain(|project| {
            let project = *project;
            networks.contains_key(&project) && !effects.begin(Effect::EnsureProject { project })
        });
    }

    fn refresh_intent(&mut self) -> anyhow::Result<()> {
        if self.intent_is_stale {
            self.intent = store::intent::read_intent(&self.store)?;
            self.intent_is_stale = false;
        }
        Ok(())
    }
}

/// Finds out how VMs can be run, again and again until they can: what is missing may come while we run.
async fn prepare(compute: Compute) {
    let mut told = None;
    loop {
        let readiness = compute.prepare().await;
        if told.as_ref() != Some(&readiness) {
            info!("VMs: {readiness}");
        }
        if matches!(readiness, Readiness::Ready { .. }) {
            return;
        }
        told = Some(readiness);
        tokio::time::sleep(PREPARATION_PAUSE).await;
    }
}

/// Stores a layout; `false` when another controller stored one first, which is then taken over.
fn keep(store: &Store, standing: &mut StoredLayout, next: Layout) -> anyhow::Result<bool> {
    match write_layout(store, standing, next)? {
        Written::Stands(stored) => {
            *standing = stored;
            Ok(true)
        }
        Written::Overtaken => take_over(store, standing),
    }
}

/// Whether nobody stored a layout since this one; else that is taken over. Who has nothing to write must ask:
/// what another's layout put into the world stands in no older one, and would be removed.
fn is_still_current(store: &Store, standing: &mut StoredLayout) -> anyhow::Result<bool> {
    match standing.is_current(store)? {
        true => Ok(true),
        false => take_over(store, standing),
    }
}

fn take_over(store: &Store, standing: &mut StoredLayout) -> anyhow::Result<bool> {
    warn!("another controller decided meanwhile; taking over its layout");
    *standing = read_layout(store)?;
    Ok(false)
}

fn host_names(intent: &Intent) -> BTreeSet<String> {
    let backends = intent
        .instances
        .values()
        .flat_map(|instance| &instance.backends);
    backends
        .filter_map(|backend| match &backend.host {
            BackendHost::Name(name) => Some(name.clone()),
            BackendHost::Address(_) => None,
        })
        .collect()
}

fn settings(shared: &Shared) -> Settings {
    let config = &shared.config;
    let salt = u32::from_str_radix(&shared.installation.0, 16).unwrap_or_default();
    let [_, _, salt_a, salt_b] = salt.to_be_bytes();
    let windows = Windows {
        silence_ms: config.health.silence_ms,
        grace_ms: config.failover.grace_ms,
        ttl_ms: u64::from(config.dns.ttl)
            .saturating_mul(1_000)
            .saturating_add(LOOK_UP_MS),
        drain_ms: config.failover.drain_ms,
        ..Windows::default()
    };
    Settings {
        mac_salt: [salt_a, salt_b],
        front: config.front.cidr,
        driver: config.compute.driver.driver(),
        shape: config.vm,
        windows,
        breaker: Breaker {
            at_least: config.failover.breaker_vms,
            percent: config.failover.breaker_percent,
            window_ms: config.failover.breaker_window_ms,
        },
    }
}

/// One controller for an installation on a machine.
pub(crate) fn lock(shared: &Shared) -> anyhow::Result<std::fs::File> {
    let path = shared.config.run_directory.join("controller.lock");
    let file =
        std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(
            "a controller of this installation is running and holds {}: stop that server first (a second \
             installation needs directories and a prefix of its own)",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The host's clock, and the time since the machine's start at the same moment. Whoever was held up between the
/// two looks knows only the first.
fn clocks() -> (Timestamp, Option<u64>) {
    /// The longest between the looks, in milliseconds.
    const MOMENT_MS: u64 = 100;
    let (before, now, after) = (uptime_ms(), now(), uptime_ms());
    let is_moment = after.saturating_sub(before) <= MOMENT_MS;
    (now, is_moment.then_some(after))
}

/// Milliseconds since the machine's start, in which it may have slept. Nobody sets that clock.
fn uptime_ms() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(since.tv_sec).unwrap_or_default();
    let ms = u64::try_from(since.tv_nsec / 1_000_000).unwrap_or_default();
    seconds.saturating_mul(1_000).saturating_add(ms)
}

/// What is known of failing effects, by key.
type Failures = BTreeMap<String, model::Failure>;
