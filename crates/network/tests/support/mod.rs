//! A network and mount namespace that plays the host, and the few things that tests do in it.

#![expect(
    dead_code,
    reason = "each test program takes from here what it needs, and none needs all"
)]

pub mod frames;
pub mod guest;
pub mod talk;

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use model::{BootNic, Mac, ProjectId, SubnetId, VmId};
use network::{Network, NetworkConfig, VmNics};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// How long something that should happen may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long something that should not happen is given to happen.
pub const SILENCE: Duration = Duration::from_millis(400);

pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// Runs a test in namespaces of its own: no link of the machine is in them, and `/run` is empty. They
/// end with the last thread in them and take along what the test has made, whatever its outcome.
pub fn in_own_host<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: this thread is new and shares no file system context that others rely on.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
        run("ip link set lo up");
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub async fn open_network() -> Network {
    let config = NetworkConfig {
        prefix: "ek".into(),
        front: "10.200.0.1/16".parse().unwrap(),
        figures_port: Some(model::figures::COLLECTD_PORT),
    };
    Network::open(config).await.unwrap()
}

/// A VM with the number `vm` at 10.200.0.(10 + vm) and, in its project's 1.1.1.0/24, at 1.1.1.(100 + vm).
pub fn nics(vm: u8, project: u64, subnet: u64) -> VmNics {
    VmNics {
        vm: VmId(vm.into()),
        project: ProjectId(project),
        subnet: SubnetId(subnet),
        front: BootNic {
            mac: Mac([2, 0, 10, 200, 0, 10 + vm]),
            address: Ipv4Addr::new(10, 200, 0, 10 + vm),
            prefix: 16,
            gateway: Some(GATEWAY),
        },
        tenant: BootNic {
            mac: Mac([2, 1, 0, 0, 0, vm]),
            address: Ipv4Addr::new(1, 1, 1, 100 + vm),
            prefix: 24,
            gateway: None,
        },
    }
}

/// A project with a subnet and a VM of the process driver on it; all three have the same number.
pub async fn make_vm(network: &Network, number: u8) -> VmNics {
    let nics = nics(number, number.into(), number.into());
    network.ensure_front().await.unwrap();
    network
        .ensure_subnet(nics.project, nics.subnet)
        .await
        .unwrap();
    network.ensure_veth_nics(&nics).await.unwrap();
    nics
}

/// A server at 1.1.1.10 in a namespace of its own, attached to a subnet.
pub async fn make_backend(network: &Network, project: u64, subnet: u64) -> PathBuf {
    let (name, link) = (format!("backend{project}"), format!("be{project}"));
    run(&format!("ip netns add {name}"));
    run(&format!(
        "ip link add {link} type veth peer name eth0 netns {name}"
    ));
    run(&format!("ip -n {name} addr add 1.1.1.10/24 dev eth0"));
    run(&format!("ip -n {name} link set eth0 up"));
    network
        .ensure_port(ProjectId(project), SubnetId(subnet), &link)
        .await
        .unwrap();
    namespace(&name)
}

pub fn namespace(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Runs a command line without quoting, which must succeed; returns what it printed.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|e| panic!("{line}: {e}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Does `work` on a thread inside a namespace.
pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(namespace).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Serves `greeting` to everyone who connects, until the test's process ends. Call it where the server is
/// to be.
pub fn serve(port: u16, greeting: &'static str) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(greeting.as_bytes()));
        }
    });
}

/// What the server at `address` says; none where no connection comes about within `wait`.
pub fn ask(address: Ipv4Addr, port: u16, wait: Duration) -> Option<String> {
    let address = SocketAddr::V4(SocketAddrV4::new(address, port));
    let mut stream = TcpStream::connect_timeout(&address, wait).ok()?;
    stream.set_read_timeout(Some(wait)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asserts that the host can talk to a process in this VM's namespace.
pub fn assert_host_reaches(vm: &VmNics) {
    let path = namespace(&format!("ek-v{}", vm.vm));
    inside(&path, || serve(80, "hello"));
    let answer = ask(vm.front.address, 80, PATIENCE);
    assert_eq!(answer.as_deref(), Some("hello"), "{vm:?}");
}

/// Waits until the kernel has noticed that all links of a namespace have a carrier, which it does a
/// moment after they have.
pub fn wait_for_carrier(namespace: &str) {
    let deadline = Instant::now() + PATIENCE;
    while run(&format!("ip -n {namespace} link")).contains("NO-CARRIER") {
        assert!(Instant::now() < deadline, "no carrier in {namespace}");
        std::thread::yield_now();
    }
}

/// All that is configured in the host's namespace and the given ones, as text.
pub fn snapshot(namespaces: &[&str]) -> String {
    const LOOKS: [&str; 5] = [
        "ip -d link",
        "ip -4 addr",
        "ip route",
        "ip neigh show nud permanent",
        "bridge fdb",
    ];
    let mut text = LOOKS.map(run).join("\n") + &run("nft -a list ruleset");
    for name in namespaces {
        for look in LOOKS {
            text += &run(&format!("ip netns exec {name} {look}"));
        }
        text += &run(&format!("ip netns exec {name} nft -a list ruleset"));
    }
    without_timers(&text)
}

/// A bridge shows how far its timers are.
fn without_timers(text: &str) -> String {
    let mut after_timer = false;
    let mut keep = |word: &&str| {
        let is_time = std::mem::replace(&mut after_timer, word.ends_with("_timer"));
        !is_time
    };
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().filter(&mut keep).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Asserts that two snapshots are equal, and shows where not.
pub fn assert_same(before: &str, after: &str) {
    let pairs = before.lines().zip(after.lines());
    for (old, new) in pairs {
        assert_eq!(old, new);
    }
    assert_eq!(before, after);
}
