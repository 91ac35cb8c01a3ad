//! Nobody hears what is not for them. Each forged frame is followed by an honest one on the same way, so that
//! silence is known to be the rules' doing; and each gets through once the rules are gone, so that the
//! test is known to be able to fail.
//!
//! Where `EVENKEEL_ISOLATION_RESULTS` names a file, each attempt and what became of it is added to it, a line of JSON for
//! each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use model::{Mac, VmId};
use network::{Network, VmNics};
use support::frames::{BROADCAST, Wire, arp, ethernet, ipv6, tcp, udp};
use support::{
    GATEWAY, PATIENCE, SILENCE, ask, in_own_host, inside, make_backend, make_vm, namespace,
    open_network, run, serve,
};

const GATEWAY_MAC: Mac = Mac([0x06, 0, 10, 200, 0, 1]);
const BACKEND: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 10);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What a VM tries, and how it is known that it could have worked.
struct Attempt {
    what: &'static str,
    from: Wire,
    to: Wire,
    forged: Vec<u8>,
    /// Sent after the forged one, by `honest_from` where that is another.
    honest: Vec<u8>,
    honest_from: Option<Wire>,
}

impl Attempt {
    fn gets_through(&self) -> bool {
        self.to.drain();
        self.from.send(&self.forged);
        self.honest_from
            .as_ref()
            .unwrap_or(&self.from)
            .send(&self.honest);
        self.to.catches(b"forged", b"honest")
    }
}

/// Tells whether an attempt got through: by the rules, where it must not, and with the walls torn down, where it must.
fn tell(group: &str, what: &str, passes: bool, without: bool) {
    let Some(path) = std::env::var_os("EVENKEEL_ISOLATION_RESULTS") else {
        return;
    };
    let line = serde_json::json!({
        "group": group, "attempt": what, "passes": passes, "expected": false,
        "passes_without_rules": without, "expected_without_rules": true,
    });
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn vm_namespace(vm: &VmNics) -> PathBuf {
    namespace(&format!("ek-v{}", vm.vm))
}

/// Two VMs in two projects with the same subnet, each with a backend.
async fn two_projects(network: &Network) -> (VmNics, VmNics) {
    let first = make_vm(network, 1).await;
    let second = make_vm(network, 2).await;
    for project in [1, 2] {
        make_backend(network, project, project).await;
    }
    (first, second)
}

/// Takes away all that stands between VMs.
fn tear_down_the_walls() {
    run("nft flush ruleset");
    for project in ["ek-p1", "ek-p2"] {
        run(&format!("ip netns exec {project} nft flush ruleset"));
    }
    for port in ["ekf1", "ekf2"] {
        run(&format!("bridge link set dev {port} isolated off"));
    }
    // From one project to the other.
    run("ip -n ek-p1 link add hole type veth peer name hole netns ek-p2");
    for (project, bridge) in [("ek-p1", "br1"), ("ek-p2", "br2")] {
        run(&format!("ip -n {project} link set hole master {bridge} up"));
    }
    let deadline = Instant::now() + PATIENCE;
    let forwards = |project| {
        run(&format!(
            "ip netns exec {project} bridge link show dev hole"
        ))
        .contains("forwarding")
    };
    while !(forwards("ek-p1") && forwards("ek-p2")) {
        assert!(Instant::now() < deadline, "the hole stays shut");
    }
}

/// What the first VM may not send on the front.
fn front_attempts(me: &VmNics, other: &VmNics) -> Vec<Attempt> {
    let (nic, peer) = (&me.front, &other.front);
    let own = (nic.mac, nic.address);
    let gateway = (GATEWAY_MAC, GATEWAY);
    let link = || Wire::open(Some(&vm_namespace(me)), "front");
    let to_host = |what, forged| Attempt {
        what,
        from: link(),
        to: Wire::open(None, "ek-front"),
        forged,
        honest: udp(gateway, own, b"honest"),
        honest_from: None,
    };
    let to_other = |what, forged| Attempt {
        what,
        from: link(),
        to: Wire::open(Some(&vm_namespace(other)), "front"),
        forged,
        honest: udp((peer.mac, peer.address), gateway, b"honest"),
        honest_from: Some(Wire::open(None, "ek-front")),
    };
    let false_address = Ipv4Addr::new(10, 200, 0, 99);
    vec![
        to_host(
            "a false IPv4 source",
            udp(gateway, (nic.mac, false_address), b"forged"),
        ),
        to_host(
            "another VM's IPv4 source",
            udp(gateway, (nic.mac, peer.address), b"forged"),
        ),
        to_host(
            "a false MAC",
            udp(gateway, (OTHER_MAC, nic.address), b"forged"),
        ),
        to_host(
            "a false ARP address",
            arp(nic.mac, (nic.mac, peer.address), GATEWAY, b"forged"),
        ),
        to_host(
            "the gateway's ARP address",
            arp(nic.mac, (nic.mac, GATEWAY), GATEWAY, b"forged"),
        ),
        to_host(
            "a false ARP MAC",
            arp(nic.mac, (OTHER_MAC, nic.address), GATEWAY, b"forged"),
        ),
        to_host("IPv6", ipv6(GATEWAY_MAC, nic.mac, b"forged")),
        to_host(
            "a VLAN tag",
            ethernet(
                GATEWAY_MAC,
                nic.mac,
                0x8100,
                &[b"\0\x01\x08\0", &b"forged"[..]].concat(),
            ),
        ),
        to_other(
            "a datagram to another VM",
            udp((peer.mac, peer.address), own, b"forged"),
        ),
        to_other(
            "a segment to another VM",
            tcp((peer.mac, peer.address), own, ACK, b"forged"),
        ),
        to_other(
            "ARP for another VM",
            arp(nic.mac, own, peer.address, b"forged"),
        ),
        to_other(
            "a datagram to another VM by the host's routing",
            udp((GATEWAY_MAC, peer.address), own, b"forged"),
        ),
        to_other(
            "a segment to another VM by the host's routing",
            tcp((GATEWAY_MAC, peer.address), own, ACK, b"forged"),
        ),
    ]
}

/// What the first VM may not send on its tenant NIC.
fn tenant_attempts(me: &VmNics, other: &VmNics) -> Vec<Attempt> {
    let nic = &me.tenant;
    let own = (nic.mac, nic.address);
    let to_backend = (BROADCAST, BACKEND);
    let at = |backend: &str| Wire::open(Some(&namespace(backend)), "eth0");
    let link = |vm: &VmNics| Wire::open(Some(&vm_namespace(vm)), "tenant");
    let to_own = |what, forged| Attempt {
        what,
        from: link(me),
        to: at("backend1"),
        forged,
        honest: udp(to_backend, own, b"honest"),
        honest_from: None,
    };
    let to_other = |what, forged| Attempt {
        what,
        from: link(me),
        to: at("backend2"),
        forged,
        honest: udp(
            to_backend,
            (other.tenant.mac, other.tenant.address),
            b"honest",
        ),
        honest_from: Some(link(other)),
    };
    let false_address = Ipv4Addr::new(1, 1, 1, 99);
    vec![
        to_own(
            "a false IPv4 source to a backend",
            udp(to_backend, (nic.mac, false_address), b"forged"),
        ),
        to_own(
            "its front address as source",
            udp(to_backend, (nic.mac, me.front.address), b"forged"),
        ),
        to_own(
            "a false MAC to a backend",
            udp(to_backend, (OTHER_MAC, nic.address), b"forged"),
        ),
        to_own(
            "the backend's ARP address",
            arp(nic.mac, (nic.mac, BACKEND), BACKEND, b"forged"),
        ),
        to_own("IPv6 to a backend", ipv6(BROADCAST, nic.mac, b"forged")),
        to_other(
            "a datagram to another project's backend",
            udp(to_backend, own, b"forged"),
        ),
        to_other(
            "ARP for another project's backend",
            arp(nic.mac, own, BACKEND, b"forged"),
        ),
    ]
}

#[test]
fn no_forged_or_foreign_frame_gets_through_and_each_would_without_the_rules() {
    in_own_host(async || {
        let network = open_network().await;
        let (first, second) = two_projects(&network).await;
        // The worst case: a host that routes.
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let on_front = front_attempts(&first, &second);
        let on_tenant = tenant_attempts(&first, &second);
        let groups = [("front", on_front), ("tenant", on_tenant)];
        let attempts = || {
            groups
                .iter()
                .flat_map(|(group, all)| all.iter().map(move |a| (*group, a)))
        };
        let by_the_rules: Vec<bool> = attempts()
            .map(|(_, attempt)| attempt.gets_through())
            .collect();
        tear_down_the_walls();
        for ((group, attempt), passes) in attempts().zip(by_the_rules) {
            let without = attempt.gets_through();
            tell(group, attempt.what, passes, without);
            assert!(!passes, "{} got through", attempt.what);
            assert!(without, "{} never could", attempt.what);
        }
    });
}

#[test]
fn a_port_without_rules_of_its_own_says_nothing() {
    in_own_host(async || {
        let network = open_network().await;
        let vm = make_vm(&network, 1).await;
        let gateway = (GATEWAY_MAC, GATEWAY);
        let own = (vm.front.mac, vm.front.address);
        let other = make_vm(&network, 2).await;
        let honest = (other.front.mac, other.front.address);
        let attempt = Attempt {
            what: "a port without rules",
            from: Wire::open(Some(&vm_namespace(&vm)), "front"),
            to: Wire::open(None, "ek-front"),
            forged: udp(gateway, own, b"forged"),
            honest: udp(gateway, honest, b"honest"),
            honest_from: Some(Wire::open(Some(&vm_namespace(&other)), "front")),
        };
        assert!(attempt.gets_through());
        run("nft delete element bridge ek ports {\"ekf1\"}");
        assert!(!attempt.gets_through());
    });
}

#[test]
fn each_vm_reaches_its_own_projects_backend_at_the_same_address() {
    in_own_host(async || {
        let network = open_network().await;
        let (first, second) = two_projects(&network).await;
        for (backend, greeting) in [("backend1", "one"), ("backend2", "two")] {
            inside(&namespace(backend), || serve(8080, greeting));
        }
        for (vm, greeting) in [(&first, "one"), (&second, "two")] {
            let answer = inside(&vm_namespace(vm), || ask(BACKEND, 8080, PATIENCE));
            assert_eq!(answer.as_deref(), Some(greeting));
        }
        assert_eq!(
            ask(BACKEND, 8080, SILENCE),
            None,
            "the host has no way there"
        );
    });
}

#[test]
fn the_host_and_routed_clients_reach_a_vm_and_it_reaches_neither() {
    in_own_host(async || {
        let network = open_network().await;
        let (first, second) = two_projects(&network).await;
        let client_address = Ipv4Addr::new(192, 0, 2, 2);
        run("ip netns add client");
        run("ip link add wan type veth peer name eth0 netns client");
        run("ip addr add 192.0.2.1/24 dev wan");
        run("ip link set wan up");
        run("ip -n client addr add 192.0.2.2/24 dev eth0");
        run("ip -n client link set eth0 up");
        run("ip -n client route add default via 192.0.2.1");
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let (client, vm) = (namespace("client"), vm_namespace(&first));
        inside(&client, || serve(80, "client"));
        inside(&vm, || serve(80, "vm"));
        inside(&vm_namespace(&second), || serve(80, "other vm"));
        serve(81, "host");

        let from_vm = |address, port, wait| inside(&vm, || ask(address, port, wait));
        let targets = [
            ("a connection to the host's own server", GATEWAY, 81),
            (
                "a connection to the host's other address",
                Ipv4Addr::new(192, 0, 2, 1),
                81,
            ),
            (
                "a connection to a client behind the host",
                client_address,
                80,
            ),
            (
                "a connection to another project's VM",
                second.front.address,
                80,
            ),
        ];
        let from_host = ask(first.front.address, 80, PATIENCE);
        assert_eq!(from_host.as_deref(), Some("vm"));
        let from_client = inside(&client, || ask(first.front.address, 80, PATIENCE));
        assert_eq!(from_client.as_deref(), Some("vm"));
        let by_the_rules = targets.map(|(_, address, port)| from_vm(address, port, SILENCE));
        tear_down_the_walls();
        for ((what, address, port), heard) in targets.into_iter().zip(by_the_rules) {
            let without = from_vm(address, port, PATIENCE).is_some();
            tell("connections", what, heard.is_some(), without);
            assert_eq!(heard, None, "{what}");
            assert!(without, "{what}");
        }
    });
}

#[test]
fn segments_that_open_a_connection_are_told_from_those_that_answer() {
    in_own_host(async || {
        let network = open_network().await;
        let vm = make_vm(&network, 1).await;
        run("ip link add wan type veth peer name far");
        run("ip link set wan up");
        run("ip link set far up");
        run("ip addr add 192.0.2.1/24 dev wan");
        run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:99 dev wan");
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let outside = Ipv4Addr::new(192, 0, 2, 2);
        let own = (vm.front.mac, vm.front.address);
        const FIN: u8 = 0x01;
        const PUSH: u8 = 0x08;
        const RST: u8 = 0x04;
        let to = (GATEWAY_MAC, outside);
        for (flags, passes) in [
            (SYN, false),
            (SYN | FIN, false),
            (SYN | RST, false),
            (SYN | PUSH | FIN, false),
            (SYN | ACK, true),
            (ACK, true),
            (FIN | ACK, true),
            (RST, true),
        ] {
            let attempt = Attempt {
                what: "a segment",
                from: Wire::open(Some(&vm_namespace(&vm)), "front"),
                to: Wire::open(None, "far"),
                forged: tcp(to, own, flags, b"forged"),
                honest: tcp(to, own, ACK, b"honest"),
                honest_from: None,
            };
            assert_eq!(attempt.gets_through(), passes, "flags {flags:#04x}");
        }
    });
}

#[test]
fn a_vm_gets_no_frame_that_is_for_another() {
    in_own_host(async || {
        let network = open_network().await;
        let (first, second) = two_projects(&network).await;
        let host = || Wire::open(None, "ek-front");
        let gateway = (GATEWAY_MAC, GATEWAY);
        network.remove_vm_nics(VmId(2)).await.unwrap();
        let attempt = Attempt {
            what: "a frame for a VM that is gone",
            from: host(),
            to: Wire::open(Some(&vm_namespace(&first)), "front"),
            forged: udp((second.front.mac, second.front.address), gateway, b"forged"),
            honest: udp((first.front.mac, first.front.address), gateway, b"honest"),
            honest_from: None,
        };
        assert!(!attempt.gets_through());
        run("bridge link set dev ekf1 flood on");
        assert!(attempt.gets_through());
    });
}

#[test]
fn a_host_that_filters_bridged_frames_and_forwards_nothing_still_reaches_its_vms() {
    in_own_host(async || {
        let network = open_network().await;
        run("nft add table inet strict");
        run(
            "nft add chain inet strict forward { type filter hook forward priority 0 ; policy drop ; }",
        );
        let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        let is_there = fs::write(switch, "1").is_ok();
        let (first, _) = two_projects(&network).await;
        inside(&vm_namespace(&first), || serve(80, "vm"));
        inside(&namespace("backend1"), || serve(8080, "backend"));
        assert_eq!(
            ask(first.front.address, 80, PATIENCE).as_deref(),
            Some("vm")
        );
        let answer = inside(&vm_namespace(&first), || ask(BACKEND, 8080, PATIENCE));
        assert_eq!(answer.as_deref(), Some("backend"));
        if is_there {
            assert_eq!(
                fs::read_to_string(switch).unwrap().trim(),
                "1",
                "not ours to change"
            );
            let in_project = inside(&namespace("ek-p1"), || fs::read_to_string(switch));
            assert_eq!(in_project.unwrap().trim(), "0");
        }
    });
}
