//! What somebody does to a network by hand is seen for what it is, and put right under a VM that runs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::net::Ipv4Addr;
use std::time::Instant;

use model::{Driver, NetworkSight, NicSight, VmId};
use network::Network;
use support::guest::Guest;
use support::talk::{Asker, Server};
use support::{PATIENCE, in_own_host, make_backend, open_network, run};

const BACKEND: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 10);

/// What is done, and what is not whole any more.
struct Damage {
    deeds: &'static [&'static str],
    machine: bool,
    front: bool,
    tenant: bool,
}

const fn damage(deeds: &'static [&'static str], parts: [bool; 3]) -> Damage {
    let [machine, front, tenant] = parts;
    Damage {
        deeds,
        machine,
        front,
        tenant,
    }
}

/// Parts: the front of the machine, the VM's front NIC, its tenant NIC.
const TO_ANY_VM: &[Damage] = &[
    damage(&["nft flush ruleset"], [true, true, true]),
    damage(&["nft delete table inet ek"], [true, true, false]),
    damage(
        &["nft flush chain bridge ek prerouting"],
        [true, true, false],
    ),
    damage(&["nft flush chain inet ek replies"], [true, true, false]),
    damage(
        &["nft insert rule bridge ek from_vm accept"],
        [true, true, false],
    ),
    damage(
        &["nft insert rule bridge ek ekf1 accept"],
        [false, true, false],
    ),
    damage(
        &["nft add rule bridge ek ekf1 accept"],
        [false, true, false],
    ),
    damage(
        &["nft delete element bridge ek ports {\"ekf1\"}"],
        [false, true, false],
    ),
    damage(
        &["ip netns exec ek-p1 nft flush ruleset"],
        [false, false, true],
    ),
    damage(
        &["ip netns exec ek-p1 nft flush chain bridge ek postrouting"],
        [false, false, true],
    ),
    damage(
        &["ip netns exec ek-p1 nft flush chain bridge ek ekt1"],
        [false, false, true],
    ),
    damage(&["ip link del ek-front"], [true, true, false]),
    damage(&["ip link set ek-front down"], [true, true, false]),
    damage(&["ip addr flush dev ek-front"], [true, false, false]),
    damage(
        &["ip addr del 10.200.255.254/32 dev ek-front"],
        [true, false, false],
    ),
    damage(&["ip -n ek-p1 link del br1"], [false, false, true]),
    damage(&["ip -n ek-p1 link set br1 down"], [false, false, true]),
    damage(&["ip link set ekf1 down"], [false, true, false]),
    damage(&["ip link set ekf1 nomaster"], [false, true, false]),
    damage(
        &[
            "ip link set ekf1 nomaster",
            "ip link set ekf1 master ek-front",
        ],
        [false, true, false],
    ),
    damage(
        &["bridge link set dev ekf1 isolated off"],
        [false, true, false],
    ),
    damage(&["ip -n ek-p1 link set ekt1 down"], [false, false, true]),
    damage(
        &[
            "ip -n ek-p1 link add other type bridge",
            "ip -n ek-p1 link set ekt1 master other",
        ],
        [false, false, true],
    ),
    damage(
        &[
            "ip link del ek-front",
            "nft flush ruleset",
            "ip netns exec ek-p1 nft flush ruleset",
        ],
        [true, true, true],
    ),
];

/// What only a VM of the process driver lives through.
const TO_A_PROCESS: &[Damage] = &[
    damage(&["ip link del ekf1"], [false, true, false]),
    damage(&["ip -n ek-p1 link del ekt1"], [false, false, true]),
    damage(&["ip -n ek-v1 link set front down"], [false, true, false]),
    damage(&["ip -n ek-v1 link set tenant down"], [false, false, true]),
    damage(&["ip netns del ek-p1"], [false, false, true]),
];

fn expected(damage: &Damage, known: &NicSight) -> (bool, NicSight) {
    let nics = NicSight {
        front: !damage.front,
        tenant: !damage.tenant,
        // Told by the other tests: rules that are gone may have been a fence.
        fenced: known.fenced,
        lost: false,
    };
    (!damage.machine, nics)
}

fn is_whole(sight: &NetworkSight) -> bool {
    let nics = NicSight {
        front: true,
        tenant: true,
        fenced: Some(false),
        lost: false,
    };
    sight.front && sight.vm_nics[&VmId(1)] == nics
}

/// What the controller does about anything that is not whole.
async fn put_right(network: &Network, guest: &Guest) {
    network.ensure_front().await.unwrap();
    let (project, subnet) = (guest.nics.project, guest.nics.subnet);
    network.ensure_subnet(project, subnet).await.unwrap();
    guest.mend(network).await.unwrap();
}

/// A look once the kernel has noticed what became of the carriers, which it does a moment later.
async fn wait_until_whole(network: &Network, after: &Damage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sight = network.inventory().await.unwrap();
        if is_whole(&sight) {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}: {sight:?}", after.deeds);
        tokio::task::yield_now().await;
    }
}

fn is_seen_and_put_right(driver: Driver, damages: &'static [Damage]) {
    in_own_host(async move || {
        let network = open_network().await;
        let guest = Guest::start(&network, driver).await;
        let backend = make_backend(&network, 1, 1).await;
        let front = Server::start(&guest.namespace, guest.nics.front.address, 80);
        let behind = Server::start(&backend, BACKEND, 8080);
        for damage in damages {
            wait_until_whole(&network, damage).await;
            damage.deeds.iter().for_each(|deed| drop(run(deed)));
            let sight = network.inventory().await.unwrap();
            let nics = sight.vm_nics[&VmId(1)];
            assert_eq!(
                (sight.front, nics),
                expected(damage, &nics),
                "{:?}",
                damage.deeds
            );
            put_right(&network, &guest).await;
            wait_until_whole(&network, damage).await;
            // A virtual link dies with the namespace that it was attached to.
            if run("ip -n ek-p1 link").contains("be1") {
                network
                    .ensure_port(guest.nics.project, guest.nics.subnet, "be1")
                    .await
                    .unwrap();
                assert!(
                    behind.meet(Asker::In(&guest.namespace)).passes(),
                    "{:?}",
                    damage.deeds
                );
            }
            assert!(front.meet(Asker::Host).passes(), "{:?}", damage.deeds);
        }
    });
}

#[test]
fn damage_to_a_processs_network_is_seen_and_put_right() {
    is_seen_and_put_right(Driver::Process, TO_ANY_VM);
    is_seen_and_put_right(Driver::Process, TO_A_PROCESS);
}

#[test]
fn damage_to_a_machines_network_is_seen_and_put_right() {
    is_seen_and_put_right(Driver::Qemu, TO_ANY_VM);
}

#[test]
fn a_tap_that_is_taken_from_a_machine_is_lost_until_it_starts_anew() {
    for deed in [
        "ip link del ekf1",
        "ip -n ek-p1 link del ekt1",
        "ip netns del ek-p1",
    ] {
        in_own_host(async move || {
            let network = open_network().await;
            let guest = Guest::start(&network, Driver::Qemu).await;
            run(deed);
            let look = async || network.inventory().await.unwrap().vm_nics[&VmId(1)];
            let seen = look().await;
            assert!(seen.lost && !seen.is_whole(), "{deed}: {seen:?}");
            network
                .ensure_subnet(guest.nics.project, guest.nics.subnet)
                .await
                .unwrap();
            assert!(guest.mend(&network).await.is_err(), "{deed}");
            assert!(look().await.lost, "{deed}");
            let taps = network.ensure_tap_nics(&guest.nics).await.unwrap();
            assert!(look().await.is_whole() && !look().await.lost, "{deed}");
            drop(taps);
        });
    }
}

#[test]
fn a_process_whose_namespace_lost_its_name_is_lost() {
    in_own_host(async || {
        let network = open_network().await;
        let guest = Guest::start(&network, Driver::Process).await;
        let inside = std::fs::File::open(&guest.namespace).unwrap();
        run("ip netns del ek-v1");
        let seen = network.inventory().await.unwrap().vm_nics[&VmId(1)];
        assert!(seen.lost, "{seen:?}");
        drop(inside);
    });
}

#[test]
fn what_is_left_of_a_vm_by_a_flushed_host_is_seen_and_removed() {
    in_own_host(async || {
        let network = open_network().await;
        let guest = Guest::start(&network, Driver::Process).await;
        network.set_fence(VmId(1), true).await.unwrap();
        run("nft flush ruleset");
        run("ip -n ek-p1 link del ekt1");
        run("ip netns del ek-v1");
        // Of the VM there are the rules in its project alone.
        let sight = network.inventory().await.unwrap();
        assert!(sight.vm_nics.keys().eq(&[guest.nics.vm]));
        network.remove_vm_nics(VmId(1)).await.unwrap();
        let sight = network.inventory().await.unwrap();
        assert!(sight.vm_nics.is_empty(), "{sight:?}");
        let rules = run("ip netns exec ek-p1 nft list ruleset");
        assert!(!rules.contains("ekt1"), "{rules}");
    });
}
