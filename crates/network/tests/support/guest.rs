//! What runs behind a VM's NICs: under `process` a namespace, under `qemu` here a namespace as well, whose
//! frames are carried to and from the taps by hand, as QEMU does.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;

use model::{BootNic, Driver, Mac};
use network::{Network, TapNics, VmNics};

use super::frames::Wire;
use super::{namespace, run};

/// Bytes of the virtio-net header before each frame.
const VNET_HEADER: usize = 10;
/// Of an Ethernet and an IPv4 header without options.
const TCP_AT: u16 = 14 + 20;
/// The checksum's place in a TCP header.
const CHECKSUM_AT: u16 = 16;

/// Both drivers.
pub const DRIVERS: [Driver; 2] = [Driver::Process, Driver::Qemu];

/// A VM with a network stack behind its NICs.
pub struct Guest {
    driver: Driver,
    /// The namespace that its stack is in.
    pub namespace: PathBuf,
    pub nics: VmNics,
}

impl Guest {
    /// VM 1 in project 1, on subnet 1.
    pub async fn start(network: &Network, driver: Driver) -> Self {
        let nics = super::nics(1, 1, 1);
        network.ensure_front().await.unwrap();
        network
            .ensure_subnet(nics.project, nics.subnet)
            .await
            .unwrap();
        let namespace = match driver {
            Driver::Process => {
                network.ensure_veth_nics(&nics).await.unwrap();
                network.vm_namespace_path(nics.vm)
            }
            Driver::Qemu => {
                run("ip netns add guest");
                // Not the host's, which would answer the guest's ARP on the cable.
                run("ip netns add cable");
                let taps = network.ensure_tap_nics(&nics).await.unwrap();
                plug_in(taps, &nics);
                namespace("guest")
            }
        };
        Self {
            driver,
            namespace,
            nics,
        }
    }

    /// Puts right what can be put right while it runs, as is done for a VM that is there already.
    pub async fn mend(&self, network: &Network) -> Result<(), network::NetworkError> {
        match self.driver {
            Driver::Process => network.ensure_veth_nics(&self.nics).await,
            Driver::Qemu => network.mend_tap_nics(&self.nics).await,
        }
    }
}

fn plug_in(taps: TapNics, nics: &VmNics) {
    for (tap, name, nic) in [
        (taps.front, "front", &nics.front),
        (taps.tenant, "tenant", &nics.tenant),
    ] {
        let BootNic {
            mac,
            address,
            prefix,
            ..
        } = nic;
        run(&format!(
            "ip -n cable link add {name} type veth peer name {name} address {mac} netns guest"
        ));
        run(&format!("ip -n cable link set {name} up"));
        run(&format!("ip -n guest link set {name} up"));
        run(&format!(
            "ip -n guest addr add {address}/{prefix} dev {name}"
        ));
        carry(tap, name, nic.mac);
    }
    run("ip -n guest route add default via 10.200.0.1");
}

/// Carries frames both ways until the test's process ends.
fn carry(tap: OwnedFd, link: &str, mac: Mac) {
    let cable = namespace("cable");
    let open = || Wire::open(Some(&cable), link);
    let (inward, outward) = (open(), open());
    let mut from_tap = File::from(tap.try_clone().unwrap());
    let mut to_tap = File::from(tap);
    thread::spawn(move || {
        let mut frame = [0; 65_536];
        while let Ok(length) = from_tap.read(&mut frame) {
            inward.send(&frame[VNET_HEADER..length]);
        }
    });
    thread::spawn(move || {
        loop {
            let frame = outward.receive();
            // A packet socket hears also what the other one sends.
            let is_from_guest = frame.get(6..12).is_some_and(|from| from == mac.0);
            if is_from_guest {
                let whole = [&header(&frame), &frame[..]].concat();
                // A tap that is down takes no frame, and takes the next once it is up again.
                drop(to_tap.write_all(&whole));
            }
        }
    });
}

/// A stack leaves TCP's checksum to be finished by the NIC, and the NIC says so (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
fn header(frame: &[u8]) -> [u8; VNET_HEADER] {
    let mut header = [0; VNET_HEADER];
    let is_tcp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&6);
    if is_tcp {
        header[0] = 1;
        header[6..8].copy_from_slice(&TCP_AT.to_ne_bytes());
        header[8..10].copy_from_slice(&CHECKSUM_AT.to_ne_bytes());
    }
    header
}
