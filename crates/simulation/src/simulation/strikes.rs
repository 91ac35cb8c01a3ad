//! Faults as they come and go.

use model::VmId;

use super::script::{CEASE_MS, MINUTE_MS};
use super::{Event, Simulation};
use crate::checker::LEASE_MS;
use crate::controller::Doom;
use crate::faults::{self, Fault, Kind};
use crate::hands::StepFaults;

/// Faults of everything at once weigh on the time after them: VMs are replaced a few at a time.
const AFTERMATH_MS: u64 = 3 * MINUTE_MS;

impl Simulation {
    pub(super) fn strike(&mut self, n: usize) {
        let Some(fault) = self.faults.get(n).copied() else {
            return;
        };
        self.active += u32::from(fault.kind.is_control());
        let until_ms = (fault.at_ms + fault.lasts_ms).min(CEASE_MS);
        self.schedule(until_ms.saturating_sub(fault.at_ms), Event::Mend(n));
        let struck = self.befall(&fault);
        self.note(|| {
            format!(
                "FAULT {n} {:?} of VM {struck:?} for {} ms",
                fault.kind, fault.lasts_ms
            )
        });
        if let Some(slot) = self.struck.get_mut(n) {
            *slot = struck;
        }
        // What befalls one VM is seen of that one.
        if struck.is_none() {
            self.stir();
        }
    }

    fn befall(&mut self, fault: &Fault) -> Option<VmId> {
        let world = &mut self.world;
        match fault.kind {
            Kind::CutAll => faults::cut_all(world, true),
            Kind::KillMany => faults::kill_many(world),
            Kind::Restart => self.restart_machine(),
            Kind::Starve => world.late_ms = 200 + fault.pick % 2_000,
            Kind::StaleView => self.stale_views += 1,
            Kind::Steps => self.hands.faults = fault.steps(),
            Kind::NoCompute => world.compute_trouble = Some("QEMU is not there".into()),
            Kind::KillController => {
                let doom = fault.doom();
                self.controllers
                    .iter_mut()
                    .for_each(|c| c.doom = Some(doom));
            }
            Kind::SecondController => self.begin_controller(),
            Kind::FullDisk => self.full_disks += 1,
            Kind::JumpClock => world.jump_clock(fault.jump_ms()),
            Kind::StopDns => world.dns.stands_still = true,
            Kind::Stranger => faults::make_stranger(world, fault.pick),
            Kind::MoveBackend => world.backend_moved = !world.backend_moved,
            Kind::CutChecker | Kind::StopChecker => self.disturb_checker(fault, true),
            _ => return faults::strike(world, fault),
        }
        if matches!(fault.kind, Kind::Starve) {
            self.world.touch_all();
        }
        None
    }

    fn disturb_checker(&mut self, fault: &Fault, begins: bool) {
        let now_ms = self.world.now_ms;
        let n = faults::checker(&self.world, fault.pick);
        let checker = n.and_then(|n| self.world.checkers.get_mut(n));
        if let Some(checker) = checker {
            match fault.kind {
                Kind::CutChecker => checker.is_cut = begins,
                _ => checker.silent_ms = begins.then_some(now_ms),
            }
        }
        self.world.touch_all();
        self.schedule(LEASE_MS, Event::Lease);
    }

    fn restart_machine(&mut self) {
        faults::restart(&mut self.world);
        self.hands.works.clear();
        let controllers = std::mem::take(&mut self.controllers);
        controllers.iter().for_each(|c| self.bury(c));
    }

    pub(super) fn mend(&mut self, n: usize) {
        let Some(fault) = self.faults.get(n).copied() else {
            return;
        };
        self.note(|| format!("fault {n} {:?} ends", fault.kind));
        let world = &mut self.world;
        match fault.kind {
            Kind::CutAll => faults::cut_all(world, false),
            Kind::Starve => world.late_ms = 0,
            Kind::StaleView => self.stale_views -= 1,
            Kind::Steps => self.hands.faults = StepFaults::default(),
            Kind::NoCompute => world.compute_trouble = None,
            Kind::SecondController => {
                let n = fault.pick as usize % self.controllers.len().max(1);
                if self.controllers.len() > 1
                    && let Some(c) = self.controllers.get_mut(n)
                {
                    c.doom = Some(Doom::Now);
                    c.wake_ms = self.world.now_ms;
                }
            }
            Kind::FullDisk => self.full_disks -= 1,
            Kind::StopDns => {
                world.dns.stands_still = false;
                self.schedule(100, Event::Publish);
            }
            Kind::CutChecker | Kind::StopChecker => self.disturb_checker(&fault, false),
            _ => {
                let struck = self.struck.get(n).copied().flatten();
                struck
                    .into_iter()
                    .for_each(|vm| faults::mend(world, fault.kind, vm));
            }
        }
        self.world.touch_all();
        if fault.kind.is_control() {
            self.active -= 1;
            let weighs = matches!(fault.kind, Kind::CutAll | Kind::KillMany | Kind::Restart);
            let aftermath_ms = if weighs { AFTERMATH_MS } else { 0 };
            let peace_ms = self.world.now_ms + aftermath_ms;
            self.peace_from_ms = self.peace_from_ms.max(peace_ms);
        }
        self.stir();
    }
}
