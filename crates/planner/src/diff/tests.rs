use super::*;
use crate::samples::{Bench, healthy, instance, instance_of, silent, whole};
use model::{Attachment, Generation, NicSight};

const P1: ProjectId = ProjectId(1);

fn port(project: u64, cidr: &str, interface: &str) -> Attachment {
    Attachment {
        project: ProjectId(project),
        subnet: cidr.parse().expect("a CIDR"),
        interface: interface.into(),
    }
}

/// The steps as short words.
fn steps(bench: &Bench) -> Vec<String> {
    let words = |effect: Effect| match effect {
        Effect::EnsureFront | Effect::EnsureProject { .. } => format!("ensure {}", effect.key()),
        Effect::EnsurePort { subnet, .. } => format!("ensure {} on {subnet}", effect.key()),
        Effect::EnsureVm { .. } => format!("ensure {}", effect.key()),
        Effect::PushConfig { ref config, .. } => {
            format!("push {} {}", effect.key(), config.generation)
        }
        Effect::RemovePort { subnet, .. } => format!("remove {} from {subnet}", effect.key()),
        _ => format!("remove {}", effect.key()),
    };
    bench.diff().into_iter().map(words).collect()
}

fn see_subnet(bench: &mut Bench, subnet: u64, ports: &[&str]) {
    let ports = ports.iter().map(|port| (*port).to_owned()).collect();
    let project = bench.observed.network.projects.entry(P1).or_default();
    project.subnets.insert(SubnetId(subnet), ports);
}

#[test]
fn what_is_decided_and_not_seen_is_made() {
    let mut bench = Bench::with([instance_of(1, 2)]);
    bench
        .intent
        .attachments
        .insert(port(1, "1.1.1.0/24", "eth1"));
    bench.plan();
    assert_eq!(
        steps(&bench),
        [
            "ensure project/1",
            "ensure project/1/port/eth1 on 1",
            "ensure vm/1",
            "ensure vm/2"
        ]
    );
}

#[test]
fn damage_to_a_vm_that_runs_is_mended_once_the_front_is_whole() {
    let damage = |change: fn(&mut NicSight)| {
        let mut bench = Bench::serving([instance_of(1, 1)]);
        see_subnet(&mut bench, 1, &[]);
        let nics = bench.observed.network.vm_nics.entry(VmId(1)).or_default();
        change(nics);
        bench
    };
    for change in [(|nics| nics.front = false) as fn(&mut NicSight), |nics| {
        nics.tenant = false
    }] {
        let mut bench = damage(change);
        assert_eq!(steps(&bench), ["ensure vm/1"]);
        bench.observed.network.front = false;
        assert_eq!(steps(&bench), ["ensure front"]);
    }
    let lost = damage(|nics| (nics.front, nics.lost) = (false, true));
    assert_eq!(steps(&lost), [""; 0]);
}

#[test]
fn nothing_is_to_be_done_when_the_world_is_as_decided() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench
        .intent
        .attachments
        .insert(port(1, "1.1.1.0/24", "eth1"));
    bench.plan();
    see_subnet(&mut bench, 1, &["eth1"]);
    assert_eq!(steps(&bench), [""; 0]);
}

#[test]
fn a_half_made_vm_is_made_again_and_one_that_runs_is_told_its_configuration_until_it_says_so() {
    let mut bench = Bench::with([instance_of(1, 3)]);
    see_subnet(&mut bench, 1, &[]);
    bench.plan();
    let nics = (1..=3).map(|id| (VmId(id), whole()));
    bench.observed.network.vm_nics.extend(nics);
    let mut unstarted = silent();
    unstarted.pid = None;
    bench.observed.vms.insert(VmId(1), unstarted);
    bench.observed.vms.insert(VmId(2), silent());
    bench.observed.vms.insert(VmId(3), healthy(Generation(0)));
    assert_eq!(
        steps(&bench),
        ["push vm/2/config 1", "push vm/3/config 1", "ensure vm/1"]
    );
}

#[test]
fn a_fence_comes_first_and_a_replacement_before_the_vms_of_a_new_instance() {
    let mut bench = Bench::serving([instance_of(2, 1)]);
    bench.intent.instances.insert(InstanceId(1), instance(1));
    let heard = bench.sight(1).heartbeat.as_mut().expect("it was heard");
    heard.age_ms = 10_000;
    let silent = crate::samples::unanswered(3);
    bench.probes().insert(VmId(1), silent);
    bench.plan();
    let effects = bench.diff().into_iter();
    let of_vms = effects.filter_map(|effect| match effect {
        Effect::SetFence { vm, .. } => Some(format!("fence {vm}")),
        Effect::EnsureVm { instance, .. } => Some(format!("VM of {instance}")),
        _ => None,
    });
    let of_vms: Vec<_> = of_vms.collect();
    assert_eq!(of_vms, ["fence 1", "VM of 2", "VM of 1"]);
}

#[test]
fn what_is_under_way_is_not_begun_again() {
    let mut bench = Bench::with([instance_of(1, 2)]);
    bench.plan();
    bench
        .observed
        .in_flight
        .extend(["project/1".into(), "vm/1".into()]);
    assert_eq!(steps(&bench), ["ensure vm/2"]);
}

#[test]
fn what_belongs_to_nobody_is_removed_from_the_inside_out() {
    let mut bench = Bench::with([]);
    bench.intent.projects.clear();
    bench.observed.vms.insert(VmId(8), silent());
    bench
        .observed
        .network
        .vm_nics
        .extend([(VmId(8), whole()), (VmId(9), whole())]);
    see_subnet(&mut bench, 5, &["eth1"]);
    see_subnet(&mut bench, 6, &[]);
    bench.plan();
    let vms = ["remove vm/8", "remove vm/9"];
    assert_eq!(steps(&bench)[..2], vms);
    assert_eq!(
        steps(&bench)[2..],
        [
            "remove project/1/port/eth1 from 5",
            "remove project/1/subnet/6"
        ]
    );
    bench.observed.network.projects.clear();
    see_subnet(&mut bench, 5, &[]);
    assert_eq!(steps(&bench)[2..], ["remove project/1/subnet/5"]);
    bench
        .observed
        .network
        .projects
        .insert(P1, ProjectSight::default());
    assert_eq!(steps(&bench)[2..], ["remove project/1"]);
}

#[test]
fn a_network_is_not_taken_from_under_what_is_being_made_in_it() {
    let mut bench = Bench::with([]);
    bench.intent.projects.clear();
    see_subnet(&mut bench, 5, &[]);
    bench
        .observed
        .in_flight
        .insert("project/1/port/eth1".into());
    bench.plan();
    assert_eq!(steps(&bench), [""; 0]);
    bench.observed.in_flight = BTreeSet::from(["project/12/port/eth1".into()]);
    assert_eq!(steps(&bench), ["remove project/1/subnet/5"]);
}

#[test]
fn a_bridge_stays_while_its_instance_waits_for_a_vm() {
    let mut bench = Bench::serving([instance(1)]);
    see_subnet(&mut bench, 1, &[]);
    for _ in 0..4 {
        for vm in bench.stay(1) {
            bench.vanish(vm);
            bench.observed.vms.entry(VmId(vm)).or_insert_with(silent);
            bench.kill(vm);
        }
        bench.plan();
        let seen: Vec<_> = bench.observed.vms.keys().copied().collect();
        seen.into_iter().for_each(|vm| bench.vanish(vm.0));
        bench.plan();
    }
    assert!(bench.vms(1).is_empty(), "the next VM is held back");
    assert_eq!(steps(&bench), [""; 0]);
}

#[test]
fn a_port_that_moves_to_another_subnet_is_given_back_first() {
    let mut bench = Bench::with([]);
    bench
        .intent
        .attachments
        .insert(port(1, "1.1.1.0/24", "eth1"));
    bench.plan();
    see_subnet(&mut bench, 1, &["eth1"]);
    bench.intent.attachments = BTreeSet::from([port(1, "2.2.2.0/24", "eth1")]);
    bench.plan();
    assert_eq!(steps(&bench), ["remove project/1/port/eth1 from 1"]);
    see_subnet(&mut bench, 1, &[]);
    assert_eq!(
        steps(&bench),
        [
            "ensure project/1/port/eth1 on 2",
            "remove project/1/subnet/1"
        ]
    );
}

#[test]
fn an_attachment_to_a_project_that_is_gone_holds_nothing() {
    let mut bench = Bench::with([]);
    bench
        .intent
        .attachments
        .insert(port(7, "1.1.1.0/24", "eth1"));
    bench.plan();
    assert_eq!(
        bench.layout.networks.keys().copied().collect::<Vec<_>>(),
        [P1]
    );
}
