//! A controller and its users in a world.

use std::collections::{BTreeMap, BTreeSet};

use model::{Condition, Driver, Effect, Layout, Observation, Report, Timestamp, VmLayout, VmShape};
use planner::{Breaker, Inputs, Settings, Windows};

use crate::invariants;
use crate::users::{Event, Users, pick};
use crate::world::{Machine, World};

/// Rounds within which all comes to rest: the longest hold-back of replacements (60 s), the rest of
/// addresses (10 s) and a margin for steps that take their time.
const ROUNDS_TO_REST: u32 = 400;

pub struct Run {
    pub users: Users,
    settings: Settings,
    world: World,
    /// What the store holds. Nothing but a plan's result is ever written here.
    layout: Layout,
    report: Report,
    clock_behind_ms: u64,
}

fn settings() -> Settings {
    Settings {
        mac_salt: [1, 2],
        front: "10.200.0.1/26".parse().unwrap(),
        driver: Driver::Process,
        shape: VmShape {
            vcpu: 1,
            disk_size: 0,
            memory_mib: 96,
        },
        breaker: Breaker::default(),
        windows: Windows {
            boot_ms: 10_000,
            grace_ms: 8_000,
            drain_ms: 2_000,
            rest_ms: 10_000,
            ..Windows::default()
        },
    }
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let settings = settings();
        Self {
            world: World::new(seed, settings.windows),
            settings,
            users: Users::default(),
            layout: Layout::default(),
            report: Report::default(),
            clock_behind_ms: 0,
        }
    }

    /// One round of the controller, and a tick of the world.
    fn round(&mut self) {
        let observed = self.world.observe();
        let now = Timestamp(self.world.now_ms - self.clock_behind_ms);
        let inputs = Inputs {
            settings: &self.settings,
            intent: &self.users.intent,
            observed: &observed,
            now,
        };
        let before = std::mem::take(&mut self.layout);
        let (next, report) = planner::plan(inputs, &before);
        let effects = planner::diff(inputs, &next);
        invariants::assert_planned(inputs, &before, &next, &report, &effects);
        invariants::assert_verdicts(&next, &self.world);
        self.layout = next;
        self.report = report;
        self.assert_removals(&observed, &effects);
        self.world.begin(effects);
        self.world.tick(&self.layout.dns);
    }

    fn rounds(&mut self, rounds: u32) {
        (0..rounds).for_each(|_| self.round());
    }

    /// No VM is removed while clients may be sent to it, unless it is down, never served, belongs to
    /// nobody, or its instance was deleted.
    fn assert_removals(&self, observed: &Observation, effects: &[Effect]) {
        for effect in effects {
            let Effect::RemoveVm { vm: id } = effect else {
                continue;
            };
            assert!(observed.network.vm_nics.contains_key(id));
            let asked = self.users.intent.instances.keys();
            let owners = asked.filter_map(|i| self.layout.instances.get(i)?.vms.get(id));
            for vm in owners {
                assert!(vm.leaving.is_some(), "VM {id} is removed though it stays");
                if vm.verdict != model::Verdict::Down && !vm.is_fenced() {
                    self.world.assert_deserted(*id);
                }
            }
        }
    }

    pub fn happen(&mut self, event: &Event) {
        self.users.act(event);
        let world = &mut self.world;
        match event {
            Event::Kill(n) => each(world, *n, |vm| vm.alive = false),
            Event::Freeze(n) => each(world, *n, |vm| vm.frozen = true),
            Event::ThawAll => world.vms.values_mut().for_each(|vm| vm.frozen = false),
            Event::BlockProbe(n) => each(world, *n, |vm| vm.probe_blocked = true),
            Event::CutChannel(n) => {
                let vms = self.layout.instances.values().flat_map(|i| &i.vms);
                let serving = vms.filter(|(_, vm)| vm.is_serving()).nth(*n);
                let machine = serving.and_then(|(id, _)| world.vms.get_mut(id));
                machine.into_iter().for_each(|vm| vm.channel_cut = true);
            }
            Event::MendChannelsAndProbes => mend(world),
            Event::RestartController => world.restart_controller(),
            Event::MakeStranger => world.make_stranger(),
            Event::FailSteps(percent) => world.failing_percent = *percent,
            Event::StopDns(stop) => world.dns_stands_still = *stop,
            Event::SetClockBack(ms) => self.clock_behind_ms += ms,
            Event::Wait(rounds) => self.rounds(*rounds),
            _ => {}
        }
    }

    fn stop_faults(&mut self) {
        let world = &mut self.world;
        world.failing_percent = 0;
        world.dns_stands_still = false;
        world.vms.values_mut().for_each(|vm| vm.frozen = false);
        mend(world);
    }

    pub fn come_to_rest(&mut self) {
        self.stop_faults();
        self.round();
        let mut rounds = 1;
        while rounds < ROUNDS_TO_REST && !self.seems_at_rest() {
            self.round();
            rounds += 1;
        }
        // A controller that began just now says so until it has heard each VM.
        self.rounds(2);
        self.assert_as_asked();
        self.assert_world_as_decided();
        let at_rest = self.layout.clone();
        self.rounds(8);
        assert_eq!(
            self.layout, at_rest,
            "a layout at rest is not written again"
        );
    }

    /// Whether nothing is left to wait for; looked at only so that the test need not wait out its bound.
    fn seems_at_rest(&self) -> bool {
        let reports = &self.report.instances;
        let mut vms = self.layout.instances.values().flat_map(|i| i.vms.values());
        reports.keys().eq(self.users.intent.instances.keys())
            && reports
                .values()
                .all(|report| report.condition == Condition::Serving)
            && vms.all(VmLayout::is_crew)
            && self.layout.ledger.resting.is_empty()
            && self.layout.dns == self.world.zone
            && self.world.observe().in_flight.is_empty()
            && self.steps_left().is_empty()
    }

    fn steps_left(&self) -> Vec<Effect> {
        let inputs = Inputs {
            settings: &self.settings,
            intent: &self.users.intent,
            observed: &self.world.observe(),
            now: Timestamp(self.world.now_ms - self.clock_behind_ms),
        };
        planner::diff(inputs, &self.layout)
    }

    fn assert_as_asked(&self) {
        let instances = &self.users.intent.instances;
        assert!(
            self.report.instances.keys().eq(instances.keys()),
            "a report for each"
        );
        for (id, asked) in instances {
            let report = &self.report.instances[id];
            let condition = match asked.backends.is_empty() {
                true => Condition::Degraded,
                false => Condition::Serving,
            };
            assert_eq!(report.condition, condition, "{id}: {report:#?}");
            assert!(report.in_effect);
            let wanted = asked.auto_scaling.min() as usize;
            assert_eq!(
                (report.vms.len(), report.addresses.len()),
                (wanted, wanted),
                "{report:#?}"
            );
        }
    }

    fn assert_world_as_decided(&self) {
        assert_eq!(self.steps_left(), []);
        assert!(self.world.observe().in_flight.is_empty());
        let vms = self.layout.instances.values().flat_map(|i| i.vms.keys());
        assert_eq!(
            vms.copied().collect::<BTreeSet<_>>(),
            self.world.vms.keys().copied().collect()
        );
        assert!(self.world.vms.values().all(|vm| vm.alive));
        let networks = self.layout.networks.iter().map(|(id, network)| {
            let subnets = network.subnets.iter().map(|(id, s)| (*id, s.ports.clone()));
            (*id, subnets.collect::<BTreeMap<_, _>>())
        });
        assert_eq!(networks.collect::<BTreeMap<_, _>>(), self.world.projects);
        assert_eq!(self.layout.dns, self.world.zone);
    }

    pub fn delete_everything(&mut self) {
        self.users.intent = model::Intent::default();
        self.come_to_rest();
        let empty = Layout {
            dns: model::DnsLayout {
                serial: self.layout.dns.serial,
                ..model::DnsLayout::default()
            },
            ledger: self.layout.ledger.clone(),
            ..Layout::default()
        };
        assert_eq!(self.layout, empty);
        assert!(self.layout.ledger.resting.is_empty());
        assert!(self.world.vms.is_empty() && self.world.projects.is_empty());
    }
}

/// The `n`th machine that has a process.
fn each(world: &mut World, n: usize, befall: impl Fn(&mut Machine)) {
    let id = pick(&world.vms, n);
    let vm = id.and_then(|id| world.vms.get_mut(&id));
    vm.filter(|vm| vm.started_ms.is_some())
        .into_iter()
        .for_each(befall);
}

fn mend(world: &mut World) {
    for vm in world.vms.values_mut() {
        vm.probe_blocked = false;
        vm.channel_cut = false;
    }
}
