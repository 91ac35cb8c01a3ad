//! Resolving backends' names through the host's files and a real server.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dns::{
    DnsServer, HostFiles, HostResolver, NameWatch, ResolveError, ResolvedAddresses, ZoneContents,
};
use model::ResolvedName;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{contents, in_own_network};

const WEB: &str = "web.johns-project.lb.evenkeel.test";
const PATIENCE: Duration = Duration::from_secs(30);

/// A host's files, which end with it.
struct Host {
    _directory: TempDir,
    files: HostFiles,
}

impl Host {
    fn new(resolv_conf: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let host = Self {
            files: HostFiles {
                hosts: file("hosts"),
                resolv_conf: file("resolv.conf"),
            },
            _directory: directory,
        };
        host.write_resolv_conf(resolv_conf);
        host
    }

    fn write_resolv_conf(&self, text: &str) {
        std::fs::write(&self.files.resolv_conf, text).unwrap();
    }

    fn write_hosts(&self, text: &str) {
        std::fs::write(&self.files.hosts, text).unwrap();
    }

    fn resolver(&self) -> HostResolver {
        HostResolver::new(self.files.clone())
    }
}

const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

async fn serve(zone: ZoneContents) -> DnsServer {
    let port_53 = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    DnsServer::bind(&[port_53], zone).await.unwrap()
}

fn with_ttl(serial: u32, ttl_s: u32) -> ZoneContents {
    ZoneContents {
        ttl_s,
        ..contents(serial)
    }
}

fn front(octets: &[u8]) -> Vec<Ipv4Addr> {
    octets
        .iter()
        .map(|n| Ipv4Addr::new(10, 200, 0, *n))
        .collect()
}

fn resolved(octets: &[u8], valid_s: u64) -> Result<ResolvedAddresses, ResolveError> {
    Ok(ResolvedAddresses {
        addresses: front(octets),
        valid_for: Duration::from_secs(valid_s),
    })
}

#[test]
fn addresses_are_sorted_and_hold_for_the_ttl_within_bounds() {
    in_own_network(async || {
        let server = serve(with_ttl(1, 7)).await;
        let host = Host::new(RESOLV_CONF);
        let resolver = host.resolver();
        for (serial, ttl_s, valid_s) in [(2, 7, 7), (3, 3, 3), (4, 0, 1), (5, 86_400, 3_600)] {
            server.publish(with_ttl(serial, ttl_s)).unwrap();
            // More than once, as the server turns the order.
            for _ in 0..4 {
                let web = resolver.resolve(WEB).await;
                assert_eq!(web, resolved(&[10, 11, 12], valid_s));
            }
        }
        server.shutdown().await;
    });
}

#[test]
fn names_are_found_by_search_domain_and_a_final_dot_leaves_that_out() {
    in_own_network(async || {
        let server = serve(with_ttl(1, 7)).await;
        let search =
            format!("{RESOLV_CONF}search other.lb.evenkeel.test johns-project.lb.evenkeel.test\n");
        let host = Host::new(&search);
        let resolver = host.resolver();
        for name in ["web", "WEB"] {
            assert_eq!(resolver.resolve(name).await, resolved(&[10, 11, 12], 7));
        }
        let absolute = resolver.resolve("web.").await.unwrap_err();
        assert!(
            matches!(absolute, ResolveError::Failed { .. }),
            "{absolute}"
        );
        // Without a file there is no search domain, and the name server is this machine's own.
        std::fs::remove_file(&host.files.resolv_conf).unwrap();
        assert_eq!(resolver.resolve(WEB).await, resolved(&[10, 11, 12], 7));
        assert!(resolver.resolve("web").await.is_err());
        server.shutdown().await;
    });
}

#[test]
fn each_failure_is_told_apart_and_named() {
    in_own_network(async || {
        let server = serve(with_ttl(1, 7)).await;
        // Takes requests and never answers.
        let _silent = UdpSocket::bind("127.0.0.2:53").await.unwrap();
        let host = Host::new(RESOLV_CONF);
        let resolver = host.resolver();

        let absent = "absent.lb.evenkeel.test";
        let error = resolver.resolve(absent).await.unwrap_err();
        assert!(matches!(&error, ResolveError::NoSuchName { name } if name == absent));
        assert!(error.to_string().contains("no such name"), "{error}");

        let idle = "idle.johns-project.lb.evenkeel.test";
        let error = resolver.resolve(idle).await.unwrap_err();
        assert!(matches!(&error, ResolveError::NoAddress { name } if name == idle));

        let error = resolver.resolve("refused.example.com").await.unwrap_err();
        assert!(matches!(error, ResolveError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("Refused"), "{error}");

        let long = format!("{}.test", "x".repeat(64));
        for invalid in ["", ".", "a..b", "a b", &long] {
            let error = resolver.resolve(invalid).await.unwrap_err();
            assert!(matches!(error, ResolveError::InvalidName { .. }), "{error}");
        }

        host.write_resolv_conf("nameserver 127.0.0.2\noptions timeout:1 attempts:1\n");
        let error = resolver.resolve(WEB).await.unwrap_err();
        assert!(
            matches!(&error, ResolveError::Timeout { name, .. } if name == WEB),
            "{error}"
        );
        assert!(error.to_string().contains("timeout"), "{error}");

        host.write_resolv_conf("nameserver 127.0.0.3\noptions timeout:1 attempts:1\n");
        let error = resolver.resolve(WEB).await.unwrap_err();
        let nobody_there = matches!(
            error,
            ResolveError::Failed { .. } | ResolveError::Timeout { .. }
        );
        assert!(nobody_there, "{error}");

        host.write_resolv_conf(RESOLV_CONF);
        assert_eq!(resolver.resolve(WEB).await, resolved(&[10, 11, 12], 7));
        server.shutdown().await;
    });
}

#[test]
fn the_hosts_file_goes_first_and_its_changes_are_seen() {
    in_own_network(async || {
        let server = serve(with_ttl(1, 7)).await;
        let host = Host::new(RESOLV_CONF);
        let resolver = host.resolver();
        assert_eq!(resolver.resolve(WEB).await, resolved(&[10, 11, 12], 7));
        host.write_hosts(&format!(
            "::1 {WEB}\n10.200.0.9 other {WEB} # ours\n10.200.0.8 {WEB}\n"
        ));
        assert_eq!(resolver.resolve(WEB).await, resolved(&[8, 9], 5));
        assert_eq!(
            resolver.resolve(&WEB.to_uppercase()).await,
            resolved(&[8, 9], 5)
        );
        assert_eq!(resolver.resolve("other").await, resolved(&[9], 5));
        // An entry with IPv6 alone says nothing of IPv4.
        host.write_hosts(&format!("::1 {WEB}\n"));
        assert_eq!(resolver.resolve(WEB).await, resolved(&[10, 11, 12], 7));
        server.shutdown().await;
    });
}

/// Waits until the watched name is as `expected` says.
async fn wait_for(
    watch: &NameWatch,
    changes: &mut watch::Receiver<u64>,
    expected: impl Fn(&ResolvedName) -> bool,
) -> ResolvedName {
    let waited = timeout(PATIENCE, async {
        loop {
            if let Some(known) = watch.snapshot().get(WEB).filter(|known| expected(known)) {
                return known.clone();
            }
            changes.changed().await.unwrap();
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("it stays at {:?}", watch.snapshot()))
}

#[test]
fn the_last_good_answer_outlives_the_server_and_its_return_is_seen() {
    in_own_network(async || {
        let server = serve(with_ttl(1, 1)).await;
        let host = Host::new(RESOLV_CONF);
        let watch = NameWatch::new(host.resolver());
        let mut changes = watch.changes();
        watch.set_names(BTreeSet::from([WEB.to_owned()]));
        let known = wait_for(&watch, &mut changes, |known| known.error.is_none()).await;
        assert_eq!(known.addresses, front(&[10, 11, 12]));

        // A change is seen when the TTL is over.
        let mut moved = with_ttl(2, 1);
        let records = BTreeSet::from_iter(front(&[77]));
        moved
            .records
            .insert("web.johns-project".to_owned(), records);
        server.publish(moved.clone()).unwrap();
        let start = Instant::now();
        wait_for(&watch, &mut changes, |known| {
            known.addresses == front(&[77])
        })
        .await;
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());

        server.shutdown().await;
        let known = wait_for(&watch, &mut changes, |known| known.error.is_some()).await;
        assert_eq!(known.addresses, front(&[77]));

        let server = serve(with_ttl(3, 1)).await;
        let known = wait_for(&watch, &mut changes, |known| known.error.is_none()).await;
        assert_eq!(known.addresses, front(&[10, 11, 12]));
        server.shutdown().await;
    });
}

#[test]
fn the_files_of_the_host_are_the_default() {
    let files = HostFiles::default();
    assert_eq!(files.hosts, PathBuf::from("/etc/hosts"));
    assert_eq!(files.resolv_conf, PathBuf::from("/etc/resolv.conf"));
}
