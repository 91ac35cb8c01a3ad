//! A VM sends its figures to the monitor's port, and speaks of its own accord to nothing else of the host's.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of what supports them"
)]

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use model::VmId;
use model::figures::COLLECTD_PORT;
use support::{
    GATEWAY, PATIENCE, SILENCE, in_own_host, inside, make_vm, namespace, open_network, run,
};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where the VM tries to be heard: on the monitor's port and address, on another port, on another address.
struct Listener {
    monitor: UdpSocket,
    other_port: UdpSocket,
    other_address: UdpSocket,
}

/// What is sent from behind the fence, and at no other time.
const BEHIND_FENCE: u8 = u8::MAX;

impl Listener {
    fn open() -> Self {
        let bind = |address, port| {
            let socket = UdpSocket::bind((address, port)).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket
        };
        Self {
            monitor: bind(GATEWAY, COLLECTD_PORT),
            other_port: bind(GATEWAY, COLLECTD_PORT + 1),
            other_address: bind(ELSEWHERE, COLLECTD_PORT),
        }
    }

    /// Who of the three hears the VM. `figures` differ from any that were sent before, which may come late.
    fn hear(&self, vm: &str, figures: u8) -> [bool; 3] {
        let sockets = [&self.monitor, &self.other_port, &self.other_address];
        sockets.map(|socket| {
            let to = socket.local_addr().unwrap();
            inside(&namespace(vm), || {
                let from = UdpSocket::bind("0.0.0.0:0").unwrap();
                from.send_to(&[figures], to).unwrap();
            });
            let mut heard = [0];
            while socket.recv(&mut heard).is_ok() {
                if heard == [figures] {
                    return true;
                }
            }
            false
        })
    }

    /// Those who are to hear the VM do so, on a host that is busy not at once, and nobody else ever does.
    fn await_hearing(&self, vm: &str, expected: [bool; 3], why: &str) {
        let deadline = Instant::now() + PATIENCE;
        for figures in 0..BEHIND_FENCE {
            let heard = self.hear(vm, figures);
            if heard == expected {
                return;
            }
            let is_late = heard
                .iter()
                .zip(expected)
                .all(|(heard, is_to)| !heard || is_to);
            assert!(is_late && Instant::now() < deadline, "{heard:?}: {why}");
        }
    }
}

#[test]
fn a_vms_figures_reach_the_monitors_port_alone_and_not_from_behind_a_fence() {
    in_own_host(async || {
        let network = open_network().await;
        let vm = make_vm(&network, 1).await;
        assert_eq!(vm.vm, VmId(1));
        run("ip addr add 192.0.2.1/32 dev lo");
        let listener = Listener::open();
        listener.await_hearing("ek-v1", [true, false, false], "figures do not come");
        network.set_fence(vm.vm, true).await.unwrap();
        assert_eq!(listener.hear("ek-v1", BEHIND_FENCE), [false; 3]);
        network.set_fence(vm.vm, false).await.unwrap();
        listener.await_hearing("ek-v1", [true, false, false], "the fence stays");
        run("nft delete table inet ek");
        listener.await_hearing("ek-v1", [true; 3], "the rules keep it from the others");
    });
}
