//! A fenced VM hears and answers the checker and nobody else, until it is opened again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use model::{Driver, NicSight, VmId};
use network::{Network, NetworkError};
use support::guest::{DRIVERS, Guest};
use support::talk::{Asker, Server, Talk};
use support::{
    assert_same, in_own_host, inside, make_backend, make_vm, namespace, nics, open_network, run,
    snapshot, wait_for_carrier,
};

const BACKEND: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 10);

/// A client to whom the host routes.
fn make_client() -> PathBuf {
    run("ip netns add client");
    run("ip link add wan type veth peer name eth0 netns client");
    run("ip addr add 192.0.2.1/24 dev wan");
    run("ip link set wan up");
    run("ip -n client addr add 192.0.2.2/24 dev eth0");
    run("ip -n client link set eth0 up");
    run("ip -n client route add default via 192.0.2.1");
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    namespace("client")
}

async fn sight(network: &Network) -> NicSight {
    network.inventory().await.unwrap().vm_nics[&VmId(1)]
}

/// A VM and all who may have to do with it.
struct Scene {
    network: Network,
    guest: Guest,
    client: PathBuf,
    service: Server,
    backend: Server,
}

impl Scene {
    async fn set(driver: Driver) -> Self {
        let network = open_network().await;
        let guest = Guest::start(&network, driver).await;
        let backend = make_backend(&network, 1, 1).await;
        Self {
            service: Server::start(&guest.namespace, guest.nics.front.address, 80),
            backend: Server::start(&backend, BACKEND, 8080),
            client: make_client(),
            network,
            guest,
        }
    }

    async fn fence(&self, fenced: bool) {
        self.network.set_fence(VmId(1), fenced).await.unwrap();
        let expected = NicSight {
            front: true,
            tenant: true,
            fenced: Some(fenced),
            lost: false,
        };
        assert_eq!(sight(&self.network).await, expected);
        assert_eq!(sight(&open_network().await).await, expected);
    }

    fn clients(&self) -> [Asker<'_>; 2] {
        [Asker::Host, Asker::In(&self.client)]
    }

    fn reach_backend(&self) -> Talk {
        self.backend.meet(Asker::In(&self.guest.namespace))
    }

    fn assert_closed_to_new(&self) {
        for asker in self.clients() {
            assert_eq!(self.service.refuses(asker), ErrorKind::ConnectionRefused);
        }
        let guest = Asker::In(&self.guest.namespace);
        assert_eq!(self.backend.refuses(guest), ErrorKind::TimedOut);
        assert!(self.service.meet(Asker::Checker).passes());
    }

    fn assert_open(&self) {
        for asker in self.clients() {
            assert!(self.service.meet(asker).passes(), "{asker:?}");
        }
        assert!(self.reach_backend().passes());
        assert!(self.service.meet(Asker::Checker).passes());
    }
}

fn shuts_out_all_but_the_checker(driver: Driver) {
    in_own_host(async move || {
        let scene = Scene::set(driver).await;
        let mut waiting: Vec<Talk> = scene.clients().map(|c| scene.service.meet(c)).into();
        let mut asking: Vec<Talk> = scene.clients().map(|c| scene.service.meet(c)).into();
        let mut checker = scene.service.meet(Asker::Checker);
        let mut upward = scene.reach_backend();
        for talk in waiting.iter_mut().chain(&mut asking) {
            assert!(talk.passes());
            assert!(talk.asks(), "a request that is answered too late");
        }
        assert!(checker.passes() && upward.passes());

        scene.fence(true).await;
        for talk in &mut waiting {
            assert!(!talk.answers());
        }
        for talk in &mut asking {
            assert!(!talk.asks());
            assert!(talk.is_over());
        }
        assert!(!upward.asks() && !upward.answers());
        assert!(checker.passes());
        scene.assert_closed_to_new();

        scene.fence(false).await;
        scene.assert_open();
        assert!(checker.passes());
    });
}

#[test]
fn a_fenced_process_serves_nobody_but_the_checker_those_neither_who_are_connected() {
    shuts_out_all_but_the_checker(Driver::Process);
}

#[test]
fn a_fenced_machine_serves_nobody_but_the_checker_those_neither_who_are_connected() {
    shuts_out_all_but_the_checker(Driver::Qemu);
}

fn survives(driver: Driver) {
    in_own_host(async move || {
        let mut scene = Scene::set(driver).await;
        scene.fence(true).await;
        wait_for_carrier(if driver == Driver::Process {
            "ek-v1"
        } else {
            "guest"
        });
        let before = snapshot(&["ek-p1"]);
        scene.fence(true).await;
        scene.network = open_network().await;
        scene.network.ensure_front().await.unwrap();
        let (project, subnet) = (scene.guest.nics.project, scene.guest.nics.subnet);
        scene.network.ensure_subnet(project, subnet).await.unwrap();
        scene.guest.mend(&scene.network).await.unwrap();
        assert_same(&before, &snapshot(&["ek-p1"]));
        scene.assert_closed_to_new();

        // A chain that was emptied is filled again, and the port stays closed.
        run("nft flush chain bridge ek ekf1");
        run("ip netns exec ek-p1 nft flush chain bridge ek ekt1");
        assert!(!sight(&scene.network).await.is_whole());
        scene.guest.mend(&scene.network).await.unwrap();
        scene.fence(true).await;
        scene.assert_closed_to_new();
    });
}

#[test]
fn a_fence_outlives_the_process_that_put_it_up_and_every_mending() {
    for driver in DRIVERS {
        survives(driver);
    }
}

#[test]
fn a_fence_goes_with_its_vm() {
    in_own_host(async || {
        let network = open_network().await;
        make_vm(&network, 2).await;
        network
            .ensure_subnet(nics(1, 2, 2).project, nics(1, 2, 2).subnet)
            .await
            .unwrap();
        wait_for_carrier("ek-v2");
        let namespaces = ["ek-p2", "ek-v2"];
        let before = without_handles(&snapshot(&namespaces));
        for driver in DRIVERS {
            let vm = nics(1, 2, 2);
            let mut taps = None;
            match driver {
                Driver::Process => network.ensure_veth_nics(&vm).await.unwrap(),
                Driver::Qemu => taps = Some(network.ensure_tap_nics(&vm).await.unwrap()),
            }
            network.set_fence(VmId(1), true).await.unwrap();
            let rules = run("nft list ruleset") + &run("ip netns exec ek-p2 nft list ruleset");
            assert_eq!(rules.matches("elements = { \"ek").count(), 4, "{rules}");
            network.remove_vm_nics(VmId(1)).await.unwrap();
            assert_same(&before, &without_handles(&snapshot(&namespaces)));
            assert!(
                network
                    .inventory()
                    .await
                    .unwrap()
                    .vm_nics
                    .keys()
                    .eq(&[VmId(2)])
            );
            drop(taps);
        }
    });
}

/// What nft counts up with each change.
fn without_handles(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split(" # handle").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_vm_without_nics_is_open_and_cannot_be_closed() {
    in_own_host(async || {
        let network = open_network().await;
        network.ensure_front().await.unwrap();
        let before = snapshot(&[]);
        network.set_fence(VmId(1), false).await.unwrap();
        let error = network.set_fence(VmId(1), true).await.unwrap_err();
        assert!(matches!(error, NetworkError::Missing { .. }), "{error}");
        assert_same(&before, &snapshot(&[]));
    });
}

#[test]
fn a_fence_that_is_half_up_is_seen_as_neither_and_completed_or_taken_down() {
    const HALVES: [&str; 3] = [
        "nft delete element bridge ek fenced {\"ekf1\"}",
        "nft delete element inet ek fenced {10.200.0.11}",
        "ip netns exec ek-p1 nft delete element bridge ek fenced {\"ekt1\"}",
    ];
    in_own_host(async || {
        let network = open_network().await;
        make_vm(&network, 1).await;
        for half in HALVES {
            for fenced in [true, false] {
                network.set_fence(VmId(1), true).await.unwrap();
                run(half);
                assert_eq!(sight(&network).await.fenced, None, "{half}");
                network.set_fence(VmId(1), fenced).await.unwrap();
                assert_eq!(sight(&network).await.fenced, Some(fenced), "{half}");
            }
        }
    });
}

#[test]
fn a_fence_follows_a_vm_whose_address_changes() {
    in_own_host(async || {
        let network = open_network().await;
        let mut vm = make_vm(&network, 1).await;
        network.set_fence(vm.vm, true).await.unwrap();
        vm.front.address = "10.200.0.77".parse().unwrap();
        network.ensure_veth_nics(&vm).await.unwrap();
        assert_eq!(sight(&network).await.fenced, Some(true));
        let fenced = run("nft list set inet ek fenced");
        assert!(fenced.contains("{ 10.200.0.77 }"), "{fenced}");
    });
}

#[test]
fn a_machine_on_the_front_bridge_itself_is_shut_out_too() {
    in_own_host(async || {
        let scene = Scene::set(Driver::Process).await;
        run("ip netns add neighbour");
        run("ip link add side type veth peer name eth0 netns neighbour");
        run("ip link set side master ek-front up");
        run("ip -n neighbour addr add 10.200.9.9/16 dev eth0");
        run("ip -n neighbour link set eth0 up");
        let neighbour = namespace("neighbour");
        // Where the kernel has it and it is on, the rules for what is routed see these frames too.
        let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        let mut waiting = scene.service.meet(Asker::In(&neighbour));
        let mut asking = scene.service.meet(Asker::In(&neighbour));
        assert!(waiting.passes() && asking.passes());
        scene.fence(true).await;
        assert!(!waiting.answers() && !asking.asks());
        let refusal = scene.service.refuses(Asker::In(&neighbour));
        assert_eq!(refusal, ErrorKind::TimedOut);
        scene.fence(false).await;
        assert!(scene.service.meet(Asker::In(&neighbour)).passes());
    });
}

#[test]
fn nobody_but_the_checker_speaks_from_the_checkers_address() {
    in_own_host(async || {
        let scene = Scene::set(Driver::Process).await;
        run("ip netns add neighbour");
        run("ip link add side type veth peer name eth0 netns neighbour");
        run("ip link set side master ek-front up");
        run("ip -n neighbour addr add 10.200.255.254/16 dev eth0");
        run("ip -n neighbour link set eth0 up");
        let neighbour = namespace("neighbour");
        let connect = |mark: Option<u32>| {
            let from: Ipv4Addr = "10.200.255.254".parse().unwrap();
            let to = std::net::SocketAddrV4::new(scene.guest.nics.front.address, 80);
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            if let Some(mark) = mark {
                socket.set_mark(mark).unwrap();
            }
            let from = std::net::SocketAddrV4::new(from, 0);
            socket.bind(&from.into()).unwrap();
            socket.connect_timeout(&to.into(), support::SILENCE)
        };
        let outcome = |result: std::io::Result<()>| result.map_err(|error| error.kind());
        assert_eq!(outcome(connect(Some(model::CHECKER_MARK))), Ok(()));
        let forged = Err(ErrorKind::TimedOut);
        assert_eq!(outcome(connect(None)), forged, "a program of the host");
        let beside = inside(&neighbour, || connect(None));
        assert_eq!(outcome(beside), forged, "a machine on the bridge");
    });
}

#[test]
fn only_what_the_checker_asked_for_comes_back_from_a_fenced_vm() {
    in_own_host(async || {
        let scene = Scene::set(Driver::Process).await;
        scene.fence(true).await;
        // A listener with the checker's mark is no conversation of the checker's.
        let gateway = support::GATEWAY;
        let listener =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.set_mark(model::CHECKER_MARK).unwrap();
        let address = std::net::SocketAddrV4::new(gateway, 99);
        listener.bind(&address.into()).unwrap();
        listener.listen(1).unwrap();
        let reaches = |from: &Path| {
            inside(from, || {
                std::net::TcpStream::connect_timeout(&address.into(), support::SILENCE).is_ok()
            })
        };
        assert!(!reaches(&scene.guest.namespace));
        assert!(reaches(&scene.client), "it could be reached");
    });
}
