//! A look-up by the host's own files: /etc/hosts first, then the name servers of /etc/resolv.conf.
//!
//! Other sources that the host's C library may know (multicast DNS, LDAP) are not asked.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::warn;

use super::{Lookup, Resolution, ResolveError, ResolvedAddresses};

/// The bounds of the time for which an answer holds, whatever its TTL says.
const MIN_VALID: Duration = Duration::from_secs(1);
const MAX_VALID: Duration = Duration::from_secs(3_600);
/// For how long an address of the hosts file holds. The file has no TTLs, and reading it is cheap.
const HOSTS_VALID: Duration = Duration::from_secs(5);
/// The longest that one look-up may take, all name servers, search domains and retries together.
const MAX_LOOKUP: Duration = Duration::from_secs(15);
/// The name server when resolv.conf names none, as resolv.conf(5) has it.
const DEFAULT_NAME_SERVER: &str = "nameserver 127.0.0.1\n";

/// The files that say how the host resolves names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    /// Names and addresses, in the form of hosts(5).
    pub hosts: PathBuf,
    /// Name servers, search domains and options, in the form of resolv.conf(5).
    pub resolv_conf: PathBuf,
}

impl Default for HostFiles {
    fn default() -> Self {
        Self {
            hosts: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

/// Resolves names as the host does. It keeps no answers, so that each look-up sees the name servers'
/// current word; when to look up again is for the caller, by `valid_for`.
#[derive(Debug)]
pub struct HostResolver {
    files: HostFiles,
    loaded: Mutex<Option<Loaded>>,
}

/// What the files said when they were last read.
#[derive(Clone, Debug)]
struct Loaded {
    stamps: [Option<Stamp>; 2],
    hosts: Arc<Hosts>,
    resolver: TokioResolver,
}

/// By what a changed file is known: its inode (editors replace files), size and time of change.
type Stamp = (u64, u64, i64, i64);

impl HostResolver {
    /// A resolver by these files, which are read at the first look-up and whenever they have changed.
    /// A file that is missing is an empty one.
    pub fn new(files: HostFiles) -> Self {
        Self {
            files,
            loaded: Mutex::new(None),
        }
    }

    /// Looks up the IPv4 addresses of `name`, which may be relative to the search domains of
    /// resolv.conf unless it ends in a dot.
    ///
    /// The answer holds for the least TTL of its records, but for no less than 1 s and no more than
    /// 1 h; for 5 s if it is from the hosts file. The look-up ends within 15 s.
    ///
    /// # Errors
    /// Each variant of [`ResolveError`].
    pub async fn resolve(&self, name: &str) -> Resolution {
        let parsed = Name::from_str(name)
            .ok()
            .filter(|parsed| parsed.num_labels() > 0)
            .ok_or_else(|| ResolveError::InvalidName {
                name: name.to_owned(),
                reason: "it has an empty or too long label, or characters that none can have"
                    .to_owned(),
            })?;
        let failed = |error| failure(name, &self.files.resolv_conf, error);
        let loaded = self.load().await.map_err(failed)?;
        if let Some(addresses) = loaded.in_hosts(&parsed) {
            return Ok(ResolvedAddresses {
                addresses,
                valid_for: HOSTS_VALID,
            });
        }
        let lookup = loaded.resolver.lookup(parsed, RecordType::A);
        let lookup = timeout(MAX_LOOKUP, lookup)
            .await
            .unwrap_or(Err(NetError::Timeout))
            .map_err(failed)?;
        let addresses = ascending(lookup.answers().iter().map(|record| &record.data));
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress {
                name: name.to_owned(),
            });
        }
        // Rounded, as the clock has moved on since the answer came: 5 s must not become 4.999.
        let valid_s = lookup
            .valid_until()
            .saturating_duration_since(Instant::now())
            .as_secs_f64()
            .round();
        Ok(ResolvedAddresses {
            addresses,
            valid_for: Duration::from_secs_f64(valid_s).clamp(MIN_VALID, MAX_VALID),
        })
    }

    /// What the files say, read again if they have changed.
    async fn load(&self) -> Result<Loaded, NetError> {
        let stamps = [
            stamp(&self.files.hosts).await,
            stamp(&self.files.resolv_conf).await,
        ];
        let mut loaded = self.loaded.lock().await;
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.stamps == stamps) {
            return Ok(loaded.clone());
        }
        let mut hosts = Hosts::default();
        let text = read(&self.files.hosts).await;
        if let Err(error) = hosts.read_hosts_conf(text.as_bytes()) {
            warn!(file = %self.files.hosts.display(), %error, "a part of the file cannot be read");
        }
        let fresh = Loaded {
            stamps,
            hosts: Arc::new(hosts),
            resolver: resolver(&read(&self.files.resolv_conf).await)?,
        };
        Ok(loaded.insert(fresh).clone())
    }
}

impl Lookup for HostResolver {
    async fn resolve(&self, name: &str) -> Resolution {
        Self::resolve(self, name).await
    }
}

impl Loaded {
    fn in_hosts(&self, name: &Name) -> Option<Vec<Ipv4Addr>> {
        let query = Query::query(name.to_lowercase(), RecordType::A);
        let lookup = self.hosts.lookup_static_host(&query)?;
        let addresses = ascending(lookup.answers().iter().map(|record| &record.data));
        (!addresses.is_empty()).then_some(addresses)
    }
}

fn resolver(resolv_conf: &str) -> Result<TokioResolver, NetError> {
    let (config, mut options) = parse_resolv_conf(resolv_conf)
        .or_else(|_| parse_resolv_conf(format!("{resolv_conf}\n{DEFAULT_NAME_SERVER}")))?;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
}

fn ascending<'a>(data: impl Iterator<Item = &'a RData>) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<Ipv4Addr> = data
        .filter_map(|data| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The error in the caller's terms.
fn failure(name: &str, resolv_conf: &Path, error: NetError) -> ResolveError {
    let name = name.to_owned();
    let file = resolv_conf.display().to_string();
    match error {
        NetError::Timeout => ResolveError::Timeout { name, file },
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NoSuchName { name },
            _ => ResolveError::NoAddress { name },
        },
        error => ResolveError::Failed {
            name,
            file,
            reason: error.to_string(),
        },
    }
}

async fn stamp(file: &Path) -> Option<Stamp> {
    let data = tokio::fs::metadata(file).await.ok()?;
    Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}

async fn read(file: &Path) -> String {
    match tokio::fs::read(file).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            warn!(file = %file.display(), %error, "the file cannot be read and counts as empty");
            String::new()
        }
    }
}
