use super::*;
use crate::samples::{Bench, backend, instance, instance_of};
use model::{Project, Timestamp};

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// The front and tenant address that a first VM in `cidr` gets, with one backend at `of_backend`.
fn chosen(cidr: &str, of_backend: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut asked = instance(1);
    asked.subnet = cidr.parse().expect("a CIDR");
    asked.backends = vec![backend(of_backend)];
    let mut bench = Bench::with([asked]);
    bench.plan();
    let vm = bench.vms(1).values().next()?;
    Some((vm.front.address, vm.tenant.address))
}

#[test]
fn a_vm_takes_the_lowest_front_address_and_the_highest_tenant_address_that_is_free() {
    for (cidr, of_backend, tenant) in [
        ("1.1.1.0/24", "1.1.1.10", Some("1.1.1.253")),
        ("1.1.1.0/24", "1.1.1.253", Some("1.1.1.252")),
        ("1.1.1.0/28", "1.1.1.10", Some("1.1.1.13")),
        ("1.1.1.0/29", "1.1.1.2", Some("1.1.1.6")),
        ("1.1.1.0/30", "1.1.1.2", Some("1.1.1.1")),
        ("1.1.1.0/31", "1.1.1.0", None),
        ("1.1.1.1/32", "1.1.1.1", None),
        ("1.0.0.0/8", "1.1.1.1", Some("1.255.255.253")),
        (
            "255.255.255.0/24",
            "255.255.255.10",
            Some("255.255.255.253"),
        ),
    ] {
        let expected = tenant.map(|tenant| (address("10.200.0.2"), address(tenant)));
        assert_eq!(chosen(cidr, of_backend), expected, "{cidr}");
    }
}

#[test]
fn a_host_names_address_is_a_backends_address_too() {
    let mut asked = instance(1);
    asked.backends = vec![backend("db.test")];
    let mut bench = Bench::with([asked]);
    let answer = model::ResolvedName {
        addresses: vec![address("1.1.1.253")],
        error: None,
    };
    bench.observed.resolved.insert("db.test".into(), answer);
    bench.plan();
    assert_eq!(bench.vm(1).tenant.address, address("1.1.1.252"));
}

#[test]
fn vms_of_one_subnet_never_share_an_address_and_two_projects_may_use_one_cidr() {
    let mut other = instance_of(3, 2);
    other.project = ProjectId(2);
    let mut bench = Bench::with([instance_of(1, 2), instance_of(2, 1), other]);
    let second = Project {
        id: ProjectId(2),
        label: "p2".into(),
        ..bench.intent.projects[&ProjectId(1)].clone()
    };
    bench.intent.projects.insert(ProjectId(2), second);
    bench.plan();
    let tenant = |id| bench.vm(id).tenant.address;
    assert_eq!(
        [1, 2, 3].map(tenant),
        ["1.1.1.253", "1.1.1.252", "1.1.1.251"].map(address)
    );
    assert_eq!([4, 5].map(tenant), ["1.1.1.253", "1.1.1.252"].map(address));
    let fronts: BTreeSet<_> = (1..=5).map(|id| bench.vm(id).front.address).collect();
    assert_eq!(fronts.len(), 5);
}

#[test]
fn a_front_address_that_rests_or_stands_in_dns_or_is_the_hosts_is_not_handed_out() {
    let mut bench = Bench::with([instance(1)]);
    bench.settings.front = "10.200.0.2/24".parse().expect("a CIDR");
    bench
        .layout
        .ledger
        .resting
        .insert(address("10.200.0.1"), Timestamp(u64::MAX));
    let named = BTreeSet::from([address("10.200.0.3")]);
    bench.layout.dns.records.insert("i1.p1".into(), named);
    bench.plan();
    assert_eq!(bench.vm(1).front.address, address("10.200.0.4"));
}

#[test]
fn the_checkers_address_is_no_vms_and_is_told_to_all_balancers() {
    let mut bench = Bench::with([instance_of(1, 5)]);
    bench.settings.front = "10.200.0.1/29".parse().expect("a CIDR");
    bench.plan();
    let fronts: Vec<_> = bench.vms(1).values().map(|vm| vm.front.address).collect();
    assert_eq!(
        fronts,
        ["10.200.0.2", "10.200.0.3", "10.200.0.4", "10.200.0.5"].map(address)
    );
    let layout = bench.layout.instances.get(&model::InstanceId(1));
    let checker = layout.expect("it is planned").config.checker;
    assert_eq!(checker, Some(address("10.200.0.6")));
}

#[test]
fn a_full_front_network_gives_no_vm_and_the_report_says_so() {
    let mut bench = Bench::with([instance_of(1, 2)]);
    bench.settings.front = "10.200.0.1/30".parse().expect("a CIDR");
    let report = bench.plan();
    assert_eq!(bench.stay(1), [1]);
    let waiting = &report
        .instances
        .values()
        .next()
        .expect("it is reported")
        .waiting_for;
    let why = "1 of 2 are there: \
               the front network 10.200.0.0/30 or subnet 1.1.1.0/24 has no free address";
    assert!(waiting.iter().any(|w| w.why == why), "{waiting:?}");
}

#[test]
fn macs_are_local_and_tell_installation_nic_and_vm_apart() {
    let settings = crate::samples::settings();
    let (front, tenant) = macs(&settings, VmId(0x01_02_03));
    assert_eq!(front, Mac([0x02, 0xab, 0xcd, 1, 2, 3]));
    assert_eq!(tenant, Mac([0x06, 0xab, 0xcd, 1, 2, 3]));
}
