//! The whole plan in a loop with a small world: VMs that take time to boot, clients that learn of them from
//! DNS a TTL late, and figures that are sampled once a second and are a little behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use model::{AutoScaling, Instance, LoadSample, LoadSight, VmId};

use super::*;
use crate::samples::{Bench, healthy, instance, whole};

const ROUND_MS: u64 = 250;
const SAMPLE_MS: u64 = 1_000;
const TTL_MS: u64 = 1_000;
const BOOT_MS: u64 = 2_000;
/// From a load's rise to VMs that serve it: two samples, one for what was decided just before the rise, a
/// boot, and a round on either side.
const RESPONSE_MS: u64 = 3 * SAMPLE_MS + BOOT_MS + 2 * ROUND_MS;
/// One percent of a VM's processor time for each request in a second saturates it at 100.
const COST: f64 = 1.0;

struct World {
    bench: Bench,
    began: Timestamp,
    born: BTreeMap<VmId, Timestamp>,
    /// What DNS answered in the rounds of the last TTL, the newest last.
    answers: VecDeque<BTreeSet<Ipv4Addr>>,
    /// Each VM's last three samples, the newest first, and when that was taken.
    samples: BTreeMap<VmId, ([f64; 3], Timestamp)>,
    /// For each number of VMs, since when it has been needed without a break.
    needed_since: BTreeMap<u32, Timestamp>,
    changes: Vec<(u64, usize)>,
    reports: BTreeSet<String>,
}

impl World {
    fn new(scaling: Scaling) -> Self {
        let asked = Instance {
            auto_scaling: AutoScaling::Between(scaling),
            ..instance(1)
        };
        let bench = Bench::serving([asked]);
        let born = bench.vms(1).keys().map(|id| (*id, Timestamp(0)));
        Self {
            born: born.collect(),
            began: bench.now,
            bench,
            answers: VecDeque::new(),
            samples: BTreeMap::new(),
            needed_since: BTreeMap::new(),
            changes: Vec::new(),
            reports: BTreeSet::new(),
        }
    }

    /// Runs for so many seconds under a load, in requests in a second, by the second.
    fn run(&mut self, seconds: u64, demand: impl Fn(u64) -> f64) {
        for ms in (0..seconds * 1_000).step_by(ROUND_MS as usize) {
            self.round(demand(ms / 1_000));
        }
    }

    fn round(&mut self, demand: f64) {
        self.bench.pass(ROUND_MS);
        self.boot();
        self.spread(demand);
        let before = self.wanted();
        let report = self.bench.plan();
        self.bench.publish();
        let scaling = report
            .instances
            .values()
            .next()
            .and_then(|r| r.scaling.clone());
        self.reports.extend(scaling.map(|scaling| scaling.decision));
        if self.wanted() != before {
            let at_s = self.bench.now.since_ms(self.began) / 1_000;
            self.changes.push((at_s, self.wanted()));
        }
        self.assert_served(demand);
    }

    /// What was decided is made, and what was sent away is gone after its time.
    fn boot(&mut self) {
        let now = self.bench.now;
        let standing = self.bench.standing(1).clone();
        let generation = standing.config.generation;
        for (id, vm) in &standing.vms {
            let born = *self.born.entry(*id).or_insert(now);
            if vm.leaving.is_none() && now.since_ms(born) >= BOOT_MS {
                self.bench.observed.vms.insert(*id, healthy(generation));
                let probes = self
                    .bench
                    .observed
                    .probes
                    .entry("local".into())
                    .or_default();
                probes.insert(*id, crate::samples::answered());
            }
            self.bench.observed.network.vm_nics.insert(*id, whole());
        }
        let effects = self.bench.diff();
        for effect in effects {
            if let model::Effect::RemoveVm { vm } = effect {
                self.bench.observed.vms.remove(&vm);
                self.bench.observed.network.vm_nics.remove(&vm);
                self.bench.probes().remove(&vm);
                self.samples.remove(&vm);
            }
        }
    }

    /// Clients follow what DNS said a TTL ago. Each VM is sampled at an offset of its own.
    fn spread(&mut self, demand: f64) {
        let name = "i1.p1";
        self.answers
            .push_back(self.bench.record(name).into_iter().collect());
        if self.answers.len() as u64 > TTL_MS / ROUND_MS {
            self.answers.pop_front();
        }
        let known = self.answers.front().cloned().unwrap_or_default();
        let now = self.bench.now;
        let vms: Vec<_> = self
            .bench
            .vms(1)
            .iter()
            .map(|(id, vm)| (*id, vm.front.address))
            .collect();
        self.bench.observed.load.clear();
        for (id, address) in vms {
            let share = match known.contains(&address) {
                true => demand / known.len() as f64,
                false => 0.0,
            };
            let is_due = (now.0 + id.0 * ROUND_MS) % SAMPLE_MS < ROUND_MS;
            let (samples, taken) = self.samples.entry(id).or_insert(([share; 3], now));
            if is_due {
                (*samples, *taken) = ([share, samples[0], samples[1]], now);
            }
            let cpu = |requests: f64| Some((requests * COST).min(100.0));
            let mean = samples.iter().sum::<f64>() / 3.0;
            let load = LoadSight {
                cpu_percent: cpu(mean),
                requests_per_second: Some(mean),
                newest: LoadSample {
                    cpu_percent: cpu(samples[0]),
                    requests_per_second: Some(samples[0]),
                    ..LoadSample::default()
                },
                age_ms: now.since_ms(*taken),
                ..LoadSight::default()
            };
            self.bench.observed.load.insert(id, load);
        }
    }

    fn scaling(&self) -> Scaling {
        let asked = &self.bench.intent.instances[&model::InstanceId(1)];
        *asked.auto_scaling.by_load().expect("it scales by load")
    }

    fn wanted(&self) -> usize {
        let id = model::InstanceId(1);
        wanted_vms(&self.bench.intent.instances[&id], self.bench.standing(id.0))
    }

    /// There are never fewer VMs in DNS than needed for longer than a response takes, and never more are
    /// wanted than were asked for within the window.
    fn assert_served(&mut self, demand: f64) {
        let Some(target) = self.scaling().target_requests.map(f64::from) else {
            return;
        };
        let now = self.bench.now;
        let Scaling { min, max, .. } = self.scaling();
        let need = enough_vms(demand / target, TOLERANCE).clamp(min, max);
        self.needed_since.retain(|vms, _| *vms <= need);
        for vms in 1..=need {
            self.needed_since.entry(vms).or_insert(now);
        }
        let due = |since: &Timestamp| now.since_ms(*since) > RESPONSE_MS;
        let due = self.needed_since.iter().filter(|(_, since)| due(since));
        let due = due.map(|(vms, _)| *vms as usize).max().unwrap_or(0);
        let serving = self.bench.record("i1.p1").len();
        assert!(
            serving >= due,
            "{serving} of {due} serve, {:?}",
            self.changes
        );
    }
}

fn by_requests(min: u32, max: u32) -> Scaling {
    Scaling {
        min,
        max,
        target_cpu: 100,
        target_requests: Some(TARGET),
        scale_in_window_ms: 60_000,
        ..Scaling::default()
    }
}

#[test]
fn a_step_is_answered_by_one_change_each_way() {
    let mut world = World::new(by_requests(1, 8));
    world.run(20, |_| 80.0);
    world.run(120, |_| 480.0);
    world.run(200, |_| 80.0);
    let counts: Vec<_> = world.changes.iter().map(|(_, vms)| *vms).collect();
    assert_eq!(counts, [5, 2], "{:?}", world.changes);
    let [(rose, _), (fell, _)] = world.changes[..] else {
        panic!("two changes");
    };
    assert!((20..=23).contains(&rose), "{rose}");
    assert!((200..=205).contains(&fell), "{fell}");
    assert_eq!(world.bench.stay(1).len(), 2);
}

#[test]
fn a_step_of_any_size_is_answered_at_the_second_sample() {
    for (before, after, vms) in [
        (0.0, 115.0, 2),
        (95.0, 115.0, 2),
        (50.0, 480.0, 5),
        (300.0, 335.0, 4),
    ] {
        let mut world = World::new(by_requests(1, 8));
        world.run(20, |_| before);
        world.changes.clear();
        world.run(10, |_| after);
        let two_samples_s = 2;
        assert_eq!(world.changes, [(20 + two_samples_s - 1, vms)], "{after}");
    }
}

#[test]
fn a_flash_crowd_gets_its_vms_at_once_and_no_more_than_it_needs() {
    let mut world = World::new(by_requests(1, 16));
    let crowd = |second: u64| match second {
        0..30 => 50.0,
        30..40 => 50.0 + 145.0 * (second - 29) as f64,
        40..100 => 1_500.0,
        _ => 50.0,
    };
    world.run(300, crowd);
    let most = world.changes.iter().map(|(_, vms)| *vms).max();
    assert!(
        most.is_some_and(|most| (14..=15).contains(&most)),
        "{:?}",
        world.changes
    );
    let falls = world
        .changes
        .windows(2)
        .filter(|pair| pair[1].1 < pair[0].1);
    assert_eq!(falls.count(), 1, "{:?}", world.changes);
    assert_eq!(world.wanted(), 1);
}

#[test]
fn a_day_is_followed_up_and_down_without_going_back_and_forth() {
    let mut world = World::new(by_requests(1, 8));
    const DAY_S: u64 = 3_600;
    let hour = |second: u64| second as f64 / DAY_S as f64 * std::f64::consts::TAU;
    world.run(DAY_S, |second| 350.0 - 300.0 * hour(second).cos());
    let counts: Vec<_> = world.changes.iter().map(|(_, vms)| *vms).collect();
    let top = counts
        .iter()
        .position(|vms| Some(vms) == counts.iter().max())
        .expect("it rose");
    assert!(counts[..=top].is_sorted(), "{counts:?}");
    assert!(counts[top..].is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert!((6..=7).contains(&counts[top]), "{counts:?}");
    assert!(counts.last().is_some_and(|vms| *vms <= 2), "{counts:?}");
}

#[test]
fn noise_of_a_fifth_around_a_mean_does_not_move_the_vms_that_it_settled_on() {
    let mut world = World::new(by_requests(1, 8));
    // Samples that are a golden section apart are spread evenly, in an order that looks drawn.
    let noise = |second: u64| 2.0 * (second as f64 * 0.618_033_988_75).fract() - 1.0;
    world.run(1_200, |second| 330.0 * (1.0 + 0.2 * noise(second)));
    let settled = world.changes.clone();
    assert!(settled.len() <= 2, "{settled:?}");
    world.run(1_200, |second| 330.0 * (1.0 + 0.2 * noise(second)));
    assert_eq!(world.changes, settled);
}

/// A VM that has no more to give hides how much more is asked of it: the number grows by steps then, and
/// still not beyond what is needed, though new VMs get clients a TTL late.
#[test]
fn vms_at_their_limit_are_joined_by_more_step_by_step() {
    let mut world = World::new(Scaling {
        min: 1,
        max: 16,
        target_cpu: 60,
        scale_in_window_ms: 60_000,
        ..Scaling::default()
    });
    world.run(10, |_| 40.0);
    world.run(120, |_| 300.0);
    let counts: Vec<_> = world.changes.iter().map(|(_, vms)| *vms).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(counts.last(), Some(&5), "{:?}", world.changes);
}

#[test]
fn each_decision_is_told_once() {
    let mut world = World::new(by_requests(1, 3));
    world.run(20, |_| 80.0);
    world.run(60, |_| 250.0);
    world.run(60, |_| 480.0);
    let told: Vec<_> = world.reports.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "none yet: 1, the least",
            "requests 250/s over 1 VM, target 100: 1 → 3",
            "requests 480/s over 3 VMs, target 100: would like 5, but max is 3",
        ]
    );
}

#[test]
fn a_vm_that_dies_under_load_is_replaced_and_its_load_not_taken_for_gone() {
    let mut world = World::new(by_requests(1, 8));
    world.run(20, |_| 380.0);
    assert_eq!(world.bench.stay(1).len(), 4);
    world.run(120, |_| 280.0);
    assert_eq!(world.wanted(), 4, "3 would carry more than 73 %");
    world.bench.kill(3);
    world.run(2, |_| 280.0);
    world.bench.vanish(3);
    world.run(120, |_| 280.0);
    assert_eq!(world.wanted(), 4, "{:?}", world.changes);
}
