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

use model::VmId;
use model::figures::COLLECTD_PORT;
use support::{GATEWAY, SILENCE, in_own_host, inside, make_vm, namespace, open_network, run};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where the VM tries to be heard: on the monitor's port and address, on another port, on another address.
struct Listener {
    monitor: UdpSocket,
    other_port: UdpSocket,
    other_address: UdpSocket,
}

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

    /// Who of the three hears the VM.
    fn hear(&self, vm: &str) -> [bool; 3] {
        let sockets = [&self.monitor, &self.other_port, &self.other_address];
        sockets.map(|socket| {
            let to = socket.local_addr().unwrap();
            inside(&namespace(vm), || {
                let from = UdpSocket::bind("0.0.0.0:0").unwrap();
                from.send_to(b"figures", to).unwrap();
            });
            socket.recv(&mut [0; 16]).is_ok()
        })
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
        assert_eq!(listener.hear("ek-v1"), [true, false, false]);
        network.set_fence(vm.vm, true).await.unwrap();
        assert_eq!(listener.hear("ek-v1"), [false; 3]);
        network.set_fence(vm.vm, false).await.unwrap();
        assert_eq!(listener.hear("ek-v1"), [true, false, false]);
        run("nft delete table inet ek");
        assert_eq!(
            listener.hear("ek-v1"),
            [true; 3],
            "the rules keep it from the others"
        );
    });
}
