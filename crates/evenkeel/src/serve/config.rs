//! The configuration file, and what holds where it says nothing.

mod collectd;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use api::OtlpTarget;
use compute::ComputeChoice;
use ipnet::Ipv4Net;
use model::VmShape;
use network::Names;
use serde::Deserialize;

use super::syslog::SyslogTarget;

pub use collectd::{CollectdSection, ForwardSection, exposed};

/// Bytes of the zone's name that leave room for two labels below it in the 253 of a domain name.
const MOST_ZONE_BYTES: usize = 125;
/// Bytes of a checker's name.
const MOST_NAME_BYTES: usize = 64;
/// The longest span of time that means anything here: a day.
const LONGEST_MS: u64 = 86_400_000;
/// The longest that an answer of the DNS server may be kept, in seconds: an hour.
const LONGEST_TTL: u32 = 3_600;
/// Machines that may wait to become VMs.
const MOST_POOL: usize = 64;
/// The longest pause between two requests by OTLP, in seconds.
const LONGEST_OTLP_INTERVAL: u64 = 3_600;
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
    /// To whom figures are sent by OpenTelemetry's protocol.
    pub otlp: OtlpSection,
    /// Users' own collectd.
    pub collectd: CollectdSection,
}

/// To whom figures are sent by OpenTelemetry's protocol, OTLP over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSection {
    /// A receiver's URL; none are sent when absent.
    pub endpoint: Option<String>,
    /// Seconds between two requests.
    pub interval: u64,
}

impl Default for OtlpSection {
    fn default() -> Self {
        Self {
            endpoint: None,
            interval: 15,
        }
    }
}

impl OtlpSection {
    /// The receiver, where there is one.
    pub fn target(&self) -> anyhow::Result<Option<OtlpTarget>> {
        let parse = |text: &String| text.parse().context("otlp.endpoint");
        self.endpoint.as_ref().map(parse).transpose()
    }
}

/// Where VMs send their figures, how many are kept, and how much of what VMs log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSection {
    /// The UDP port, on the host's front address.
    pub port: u16,
    /// Series that are written to, of all projects.
    pub most_series: usize,
    /// Series that are written to, of one project.
    pub most_series_per_project: usize,
    /// MiB that are kept of one instance's access log.
    pub access_log_mib: u32,
    /// MiB that are kept of all access logs.
    pub access_logs_total_mib: u32,
    /// Where their lines are sent by syslog as well; nowhere when absent.
    pub syslog: Option<String>,
}

impl MonitorSection {
    /// The syslog server, where there is one.
    pub fn syslog_target(&self) -> anyhow::Result<Option<SyslogTarget>> {
        let parse = |text: &String| text.parse().context("monitor.syslog");
        self.syslog.as_ref().map(parse).transpose()
    }
}

/// Series of all projects: a thousand VMs, of which each tells 40 to 70, those that were replaced in the last hour, and
/// hosts of backends. If there are as many, they take 12 GB of disk and 900 MB of memory, as measured.
const MOST_SERIES: usize = 100_000;
/// Series of one project: a tenth of all, so that none takes the others' places. Some 150 VMs tell as many.
const MOST_SERIES_PER_PROJECT: usize = 10_000;

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            port: model::figures::COLLECTD_PORT,
            most_series: MOST_SERIES,
            most_series_per_project: MOST_SERIES_PER_PROJECT,
            access_log_mib: 64,
            access_logs_total_mib: 1024,
            syslog: None,
        }
    }
}

/// The JSON door.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Loopback addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Addresses at which `/metrics` is told as well, without a password, and nothing else.
    pub metrics_listen: Vec<SocketAddr>,
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
    /// Milliseconds for which a VM's hot path may leave the balancer's own request without an answer.
    pub progress_ms: u64,
    /// Milliseconds that a new VM has until its first heartbeat.
    pub boot_ms: u64,
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
            otlp: OtlpSection::default(),
            collectd: CollectdSection::default(),
        }
    }
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7400))],
            metrics_listen: Vec::new(),
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
        let windows = planner::Windows::default();
        Self {
            heartbeat_ms: 250,
            silence_ms: windows.silence_ms,
            progress_ms: windows.progress_ms,
            boot_ms: windows.boot_ms,
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
            ("monitor.most_series", self.monitor.most_series as u64),
            (
                "monitor.most_series_per_project",
                self.monitor.most_series_per_project as u64,
            ),
            (
                "monitor.access_log_mib",
                u64::from(self.monitor.access_log_mib),
            ),
            (
                "monitor.access_logs_total_mib",
                u64::from(self.monitor.access_logs_total_mib),
            ),
            ("otlp.interval", self.otlp.interval),
            ("vm.vcpu", u64::from(self.vm.vcpu)),
            ("vm.memory_mib", u64::from(self.vm.memory_mib)),
            ("health.heartbeat_ms", self.health.heartbeat_ms),
            ("health.silence_ms", self.health.silence_ms),
            ("health.boot_ms", self.health.boot_ms),
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
            self.failover.breaker_vms > 0,
            "failover.breaker_vms: must be more than 0, or the death of one VM would be taken for a fault of the host \
             and no VM be replaced: write 1 or more"
        );
        for (field, value) in self.spans() {
            ensure!(
                value <= LONGEST_MS,
                "{field}: is in milliseconds: write at most {LONGEST_MS}, which is a day"
            );
        }
        ensure!(
            self.dns.ttl <= LONGEST_TTL,
            "dns.ttl: is in seconds: write at most {LONGEST_TTL}, since clients go on to ask a dead VM for as long"
        );
        ensure!(
            self.api.wait <= model::forms::MAX_WAIT.as_secs(),
            "api.wait: is in seconds: write at most {}",
            model::forms::MAX_WAIT.as_secs()
        );
        ensure!(
            self.otlp.interval <= LONGEST_OTLP_INTERVAL,
            "otlp.interval: is in seconds: write at most {LONGEST_OTLP_INTERVAL}, which is an hour"
        );
        self.otlp.target()?;
        self.monitor.syslog_target()?;
        ensure!(
            self.compute.pool <= MOST_POOL,
            "compute.pool: write at most {MOST_POOL}: each machine that waits takes memory"
        );
        ensure!(
            self.health.silence_ms >= self.health.heartbeat_ms.saturating_mul(3),
            "health.silence_ms: must be at least three times health.heartbeat_ms, or every late heartbeat is an alarm"
        );
        // The own request is made with each heartbeat, and told with the next.
        ensure!(
            self.health.progress_ms >= self.health.heartbeat_ms.saturating_mul(3),
            "health.progress_ms: must be at least three times health.heartbeat_ms, or every late heartbeat is an alarm"
        );
        ensure!(
            self.failover.breaker_percent <= 100,
            "failover.breaker_percent: is a share of a hundred: write 100 to have all VMs replaced at once"
        );
        self.collectd.check()?;
        if let Some(name) = &self.health.checker_name {
            ensure!(
                is_checker_name(name),
                "health.checker_name: `{name}` is no name: write at most {MOST_NAME_BYTES} letters, digits, hyphens, \
                 underscores and dots"
            );
        }
        Ok(())
    }

    /// All that is written in milliseconds.
    fn spans(&self) -> [(&'static str, u64); 8] {
        let (health, failover) = (&self.health, &self.failover);
        [
            ("health.heartbeat_ms", health.heartbeat_ms),
            ("health.silence_ms", health.silence_ms),
            ("health.progress_ms", health.progress_ms),
            ("health.boot_ms", health.boot_ms),
            ("health.probe_ms", health.probe_ms),
            ("failover.grace_ms", failover.grace_ms),
            ("failover.drain_ms", failover.drain_ms),
            ("failover.breaker_window_ms", failover.breaker_window_ms),
        ]
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

    /// Where it is kept what users asked and what came of it.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.state_directory.join("journal.db")
    }

    /// Where the monitor is asked by the other roles.
    #[must_use]
    pub fn monitor_socket(&self) -> PathBuf {
        self.run_directory.join("monitor.sock")
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

    /// Where access logs are.
    #[must_use]
    pub fn access_log_directory(&self) -> PathBuf {
        self.state_directory.join("access-logs")
    }

    /// How many bytes of access logs are kept.
    #[must_use]
    pub fn access_log_budget(&self) -> access_log::Budget {
        let bytes = |mib: u32| u64::from(mib) << 20;
        access_log::Budget {
            instance: bytes(self.monitor.access_log_mib),
            total: bytes(self.monitor.access_logs_total_mib),
        }
    }

    /// Where snapshots of VMs are.
    #[must_use]
    pub fn snapshot_directory(&self) -> PathBuf {
        self.state_directory.join("snapshots")
    }

    /// Where the monitor log is.
    #[must_use]
    pub fn monitor_directory(&self) -> PathBuf {
        self.state_directory.join("monitor")
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
            ("[health]\nprogress_ms = 700\n", "health.progress_ms"),
            (
                "[health]\nheartbeat_ms = 400\nsilence_ms = 1200\n",
                "health.progress_ms",
            ),
            ("[health]\nboot_ms = 0\n", "health.boot_ms"),
            ("[health]\nboot_ms = 86400001\n", "health.boot_ms"),
            ("[health]\nchecker_name = \"a/b\"\n", "health.checker_name"),
            ("[compute]\ndriver = \"docker\"\n", "docker"),
            ("prefix = \"toolong\"\n", "prefix"),
            ("zone = \"lb.example.net.\"\n", "zone"),
            ("zone = \"LB\"\n", "zone"),
            ("[monitor]\nport = 0\n", "monitor.port"),
            ("[monitor]\nmost_series = 0\n", "monitor.most_series"),
            ("[failover]\nbreaker_vms = 0\n", "failover.breaker_vms"),
            (
                "[failover]\nbreaker_percent = 101\n",
                "failover.breaker_percent",
            ),
            (
                "[failover]\nbreaker_window_ms = 0\n",
                "failover.breaker_window_ms",
            ),
            ("[failover]\ngrace_ms = 86400001\n", "failover.grace_ms"),
            ("[failover]\ndrain_ms = 86400001\n", "failover.drain_ms"),
            ("[health]\nprobe_ms = 86400001\n", "health.probe_ms"),
            ("[dns]\nttl = 3601\n", "dns.ttl"),
            ("[api]\nwait = 601\n", "api.wait"),
            (
                "[collectd]\nlisten = \"0.0.0.0:25826\"\nsecurity = \"none\"\n",
                "collectd.listen",
            ),
            (
                "[collectd.forward]\nserver = \"192.0.2.1:25826\"\n",
                "collectd.forward.user",
            ),
            (
                "[collectd]\nlisten = \"192.0.2.1:25826\"\n",
                "collectd.auth_file",
            ),
            ("[compute]\npool = 65\n", "compute.pool"),
            ("[otlp]\nendpoint = \"https://a/\"\n", "otlp.endpoint"),
            ("[otlp]\ninterval = 0\n", "otlp.interval"),
            ("[monitor]\nsyslog = \"tls://a:6514\"\n", "monitor.syslog"),
            ("[monitor]\nsyslog = \"tcp://a\"\n", "monitor.syslog"),
            ("[otlp]\ninterval = 3601\n", "otlp.interval"),
        ] {
            let error = toml::from_str::<Config>(text)
                .map_err(anyhow::Error::from)
                .and_then(|config| config.check())
                .unwrap_err();
            assert!(format!("{error:#}").contains(field), "{text}: {error:#}");
        }
    }
}
