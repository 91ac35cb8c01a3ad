//! A machine of one's own for a test: namespaces, a network, an installation whose VMs die with it.

use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compute::image::{CollectdSource, Image, KernelSource, Recipe, build};
use compute::{Compute, ComputeChoice, ComputeConfig, Readiness, VmSpec};
use model::{
    BalancerConfig, BootNic, Criteria, Driver, Generation, HealthCheck, HealthProtocol,
    InstallationId, Mac, Policy, ProjectId, SubnetId, Timeouts, TrafficType, VmId, VmSight,
};
use network::{Network, NetworkConfig, VmNics};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use sha2::{Digest, Sha256};

use super::artifacts::{alone, balancer, cache, collectd_packages, kernel_package};

/// How long something that should happen may take. A VM under software emulation boots in two
/// seconds, and in many more on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

pub const HEARTBEAT_MS: u64 = 100;

/// Ends what a test left: processes by their tag, their directory, their cgroups. It waits for the end of its
/// standard input, which comes when the test's process ends, however that ends.
const UNDERTAKER: &str = r#"cat > /dev/null
for line in /proc/[0-9]*/cmdline; do
  if tr '\0' ' ' < $line | grep -q "evenkeel-$INSTALLATION-"; then
    pid=${line#/proc/}; kill -9 ${pid%/cmdline}
  fi
done
rm -rf "$DIRECTORY"
for try in 1 2 3 4 5; do
  rmdir /sys/fs/cgroup/evenkeel-$INSTALLATION/* /sys/fs/cgroup/evenkeel-$INSTALLATION \
    /sys/fs/cgroup/*/evenkeel-$INSTALLATION/* /sys/fs/cgroup/*/evenkeel-$INSTALLATION
  sleep 0.2
done"#;

pub struct World {
    pub config: ComputeConfig,
    pub network: Network,
    directory: tempfile::TempDir,
}

impl World {
    /// The configured choice decides what [`World::compute`] gives; `image` is what QEMU boots.
    async fn new(choice: ComputeChoice) -> Self {
        let nanoseconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        let installation = InstallationId(format!(
            "{:08x}",
            nanoseconds ^ std::process::id().rotate_left(12)
        ));
        let directory = tempfile::Builder::new().prefix("ek").tempdir().unwrap();
        Command::new("setsid")
            .args(["sh", "-c", UNDERTAKER])
            .env("INSTALLATION", &installation.0)
            .env("DIRECTORY", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(|child| std::mem::forget(child.stdin))
            .unwrap();
        let image = match choice {
            ComputeChoice::Process => directory.path().join("no-image"),
            _ => image(),
        };
        let mut config = ComputeConfig::new(
            installation,
            directory.path().join("vms"),
            image,
            balancer(),
        );
        config.choice = choice;
        let network = Network::open(NetworkConfig {
            prefix: "ek".to_owned(),
            front: "10.200.0.1/16".parse().unwrap(),
            figures_port: Some(model::figures::COLLECTD_PORT),
        });
        Self {
            config,
            network: network.await.unwrap(),
            directory,
        }
    }

    /// A compute that is ready.
    pub async fn compute(&self) -> Compute {
        let compute = self.open().await;
        let readiness = compute.prepare().await;
        assert!(matches!(readiness, Readiness::Ready { .. }), "{readiness}");
        compute
    }

    pub async fn open(&self) -> Compute {
        Compute::open(self.config.clone(), self.network.clone())
            .await
            .unwrap()
    }

    pub fn driver(&self) -> Driver {
        self.config.choice.driver()
    }

    /// A place for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// VM `number` on subnet 1 of project 1, which is made.
    pub async fn spec(&self, number: u8) -> VmSpec {
        let nics = nics(number);
        self.network.ensure_front().await.unwrap();
        self.network
            .ensure_subnet(nics.project, nics.subnet)
            .await
            .unwrap();
        VmSpec {
            vm: nics.vm,
            hostname: format!("web-{number}"),
            driver: self.driver(),
            shape: model::VmShape::default(),
            nics,
            heartbeat_ms: HEARTBEAT_MS,
            monitor: None,
        }
    }

    pub fn vm_directory(&self, vm: VmId) -> PathBuf {
        self.config.directory.join(format!("vm{vm}"))
    }

    pub fn tag(&self, vm: VmId) -> String {
        format!("evenkeel-{}-vm{vm}", self.config.installation)
    }

    /// Numbers of the processes that carry a VM's tag.
    pub fn processes(&self, vm: VmId) -> Vec<u32> {
        let tag = self.tag(vm);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line
                .split(|byte| *byte == 0)
                .any(|word| word == tag.as_bytes())
            {
                found.extend(
                    entry
                        .file_name()
                        .to_str()
                        .and_then(|pid| pid.parse::<u32>().ok()),
                );
            }
        }
        found
    }

    /// What there is of machines that are nobody's: processes, directories and taps.
    pub fn unowned(&self) -> Vec<String> {
        let tag = format!("evenkeel-{}-", self.config.installation);
        let mut unowned = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = line.split('\0').filter_map(|word| word.strip_prefix(&tag));
            let is_unowned = |rest: &str| rest.starts_with("pool") || rest == "trial";
            if words.any(is_unowned) {
                unowned.push(format!("process {}", entry.file_name().display()));
            }
        }
        for entry in fs::read_dir(&self.config.directory).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let is_unowned = name.starts_with("pool") || name == "trial";
            unowned.extend(is_unowned.then_some(name));
        }
        let links = run("ip -o link");
        let spare = |line: &&str| line.contains(": ekpf") || line.contains(": ekpt");
        unowned.extend(links.lines().filter(spare).map(str::to_owned));
        unowned
    }

    /// Directories of the installation's cgroups that exist.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let name = format!("evenkeel-{}", self.config.installation);
        let mut places = vec![PathBuf::from("/sys/fs/cgroup").join(&name)];
        for entry in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            places.push(entry.path().join(&name));
        }
        places.retain(|place| place.exists());
        places
    }

    /// Makes a VM's cgroups, as far as the machine has any.
    pub fn make_cgroups(&self, vm: VmId) {
        let below = format!("evenkeel-{}/vm{vm}", self.config.installation);
        let first = ["memory", "cpuacct"].map(|name| Path::new("/sys/fs/cgroup").join(name));
        let unified = PathBuf::from("/sys/fs/cgroup");
        let mounted = |place: &Path| place.join("cgroup.procs").exists();
        for place in first
            .into_iter()
            .chain([unified])
            .filter(|place| mounted(place))
        {
            fs::create_dir_all(place.join(&below)).unwrap();
        }
    }

    /// Everything that is there of VMs, in words.
    pub fn traces(&self, vm: VmId) -> Vec<String> {
        let mut traces: Vec<String> = self
            .processes(vm)
            .iter()
            .map(|pid| format!("process {pid}"))
            .collect();
        traces.extend(
            self.cgroups()
                .iter()
                .map(|group| group.display().to_string()),
        );
        let directory = self.vm_directory(vm);
        traces.extend(directory.exists().then(|| directory.display().to_string()));
        traces.extend(
            run("ip -o link")
                .lines()
                .filter(|line| line.contains(": ekf"))
                .map(str::to_owned),
        );
        traces.extend(
            run("ip -n ek-p1 -o link")
                .lines()
                .filter(|line| line.contains(": ekt"))
                .map(str::to_owned),
        );
        let namespace = Path::new("/run/netns").join(format!("ek-v{vm}"));
        traces.extend(namespace.exists().then(|| namespace.display().to_string()));
        traces
    }
}

/// Runs a test in a network and a mount namespace of its own, where `/run` is empty.
pub fn in_own_world<F: Future<Output = ()>>(
    choice: ComputeChoice,
    test: impl FnOnce(World) -> F + Send + 'static,
) {
    // What has to be downloaded is not to be had from in there.
    if choice != ComputeChoice::Process {
        kernel_package();
        collectd_packages();
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: this thread is new and shares no file system context that others rely on.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
        run("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move { test(World::new(choice).await).await });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn nics(number: u8) -> VmNics {
    VmNics {
        vm: VmId(number.into()),
        project: ProjectId(1),
        subnet: SubnetId(1),
        front: BootNic {
            mac: Mac([2, 0, 10, 200, 0, 10 + number]),
            address: Ipv4Addr::new(10, 200, 0, 10 + number),
            prefix: 16,
            gateway: Some(Ipv4Addr::new(10, 200, 0, 1)),
        },
        tenant: BootNic {
            mac: Mac([2, 1, 0, 0, 0, number]),
            address: Ipv4Addr::new(1, 1, 1, 100 + number),
            prefix: 24,
            gateway: None,
        },
    }
}

/// Listens on port 80 and has no backends.
pub fn config(generation: u64) -> BalancerConfig {
    BalancerConfig {
        generation: Generation(generation),
        instance: "web".to_owned(),
        traffic: TrafficType::Http,
        port: 80,
        backends: vec![],
        health_check: HealthCheck {
            protocol: HealthProtocol::Http,
            port: None,
            request_path: "/".to_owned(),
            host: None,
            expected_status: Vec::new(),
            expected_body: None,
            criteria: Criteria::default(),
        },
        timeouts: Timeouts::default(),
        checker: None,
        policy: Policy::default(),
    }
}

/// Waits until what is seen of `vm` satisfies `condition`, and returns it.
pub async fn until(
    compute: &Compute,
    vm: VmId,
    what: &str,
    condition: impl Fn(&VmSight) -> bool,
) -> VmSight {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sight = compute.observe().await.remove(&vm);
        match sight {
            Some(sight) if condition(&sight) => return sight,
            sight => assert!(Instant::now() < deadline, "{what}: still {sight:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the sight names this generation as running.
pub fn runs(generation: u64) -> impl Fn(&VmSight) -> bool {
    move |sight| {
        let running = sight
            .heartbeat
            .as_ref()
            .and_then(|heartbeat| heartbeat.generation());
        running == Some(Generation(generation))
    }
}

/// The first line of the answer to a request for `/`.
pub fn ask(address: Ipv4Addr) -> std::io::Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((address, 80)), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Does `work` on a thread inside a named network namespace.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Sends one ICMP echo request and waits for its answer.
pub fn ping(address: Ipv4Addr) -> std::io::Result<()> {
    // Type 8, code 0, checksum over the rest, identifier 0x454b, sequence 1.
    const REQUEST: [u8; 8] = [8, 0, 0xb2, 0xb3, 0x45, 0x4b, 0, 1];
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::ICMP),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(5)))?;
    sendto(
        &socket,
        &REQUEST,
        SendFlags::empty(),
        &SocketAddrV4::new(address, 0),
    )?;
    loop {
        let mut packet = [0; 128];
        let (count, _) = recv(&socket, &mut packet, RecvFlags::empty())?;
        let header = usize::from(packet[0] & 0xf) * 4;
        // Type 0 is the answer; on the loopback one hears one's own question as well.
        if packet[12..16] == address.octets() && count >= header + 8 && packet[header] == 0 {
            return Ok(());
        }
    }
}

/// Runs a command line without quoting, which must succeed; returns what it printed.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// A field of /proc/<pid>/status.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The image for the balancer of [`balancer`], built when it is not up to date: with the program in
/// it and with the code that makes it, which this test contains.
fn image() -> PathBuf {
    let (package, collectd, balancer) = (kernel_package(), collectd_packages(), balancer());
    let cache = cache();
    let _alone = alone(&cache);
    let output = cache.join("image");
    let program = fs::read(&balancer).unwrap();
    let hash: String = Sha256::digest(&program)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let modified = |path: &Path| {
        fs::metadata(path)
            .and_then(|found| found.modified())
            .unwrap()
    };
    let fits = |image: Image| {
        let maker = std::env::current_exe().unwrap();
        image.manifest().balancer_sha256 == hash
            && modified(&output.join("manifest.json")) > modified(&maker)
    };
    if !Image::open(&output).is_ok_and(fits) {
        let kernel = KernelSource::Package(package);
        let recipe = Recipe {
            kernel,
            balancer,
            collectd: CollectdSource::Packages(collectd),
            output: output.clone(),
        };
        build(&recipe).unwrap();
    }
    output
}
