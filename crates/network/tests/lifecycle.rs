//! What is made is what was asked for, stays when it is asked for again, and goes without a rest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;

use model::{NetworkSight, ProjectId, SubnetId, VmId};
use network::NetworkError;
use support::{
    assert_host_reaches, assert_same, in_own_host, inside, make_backend, make_vm, namespace, nics,
    open_network, run, snapshot, wait_for_carrier,
};

#[test]
fn the_inventory_equals_what_was_made_and_is_empty_after_removal() {
    in_own_host(async || {
        let network = open_network().await;
        assert_eq!(network.inventory().await.unwrap(), NetworkSight::default());
        let before = snapshot(&[]);
        let vm = make_vm(&network, 1).await;
        make_vm(&network, 2).await;
        network
            .ensure_subnet(ProjectId(2), SubnetId(9))
            .await
            .unwrap();
        network.ensure_project(ProjectId(3)).await.unwrap();
        make_backend(&network, 1, 1).await;
        let taps = network.ensure_tap_nics(&nics(4, 2, 9)).await.unwrap();

        let sight = network.inventory().await.unwrap();
        // Whoever has not followed what was made reads the same.
        let afresh = open_network().await.inventory().await.unwrap();
        assert_eq!(sight, afresh);
        assert!(sight.front && sight.vm_nics.values().all(|nics| nics.is_whole()));
        let subnets = |project| sight.projects[&ProjectId(project)].subnets.clone();
        assert_eq!(sight.projects.len(), 3);
        assert_eq!(
            subnets(1),
            [(SubnetId(1), BTreeSet::from(["be1".into()]))].into()
        );
        assert_eq!(
            subnets(2),
            [
                (SubnetId(2), BTreeSet::new()),
                (SubnetId(9), BTreeSet::new())
            ]
            .into()
        );
        assert_eq!(subnets(3), [].into());
        assert!(sight.vm_nics.keys().eq(&[vm.vm, VmId(2), VmId(4)]));

        for vm in sight.vm_nics.keys() {
            network.remove_vm_nics(*vm).await.unwrap();
        }
        for project in sight.projects.keys() {
            network.remove_project(*project).await.unwrap();
        }
        network.remove_front().await.unwrap();
        assert_eq!(network.inventory().await.unwrap(), NetworkSight::default());
        run("ip link del be1");
        assert_same(&before, &snapshot(&[]));
        drop(taps);
    });
}

#[test]
fn ensuring_twice_changes_nothing() {
    in_own_host(async || {
        let network = open_network().await;
        let vm = make_vm(&network, 1).await;
        make_backend(&network, 1, 1).await;
        let namespaces = ["ek-p1", "ek-v1"];
        namespaces.iter().for_each(|name| wait_for_carrier(name));
        let before = snapshot(&namespaces);
        make_vm(&network, 1).await;
        network
            .ensure_port(vm.project, vm.subnet, "be1")
            .await
            .unwrap();
        assert_same(&before, &snapshot(&namespaces));
    });
}

#[test]
fn namespaces_are_set_up_as_their_use_needs() {
    in_own_host(async || {
        let network = open_network().await;
        make_vm(&network, 1).await;
        assert_eq!(network.vm_namespace_path(VmId(1)), namespace("ek-v1"));
        let read = |name: &str, setting: &str| {
            let path = format!("/proc/sys/net/{setting}");
            inside(&namespace(name), || fs::read_to_string(path).unwrap())
                .trim()
                .to_owned()
        };
        for name in ["ek-p1", "ek-v1"] {
            assert_eq!(read(name, "ipv4/ip_forward"), "0");
            assert_eq!(read(name, "ipv6/conf/all/disable_ipv6"), "1");
            assert_eq!(read(name, "bridge/bridge-nf-call-iptables"), "0");
            assert!(run(&format!("ip -n {name} -br link show lo")).contains(",UP"));
        }
        assert_eq!(read("ek-v1", "ipv4/ip_unprivileged_port_start"), "0");
        assert_eq!(read("ek-v1", "ipv4/conf/all/arp_ignore"), "1");
        let routes = run("ip -n ek-v1 route show default");
        assert_eq!(
            routes.trim(),
            "default via 10.200.0.1 dev front proto static"
        );
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        // The last one is on top of what the machine may have there itself.
        let own = mounts.lines().rfind(|line| line.contains(" /run/netns "));
        assert!(
            own.is_some_and(|line| line.contains(" shared:")),
            "{mounts}"
        );
    });
}

#[test]
fn ensuring_a_bridge_again_forgets_no_neighbour() {
    in_own_host(async || {
        let network = open_network().await;
        make_vm(&network, 1).await;
        wait_for_carrier("ek-v1");
        let before = snapshot(&["ek-p1", "ek-v1"]);
        network.ensure_front().await.unwrap();
        network
            .ensure_subnet(ProjectId(1), SubnetId(1))
            .await
            .unwrap();
        assert_same(&before, &snapshot(&["ek-p1", "ek-v1"]));
    });
}

#[test]
fn removing_what_is_not_there_is_fine() {
    in_own_host(async || {
        let network = open_network().await;
        let before = snapshot(&[]);
        network.remove_vm_nics(VmId(1)).await.unwrap();
        network
            .remove_port(ProjectId(1), SubnetId(1), "eth9")
            .await
            .unwrap();
        network
            .remove_subnet(ProjectId(1), SubnetId(1))
            .await
            .unwrap();
        network.remove_project(ProjectId(1)).await.unwrap();
        network.remove_front().await.unwrap();
        assert_same(&before, &snapshot(&[]));
        network.ensure_project(ProjectId(1)).await.unwrap();
        network
            .remove_subnet(ProjectId(1), SubnetId(1))
            .await
            .unwrap();
        network
            .remove_port(ProjectId(1), SubnetId(1), "eth9")
            .await
            .unwrap();
    });
}

#[test]
fn a_namespace_that_was_never_mounted_is_seen_and_repaired() {
    in_own_host(async || {
        let network = open_network().await;
        fs::create_dir_all("/run/netns").unwrap();
        for name in ["ek-p1", "ek-p2", "ek-v1", "ek-v2"] {
            fs::write(format!("/run/netns/{name}"), "").unwrap();
        }
        let sight = network.inventory().await.unwrap();
        assert_eq!(sight.projects.len(), 2);
        assert!(sight.vm_nics.keys().eq(&[VmId(1), VmId(2)]));

        make_vm(&network, 1).await;
        assert!(run("ip netns exec ek-v1 ip link show front").contains("state UP"));
        network.remove_project(ProjectId(2)).await.unwrap();
        network.remove_vm_nics(VmId(2)).await.unwrap();
        let sight = network.inventory().await.unwrap();
        assert_eq!(sight.projects.len(), 1);
        assert!(sight.vm_nics.keys().eq(&[VmId(1)]));
    });
}

#[test]
fn links_left_by_a_crash_are_replaced() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        network
            .ensure_subnet(ProjectId(1), SubnetId(1))
            .await
            .unwrap();
        // A persistent tap, a veth whose peer stayed on the host, and a NIC whose pair is another one.
        run("ip tuntap add ekf1 mode tap");
        run("ip netns exec ek-p1 ip link add ekt1 type veth peer name tenant");
        run("ip netns add ek-v1");
        run("ip -n ek-v1 link add front type veth peer name wrong");
        let vm = make_vm(&network, 1).await;
        let links = run("ip netns exec ek-v1 ip -4 addr");
        for address in [vm.front.address, vm.tenant.address] {
            assert!(links.contains(&address.to_string()), "{links}");
        }
        assert!(!links.contains("wrong"), "{links}");
        assert_host_reaches(&vm);
    });
}

#[test]
fn changed_addresses_replace_the_old_ones() {
    in_own_host(async || {
        let network = open_network().await;
        let mut vm = make_vm(&network, 1).await;
        vm.front.address = "10.200.0.77".parse().unwrap();
        vm.front.mac = "02:00:0a:c8:00:4d".parse().unwrap();
        network.ensure_veth_nics(&vm).await.unwrap();
        let link = run("ip netns exec ek-v1 ip addr show front");
        assert!(link.contains("02:00:0a:c8:00:4d"), "{link}");
        assert!(link.contains("10.200.0.77/16"), "{link}");
        assert!(!link.contains("10.200.0.11"), "{link}");
        assert_host_reaches(&vm);
    });
}

#[test]
fn a_call_that_is_given_up_still_leaves_a_whole_network() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        for patience_us in [0, 200, 1_000, 5_000, 15_000] {
            let ensure = network.ensure_subnet(ProjectId(1), SubnetId(1));
            let patience = std::time::Duration::from_micros(patience_us);
            let _ = tokio::time::timeout(patience, ensure).await;
            network
                .ensure_subnet(ProjectId(1), SubnetId(1))
                .await
                .unwrap();
            let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
            assert_eq!(mounts.matches("/run/netns/ek-p1 ").count(), 1, "{mounts}");
            network.remove_project(ProjectId(1)).await.unwrap();
        }
    });
}

#[test]
fn many_callers_at_once_make_one_network() {
    in_own_host(async || {
        let network = open_network().await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in (1..=4).chain(1..=4) {
            let network = network.clone();
            tasks.spawn(async move { make_vm(&network, number).await });
        }
        tasks.join_all().await;
        let sight = network.inventory().await.unwrap();
        assert_eq!(sight.projects.len(), 4);
        assert_eq!(sight.vm_nics.len(), 4);
        for number in 1..=4 {
            assert_host_reaches(&nics(number, number.into(), number.into()));
        }
    });
}

#[test]
fn a_vms_first_frame_is_not_lost_because_its_ports_forward_already() {
    in_own_host(async || {
        let network = open_network().await;
        for number in 1..=5 {
            make_vm(&network, number).await;
            let (front, tenant) = (format!("ekf{number}"), format!("ekt{number}"));
            let seen = run(&format!("bridge link show dev {front}"));
            assert!(seen.contains("state forwarding"), "{seen}");
            let namespace = format!("ek-p{number}");
            let seen = run(&format!("bridge -n {namespace} link show dev {tenant}"));
            assert!(seen.contains("state forwarding"), "{seen}");
        }
    });
}

#[test]
fn of_two_installations_with_one_prefix_the_second_is_refused() {
    in_own_host(async || {
        let network = open_network().await;
        network.claim_front("0a0a0a0a").await.unwrap();
        network.claim_front("0a0a0a0a").await.unwrap();
        let refusal = network.claim_front("0b0b0b0b").await.unwrap_err();
        assert!(
            matches!(&refusal, NetworkError::OwnedByAnother { owner, .. } if owner == "evenkeel-0a0a0a0a"),
            "{refusal}"
        );
        network.remove_front().await.unwrap();
        network.claim_front("0b0b0b0b").await.unwrap();
    });
}
