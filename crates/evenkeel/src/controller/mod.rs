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
//! What changed is planned, and only that, with what depends on it: at a tick, and where nobody can tell what a
//! change concerns, everything is.
//!
//! No step waits for an effect: effects run beside the loop, each at most once at a time for what it
//! works on, and the next round is the retry. Nothing is done before the layout that asks for it is
//! stored, so a controller that is killed anywhere is followed by one that knows as much.

mod counts;
mod effects;
mod history;
mod observer;
mod reporter;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use compute::{Compute, Readiness};
use model::{
    BackendHost, Effect, Intent, Layout, Observation, ProjectId, Timestamp, Verdict, VmId,
};
use planner::{Breaker, Inputs, Part, Scope, Settings, Standing, Told, Windows};
use rustix::time::{ClockId, clock_gettime};
use store::layout::{StoredLayout, Written, read_layout, write_layout};
use store::{Revision, Store};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::serve::{Shared, Trouble, Watchdog, open_world};
use counts::Counts;
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
    /// What stands in the store.
    stored: StoredLayout,
    /// The same, with what is counted over all of it.
    standing: Standing,
    observer: Observer,
    /// When everything was last looked at.
    whole_at: Instant,
    effects: Effects,
    reporter: Reporter,
    history: History,
    counts: Counts,
    journal_trouble: Trouble,
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
        let stored = read_layout(&shared.store)?;
        let intent = store::intent::read_intent(&shared.store)?;
        let vms = stored.layout.instances.values().flat_map(|i| &i.vms);
        let staying = vms.filter(|(_, vm)| vm.leaving.is_none());
        Ok(Self {
            adopted: staying.map(|(id, _)| *id).collect(),
            settings: settings(shared),
            store: shared.store.clone(),
            standing: Standing::of(&intent.1, stored.layout.clone()),
            intent,
            // Read once more, so that its host names are looked up.
            intent_is_stale: true,
            inherited: stored.layout.networks.keys().copied().collect(),
            stored,
            observer: Observer::new(network, compute, shared.status.clone()),
            whole_at: Instant::now(),
            effects,
            reporter: Reporter::new(shared.status.clone())?,
            _preparation: preparation,
            history: History::open(shared.status.clone(), shared.config.journal_path())?,
            counts: Counts::new(shared.status.clone(), now()),
            journal_trouble: Trouble::new(shared.status.clone(), "controller/journal"),
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
        let mut scope = Scope::All;
        loop {
            watchdog.feed();
            let failure = self.rounds(scope).await.err();
            let failure = failure.map(|error| format!("{error:#}"));
            if let Some(error) = &failure {
                error!(error, "a round of the controller failed; trying again");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            let failed = failure.is_some();
            self.reporter.tell_failure(failure);
            self.counts.note_end(failed, self.effects.counts(), now());
            scope = tokio::select! {
                () = &mut shutdown => break,
                () = intents.changed() => {
                    self.intent_is_stale = true;
                    Scope::of([])
                }
                () = self.observer.changed() => Scope::of([]),
                subjects = self.effects.ended() => {
                    self.observer.network_may_have_changed();
                    let subjects = subjects.into_iter();
                    subjects.fold(Scope::of([]), |scope, subject| {
                        scope.and_subject(&self.standing, subject)
                    })
                }
                _ = tick.tick() => Scope::All,
            };
            if failed {
                scope = Scope::All;
            }
        }
        self.effects.finish().await;
        self.history.close();
        Ok(())
    }

    /// Rounds until the layout stands still, so that a decision that follows from another waits for no tick.
    async fn rounds(&mut self, scope: Scope) -> anyhow::Result<()> {
        let mut scope = scope;
        for _ in 0..MOST_ROUNDS {
            match self.round(scope).await? {
                Some(changed) => scope = Scope::Part(changed),
                None => break,
            }
        }
        Ok(())
    }

    /// One round, about what is in the scope, what users changed and what is seen anew. Returns whose layout changed.
    async fn round(&mut self, scope: Scope) -> anyhow::Result<Option<Part>> {
        self.counts.note_round();
        let scope = scope.and(self.refresh_intent()?);
        let mut observed = self.observer.observe().await?;
        let news = self.observer.take_news();
        // However much there is to do for some, silence is no event: everything has its turn in time.
        let scope = match news.of_all || self.whole_at.elapsed() >= TICK {
            true => Scope::All,
            false => scope.and_vms(&self.standing, news.vms),
        };
        if scope == Scope::All {
            self.whole_at = Instant::now();
        }
        observed.failures = self.effects.failures();
        observed.in_flight = self.effects.in_flight();
        let (now, uptime_ms) = clocks();
        observed.uptime_ms = uptime_ms;
        let inputs = Inputs {
            settings: &self.settings,
            intent: &self.intent.1,
            observed: &observed,
            now,
        };
        let planned = planner::plan(inputs, &self.standing, &scope);
        let told = planner::events(inputs, &self.standing, &planned.standing);
        let layout = planned.standing.layout().clone();
        let stands = match &planned.changed {
            Some(_) => keep(&self.store, &mut self.stored, layout)?,
            None => is_still_current(&self.store, &mut self.stored)?,
        };
        if !stands {
            self.standing = Standing::of(&self.intent.1, self.stored.layout.clone());
            return Ok(Some(Part::default()));
        }
        self.standing = planned.standing;
        let effects = planner::diff(inputs, &self.standing, &planned.scope);
        self.tell(&planned.scope, &observed, told, now);
        for effect in effects {
            self.effects.begin(effect);
        }
        self.complete_what_is_inherited();
        Ok(planned.changed)
    }

    /// Says how everything in the scope stands, and what happened. Whoever cannot tell must still act.
    fn tell(&mut self, scope: &Scope, observed: &Observation, mut told: Vec<Told>, now: Timestamp) {
        told.extend(self.reporter.turns(self.standing.report(), scope, now));
        // Before the report, by which the next controller knows what was told.
        let noted = self.history.note(told).and_then(|()| match scope {
            Scope::All => {
                let instances = self.standing.layout().instances.keys().copied();
                self.history.forget_all_but(instances)
            }
            Scope::Part(_) => Ok(()),
        });
        if let Err(error) = noted {
            error!(error = format!("{error:#}"), "what was done cannot be kept");
        }
        self.journal_trouble.tell(self.history.trouble());
        let networks = &self.standing.layout().networks;
        let seen = &observed.network.projects;
        let projects = match scope {
            Scope::All => seen.keys().chain(networks.keys()).copied().collect(),
            Scope::Part(part) => {
                let ids = part.projects.iter().copied();
                ids.filter(|id| seen.contains_key(id) || networks.contains_key(id))
                    .collect()
            }
        };
        if let Err(error) =
            self.reporter
                .publish(self.standing.report(), scope, self.intent.0, projects)
        {
            error!(error = format!("{error:#}"), "the report cannot be told");
        }
    }

    fn complete_what_is_inherited(&mut self) {
        let (standing, effects) = (&self.standing, &mut self.effects);
        let layout = standing.layout();
        self.adopted.retain(|vm| {
            let owner = standing.owner(*vm);
            let instance = owner.and_then(|id| Some((id, layout.instances.get(&id)?)));
            let known = instance
                .and_then(|(id, instance)| Some((id, instance.project, instance.vms.get(vm)?)));
            known.is_some_and(|(instance, project, layout)| {
                let stays = layout.leaving.is_none() && layout.verdict != Verdict::Down;
                let layout = Box::new(layout.clone());
                let vm = *vm;
                stays
                    && !effects.begin(Effect::EnsureVm {
                        project,
                        instance,
                        vm,
                        layout,
                    })
            })
        });
        self.inherited.retain(|project| {
            let project = *project;
            let stands = layout.networks.contains_key(&project);
            stands && !effects.begin(Effect::EnsureProject { project })
        });
    }

    /// Reads what users ask for, when that changed. Returns what is another.
    fn refresh_intent(&mut self) -> anyhow::Result<Part> {
        if !self.intent_is_stale {
            return Ok(Part::default());
        }
        let intent = store::intent::read_intent(&self.store)?;
        self.intent_is_stale = false;
        self.observer.look_up(host_names(&intent.1));
        let changed = Part::between(&self.intent.1, &intent.1);
        self.intent = intent;
        Ok(changed)
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
        progress_ms: config.health.progress_ms,
        boot_ms: config.health.boot_ms,
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
