//! Takes over VMs that run and that nobody watches: those of an earlier process, and those whose
//! start was broken off after the process was there.

use std::collections::BTreeMap;
use std::time::Instant;

use model::VmId;

use crate::ComputeError;
use crate::compute::Inner;
use crate::directory::Directory;
use crate::memory::need_mib;
use crate::owner::{Purpose, Tagged};
use crate::pidfd::Process;
use crate::scan::{Found, scan};
use crate::snapshot::sweep_drafts;
use crate::vm::{Subject, Vm, lock};

/// When processes are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Nothing else happens yet. Trial boots and machines of the pool are nobody's now, and are ended.
    Start,
    /// From time to time. A VM that is just being made or removed is left to whoever does that.
    Look,
    /// This VM is about to be started, and its turn is held.
    Making(VmId),
}

impl Inner {
    /// Takes over processes that carry our tag and are not watched yet.
    pub(crate) async fn adopt(&self, occasion: Occasion) -> Result<(), ComputeError> {
        let found = self.tagged_processes().await?;
        let claims = self.claims(&found);
        for Found { process, tagged } in found {
            let owner = match tagged.purpose {
                Purpose::Vm(vm) => Some(vm),
                Purpose::Spare(number) => claims.get(&number).copied(),
                Purpose::Trial => None,
            };
            match (owner, occasion) {
                (None, Occasion::Start) => end_unowned(&process).await,
                (Some(vm), Occasion::Start) => self.adopt_one(vm, process, tagged),
                (Some(vm), Occasion::Look) => {
                    let turn = self.turn(vm);
                    if let Ok(_held) = turn.try_lock() {
                        self.adopt_one(vm, process, tagged);
                    }
                }
                (Some(vm), Occasion::Making(made)) if vm == made => {
                    self.adopt_one(vm, process, tagged);
                }
                _ => {}
            }
        }
        if occasion == Occasion::Start {
            let directory = &self.config.directory;
            crate::directory::remove_unowned(directory)
                .map_err(ComputeError::file("clear", directory))?;
            if let Some(place) = &self.config.snapshot_directory {
                sweep_drafts(place, &self.config.installation);
            }
        }
        Ok(())
    }

    /// Which machines of the pool have become which VMs, as far as any of them runs.
    fn claims(&self, found: &[Found]) -> BTreeMap<u32, VmId> {
        let is_spare = |found: &Found| matches!(found.tagged.purpose, Purpose::Spare(_));
        if !found.iter().any(is_spare) {
            return BTreeMap::new();
        }
        let listed = crate::directory::list(&self.config.directory).unwrap_or_default();
        let claims = listed
            .into_iter()
            .filter_map(|vm| Some((self.spare_of(vm)?, vm)));
        claims.collect()
    }

    /// The number under which a VM's machine was made, where that was before it became the VM.
    pub(crate) fn spare_of(&self, vm: VmId) -> Option<u32> {
        let record = Directory::of_vm(&self.config.directory, vm).read_record();
        record.and_then(|record| record.spare)
    }

    /// Every process that carries our tag.
    pub(crate) async fn tagged_processes(&self) -> Result<Vec<Found>, ComputeError> {
        let installation = self.config.installation.clone();
        let found = tokio::task::spawn_blocking(move || scan(&installation))
            .await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
            .map_err(ComputeError::file("look through", "/proc".as_ref()))?;
        *lock(&self.scanned) = Some(Instant::now());
        Ok(found)
    }

    fn adopt_one(&self, vm: VmId, process: Process, tagged: Tagged) {
        let watched = lock(&self.vms).get(&vm).cloned();
        if watched.is_some_and(|watched| watched.exit().is_none()) {
            return;
        }
        let directory = Directory::of_vm(&self.config.directory, vm);
        let record = directory.read_record();
        let shape = record.as_ref().and_then(|record| record.shape);
        let shape = shape.unwrap_or(self.config.shape);
        tracing::info!(%vm, pid = process.pid, "taking over a running VM");
        let subject = Subject {
            vm,
            need_mib: need_mib(tagged.driver, &tagged.accelerator, shape),
            driver: tagged.driver,
            accelerator: tagged.accelerator,
            process,
            directory,
            boot: record.map(|record| record.boot),
            wanted: self.wanted(vm, |wanted| wanted.subscribe()),
            awaits_boot: false,
        };
        match Vm::watch(subject, &self.changes) {
            Ok(watched) => {
                lock(&self.vms).insert(vm, watched.into());
            }
            Err(error) => tracing::warn!(%vm, %error, "cannot watch a running VM; trying again"),
        }
    }
}

async fn end_unowned(process: &Process) {
    if let Err(error) = process.end().await {
        tracing::warn!(%error, pid = process.pid, "cannot end a left-over machine that is nobody's");
    }
}
