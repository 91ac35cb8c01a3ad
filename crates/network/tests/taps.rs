//! Taps carry frames for whoever holds their descriptors, and go when nobody does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use model::VmId;
use network::{Network, NetworkError, VmNics};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::frames::{Wire, arp, udp};
use support::{GATEWAY, PATIENCE, in_own_host, make_backend, namespace, nics, open_network, run};

/// Bytes of the virtio-net header before each frame, all zero where nothing is offloaded.
const VNET_HEADER: usize = 10;

async fn with_subnet() -> (Network, VmNics) {
    let network = open_network().await;
    let nics = nics(1, 1, 1);
    network.ensure_front().await.unwrap();
    network
        .ensure_subnet(nics.project, nics.subnet)
        .await
        .unwrap();
    (network, nics)
}

fn write_frame(tap: &OwnedFd, frame: &[u8]) {
    let mut file = File::from(tap.try_clone().unwrap());
    file.write_all(&[&[0; VNET_HEADER], frame].concat())
        .unwrap();
}

/// Reads frames until one contains `part`.
fn read_frame(tap: &OwnedFd, part: &[u8]) {
    let mut file = File::from(tap.try_clone().unwrap());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap();
        let mut readable = [PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN)];
        assert_eq!(
            poll(&mut readable, Some(&timeout)).unwrap(),
            1,
            "no such frame"
        );
        let mut buffer = [0; 2048];
        let length = file.read(&mut buffer).unwrap();
        if buffer[VNET_HEADER..length]
            .windows(part.len())
            .any(|window| window == part)
        {
            return;
        }
    }
}

#[test]
fn both_taps_pass_frames_each_way() {
    in_own_host(async || {
        let (network, vm) = with_subnet().await;
        let backend = make_backend(&network, 1, 1).await;
        let taps = network.ensure_tap_nics(&vm).await.unwrap();
        for (tap, nic, far, target) in [
            (
                &taps.front,
                &vm.front,
                Wire::open(None, "ek-front"),
                GATEWAY,
            ),
            (
                &taps.tenant,
                &vm.tenant,
                Wire::open(Some(&backend), "eth0"),
                [1, 1, 1, 10].into(),
            ),
        ] {
            let own = (nic.mac, nic.address);
            write_frame(tap, &arp(nic.mac, own, target, b"from the vm"));
            far.catches(b"forged", b"from the vm");
            far.send(&udp(own, (far_mac(&far), target), b"to the vm"));
            read_frame(tap, b"to the vm");
        }
    });
}

/// The MAC of the far side's link, so that the frame is an honest one.
fn far_mac(far: &Wire) -> model::Mac {
    let line = match far.name.starts_with("eth0") {
        true => run("ip -n backend1 -br link show eth0"),
        false => run("ip -br link show ek-front"),
    };
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_tap_may_say_only_what_its_nic_may() {
    in_own_host(async || {
        let (network, vm) = with_subnet().await;
        let taps = network.ensure_tap_nics(&vm).await.unwrap();
        let host = Wire::open(None, "ek-front");
        let own = (vm.front.mac, vm.front.address);
        write_frame(
            &taps.front,
            &arp(vm.front.mac, (vm.front.mac, GATEWAY), GATEWAY, b"forged"),
        );
        write_frame(&taps.front, &arp(vm.front.mac, own, GATEWAY, b"honest"));
        assert!(!host.catches(b"forged", b"honest"));
    });
}

#[test]
fn taps_vanish_with_their_last_descriptor_and_the_rest_is_still_seen_and_removed() {
    in_own_host(async || {
        let (network, vm) = with_subnet().await;
        let taps = network.ensure_tap_nics(&vm).await.unwrap();
        assert!(run("ip -br link").contains("ekf1"));
        assert!(run("ip -n ek-p1 -br link").contains("ekt1"));
        drop(taps);
        assert!(!run("ip -br link").contains("ekf1"));
        assert!(!run("ip -n ek-p1 -br link").contains("ekt1"));
        assert!(run("ip neigh").contains("10.200.0.11"));
        assert!(
            network
                .inventory()
                .await
                .unwrap()
                .vm_nics
                .keys()
                .eq(&[VmId(1)])
        );
        network.remove_vm_nics(VmId(1)).await.unwrap();
        assert!(network.inventory().await.unwrap().vm_nics.keys().eq(&[]));
        assert!(!run("ip neigh").contains("10.200.0.11"));
        assert!(!run("nft list ruleset").contains("ekf1"));
        let rules = run("ip netns exec ek-p1 nft list ruleset");
        assert!(!rules.contains("ekt1"), "{rules}");
    });
}

#[test]
fn taps_that_are_asked_for_again_are_new_ones() {
    in_own_host(async || {
        let (network, vm) = with_subnet().await;
        run("ip tuntap add ekf1 mode tap");
        run("ip netns exec ek-p1 ip tuntap add ekt1 mode tap");
        let old = network.ensure_tap_nics(&vm).await.unwrap();
        let new = network.ensure_tap_nics(&vm).await.unwrap();
        let host = Wire::open(None, "ek-front");
        let own = (vm.front.mac, vm.front.address);
        write_frame(&new.front, &arp(vm.front.mac, own, GATEWAY, b"honest"));
        host.catches(b"forged", b"honest");
        let mut dead = File::from(old.front);
        assert!(dead.write_all(&[0; 64]).is_err());
    });
}

#[test]
fn a_vm_without_front_or_subnet_gets_no_nics() {
    in_own_host(async || {
        let network = open_network().await;
        let vm = nics(1, 1, 1);
        let error = network.ensure_tap_nics(&vm).await.unwrap_err();
        assert!(error.to_string().contains("ek-front"), "{error}");
        network.ensure_front().await.unwrap();
        for _ in 0..2 {
            let error = network.ensure_veth_nics(&vm).await.unwrap_err();
            assert!(matches!(error, NetworkError::Missing { .. }), "{error}");
            network.ensure_project(vm.project).await.unwrap();
        }
        assert!(!namespace("ek-v1").exists());
    });
}
