//! A process that is killed in the middle leaves nothing that the next one cannot complete or remove.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::NetworkSight;
use network::{Network, NetworkConfig, NetworkError};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::{
    PATIENCE, assert_host_reaches, assert_same, in_own_host, make_vm, nics, open_network, run,
};

/// Set for the process that is to be killed.
const VICTIM: &str = "EVENKEEL_TEST_VICTIM";

/// What the victim prints when it begins.
const BEGUN: &str = "the victim has begun";

/// How often a victim is killed.
const ROUNDS: u64 = 16;
/// Rounds that have to find something half-made.
const ENOUGH: u64 = 7;
/// On a host so busy that a process is killed before it has done anything, there are more.
const MOST_ROUNDS: u64 = 64;

/// Kills its process when a test fails.
struct Victim(Child);

impl Victim {
    /// This test program again, in the same namespaces, with [`the_victim_of_the_tests_below`] alone.
    fn start() -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_victim_of_the_tests_below"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn();
        let mut victim = Self(child.unwrap());
        let mut lines = BufReader::new(victim.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(BEGUN)));
        victim
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes and removes a network over and over when it is started as the victim.
#[test]
fn the_victim_of_the_tests_below() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let network = open_network().await;
        // Past the test harness, which would keep it.
        writeln!(std::io::stdout(), "{BEGUN}").unwrap();
        loop {
            let vm = make_vm(&network, 1).await;
            network
                .ensure_port(vm.project, vm.subnet, "nic")
                .await
                .unwrap();
            let taps = network.ensure_tap_nics(&nics(2, 1, 1)).await.unwrap();
            remove_all(&network).await;
            drop(taps);
        }
    });
}

async fn remove_all(network: &Network) {
    let sight = network.inventory().await.unwrap();
    for vm in sight.vm_nics.into_keys() {
        network.remove_vm_nics(vm).await.unwrap();
    }
    for project in sight.projects.keys() {
        network.remove_project(*project).await.unwrap();
    }
    network.remove_front().await.unwrap();
}

/// Waits for `nft` processes that the victim had started: they end by themselves.
fn wait_for_orphans() {
    let deadline = Instant::now() + PATIENCE;
    while fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| is_nft_of_this_test(&entry.path()))
    {
        assert!(Instant::now() < deadline);
    }
}

/// Whatever network namespace they are in, they share the test's mount namespace.
fn is_nft_of_this_test(process: &Path) -> bool {
    let own = fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    let is_nft = fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "nft\n");
    is_nft && fs::read_link(process.join("ns/mnt")).is_ok_and(|namespace| namespace == own)
}

/// All that can be left in the host's namespace, without what is numbered anew.
fn traces() -> String {
    let links = run("ip -br link");
    let names = links
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    let namespaces = fs::read_dir("/run/netns").map(Iterator::count).unwrap_or(0);
    let looks = [
        "ip -4 addr show up",
        "ip neigh",
        "ip route",
        "nft list ruleset",
    ]
    .map(run);
    format!("{names:?}\n{namespaces} namespaces\n{}", looks.join("\n"))
}

#[test]
fn what_a_killed_process_left_is_removed_or_completed() {
    in_own_host(async || {
        run("ip link add nic type veth peer name nic-far");
        let before = traces();
        let mut interrupted = 0_u64;
        for round in 0..MOST_ROUNDS {
            if round >= ROUNDS && interrupted >= ENOUGH {
                break;
            }
            let mut victim = Victim::start();
            // Over the first 100 ms of its work, each time at another place; later on a host that is busy.
            tokio::time::sleep(Duration::from_micros(6_300 * round)).await;
            victim.kill();
            wait_for_orphans();
            let network = open_network().await;
            interrupted += u64::from(network.inventory().await.unwrap() != NetworkSight::default());
            if round % 2 == 0 {
                let vm = make_vm(&network, 1).await;
                network
                    .ensure_port(vm.project, vm.subnet, "nic")
                    .await
                    .unwrap();
                assert_host_reaches(&vm);
            }
            remove_all(&network).await;
            assert_eq!(network.inventory().await.unwrap(), NetworkSight::default());
            assert_same(&before, &traces());
        }
        assert!(
            interrupted >= ENOUGH,
            "only {interrupted} rounds found something half-made"
        );
    });
}

#[test]
fn a_process_without_the_capabilities_is_told_so() {
    in_own_host(async || {
        let thread = std::thread::spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::NET_ADMIN);
            set_capabilities(None, sets).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(Network::open(config()))
        });
        let error = thread.join().unwrap().unwrap_err();
        assert!(
            matches!(error, NetworkError::NotPermitted { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_reason() {
    in_own_host(async || {
        for (prefix, front, part) in [
            ("EK", "10.200.0.1/16", "EK"),
            ("ek", "10.200.0.0/16", "10.200.0.0/16"),
            ("ek", "10.200.255.255/16", "10.200.255.255/16"),
            ("ek", "10.200.0.1/31", "10.200.0.1/31"),
        ] {
            let config = NetworkConfig {
                prefix: prefix.into(),
                front: front.parse().unwrap(),
                figures_port: None,
            };
            let error = Network::open(config).await.unwrap_err();
            assert!(matches!(error, NetworkError::Configuration(_)), "{error:?}");
            assert!(error.to_string().contains(part), "{error}");
        }
    });
}

fn config() -> NetworkConfig {
    NetworkConfig {
        prefix: "ek".into(),
        front: "10.200.0.1/16".parse().unwrap(),
        figures_port: Some(model::figures::COLLECTD_PORT),
    }
}
