//! A plan of a part is worth a plan of everything.

use std::collections::BTreeSet;

use model::{Effect, Project, ProjectId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::samples::{
    Bench, answered, backend, healthy, instance, instance_of, silent, unanswered, whole,
};
use crate::{diff, plan};

/// What happens to one instance.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(u32),
    Delete,
    Relabel,
    /// A backend is given some address near the top of the subnet, where VMs have theirs, too.
    AddBackend(u8),
    DropBackends,
    Serve,
    Kill,
    Silence,
    Vanish,
    /// The VMs that leave see no client any more.
    Desert,
}

/// What happens to everything.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Steps(u64, Step, u64, Step),
    Publish,
    Pass(u64),
    /// Somebody sets the clock, by so many milliseconds from a minute ago.
    SetClock(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..4_u32).prop_map(Step::Ask),
        1 => Just(Step::Delete),
        1 => Just(Step::Relabel),
        2 => (245..254_u8).prop_map(Step::AddBackend),
        1 => Just(Step::DropBackends),
        6 => Just(Step::Serve),
        3 => Just(Step::Kill),
        1 => Just(Step::Silence),
        3 => Just(Step::Vanish),
        1 => Just(Step::Desert),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => (1..9_u64, step(), 1..9_u64, step()).prop_map(|(a, b, c, d)| Turn::Steps(a, b, c, d)),
        1 => Just(Turn::Publish),
        1 => prop_oneof![Just(1), Just(3_000), Just(40_000), Just(400_000)].prop_map(Turn::Pass),
        1 => prop_oneof![Just(0), Just(59_000), Just(90_000)].prop_map(Turn::SetClock),
    ]
}

/// Even instances are in one project, the others in another; labels are few, so that one may have another's.
fn asked(id: u64, vms: u32) -> Instance {
    let mut asked = instance_of(id, vms);
    asked.project = ProjectId(1 + id % 2);
    asked
}

fn world() -> Bench {
    let mut bench = Bench::with((1..7).map(|id| asked(id, 1)));
    let second = Project {
        id: ProjectId(2),
        label: "p2".into(),
        ..bench.intent.projects[&ProjectId(1)].clone()
    };
    bench.intent.projects.insert(ProjectId(2), second);
    bench.observed.uptime_ms = Some(100_000);
    bench.settings.front = "10.200.0.1/27".parse().expect("a CIDR");
    bench
}

fn happen(bench: &mut Bench, standing: &Standing, id: u64, step: Step) {
    let id = InstanceId(id);
    let known = standing.layout().instances.get(&id);
    let vms: Vec<VmId> = known.iter().flat_map(|i| i.vms.keys().copied()).collect();
    let generation = known.map(|i| i.config.generation);
    let instances = &mut bench.intent.instances;
    match step {
        Step::Ask(n) => {
            // Identities are never used again.
            if instances.contains_key(&id) || known.is_none() {
                let backends = instances.get(&id).map(|i| i.backends.clone());
                let mut asked = asked(id.0, n);
                asked.backends = backends.unwrap_or(asked.backends);
                instances.insert(id, asked);
            }
        }
        Step::Delete => {
            instances.remove(&id);
        }
        Step::Relabel => {
            if let Some(asked) = instances.get_mut(&id) {
                asked.label = format!("{}x", asked.label);
            }
        }
        Step::AddBackend(last) => {
            if let Some(asked) = instances.get_mut(&id) {
                asked.backends.push(backend(&format!("1.1.1.{last}")));
            }
        }
        Step::DropBackends => {
            if let Some(asked) = instances.get_mut(&id) {
                asked.backends.clear();
            }
        }
        Step::Serve => {
            for vm in vms {
                bench
                    .observed
                    .vms
                    .extend(generation.map(|g| (vm, healthy(g))));
                bench.observed.network.vm_nics.insert(vm, whole());
                bench.probes().insert(vm, answered());
            }
        }
        Step::Kill => {
            let vm = vms
                .iter()
                .rev()
                .find(|vm| bench.observed.vms.contains_key(vm));
            if let Some(sight) = vm.and_then(|vm| bench.observed.vms.get_mut(vm)) {
                sight.pid = None;
                sight.exit = Some("killed by signal 9".into());
            }
        }
        Step::Silence => {
            if let Some(vm) = vms.first() {
                bench.observed.vms.insert(*vm, silent());
                bench.probes().insert(*vm, unanswered(3));
            }
        }
        Step::Desert => {
            for vm in vms {
                let sight = bench.observed.vms.get_mut(&vm);
                if let Some(heard) = sight.and_then(|sight| sight.heartbeat.as_mut()) {
                    heard.heartbeat.draining = Some(true);
                    heard.heartbeat.deserted_ms = Some(2_000);
                }
            }
        }
        Step::Vanish => {
            let dead = |vm: &&VmId| bench.observed.vms.get(vm).is_some_and(|s| s.pid.is_none());
            if let Some(vm) = vms.iter().find(dead).copied() {
                bench.observed.vms.remove(&vm);
                bench.observed.network.vm_nics.remove(&vm);
                bench.probes().remove(&vm);
            }
        }
    }
}

/// Plans everything until it stands still.
fn rest(bench: &Bench, standing: &Standing) -> Standing {
    let mut standing = standing.clone();
    for _ in 0..8 {
        let next = plan(bench.inputs(), &standing, &Scope::All).standing;
        if next.layout() == standing.layout() && next.report() == standing.report() {
            return next;
        }
        standing = next;
    }
    panic!("the plan does not come to rest");
}

fn keys(effects: &[Effect]) -> BTreeSet<String> {
    effects.iter().map(|effect| format!("{effect:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_plan_of_what_changed_is_worth_a_plan_of_everything(
        turns in proptest::collection::vec(turn(), 1..50),
    ) {
        let mut bench = world();
        let mut standing = Standing::default();
        for turn in turns {
            standing = rest(&bench, &standing);
            let waiting = keys(&diff(bench.inputs(), &standing, &Scope::All));
            let scope = match turn {
                Turn::Publish => {
                    bench.observed.dns_serial = Some(standing.layout().dns.serial);
                    Scope::of([])
                }
                Turn::Pass(ms) => {
                    bench.pass(ms);
                    continue;
                }
                Turn::SetClock(ms) => {
                    bench.now.0 = bench.now.0 - 60_000 + ms;
                    Scope::of([])
                }
                Turn::Steps(one, step, other, another) => {
                    happen(&mut bench, &standing, one, step);
                    happen(&mut bench, &standing, other, another);
                    Scope::of([InstanceId(one), InstanceId(other)])
                }
            };
            let all = plan(bench.inputs(), &standing, &Scope::All);
            let part = plan(bench.inputs(), &standing, &scope);
            prop_assert_eq!(part.standing.layout(), all.standing.layout());
            prop_assert_eq!(part.standing.report(), all.standing.report());
            prop_assert!(part.standing.is_counted_right(&bench.intent));
            let new = keys(&diff(bench.inputs(), &all.standing, &Scope::All));
            let of_part = keys(&diff(bench.inputs(), &part.standing, &part.scope));
            prop_assert!(of_part.is_subset(&new));
            prop_assert!(new.difference(&waiting).all(|effect| of_part.contains(effect)));
            standing = part.standing;
        }
    }
}

#[test]
fn what_a_part_leaves_alone_is_shared_with_what_stood_before() {
    let mut bench = Bench::serving((1..200).map(instance));
    let before = rest(&bench, &Standing::of(&bench.intent, bench.layout.clone()));
    bench.kill(7);
    let after = plan(bench.inputs(), &before, &Scope::of([InstanceId(7)])).standing;
    let (one, other) = (&before.layout().instances, &after.layout().instances);
    let changes = one.changes(other, Arc::ptr_eq);
    assert_eq!(changes.iter().map(|c| c.key.0).collect::<Vec<_>>(), [7]);
    let (one, other) = (&before.report().instances, &after.report().instances);
    let changes = one.changes(other, Arc::ptr_eq);
    assert_eq!(changes.iter().map(|c| c.key.0).collect::<Vec<_>>(), [7]);
}

#[test]
fn where_the_breaker_opens_everything_is_looked_at() {
    let mut bench = Bench::serving((1..20).map(instance));
    let before = rest(&bench, &Standing::of(&bench.intent, bench.layout.clone()));
    (1..20).for_each(|vm| bench.kill(vm));
    let part = Scope::of((1..8).map(InstanceId));
    let planned = plan(bench.inputs(), &before, &part);
    assert_eq!(planned.scope, Scope::All);
    let vms = planned.standing.layout().instances.values();
    let mut vms = vms.flat_map(|standing| standing.vms.values());
    assert!(vms.all(|vm| vm.verdict == model::Verdict::Down && vm.aside.is_none()));
}

#[test]
fn a_clock_that_was_set_back_concerns_everything() {
    let mut bench = Bench::serving([instance(1)]);
    let standing = rest(&bench, &Standing::of(&bench.intent, bench.layout.clone()));
    bench.now = Timestamp(bench.now.0 - 1);
    let planned = plan(bench.inputs(), &standing, &Scope::of([]));
    assert_eq!(planned.scope, Scope::All);
}

#[test]
fn a_clock_that_was_set_forward_concerns_everything() {
    let mut bench = Bench::serving([instance(1)]);
    bench.observed.uptime_ms = Some(100_000);
    let standing = rest(&bench, &Standing::of(&bench.intent, bench.layout.clone()));
    bench.now.0 += 999;
    let planned = plan(bench.inputs(), &standing, &Scope::of([]));
    assert_eq!(planned.scope, Scope::of([]));
    bench.now.0 += 1;
    let planned = plan(bench.inputs(), &standing, &Scope::of([]));
    assert_eq!(planned.scope, Scope::All);
}
