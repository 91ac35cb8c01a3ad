use crate::samples::{Bench, instance, instance_of, silent, unanswered};
use model::{InstanceId, Verdict, VmId};
use std::net::Ipv4Addr;

fn fronts(last_bytes: &[u8]) -> Vec<Ipv4Addr> {
    let front = |last: &u8| Ipv4Addr::new(10, 200, 0, *last);
    last_bytes.iter().map(front).collect()
}

#[test]
fn dns_names_all_vms_that_serve_and_no_other() {
    let mut bench = Bench::with([instance_of(1, 2)]);
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (0, vec![])
    );
    bench.make_all_serve();
    bench.observed.vms.insert(VmId(2), silent());
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (1, fronts(&[2]))
    );
    bench.make_all_serve();
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (2, fronts(&[2, 3]))
    );
}

#[test]
fn a_suspect_stays_in_dns() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench.probes().insert(VmId(1), unanswered(9));
    bench.plan();
    assert_eq!(bench.vm(1).verdict, Verdict::Suspect);
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (1, fronts(&[2, 3]))
    );
}

#[test]
fn the_last_answer_stands_until_a_vm_serves_again_and_both_change_at_once() {
    let mut bench = Bench::serving([instance(1)]);
    bench.kill(1);
    bench.plan();
    bench.vanish(1);
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (1, fronts(&[2]))
    );
    bench.make_all_serve();
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (2, fronts(&[3]))
    );
}

#[test]
fn former_names_go_on_resolving() {
    let mut bench = Bench::serving([instance(1)]);
    bench.asked(1).label = "shop".into();
    bench.asked(1).former_labels.insert("i1".into());
    bench.plan();
    assert_eq!(bench.record("shop.p1"), fronts(&[2]));
    assert_eq!(bench.record("i1.p1"), fronts(&[2]));
    bench.kill(1);
    bench.plan();
    assert_eq!(bench.record("shop.p1"), fronts(&[2]));
}

#[test]
fn a_new_instance_with_a_deleted_ones_name_does_not_inherit_its_answer() {
    let mut bench = Bench::serving([instance(1)]);
    bench.intent.instances.remove(&InstanceId(1));
    let mut heir = instance(2);
    heir.label = "i1".into();
    bench.intent.instances.insert(InstanceId(2), heir);
    bench.plan();
    assert_eq!(
        (bench.layout.dns.serial, bench.record("i1.p1")),
        (2, vec![])
    );
}

#[test]
fn a_vm_that_leaves_bears_the_first_zone_generation_without_it() {
    let mut bench = Bench::serving([instance_of(1, 2)]);
    bench.asked(1).auto_scaling = model::AutoScaling::Off;
    bench.plan();
    let leaving = bench.vm(2).leaving.as_ref().expect("it leaves");
    assert_eq!(
        (leaving.dns_serial, bench.record("i1.p1")),
        (2, fronts(&[2]))
    );
}
