//! Carrying effects out: beside the loop, at most one at a time for each thing that they work on, with
//! a growing pause after failures.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::Context;
use compute::{Compute, ComputeError, VmSpec};
use model::figures::{BootMonitor, collectd_host};
use model::{Effect, Failure, Generation, STEP, Subject};
use monitor::VmKeys;
use network::{Network, VmNics};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{debug, info, trace, warn};

use super::{Failures, now};
use crate::serve::Shared;

/// The pause after a first failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between the beginnings of one effect. One that succeeds and is asked for again did not do what was
/// hoped, and must not be tried without a pause.
const REPEAT_PAUSE: Duration = Duration::from_millis(200);
/// Effects under way at a time; the others come again with the next round. A fence waits for nobody.
const MOST_AT_A_TIME: usize = 32;
/// VMs that are being started, or mended, among them: so many cannot keep the rest from its work.
const MOST_STARTS: usize = 16;
/// How long effects that are under way may go on when the controller ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// The effects that are under way, and those that failed.
pub(super) struct Effects {
    hands: Hands,
    running: JoinSet<anyhow::Result<()>>,
    works: BTreeMap<Id, Work>,
    failed: BTreeMap<String, Failed>,
    begun: BTreeMap<String, Begun>,
    /// What waits for others to end, since too many are under way.
    postponed: BTreeSet<Subject>,
    counts: EffectCounts,
}

/// How many effects there were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EffectCounts {
    /// Begun.
    pub(super) begun: u64,
    /// Failed.
    pub(super) failed: u64,
}

/// An effect that is under way.
struct Work {
    key: String,
    /// What it works on; `None` is what belongs to nobody.
    subject: Option<Subject>,
    starts_vm: bool,
}

/// When an effect last began.
struct Begun {
    kind: Kind,
    at: Instant,
}

/// What is the same effect again: a configuration may change at any time, and a newer one does not wait.
type Kind = (Discriminant<Effect>, Option<Generation>);

fn kind(effect: &Effect) -> Kind {
    let generation = match effect {
        Effect::PushConfig { config, .. } => Some(config.generation),
        _ => None,
    };
    (discriminant(effect), generation)
}

struct Failed {
    failure: Failure,
    try_again_at: Instant,
}

/// What effects are done with.
#[derive(Clone)]
struct Hands {
    network: Network,
    compute: Compute,
    /// Whose front it is.
    installation: String,
    heartbeat_ms: u64,
    monitor: SocketAddrV4,
    keys: VmKeys,
}

impl Effects {
    /// `shared` says how VMs are to speak: how often, and to which monitor.
    pub(super) fn new(network: Network, compute: Compute, shared: &Shared) -> Self {
        Self {
            hands: Hands {
                network,
                compute,
                installation: shared.installation.0.clone(),
                heartbeat_ms: shared.config.health.heartbeat_ms,
                monitor: shared.config.monitor_listen(),
                keys: shared.keys.clone(),
            },
            running: JoinSet::new(),
            works: BTreeMap::new(),
            failed: BTreeMap::new(),
            begun: BTreeMap::new(),
            postponed: BTreeSet::new(),
            counts: EffectCounts::default(),
        }
    }

    /// Begins an effect, unless one with its key is under way or failed too short a time ago. Returns
    /// whether it began.
    pub(super) fn begin(&mut self, effect: Effect) -> bool {
        let key = effect.key();
        if self.is_held_back(&effect, &key) || self.works.values().any(|work| work.key == key) {
            return false;
        }
        let subject = effect.subject();
        if self.is_full_for(&effect) {
            self.postponed.extend(subject);
            return false;
        }
        log_beginning(&effect);
        self.counts.begun = self.counts.begun.saturating_add(1);
        let (kind, at) = (kind(&effect), Instant::now());
        self.begun.insert(key.clone(), Begun { kind, at });
        let Some(effect) = self.hands.lay_down(effect) else {
            return true;
        };
        let starts_vm = matches!(effect, Effect::EnsureVm { .. });
        let hands = self.hands.clone();
        let task = self
            .running
            .spawn(async move { hands.carry_out(effect).await });
        let work = Work {
            key,
            subject,
            starts_vm,
        };
        self.works.insert(task.id(), work);
        true
    }

    fn is_full_for(&self, effect: &Effect) -> bool {
        let starts = self.works.values().filter(|work| work.starts_vm).count();
        has_to_wait(effect, self.running.len(), starts)
    }

    fn is_held_back(&self, effect: &Effect, key: &str) -> bool {
        let failed = self.failed.get(key).map(|failed| failed.try_again_at);
        let same = self
            .begun
            .get(key)
            .filter(|begun| begun.kind == kind(effect));
        let repeats = same.map(|begun| begun.at + REPEAT_PAUSE);
        failed.max(repeats).is_some_and(|at| at > Instant::now())
    }

    /// Resolves when effects have ended; never when none is under way. Returns what they worked on, with all that
    /// ended meanwhile, and what waited for the room that there is now; `None` is what may concern anything.
    pub(super) async fn ended(&mut self) -> Vec<Option<Subject>> {
        let mut subjects = Vec::new();
        match self.running.join_next_with_id().await {
            Some(first) => subjects.push(self.take_note(first)),
            None => std::future::pending().await,
        }
        while let Some(another) = self.running.try_join_next_with_id() {
            subjects.push(self.take_note(another));
        }
        let room = MOST_AT_A_TIME.saturating_sub(self.running.len());
        let next = std::iter::from_fn(|| self.postponed.pop_first()).take(room);
        subjects.extend(next.map(Some));
        subjects
    }

    fn take_note(
        &mut self,
        joined: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> Option<Subject> {
        match joined {
            Ok((id, outcome)) => self.note(id, outcome),
            Err(panicked) => {
                let id = panicked.id();
                self.note(id, Err(anyhow::Error::from(panicked)))
            }
        }
    }

    /// How many effects there were since the controller began.
    pub(super) fn counts(&self) -> EffectCounts {
        self.counts
    }

    /// What works on what at the moment.
    pub(super) fn in_flight(&self) -> BTreeSet<String> {
        self.works.values().map(|work| work.key.clone()).collect()
    }

    /// The effects whose last attempt failed. One that is no longer asked for is forgotten in time.
    pub(super) fn failures(&mut self) -> Failures {
        self.begun
            .retain(|_, begun| begun.at.elapsed() < REPEAT_PAUSE);
        let forgotten = Instant::now().checked_sub(LONGEST_PAUSE * 2);
        self.failed
            .retain(|_, failed| forgotten.is_none_or(|then| failed.try_again_at > then));
        self.failed
            .iter()
            .map(|(key, failed)| (key.clone(), failed.failure.clone()))
            .collect()
    }

    /// Lets what is under way come to its end, within a bound.
    pub(super) async fn finish(mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            warn!("effects were cut short; the next controller takes them up");
        }
    }

    fn note(&mut self, id: Id, outcome: anyhow::Result<()>) -> Option<Subject> {
        let Work { key, subject, .. } = self.works.remove(&id)?;
        let Err(error) = outcome else {
            self.failed.remove(&key);
            return subject;
        };
        self.counts.failed = self.counts.failed.saturating_add(1);
        let message = format!("{error:#}");
        let cause = error.downcast_ref::<ComputeError>();
        let lacks_room = matches!(cause, Some(ComputeError::NoRoom { .. }));
        let earlier = self.failed.remove(&key).map(|failed| failed.failure);
        let attempts = earlier
            .as_ref()
            .map_or(1, |earlier| earlier.attempts.saturating_add(1));
        if earlier
            .as_ref()
            .is_none_or(|earlier| earlier.message != message)
        {
            warn!(key, error = message, "an effect failed; it is tried again");
        }
        let since = earlier.map_or_else(now, |earlier| earlier.since);
        let try_again_at = Instant::now() + pause(attempts);
        self.failed.insert(
            key,
            Failed {
                failure: Failure {
                    message,
                    since,
                    attempts,
                    lacks_room,
                },
                try_again_at,
            },
        );
        subject
    }
}

/// Whether an effect finds no place beside so many that are under way, of which `starts` start VMs.
fn has_to_wait(effect: &Effect, under_way: usize, starts: usize) -> bool {
    let is_full = under_way >= MOST_AT_A_TIME;
    match effect {
        Effect::SetFence { .. } | Effect::PushConfig { .. } | Effect::Drain { .. } => false,
        Effect::EnsureVm { .. } => is_full || starts >= MOST_STARTS,
        _ => is_full,
    }
}

/// The pause after this many failures in a row.
fn pause(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

impl Hands {
    /// Does what takes no time, since it is only laid down for a VM's channel; gives back what takes some.
    fn lay_down(&self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::PushConfig { vm, config } => self.compute.set_config(vm, *config),
            Effect::Drain { vm } => self.compute.drain(vm),
            other => return Some(other),
        }
        None
    }

    async fn carry_out(self, effect: Effect) -> anyhow::Result<()> {
        let name = name(&effect);
        trace!(target: STEP, "before {name}");
        let outcome = self.attempt(effect).await;
        trace!(target: STEP, "after {name}");
        outcome
    }

    async fn attempt(self, effect: Effect) -> anyhow::Result<()> {
        let network = &self.network;
        match effect {
            Effect::EnsureFront => network.claim_front(&self.installation).await?,
            Effect::EnsureProject { project } => network.ensure_project(project).await?,
            Effect::EnsurePort {
                project,
                subnet,
                interface,
            } => {
                network.ensure_subnet(project, subnet).await?;
                network.ensure_port(project, subnet, &interface).await?;
            }
            Effect::EnsureVm {
                project,
                instance,
                vm,
                layout,
            } => {
                network
                    .ensure_subnet(project, layout.subnet)
                    .await
                    .context("its network")?;
                let spec = VmSpec {
                    vm,
                    hostname: format!("instance-{instance}-vm-{vm}"),
                    driver: layout.driver,
                    shape: layout.shape,
                    nics: VmNics {
                        vm,
                        project,
                        subnet: layout.subnet,
                        front: layout.front,
                        tenant: layout.tenant,
                    },
                    heartbeat_ms: self.heartbeat_ms,
                    monitor: Some(BootMonitor {
                        address: *self.monitor.ip(),
                        port: self.monitor.port(),
                        user: collectd_host(vm),
                        key: self.keys.of(vm),
                    }),
                };
                self.compute.ensure_vm(&spec).await?;
            }
            Effect::SetFence { vm, fenced } => network.set_fence(vm, fenced).await?,
            laid_down @ (Effect::PushConfig { .. } | Effect::Drain { .. }) => {
                self.lay_down(laid_down);
            }
            Effect::RemoveVm { vm } => self.compute.remove_vm(vm).await?,
            Effect::RemovePort {
                project,
                subnet,
                interface,
            } => {
                network.remove_port(project, subnet, &interface).await?;
            }
            Effect::RemoveSubnet { project, subnet } => {
                network.remove_subnet(project, subnet).await?
            }
            Effect::RemoveProject { project } => network.remove_project(project).await?,
        }
        Ok(())
    }
}

/// Says what is begun. What is held back is not said again in each round.
fn log_beginning(effect: &Effect) {
    let verb = name(effect);
    match effect {
        Effect::EnsureVm { vm, instance, .. } => info!(%vm, %instance, "{verb}"),
        Effect::RemoveVm { vm } => info!(%vm, "{verb}"),
        Effect::Drain { vm } => debug!(%vm, "{verb}"),
        Effect::SetFence { vm, fenced } => info!(%vm, fenced, "{verb}"),
        Effect::PushConfig { vm, config } => {
            debug!(%vm, generation = %config.generation, "{verb}");
        }
        _ => info!(key = effect.key(), "{verb}"),
    }
}

/// What an effect does, without what it does it to.
fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::EnsureFront => "ensure front",
        Effect::EnsureProject { .. } => "ensure project",
        Effect::EnsurePort { .. } => "ensure port",
        Effect::EnsureVm { .. } => "ensure VM",
        Effect::SetFence { .. } => "set fence",
        Effect::PushConfig { .. } => "push config",
        Effect::Drain { .. } => "drain VM",
        Effect::RemoveVm { .. } => "remove VM",
        Effect::RemovePort { .. } => "remove port",
        Effect::RemoveSubnet { .. } => "remove subnet",
        Effect::RemoveProject { .. } => "remove project",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_waits_for_nothing_and_starts_leave_room_for_the_rest() {
        let vm = model::VmId(1);
        let fence = Effect::SetFence { vm, fenced: true };
        let remove = Effect::RemoveVm { vm };
        assert!(!has_to_wait(&fence, MOST_AT_A_TIME, MOST_STARTS));
        assert!(!has_to_wait(&remove, MOST_STARTS, MOST_STARTS));
        assert!(has_to_wait(&remove, MOST_AT_A_TIME, 0));
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses: Vec<u128> = [1, 2, 3, 7, 100].map(|n| pause(n).as_millis()).to_vec();
        assert_eq!(pauses, [200, 400, 800, 10_000, 10_000]);
    }
}
