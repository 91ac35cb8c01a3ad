//! What befalls the world, and for how long.

use model::VmId;

use crate::controller::Doom;
use crate::dice::Dice;
use crate::hands::StepFaults;
use crate::machine::Machine;
use crate::users::pick;
use crate::world::World;

/// One fault. Numbers choose among what there is when it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at_ms: u64,
    pub(crate) lasts_ms: u64,
    pub(crate) pick: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A VM's process is killed.
    Kill,
    /// Nothing is left of a VM, by somebody else's hand.
    Vanish,
    /// A VM stands still (SIGSTOP), and goes on later: a zombie.
    Freeze,
    /// A guest begins anew, with the process that it had.
    Reset,
    /// A hot path stands still while the rest of its VM goes on.
    Hang,
    /// A VM's control channel carries nothing.
    CutChannel,
    /// No checker's probe reaches a VM.
    BlockProbes,
    /// One checker's probes do not reach a VM.
    BlockOneProbe,
    /// A VM's front NIC, or its tenant NIC, is taken away.
    TakeNic,
    /// A bridge is deleted.
    TakeBridge,
    /// The front bridge is deleted.
    TakeFront,
    /// What an open VM's rules let through is closed, or the other way round.
    FlipFence,
    /// A checker loses its network.
    CutChecker,
    /// A checker falls silent.
    StopChecker,
    /// All channels and all probes fail at once: the fault is ours.
    CutAll,
    /// Every second VM is killed.
    KillMany,
    /// The machine starts anew: no process is left, nor any namespace.
    Restart,
    /// Heartbeats and timers are late.
    Starve,
    /// The view of the network is older than it should be.
    StaleView,
    /// Effects fail, are lost, are done twice, or take long.
    Steps,
    /// No VM can be made.
    NoCompute,
    /// The controller dies at a point of its round, and another begins later.
    KillController,
    /// A second controller runs beside the first.
    SecondController,
    /// The store takes no writes.
    FullDisk,
    /// The host's clock jumps.
    JumpClock,
    /// The DNS server publishes nothing new.
    StopDns,
    /// Something carries our mark and belongs to nobody.
    Stranger,
    /// The backends' host name gets another address.
    MoveBackend,
}

const KINDS: &[(Kind, u64)] = &[
    (Kind::Kill, 6),
    (Kind::Vanish, 2),
    (Kind::Freeze, 6),
    (Kind::Reset, 3),
    (Kind::Hang, 3),
    (Kind::CutChannel, 3),
    (Kind::BlockProbes, 3),
    (Kind::BlockOneProbe, 2),
    (Kind::TakeNic, 3),
    (Kind::TakeBridge, 2),
    (Kind::TakeFront, 1),
    (Kind::FlipFence, 1),
    (Kind::CutChecker, 2),
    (Kind::StopChecker, 2),
    (Kind::CutAll, 2),
    (Kind::KillMany, 1),
    (Kind::Restart, 1),
    (Kind::Starve, 2),
    (Kind::StaleView, 2),
    (Kind::Steps, 5),
    (Kind::NoCompute, 1),
    (Kind::KillController, 8),
    (Kind::SecondController, 3),
    (Kind::FullDisk, 2),
    (Kind::JumpClock, 3),
    (Kind::StopDns, 2),
    (Kind::Stranger, 2),
    (Kind::MoveBackend, 1),
];

/// For how long a fault lasts at the most; half of them last for a tenth of that.
const LONGEST_MS: u64 = 420_000;
/// Faults of the controller's own world end sooner.
const LONGEST_OWN_MS: u64 = 60_000;

impl Fault {
    pub(crate) fn random(dice: &mut Dice, from_ms: u64, to_ms: u64) -> Self {
        let kind = kind(dice);
        let is_short = kind.is_control() && kind != Kind::SecondController;
        let longest_ms = if is_short { LONGEST_OWN_MS } else { LONGEST_MS };
        let longest_ms = if dice.chance(50) {
            longest_ms / 10
        } else {
            longest_ms
        };
        Self {
            at_ms: dice.between(from_ms, to_ms),
            lasts_ms: dice.between(200, longest_ms),
            pick: dice.next(),
            kind,
        }
    }

    /// Effects fail in one of four ways, now and then or nearly always.
    pub(crate) fn steps(&self) -> StepFaults {
        let mut dice = Dice::new(self.pick);
        let percent = dice.between(10, 70);
        let mut faults = StepFaults::default();
        match dice.roll(4) {
            0 => faults.failing = percent,
            1 => faults.lost = percent,
            2 => faults.doubled = percent,
            _ => faults.slow = percent,
        }
        faults
    }

    pub(crate) fn doom(&self) -> Doom {
        let mut dice = Dice::new(self.pick);
        match dice.roll(4) {
            0 => Doom::Now,
            1 => Doom::BeforeStoring,
            2 => Doom::AfterStoring,
            _ => Doom::AfterEffects(dice.roll(4)),
        }
    }

    /// How far the clock jumps, either way: seconds, minutes, or hours.
    pub(crate) fn jump_ms(&self) -> i64 {
        let mut dice = Dice::new(self.pick);
        let span_ms = dice.pick(&[5_000, 120_000, 7_200_000]).unwrap_or_default();
        let by_ms = i64::try_from(dice.roll(span_ms)).unwrap_or_default();
        if dice.chance(50) { by_ms } else { -by_ms }
    }
}

fn kind(dice: &mut Dice) -> Kind {
    let all: u64 = KINDS.iter().map(|(_, weight)| weight).sum();
    let mut roll = dice.roll(all);
    for (kind, weight) in KINDS {
        match roll.checked_sub(*weight) {
            Some(rest) => roll = rest,
            None => return *kind,
        }
    }
    Kind::Kill
}

impl Kind {
    /// Whether the controller itself is not left in peace while it lasts.
    pub(crate) fn is_control(self) -> bool {
        matches!(
            self,
            Self::CutAll
                | Self::KillMany
                | Self::Restart
                | Self::Starve
                | Self::StaleView
                | Self::Steps
                | Self::NoCompute
                | Self::KillController
                | Self::SecondController
                | Self::FullDisk
                | Self::JumpClock
                | Self::StopDns
        )
    }
}

/// A VM with a process, by the fault's number.
pub(crate) fn victim(world: &World, n: u64) -> Option<VmId> {
    let running = world.machines.iter().filter(|(_, m)| m.process.is_some());
    let running: Vec<VmId> = running.map(|(id, _)| *id).collect();
    Dice::new(n).pick(&running)
}

/// Does to one VM what the fault does. Returns the VM, for what has to be mended.
pub(crate) fn strike(world: &mut World, fault: &Fault) -> Option<VmId> {
    let id = victim(world, fault.pick)?;
    let checkers = 0..world.checkers.len();
    let one = usize::try_from(fault.pick % 3).unwrap_or_default();
    world.befall(id, |machine, now_ms| match fault.kind {
        Kind::Kill | Kind::KillMany => machine.die("killed by signal 9"),
        Kind::Freeze => {
            if let Some(process) = &mut machine.process {
                process.frozen_ms.get_or_insert(now_ms);
            }
        }
        Kind::Reset => reset(machine, now_ms, 300 + fault.pick % 2_000),
        Kind::Hang => {
            if let Some(process) = &mut machine.process {
                process.hung_ms.get_or_insert(now_ms);
            }
        }
        Kind::CutChannel => {
            if let Some(process) = &mut machine.process {
                process.channel_cut = true;
            }
        }
        Kind::BlockProbes => machine.deaf_to.extend(checkers),
        Kind::BlockOneProbe => drop(machine.deaf_to.insert(one)),
        Kind::TakeNic => {
            if let Some(nics) = &mut machine.nics {
                match fault.pick % 4 {
                    0 | 1 => nics.front = false,
                    2 => nics.tenant = false,
                    _ => (nics.front, nics.lost) = (false, true),
                }
            }
        }
        Kind::FlipFence => {
            if let Some(nics) = &mut machine.nics {
                nics.fenced = nics.fenced.map(|fenced| !fenced);
            }
        }
        _ => {}
    });
    match fault.kind {
        Kind::Vanish => world.take_away(id),
        Kind::Reset => world.boots.push(world.now_ms + 300 + fault.pick % 2_000),
        Kind::TakeFront => world.set_front(true),
        Kind::TakeBridge => {
            let place = world.machines.get(&id).map(|m| (m.project, m.subnet));
            place
                .into_iter()
                .for_each(|(p, s)| world.remove_bridge(p, s));
        }
        _ => {}
    }
    Some(id)
}

/// A guest begins anew: what it knew is gone, and the host tells it again.
fn reset(machine: &mut Machine, now_ms: u64, boot_ms: u64) {
    if let Some(process) = &mut machine.process {
        process.up_ms = now_ms + boot_ms;
        process.config = None;
        process.began_ms = None;
        process.hung_ms = None;
    }
}

/// Ends what lasts of a fault on one VM.
pub(crate) fn mend(world: &mut World, kind: Kind, id: VmId) {
    world.befall(id, |machine, now_ms| {
        if kind == Kind::BlockProbes || kind == Kind::BlockOneProbe {
            machine.deaf_to.clear();
        }
        let Some(process) = &mut machine.process else {
            return;
        };
        match kind {
            Kind::Freeze => {
                let frozen_ms = process.frozen_ms.take();
                process.thawed_ms = frozen_ms.map(|ms| (ms, now_ms));
            }
            Kind::Hang => process.hung_ms = None,
            Kind::CutChannel => process.channel_cut = false,
            _ => {}
        }
    });
}

/// All VMs fall silent, or are heard again; all checkers lose their network, or have it again.
pub(crate) fn cut_all(world: &mut World, cut: bool) {
    let ids: Vec<VmId> = world.machines.keys().copied().collect();
    for id in ids {
        world.befall(id, |machine, _| {
            if let Some(process) = &mut machine.process {
                process.channel_cut = cut;
            }
        });
    }
    world.checkers.iter_mut().for_each(|c| c.is_cut = cut);
    world.touch_all();
}

/// The machine starts anew.
pub(crate) fn restart(world: &mut World) {
    world.machine_starts += 1;
    world.machine_started_ms = world.now_ms;
    world.networks.clear();
    world.front_is_gone = true;
    for machine in world.machines.values_mut() {
        machine.process = None;
        machine.nics = None;
        machine.host_config = None;
    }
    let nothing = world.machines.iter().filter(|(_, m)| !m.is_made);
    let nothing: Vec<VmId> = nothing.map(|(id, _)| *id).collect();
    nothing.into_iter().for_each(|id| world.take_away(id));
    world.touch_all();
}

/// Kills every second VM that runs.
pub(crate) fn kill_many(world: &mut World) {
    let running = world.machines.iter().filter(|(_, m)| m.process.is_some());
    let ids: Vec<VmId> = running.map(|(id, _)| *id).step_by(2).collect();
    for id in ids {
        world.befall(id, |machine, _| machine.die("killed for want of memory"));
    }
}

/// What carries our mark and stands in no layout: a VM and a bridge.
pub(crate) fn make_stranger(world: &mut World, n: u64) {
    let number = 1_000_000 + n % 1_000_000;
    let stranger = Machine {
        is_made: true,
        subnet: model::SubnetId(number),
        ..Machine::default()
    };
    world.machines.insert(VmId(number), stranger);
    world.start(VmId(number), 500);
    world.bridge(model::ProjectId(number), model::SubnetId(number + 1));
}

/// The checker that a fault is about.
pub(crate) fn checker(world: &World, n: u64) -> Option<usize> {
    let checkers = world.checkers.iter().enumerate();
    let numbers = checkers.map(|(n, _)| (n, ())).collect();
    pick(&numbers, n)
}
