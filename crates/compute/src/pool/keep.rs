//! Keeps snapshot and pool as they are configured, beside everything else.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Member;
use crate::compute::Inner;
use crate::qemu::Machine;
use crate::snapshot::{self, Snapshot, SnapshotError};
use crate::vm::lock;

/// Between two looks at whether something is to be made.
const LOOK: Duration = Duration::from_millis(250);

/// Makes the snapshot where there is none, and then machines one at a time, until the last clone of the
/// [`crate::Compute`] is gone.
pub(crate) async fn keep(compute: Weak<Inner>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked_for_snapshot = false;
    loop {
        ticks.tick().await;
        let Some(inner) = compute.upgrade() else {
            return;
        };
        let Some(machine) = inner.snapshot_machine() else {
            continue;
        };
        // One that is there is taken at once; whatever takes time waits until nobody waits for us.
        if !looked_for_snapshot {
            looked_for_snapshot = true;
            inner.find_snapshot(&machine).await;
        }
        if inner.is_short_of_memory() {
            inner.pool.give_way().await;
        } else if inner.is_at_rest() && inner.may_try_snapshot() {
            inner.work_ahead(&machine).await;
        }
    }
}

impl Inner {
    /// The machine of which snapshots are made, where they are wanted and the usual VM can use one.
    fn snapshot_machine(&self) -> Option<Machine> {
        let wanted = self.config.snapshot_directory.is_some() && self.config.shape.disk_size == 0;
        lock(&self.machine).clone().filter(|_| wanted)
    }

    /// Takes up the snapshot that an earlier server made, where it is still whole.
    async fn find_snapshot(&self, machine: &Machine) {
        let Some(place) = &self.config.snapshot_directory else {
            return;
        };
        let shape = self.config.shape;
        let (directory, khz) = (place.join(snapshot::key(machine, shape)), machine.tsc_khz);
        let opened = tokio::task::spawn_blocking(move || Snapshot::open(&directory, shape, khz));
        match opened.await {
            Ok(Ok(found)) => self.trust_snapshot(found),
            Ok(Err(SnapshotError::Absent)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the snapshot is of no use; VMs are booted until there is a new one");
                let words = format!(
                    "VMs are booted until there is a new snapshot, since the last one is of no use: {error}"
                );
                *lock(&self.ahead_trouble) = Some(words);
            }
            Err(panic) => tracing::error!(%panic, "the snapshot cannot be read"),
        }
    }

    /// Whether nobody waits for a VM: none was wanted of late, and those there are have spoken.
    fn is_at_rest(&self) -> bool {
        self.pool.is_quiet() && lock(&self.vms).values().all(|vm| vm.has_come())
    }

    /// Makes the one thing that is missing most.
    async fn work_ahead(&self, machine: &Machine) {
        let snapshot = lock(&self.snapshot).clone();
        let is_complete = snapshot.is_some() && self.pool.len() >= self.config.pool;
        if !is_complete && !self.has_room_ahead(machine) {
            self.lack_room();
            return;
        }
        match snapshot {
            None => self.make_snapshot(machine).await,
            Some(snapshot) if self.pool.len() < self.config.pool => {
                let from = snapshot.clone();
                match Member::make(&self.config, &self.network, machine, from).await {
                    Ok(member) => {
                        tracing::info!(number = member.number, "a machine waits in the pool");
                        self.pool.add(member);
                        *lock(&self.ahead_trouble) = None;
                    }
                    Err(error) => self.blame(Some(&snapshot), &error),
                }
            }
            // Whatever stood in the way is over.
            Some(_) => *lock(&self.ahead_trouble) = None,
        }
    }

    async fn make_snapshot(&self, machine: &Machine) {
        let Some(place) = &self.config.snapshot_directory else {
            return;
        };
        let key = snapshot::key(machine, self.config.shape);
        let place = (place.as_path(), key.as_str());
        match snapshot::make(&self.config, &self.network, machine, place).await {
            Ok(made) => {
                tracing::info!("VMs are restored from a snapshot from now on");
                self.trust_snapshot(made);
            }
            Err(error) => self.blame(None, &error),
        }
    }

    fn trust_snapshot(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = Some(Arc::new(snapshot));
        *lock(&self.ahead_trouble) = None;
    }

    /// Says once that nothing is made ahead for want of memory.
    fn lack_room(&self) {
        let mut trouble = lock(&self.ahead_trouble);
        if trouble.is_none() {
            let words = "no machine is made before it is wanted, for want of memory, so new VMs come more slowly; free \
                         memory, or lower `compute.memory_reserve_mib` or `compute.pool`";
            tracing::warn!("{words}");
            *trouble = Some(words.to_owned());
        }
    }

    /// Takes note that no machine came from `snapshot`, or that none could be made. What is wrong with it costs it
    /// its place; what the host lacks costs a pause.
    pub(crate) fn blame(&self, snapshot: Option<&Arc<Snapshot>>, error: &SnapshotError) {
        let consequence = lock(&self.trust).fail(error, Instant::now());
        if consequence.is_guilty {
            let mut current = lock(&self.snapshot);
            // Another may have taken its place meanwhile.
            if let (Some(ours), Some(theirs)) = (&*current, snapshot)
                && Arc::ptr_eq(ours, theirs)
            {
                *current = None;
                self.pool.clear();
            }
        }
        let seconds = consequence.pause.as_secs();
        let words = match (lock(&self.snapshot).is_some(), snapshot) {
            (true, _) => format!(
                "no machine is restored from the snapshot for {seconds} s, and VMs that no machine waits for are \
                 booted: {error}; the snapshot is kept and tried again"
            ),
            (false, Some(_)) => format!(
                "VMs are booted, since none can be restored from the snapshot: {error}; a new one is made in \
                 {seconds} s"
            ),
            (false, None) => format!(
                "VMs are booted, since no snapshot of one can be made: {error}; it is tried again in {seconds} s"
            ),
        };
        tracing::warn!("{words}");
        *lock(&self.ahead_trouble) = Some(words);
    }

    /// Takes note that a VM has come from `snapshot`. That says nothing of another that took its place meanwhile.
    pub(crate) fn praise(&self, snapshot: &Arc<Snapshot>) {
        let is_current =
            matches!(&*lock(&self.snapshot), Some(current) if Arc::ptr_eq(current, snapshot));
        if is_current {
            lock(&self.trust).succeed();
            *lock(&self.ahead_trouble) = None;
        }
    }

    pub(crate) fn may_try_snapshot(&self) -> bool {
        lock(&self.trust).may_try(Instant::now())
    }
}
