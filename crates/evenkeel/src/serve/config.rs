//! The configuration file, and what holds where it says nothing.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use compute::ComputeChoice;
use ipnet::Ipv4Net;
use model::VmShape;
use network::Names;
use serde::Deserialize;

/// Bytes of the zone's name that leave room for two labels below it in the 253 of a domain name.
const MOST_ZONE_BYTES: usize = 125;
/// Bytes of a checker's name.
const MOST_NAME_BYTES: usize = 64;
/// Where the kernel says what the host is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// One installation's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What must survive: intent and layout, the image.
    pub state_directory: PathBuf,
    /// What is made again: sockets, status, the VMs' directories. Keep the path short, unix sockets
    /// are below it.
    pub run_directory: PathBuf,
    /// Begins the names of all namespaces, bridges and links; at most four characters.
    pub prefix: String,
    /// The DNS zone that the URLs are in.
    pub zone: String,
    /// The JSON door.
    pub api: ApiSection,
    /// The network on which clients reach VMs.
    pub front: FrontSection,
    /// The DNS server.
    pub dns: DnsSection,
    /// How VMs are run.
    pub compute: ComputeSection,
    /// How large VMs are.
    pub vm: VmShape,
    /// When a VM is held to be dead.
    pub health: HealthSection,
    /// What is done about it, and about VMs that leave.
    pub failover: FailoverSection,
    /// Where VMs send their figures.
    pub monitor: MonitorSection,
}

/// Where VMs send their figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSection {
    /// The UDP port, on the host's front address.
    pub port: u16,
}

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            port: model::figures::COLLECTD_PORT,
        }
    }
}

/// The JSON door.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Loopback addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Seconds that `create` and `update` wait until the URL serves.
    pub wait: u64,
}

/// The network on which clients reach VMs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrontSection {
    /// The host's own address in it, with the prefix length.
    pub cidr: Ipv4Net,
}

/// The DNS server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSection {
    /// Where to answer; the host's front address, port 53, and 127.0.0.1:5354 when absent.
    pub listen: Option<Vec<SocketAddr>>,
    /// Seconds for which an answer may be kept.
    pub ttl: u32,
}

/// How VMs are run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeSection {
    /// `auto`, `kvm`, `tcg` or `process`.
    pub driver: ComputeChoice,
    /// The image that `evenkeel image build` wrote; `image` in the state directory when absent.
    pub image: Option<PathBuf>,
    /// The static balancer; beside the `evenkeel` program when absent.
    pub balancer: Option<PathBuf>,
    /// QEMU.
    pub qemu: PathBuf,
    /// Whether VMs are restored from a snapshot where one fits, and not booted.
    pub snapshot: bool,
    /// Machines that are restored before anybody wants them.
    pub pool: usize,
    /// MiB that VMs leave available on the host.
    pub memory_reserve_mib: u64,
    /// MiB that all VMs may have together; as much as there is when absent.
    pub memory_limit_mib: Option<u64>,
}

/// When a VM is held to be dead.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// Milliseconds between a VM's heartbeats.
    pub heartbeat_ms: u64,
    /// Milliseconds of silence after which a VM that does not answer the checker either is down.
    pub silence_ms: u64,
    /// Milliseconds between two probes of a VM.
    pub probe_ms: u64,
    /// The checker's name among the installation's checkers; the host's name when absent.
    pub checker_name: Option<String>,
}

/// What is done about VMs that are dead, and about those that leave.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FailoverSection {
    /// Milliseconds for which a VM that was found down is kept, so that it may come back.
    pub grace_ms: u64,
    /// Milliseconds for which a VM that leaves while it serves waits for its clients to go, once DNS sends it no
    /// more of them.
    pub drain_ms: u64,
    /// So many VMs may be replaced within `breaker_window_ms` in any case.
    pub breaker_vms: usize,
    /// And so many of a hundred.
    pub breaker_percent: usize,
    /// Milliseconds within which deaths are counted.
    pub breaker_window_ms: u64,
}

impl Default for FailoverSection {
    fn default() -> Self {
        let breaker = planner::Breaker::default();
        let windows = planner::Windows::default();
        Self {
            grace_ms: windows.grace_ms,
            drain_ms: windows.drain_ms,
            breaker_vms: breaker.at_least,
            breaker_percent: breaker.percent,
            breaker_window_ms: breaker.window_ms,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_directory: PathBuf::from("/var/lib/evenkeel"),
            run_directory: PathBuf::from("/run/evenkeel"),
            prefix: "ek".into(),
            zone: "lb.evenkeel.test".into(),
            api: ApiSection::default(),
            front: FrontSection::default(),
            dns: DnsSection::default(),
            compute: ComputeSection::default(),
            vm: VmShape::default(),
            health: HealthSection::default(),
            failover: FailoverSection::default(),
            monitor: MonitorSection::default(),
        }
    }
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7400))],
            wait: 60,
        }
    }
}

impl Default for FrontSection {
    fn default() -> Self {
        let host = Ipv4Addr::new(10, 200, 0, 1);
        Self {
            cidr: Ipv4Net::new(host, 16).expect("16 is a prefix length"),
        }
    }
}

impl Default for DnsSection {
    fn default() -> Self {
        Self {
            listen: None,
            ttl: 1,
        }
    }
}

impl Default for ComputeSection {
    fn default() -> Self {
        Self {
            driver: ComputeChoice::Auto,
            image: None,
            balancer: None,
            qemu: PathBuf::from("qemu-system-x86_64"),
            snapshot: true,
            pool: 1,
            memory_reserve_mib: compute::DEFAULT_MEMORY_RESERVE_MIB,
            memory_limit_mib: None,
        }
    }
}

impl Default for HealthSection {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            silence_ms: 750,
            probe_ms: 250,
            checker_name: None,
        }
    }
}

impl Config {
    /// Reads the file, or takes the defaults where none is given.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let config = match path {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the configuration {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("the configuration {} is wrong", path.display()))?
            }
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let loopback = self
            .api
            .listen
            .iter()
            .all(|address| address.ip().is_loopback());
        ensure!(
            loopback,
            "api.listen: only loopback addresses are allowed, since the JSON door asks for no password"
        );
        ensure!(
            self.front.cidr.addr() != self.front.cidr.network()
                && self.front.cidr.prefix_len() <= 29,
            "front.cidr: write the host's own address with a prefix length of at most 29, for example 10.200.0.1/16"
        );
        Names::new(&self.prefix)
            .map_err(anyhow::Error::msg)
            .context("prefix")?;
        let is_label = |label: &str| {
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(fits)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        ensure!(
            self.zone.split('.').all(is_label) && self.zone.len() <= MOST_ZONE_BYTES,
            "zone: `{}` is no domain name: write labels of lower-case letters, digits and hyphens, with dots \
             between and none at the end, for example lb.example.net",
            self.zone
        );
        let positive = [
            ("monitor.port", u64::from(self.monitor.port)),
            ("vm.vcpu", u64::from(self.vm.vcpu)),
            ("vm.memory_mib", u64::from(self.vm.memory_mib)),
            ("health.heartbeat_ms", self.health.heartbeat_ms),
            ("health.silence_ms", self.health.silence_ms),
            ("health.probe_ms", self.health.probe_ms),
            (
                "failover.breaker_window_ms",
                self.failover.breaker_window_ms,
            ),
        ];
        for (field, value) in positive {
            ensure!(value > 0, "{field}: must be more than 0");
        }
        ensure!(
            self.health.silence_ms >= self.health.heartbeat_ms.saturating_mul(3),
            "health.silence_ms: must be at least three times health.heartbeat_ms, or every late heartbeat is an alarm"
        );
        ensure!(
            self.failover.breaker_percent <= 100,
            "failover.breaker_percent: is a share of a hundred: write 100 to have all VMs replaced at once"
        );
        if let Some(name) = &self.health.checker_name {
            ensure!(
                is_checker_name(name),
                "health.checker_name: `{name}` is no name: write at most {MOST_NAME_BYTES} letters, digits, hyphens, \
                 underscores and dots"
            );
        }
        Ok(())
    }

    /// Gives the checker another name than the file says.
    pub fn name_checker(&mut self, name: String) -> anyhow::Result<()> {
        self.health.checker_name = Some(name);
        self.check()
    }

    /// The checker's name among the installation's checkers.
    #[must_use]
    pub fn checker_name(&self) -> String {
        let host = || {
            let name = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
            Some(name.trim().to_owned()).filter(|name| is_checker_name(name))
        };
        let named = self.health.checker_name.clone().or_else(host);
        named.unwrap_or_else(|| "local".into())
    }

    /// The JSON door's unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_directory.join("evenkeel.sock")
    }

    /// The store of intent and layout.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.state_directory.join("evenkeel.db")
    }

    /// The store of what is seen and reported, which is made again at each start of the machine.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        self.run_directory.join("status.db")
    }

    /// Where the VMs' directories are.
    #[must_use]
    pub fn vm_directory(&self) -> PathBuf {
        self.run_directory.join("vms")
    }

    /// The VM image.
    #[must_use]
    pub fn image_directory(&self) -> PathBuf {
        self.compute
            .image
            .clone()
            .unwrap_or_else(|| self.state_directory.join("image"))
    }

    /// Where snapshots of VMs are.
    #[must_use]
    pub fn snapshot_directory(&self) -> PathBuf {
        self.state_directory.join("snapshots")
    }

    /// The static balancer.
    pub fn balancer_program(&self) -> anyhow::Result<PathBuf> {
        match &self.compute.balancer {
            Some(program) => Ok(program.clone()),
            None => {
                let own = std::env::current_exe().context("cannot tell where this program is")?;
                Ok(own.with_file_name("evenkeel-balancer"))
            }
        }
    }

    /// Where VMs send their figures.
    #[must_use]
    pub fn monitor_listen(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.front.cidr.addr(), self.monitor.port)
    }

    /// Where DNS is answered.
    #[must_use]
    pub fn dns_listen(&self) -> Vec<SocketAddr> {
        self.dns.listen.clone().unwrap_or_else(|| {
            vec![
                SocketAddr::from((self.front.cidr.addr(), 53)),
                SocketAddr::from((Ipv4Addr::LOCALHOST, 5354)),
            ]
        })
    }
}

fn is_checker_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missions_own_vm_size_is_taken() {
        let config: Config = toml::from_str("[vm]\nvcpu = 4\ndisk_size = 10\n").unwrap();
        assert_eq!(
            config.vm,
            VmShape {
                vcpu: 4,
                disk_size: 10,
                memory_mib: 128
            }
        );
        config.check().unwrap();
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_field() {
        for (text, field) in [
            ("[vm]\nvcpus = 4\n", "vcpus"),
            ("[vm]\nvcpu = 0\n", "vm.vcpu"),
            ("[api]\nlisten = [\"0.0.0.0:80\"]\n", "api.listen"),
            ("[front]\ncidr = \"10.0.0.0/8\"\n", "front.cidr"),
            ("[health]\nsilence_ms = 300\n", "health.silence_ms"),
            ("[health]\nchecker_name = \"a/b\"\n", "health.checker_name"),
            ("[compute]\ndriver = \"docker\"\n", "docker"),
            ("prefix = \"toolong\"\n", "prefix"),
            ("zone = \"lb.example.net.\"\n", "zone"),
            ("zone = \"LB\"\n", "zone"),
            ("[monitor]\nport = 0\n", "monitor.port"),
        ] {
            let error = toml::from_str::<Config>(text)
                .map_err(anyhow::Error::from)
                .and_then(|config| config.check())
                .unwrap_err();
            assert!(format!("{error:#}").contains(field), "{text}: {error:#}");
        }
    }
}
