//! Interfaces of the host on a subnet, and back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::collections::BTreeSet;

use model::{ProjectId, SubnetId};
use network::{Network, NetworkError};
use support::{in_own_host, make_vm, open_network, run};

const PROJECT: ProjectId = ProjectId(1);
const SUBNET: SubnetId = SubnetId(1);

async fn with_subnet() -> Network {
    let network = open_network().await;
    network.ensure_front().await.unwrap();
    network.ensure_subnet(PROJECT, SUBNET).await.unwrap();
    network
}

async fn ports(network: &Network) -> BTreeSet<String> {
    let sight = network.inventory().await.unwrap();
    sight.projects[&PROJECT].subnets[&SUBNET].clone()
}

/// A veth pair in the host's namespace.
fn make_pair(name: &str) {
    run(&format!(
        "ip link add {name} type veth peer name {name}-far"
    ));
}

/// Their names alone: whether they are up the kernel says a moment late.
fn host_links() -> String {
    let lines = run("ip -br link");
    let names = lines
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_attached_interface_is_a_port_and_comes_back_when_it_is_detached() {
    in_own_host(async || {
        let network = with_subnet().await;
        make_pair("nic");
        for _ in 0..2 {
            network.ensure_port(PROJECT, SUBNET, "nic").await.unwrap();
            assert_eq!(ports(&network).await, ["nic".to_owned()].into());
            assert!(!host_links().contains("nic@"));
        }
        for _ in 0..2 {
            network.remove_port(PROJECT, SUBNET, "nic").await.unwrap();
            assert_eq!(ports(&network).await, BTreeSet::new());
            assert!(host_links().contains("nic@nic-far"));
        }
    });
}

#[test]
fn an_interface_that_a_crash_left_between_moving_and_enslaving_is_attached_or_given_back() {
    in_own_host(async || {
        let network = with_subnet().await;
        make_pair("nic");
        run("ip link set nic netns ek-p1");
        network.ensure_port(PROJECT, SUBNET, "nic").await.unwrap();
        assert_eq!(ports(&network).await, ["nic".to_owned()].into());
        run("ip -n ek-p1 link set nic nomaster");
        network.remove_port(PROJECT, SUBNET, "nic").await.unwrap();
        assert!(host_links().contains("nic@nic-far"));
    });
}

#[test]
fn removing_a_subnet_or_a_project_gives_its_interfaces_back() {
    in_own_host(async || {
        let network = with_subnet().await;
        network.ensure_subnet(PROJECT, SubnetId(2)).await.unwrap();
        make_pair("one");
        make_pair("two");
        make_pair("three");
        network.ensure_port(PROJECT, SUBNET, "one").await.unwrap();
        network
            .ensure_port(PROJECT, SubnetId(2), "two")
            .await
            .unwrap();
        run("ip link set three netns ek-p1");

        network.remove_subnet(PROJECT, SUBNET).await.unwrap();
        assert!(host_links().contains("one@one-far"));
        assert!(
            !host_links().contains("two@"),
            "the other subnet keeps its own"
        );
        network.remove_project(PROJECT).await.unwrap();
        for name in ["two@two-far", "three@three-far"] {
            assert!(host_links().contains(name), "{name}");
        }
    });
}

#[test]
fn an_interface_comes_back_also_when_its_name_is_taken() {
    in_own_host(async || {
        let network = with_subnet().await;
        make_pair("nic");
        network.ensure_port(PROJECT, SUBNET, "nic").await.unwrap();
        run("ip link add nic type bridge");
        network.remove_project(PROJECT).await.unwrap();
        assert!(host_links().contains("returned"), "{}", host_links());
    });
}

#[test]
fn an_interface_that_the_host_needs_is_refused_by_name_and_stays() {
    in_own_host(async || {
        let network = with_subnet().await;
        make_vm(&network, 1).await;
        make_pair("uplink");
        run("ip addr add 192.0.2.1/24 dev uplink");
        run("ip link set uplink up");
        run("ip link set uplink-far up");
        run("ip route add default via 192.0.2.2");
        make_pair("uplink6");
        run("ip link set uplink6 up");
        run("ip link set uplink6-far up");
        run("ip -6 route add default dev uplink6");
        run("ip link add theirs type bridge");
        make_pair("busy");
        run("ip link set busy master theirs");
        let before = host_links();
        for (name, reason) in [
            ("lo", "loopback"),
            ("ek-front", "own"),
            ("ekf1", "own"),
            ("uplink", "default route"),
            ("uplink6", "default route"),
            ("theirs", "bridge"),
            ("busy", "port of another"),
        ] {
            let error = network
                .ensure_port(PROJECT, SUBNET, name)
                .await
                .unwrap_err();
            assert!(
                matches!(&error, NetworkError::InterfaceRefused { interface, .. } if interface == name),
                "{name}: {error:?}"
            );
            let message = error.to_string();
            assert!(
                message.contains(name) && message.contains(reason),
                "{message}"
            );
        }
        assert_eq!(host_links(), before);
        for name in ["ekt1", "br1", "lo"] {
            let error = network
                .remove_port(PROJECT, SUBNET, name)
                .await
                .unwrap_err();
            assert!(
                matches!(error, NetworkError::InterfaceRefused { .. }),
                "{name}"
            );
        }
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    in_own_host(async || {
        let network = with_subnet().await;
        for name in ["eth9", "", "a-name-that-is-too-long-for-a-link"] {
            let error = network
                .ensure_port(PROJECT, SUBNET, name)
                .await
                .unwrap_err();
            assert!(
                matches!(&error, NetworkError::NoSuchInterface { interface } if interface == name),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_subnet_that_was_not_ensured_takes_no_interface() {
    in_own_host(async || {
        let network = with_subnet().await;
        make_pair("nic");
        for (project, subnet) in [(PROJECT, SubnetId(7)), (ProjectId(7), SUBNET)] {
            let error = network
                .ensure_port(project, subnet, "nic")
                .await
                .unwrap_err();
            assert!(matches!(error, NetworkError::Missing { .. }), "{error:?}");
        }
        assert!(host_links().contains("nic@nic-far"));
    });
}
