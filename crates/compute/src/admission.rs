//! Lets VMs come as far as the host has memory for them, and has the others wait.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use model::{Driver, VmId};

use crate::ComputeError;
use crate::compute::Inner;
use crate::config::VmSpec;
use crate::memory::{Memory, Share, available_mib, need_mib, used_mib};
use crate::qemu::Machine;
use crate::vm::lock;

/// For how long a VM that had to wait is told of after its last attempt. Attempts are made every ten seconds
/// at the least.
const REMEMBERED: Duration = Duration::from_secs(15);

/// Who is let in and who waits.
#[derive(Default)]
pub(crate) struct Admission {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What VMs were promised that have no process yet that is known, in MiB.
    under_way: BTreeMap<VmId, u64>,
    waiting: BTreeMap<VmId, (Instant, String)>,
}

/// A VM that was let in and is under way. When this is dropped it is there, or did not come to be.
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    vm: VmId,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        lock(&self.admission.state).under_way.remove(&self.vm);
    }
}

impl Admission {
    /// Why VMs wait, each in words.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let mut state = lock(&self.state);
        state.waiting.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        let waiting = state.waiting.iter();
        waiting
            .map(|(vm, (_, why))| format!("VM {vm} cannot be started: {why}"))
            .collect()
    }

    /// Forgets a VM that is wanted no more.
    pub(crate) fn forget(&self, vm: VmId) {
        lock(&self.state).waiting.remove(&vm);
    }
}

impl Inner {
    /// Lets a VM in, for which the pool gives way where it must.
    ///
    /// # Errors
    /// [`ComputeError::NoRoom`].
    pub(crate) async fn admit(
        &self,
        spec: &VmSpec,
        machine: Option<&Machine>,
    ) -> Result<Admitted<'_>, ComputeError> {
        let need = need_mib(spec.driver, &accelerator_of(machine), spec.shape);
        loop {
            let refused = match self.try_admit(spec, need) {
                Ok(admitted) => return Ok(admitted),
                Err(refused) => refused,
            };
            let reason = refused.refusal(need);
            let waits = (Instant::now(), reason.clone());
            // Said before the pool gives way, or it would fill up again with the room that there is then.
            lock(&self.admission.state).waiting.insert(spec.vm, waits);
            // Each turn of the loop takes one away.
            if !self.pool.give_way().await {
                return Err(ComputeError::NoRoom {
                    vm: spec.vm,
                    reason,
                });
            }
            tracing::info!(vm = %spec.vm, "a machine of the pool gave way to a VM, for want of memory");
        }
    }

    /// One look and one decision, which no other decision comes between.
    fn try_admit(&self, spec: &VmSpec, need: u64) -> Result<Admitted<'_>, Memory> {
        let spared = self.pool.shares(Some(spec));
        let mut state = lock(&self.admission.state);
        let memory = self.memory(&state, spared);
        if memory.room() < need {
            return Err(memory);
        }
        state.under_way.insert(spec.vm, need);
        state.waiting.remove(&spec.vm);
        Ok(Admitted {
            admission: &self.admission,
            vm: spec.vm,
        })
    }

    /// Whether there is room for a machine that nobody has asked for yet, and nobody waits who did.
    pub(crate) fn has_room_ahead(&self, machine: &Machine) -> bool {
        let accelerator = accelerator_of(Some(machine));
        let need = need_mib(Driver::Qemu, &accelerator, self.config.shape);
        let spared = self.pool.shares(None);
        let state = lock(&self.admission.state);
        state.waiting.is_empty() && self.memory(&state, spared).room() >= need
    }

    /// Whether so little is available that what was made ahead has to go.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        available_mib(&self.cgroups.bounds()) < self.config.memory_reserve_mib
    }

    fn memory(&self, state: &State, spared: Vec<Share>) -> Memory {
        let running: Vec<(VmId, Share)> = lock(&self.vms)
            .iter()
            .filter(|(_, vm)| vm.exit().is_none())
            .map(|(id, vm)| {
                let share = Share {
                    promised: vm.need_mib,
                    used: used_mib(vm.process.pid),
                };
                (*id, share)
            })
            .collect();
        let is_there = |vm: &VmId| running.iter().any(|(id, _)| id == vm);
        let under_way = state.under_way.iter().filter(|(vm, _)| !is_there(vm));
        let under_way = under_way.map(|(_, promised)| Share {
            promised: *promised,
            used: 0,
        });
        Memory {
            available: available_mib(&self.cgroups.bounds()),
            reserve: self.config.memory_reserve_mib,
            limit: self.config.memory_limit_mib,
            ..Memory::default()
        }
        .with(running.iter().map(|(_, share)| *share))
        .with(under_way)
        .with(spared)
    }
}

fn accelerator_of(machine: Option<&Machine>) -> String {
    machine.map_or_else(String::new, |machine| machine.accelerator.to_string())
}
